//! check formatting, lints, shell scripts and dependencies

use std::process::ExitCode;

use anyhow::Result;

use crate::report::Report;
use crate::{cargo, checks};

/// Check formatting, lints, shell scripts and dependencies
///
/// --advisories also compares dependencies with the list of known vulnerabilities, which cargo-deny fetches from github.com.
#[derive(Debug, clap::Args)]
pub(crate) struct Lint {
    /// Look for known vulnerabilities, too
    #[arg(long)]
    advisories: bool,
}

impl Lint {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut report = Report::begin();
        checks::lint(&mut report, &cargo::privileged_tests()?);
        checks::shell_scripts(&mut report);
        checks::dependencies(&mut report);
        if self.advisories {
            report.check("known vulnerabilities", &mut checks::deny(&["advisories"]));
        }
        Ok(report.finish())
    }
}
