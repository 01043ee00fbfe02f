//! check formatting, lints, shell scripts and dependencies

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::report::Report;
use crate::{cargo, checks};

/// Check formatting, lints, shell scripts and dependencies
///
/// shellcheck and cargo-deny are used where they are installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Lint {}

impl Lint {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut report = Report::default();
        checks::lint(&mut report, &cargo::privileged_tests()?);
        if is_installed(&mut report, "shellcheck", "apt install shellcheck") {
            report.check("shell scripts", &mut shellcheck());
        }
        if is_installed(&mut report, "cargo-deny", "cargo install cargo-deny") {
            report.check("dependencies", &mut deny(&["licenses", "bans", "sources"]));
            // Apart from the others: the list is fetched from github.com.
            report.check("known vulnerabilities", &mut deny(&["advisories"]));
        }
        Ok(report.finish())
    }
}

/// Whether a program is there; its absence is noted.
fn is_installed(report: &mut Report, program: &str, cure: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_err() {
        report.not_run(program, &format!("it is not installed; `{cure}`"), false);
    }
    version.is_ok()
}

fn shellcheck() -> Command {
    let mut command = Command::new("shellcheck");
    command.current_dir(cargo::root()).args(["x", ".ci/run"]);
    command
}

fn deny(what: &[&str]) -> Command {
    let mut command = cargo::command("deny");
    command.arg("check").args(what);
    command
}
