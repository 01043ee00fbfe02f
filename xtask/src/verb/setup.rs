//! install what building, testing and the demo need, and fetch all sources

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cargo;
use crate::needs::{self, Purpose};

/// Install what building, testing and the demo need, and fetch all sources
///
/// Debian packages are installed, and as another user than root sudo is asked for it. Everything else goes below .cache and
/// into cargo's directory. Afterwards a build and `./x test` need no network.
#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    /// Also what only `./x test --all` needs
    #[arg(long)]
    all: bool,
}

impl Setup {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let purpose = if self.all { Purpose::TestAll } else { Purpose::Test };
        needs::meet(purpose)?;
        cargo::fetch_sources().context("does this machine reach crates.io?")?;
        eprintln!("x: all that {} needs is here", if self.all { "./x test --all" } else { "./x test" });
        Ok(ExitCode::SUCCESS)
    }
}
