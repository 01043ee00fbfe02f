//! run the checks and tests that answer soon, or with --all every one

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo::{self, HOST_CRATES};
use crate::crowd::{self, Crowd};
use crate::head_start::HeadStart;
use crate::needs::{self, Purpose};
use crate::report::{Report, Tally};
use crate::verb::{fuzz, package, receivers, vm_test};
use crate::{checks, nextest, privilege};

/// Run the checks and tests that answer soon, or with --all every one
///
/// Formatting, lints, shell scripts, unit tests, properties, output formats, documentation and the report's page, and of
/// the tests that need root the matrix of outcomes, a storm, rsyslog with NATS, and Postfix. Those load kernel programs
/// and make traffic in network namespaces of their own; as another user than root, sudo runs them. --all adds all other
/// tests that need root, the packages, fuzz targets, Miri, a million attempts, dependencies, and other kernels in virtual
/// machines. Goes on after a failure, except of the build, and ends with a table of times and the line `N passed, N failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Every test; continuous integration runs these
    #[arg(long)]
    all: bool,
    /// Fail if the tests that need root cannot be run; implied by CI=true in the environment
    #[arg(long)]
    require_privileged: bool,
    /// Leave the virtual machines out of --all; `./x vm-test` runs them alone, and more of them
    #[arg(long, requires = "all")]
    no_vm: bool,
}

/// For how long each fuzz target runs: long enough to see that it still works.
const FUZZ_SECONDS: u32 = 10;
/// The tests that want the packages to be built.
const PACKAGES: &str = "packages";
const PRIVILEGED: &str = "tests that need root";
const BESIDE: &str = "some of them on a busy machine";
const OTHER_KERNELS: &str = "the same on other kernels";

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let privileged_tests = cargo::privileged_tests()?;
        let mut report = Report::begin();
        let purpose = if self.all { Purpose::TestAll } else { Purpose::Test };
        let set_up = || needs::meet(purpose).map(|()| Tally::default());
        report.work("what the tests need", if self.all { "./x setup --all" } else { "./x setup" }, set_up);
        checks::lint(&mut report, &privileged_tests);
        checks::shell_scripts(&mut report);
        if self.all {
            checks::dependencies(&mut report);
        }
        if !build(&mut report, &privileged_tests) {
            for step in ["tests", "documentation", PRIVILEGED] {
                report.not_run(step, "the build failed", true);
            }
            return Ok(report.finish());
        }
        report.tests("tests", nextest::run("default").args(HOST_CRATES));
        report.check("documentation", &mut documentation());
        report.check("examples in it", cargo::command("test").args(HOST_CRATES).arg("--doc"));
        if self.all {
            self.rest(&mut report, &privileged_tests)?;
        } else {
            self.privileged(&mut report, PRIVILEGED, "privileged", &privileged_tests);
            report.not_run("all else", "`./x test --all` runs it", false);
        }
        Ok(report.finish())
    }

    /// What `--all` adds. Its builds begin while tests wait for what they test.
    fn rest(&self, report: &mut Report, privileged_tests: &[String]) -> Result<()> {
        let builds = HeadStart::begin(vec![("fuzz targets", fuzz::build()), ("packages", package::compilation()?)]);
        let (of_packages, others): (Vec<_>, Vec<_>) =
            privileged_tests.iter().cloned().partition(|name| name == PACKAGES);
        self.privileged(report, PRIVILEGED, "privileged-all", &others);
        report.work("other builds", "wait for what began with the tests", || builds.end());
        fuzz::fuzz(report, &fuzz::targets()?, FUZZ_SECONDS);
        fuzz::miri(report);
        report.work("packages", "./x package", || package::build_and_compare().map(|()| Tally::PASS));
        checks::packages(report);
        self.privileged(report, "tests of packages", "privileged-all", &of_packages);
        self.beside(report, privileged_tests);
        self.other_kernels(report);
        report.not_run(receivers::NAME, "half a gigabyte to fetch: `./x receivers` runs them", false);
        Ok(())
    }

    fn other_kernels(&self, report: &mut Report) {
        if self.no_vm {
            return report.not_run(OTHER_KERNELS, "left out by --no-vm", false);
        }
        report.work(OTHER_KERNELS, &format!("./x vm-test, Linux {}", vm_test::FEW.join(", ")), vm_test::few);
    }

    /// Runs those that need root and are of this profile.
    fn privileged(&self, report: &mut Report, name: &str, profile: &str, programs: &[String]) {
        if let Some(mut command) = self.privileged_command(report, name, profile, programs) {
            report.tests(name, &mut command);
        }
    }

    /// The same, where tests that could disturb each other have company.
    fn beside(&self, report: &mut Report, programs: &[String]) {
        let Some(mut command) = self.privileged_command(report, BESIDE, "beside", programs) else { return };
        let (name, value) = crowd::WITH_TRACEFS;
        command.env(name, value);
        match Crowd::gather() {
            Ok(_crowd) => _ = report.tests(BESIDE, &mut command),
            Err(error) => _ = report.work(BESIDE, "observer watch", || Err(error)),
        }
    }

    fn privileged_command(
        &self,
        report: &mut Report,
        name: &str,
        profile: &str,
        programs: &[String],
    ) -> Option<Command> {
        let is_required = self.require_privileged || cargo::is_ci();
        if programs.is_empty() {
            report.not_run(name, "the workspace has none: no [[test]] with test = false", is_required);
            return None;
        }
        let command = privileged_command(profile, programs);
        if command.is_none() {
            report.not_run(name, "neither root nor sudo: run `sudo ./x test`", is_required);
        }
        command
    }
}

fn build(report: &mut Report, privileged_tests: &[String]) -> bool {
    let plain = report.check("build", nextest::run("default").args(HOST_CRATES).arg("--no-run"));
    let mut privileged = of_programs("privileged", privileged_tests);
    plain && (privileged_tests.is_empty() || report.check("build, tests that need root", privileged.arg("--no-run")))
}

/// Runs tests of these programs as root. None for a user who is not and has no sudo.
pub(crate) fn privileged_command(profile: &str, programs: &[String]) -> Option<Command> {
    let mut command = of_programs(profile, programs);
    if !privilege::is_root() {
        if !privilege::can_sudo() {
            return None;
        }
        // Cargo, the compiler and nextest stay this user's.
        let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
        command.env(runner, "sudo --preserve-env --");
    }
    Some(command)
}

fn of_programs(profile: &str, programs: &[String]) -> Command {
    let mut command = nextest::run(profile);
    command.args(HOST_CRATES);
    for name in programs {
        command.args(["--test", name]);
    }
    command
}

fn documentation() -> Command {
    let mut command = cargo::command("doc");
    command.args(HOST_CRATES).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
    command
}
