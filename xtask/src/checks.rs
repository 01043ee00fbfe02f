//! Checks that more than one verb runs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo::{self, HOST_CRATES};
use crate::report::Report;
use crate::verb::package;

/// Formatting, and lints of the host's crates and of the kernel programs.
pub(crate) fn lint(report: &mut Report, privileged_tests: &[String]) {
    report.check("format", cargo::command("fmt").args(["--all", "--check"]));
    report.check("clippy", &mut clippy(&["--all-targets"]));
    if !privileged_tests.is_empty() {
        // Cargo does not count these among all targets.
        let targets: Vec<&str> = privileged_tests.iter().flat_map(|name| ["--test", name]).collect();
        report.check("clippy, tests that need root", &mut clippy(&targets));
    }
    report.check("clippy, kernel programs", &mut clippy_kernel_programs());
}

fn clippy(targets: &[&str]) -> Command {
    let mut command = cargo::command("clippy");
    command.args(HOST_CRATES).args(targets).args(["--", "-D", "warnings"]);
    command
}

/// Every shell script of the repository.
pub(crate) fn shell_scripts(report: &mut Report) {
    report.check("shell scripts", shellcheck().args(["x", ".ci/run"]));
    match package_scripts() {
        // Some of them have no first line that names their shell.
        Ok(scripts) => _ = report.check("shell scripts of packages", shellcheck().arg("--shell=sh").args(scripts)),
        Err(error) => _ = report.work("shell scripts of packages", "list them", || Err(error)),
    }
}

fn shellcheck() -> Command {
    let mut command = Command::new("shellcheck");
    command.current_dir(cargo::root());
    command
}

/// What runs when a package is installed, upgraded or removed.
fn package_scripts() -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for directory in ["packaging/debian", "packaging/rpm"] {
        let directory = cargo::root().join(directory);
        for entry in directory.read_dir().with_context(|| format!("list {}", directory.display()))? {
            let path = entry.context("list the scripts")?.path();
            let is_named_so = path.extension().is_some_and(|extension| extension == "sh");
            if is_named_so || fs::read(&path).context("read a script")?.starts_with(b"#!") {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    Ok(scripts)
}

/// The packages that were built: no tag of lintian or rpmlint but those that have their reason in `packaging/`.
pub(crate) fn packages(report: &mut Report) {
    for (name, kind, lint) in [("lintian", "deb", lintian as fn() -> Command), ("rpmlint", "rpm", rpmlint)] {
        match package::built(kind) {
            Ok(package) => _ = report.check(name, lint().arg(package)),
            Err(error) => _ = report.work(name, "find the package", || Err(error)),
        }
    }
}

/// The package itself has its overrides.
fn lintian() -> Command {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    lintian
}

fn rpmlint() -> Command {
    let mut rpmlint = Command::new("rpmlint");
    rpmlint.arg("--strict").arg("--config").arg(cargo::root().join("packaging/rpm/rpmlint.toml"));
    rpmlint
}

/// Licences and sources of all dependencies.
pub(crate) fn dependencies(report: &mut Report) {
    report.check("dependencies", &mut deny(&["licenses", "bans", "sources"]));
}

/// `cargo deny check`.
pub(crate) fn deny(what: &[&str]) -> Command {
    let mut command = cargo::command("deny");
    command.arg("check").args(what);
    command
}

/// They compile for their own target only, with a `core` that is built along:
/// unstable, and so allowed by RUSTC_BOOTSTRAP on a stable toolchain.
fn clippy_kernel_programs() -> Command {
    let target = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let flag = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let mut command = cargo::command("clippy");
    command
        .args(["--package", "observer-ebpf", "--target", target, "-Z", "build-std=core"])
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flag);
    command
}
