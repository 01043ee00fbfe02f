//! fuzz what reads bytes from outside, and run the shared structs under Miri

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::cargo;
use crate::needs::tools;
use crate::report::Report;

/// Fuzz what reads bytes from outside, and run the shared structs under Miri
///
/// Each target of fuzz/fuzz_targets for some seconds, from the inputs in fuzz/corpus; what the fuzzer finds beside them
/// stays there for the next run, and is not committed. An input that crashes a target, or holds it up for ten seconds, is
/// left in fuzz/artifacts.
#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// For how long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,
    /// Only these targets, and no Miri
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl Fuzz {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut report = Report::begin();
        if self.targets.is_empty() {
            fuzz(&mut report, &targets()?, self.seconds);
            miri(&mut report);
        } else {
            fuzz(&mut report, &self.targets, self.seconds);
        }
        Ok(report.finish())
    }
}

/// The names of all fuzz targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    let directory = cargo::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in directory.read_dir().with_context(|| format!("list {}", directory.display()))? {
        let path = entry.context("list the fuzz targets")?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// A single input that takes so many seconds is a finding.
const SLOW_SECONDS: u32 = 10;

/// Runs each target for so long; a target that finds nothing passes.
pub(crate) fn fuzz(report: &mut Report, targets: &[String], seconds: u32) {
    for target in targets {
        let mut command = cargo_fuzz();
        command
            .args(["run", target, "--", "-print_final_stats=1", "-verbosity=0"])
            .args([format!("-max_total_time={seconds}"), format!("-timeout={SLOW_SECONDS}")]);
        report.check(&format!("fuzz {target}"), &mut command);
    }
}

/// The command that builds all targets.
pub(crate) fn build() -> Command {
    let mut command = cargo_fuzz();
    command.arg("build");
    command
}

fn cargo_fuzz() -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(cargo::root())
        .arg("fuzz")
        // The sanitizer's flags are unstable; the toolchain is a stable one.
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Runs the tests of the structs that kernel and user space share under Miri, which comes
/// with nightly toolchains only.
pub(crate) fn miri(report: &mut Report) {
    let mut command = tools::nightly("cargo");
    command
        .current_dir(cargo::root())
        .args(["miri", "test", "--package", "observer-common"])
        // A property test takes a thousand times as long here.
        .env("PROPTEST_CASES", "4")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("CARGO_TARGET_DIR", cargo::root().join("target/miri"));
    report.test_program("Miri, observer-common", &mut command);
}
