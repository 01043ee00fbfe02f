//! run every check and every test, in the kernel too

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo::{self, HOST_CRATES};
use crate::report::{Report, Tally};
use crate::verb::{fuzz, package, receivers, vm_test};
use crate::{checks, privilege};

/// Run every check and every test, in the kernel too
///
/// Formatting, lints, unit and integration tests, documentation, a short run of each fuzz target, Miri, and the tests
/// that need root, here and on other kernels in virtual machines: they load the kernel programs and make traffic in
/// network namespaces of their own. As another user than root, sudo runs those here. Goes on after a failure, except of
/// the build, and ends with the line `N passed, N failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Fail if the tests that need root cannot be run; implied by CI=true in the environment
    #[arg(long)]
    require_privileged: bool,
    /// Leave the virtual machines out; `./x vm-test` runs them alone, and more of them
    #[arg(long)]
    no_vm: bool,
}

/// For how long each fuzz target runs: long enough to see that it still works.
const FUZZ_SECONDS: u32 = 20;
const PRIVILEGED: &str = "tests that need root";
const OTHER_KERNELS: &str = "the same on other kernels";

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let privileged_tests = cargo::privileged_tests()?;
        let mut report = Report::default();
        checks::lint(&mut report, &privileged_tests);
        if build(&mut report, &privileged_tests) {
            report.tests("tests", cargo::command("test").args(HOST_CRATES).arg("--no-fail-fast"));
            report.check("documentation", &mut documentation());
            fuzz::fuzz(&mut report, &fuzz::targets()?, FUZZ_SECONDS);
            fuzz::miri(&mut report);
            report.work("packages", "./x package", || package::build_and_compare().map(|()| Tally::PASS));
            self.privileged(&mut report, &privileged_tests);
            self.other_kernels(&mut report);
            report.not_run(receivers::NAME, "half a gigabyte to fetch: `./x receivers` runs them", false);
        } else {
            for step in ["tests", "documentation", "fuzz", "Miri", "packages", PRIVILEGED, OTHER_KERNELS] {
                report.not_run(step, "the build failed", true);
            }
        }
        Ok(report.finish())
    }

    fn other_kernels(&self, report: &mut Report) {
        if self.no_vm {
            return report.not_run(OTHER_KERNELS, "left out by --no-vm", false);
        }
        report.work(OTHER_KERNELS, &format!("./x vm-test, Linux {}", vm_test::FEW.join(", ")), vm_test::few);
    }

    fn privileged(&self, report: &mut Report, names: &[String]) {
        let is_required = self.require_privileged || cargo::is_ci();
        if names.is_empty() {
            return report.not_run(PRIVILEGED, "the workspace has none: no [[test]] with test = false", is_required);
        }
        let Some(mut command) = privileged_command(names) else {
            return report.not_run(PRIVILEGED, "neither root nor sudo: run `sudo ./x test`", is_required);
        };
        report.tests(PRIVILEGED, command.arg("--no-fail-fast"));
    }
}

fn build(report: &mut Report, privileged_tests: &[String]) -> bool {
    let plain = report.check("build", cargo::command("test").args(HOST_CRATES).arg("--no-run"));
    let mut privileged = test_command(privileged_tests);
    plain && (privileged_tests.is_empty() || report.check("build, tests that need root", privileged.arg("--no-run")))
}

/// Runs these tests as root. None for a user who is not and has no sudo.
pub(crate) fn privileged_command(names: &[String]) -> Option<Command> {
    let mut command = test_command(names);
    if !privilege::is_root() {
        if !privilege::can_sudo() {
            return None;
        }
        // Cargo and the compiler stay this user's.
        command.args(["--config", "target.'cfg(all())'.runner = ['sudo', '--preserve-env', '--']"]);
    }
    Some(command)
}

fn test_command(names: &[String]) -> Command {
    let mut command = cargo::command("test");
    command.args(HOST_CRATES);
    for name in names {
        command.args(["--test", name]);
    }
    command
}

fn documentation() -> Command {
    let mut command = cargo::command("doc");
    command.args(HOST_CRATES).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
    command
}
