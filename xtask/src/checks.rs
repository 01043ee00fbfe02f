//! Checks that more than one verb runs.

use std::process::Command;

use crate::cargo::{self, HOST_CRATES};
use crate::report::Report;

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
