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
    #[expect(clippy::unused_self, reason = "every verb is run in the same way")]
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut report = Report::default();
        checks::lint(&mut report, &cargo::privileged_tests()?);
        optional(&mut report, "shellcheck", "apt install shellcheck", shellcheck);
        optional(&mut report, "cargo-deny", "cargo install cargo-deny", || {
            let mut deny = cargo::command("deny");
            deny.arg("check");
            deny
        });
        Ok(report.finish())
    }
}

fn shellcheck() -> Command {
    let mut command = Command::new("shellcheck");
    command.current_dir(cargo::root()).args(["x", ".ci/run"]);
    command
}

fn optional(report: &mut Report, program: &str, cure: &str, command: impl FnOnce() -> Command) {
    let is_installed =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if is_installed {
        report.check(program, &mut command());
    } else {
        report.not_run(program, &format!("{program} is not installed; `{cure}`"), false);
    }
}
