//! build observer and watch this host; --demo brings traffic of its own to look at

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result};

use super::demo;
use crate::foreground::Stop;
use crate::{cargo, privilege};

/// Build observer and watch this host; --demo brings traffic of its own to look at
///
/// Ctrl-C ends it. As another user than root, sudo runs what was built.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Make traffic in network namespaces meanwhile; no packet of it leaves this machine
    #[arg(long)]
    demo: bool,
    /// Run this observer rather than build one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// For `observer watch`, which `./x watch -- --help` explains; after the options above
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

impl Watch {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let binary = match self.binary {
            Some(file) => file.canonicalize().with_context(|| format!("find {}", file.display()))?,
            None => cargo::build_observer()?,
        };
        if !self.demo {
            match privilege::exec_as_root(&binary, watch(self.arguments))? {}
        }
        if !privilege::is_root() {
            // The lab needs root as well: all but the build starts again as root.
            let this = std::env::current_exe().context("find this program")?;
            let again = ["watch".into(), "--demo".into(), "--binary".into(), binary.into(), "--".into()];
            match privilege::exec_as_root(&this, again.into_iter().chain(self.arguments))? {}
        }
        watch_demo(&binary, self.arguments)
    }
}

fn watch(arguments: Vec<OsString>) -> impl Iterator<Item = OsString> {
    std::iter::once("watch".into()).chain(arguments)
}

fn watch_demo(binary: &Path, arguments: Vec<OsString>) -> Result<ExitCode> {
    let mut stop = Stop::catch()?;
    let _lab = demo::bring_up(&mut stop)?;
    let status = stop.run(Command::new(binary).args(watch(arguments)))?;
    Ok(status.map_or(ExitCode::SUCCESS, exit_code))
}

/// As a shell has it: 128 and the signal's number for a program ended by one.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
