//! Cargo's subcommands, and Rust toolchains beside the pinned one.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::quietly;

/// A subcommand of cargo's, by the crate that has it.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(crate) const NEXTEST: Tool = Tool { name: "cargo-nextest", version: "0.9.143" };
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
pub(crate) const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };
pub(crate) const RPM: Tool = Tool { name: "cargo-generate-rpm", version: "0.21.1" };
pub(crate) const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// For Miri, which no stable toolchain has.
pub(crate) const NIGHTLY: &str = "nightly-2026-10-30";

impl Tool {
    /// Whether this machine has this version.
    pub(super) fn is_here(&self) -> bool {
        let subcommand = self.name.trim_start_matches("cargo-");
        let output = Command::new("cargo").args([subcommand, "--version"]).stderr(Stdio::null()).output();
        output.is_ok_and(|output| is_version(&String::from_utf8_lossy(&output.stdout), self.version))
    }

    pub(super) fn install(&self) -> Result<()> {
        let mut cargo = Command::new("cargo");
        // Each runs for seconds: what takes long is to compile it.
        cargo.envs([("LTO", "off"), ("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "16")].map(for_release));
        quietly(cargo.args(["install", self.name, "--version", self.version, "--force", "--locked"]))
    }
}

/// Sets a key of the release profile, whatever the crate says of it.
fn for_release((key, value): (&str, &'static str)) -> (String, &'static str) {
    (format!("CARGO_PROFILE_RELEASE_{key}"), value)
}

/// Whether a program that says this of itself has this version: `cargo-deb 3.8.0`, or as
/// the one that comes first in several lines.
fn is_version(said: &str, version: &str) -> bool {
    said.lines().next().is_some_and(|line| line.split_whitespace().any(|word| word == version))
}

pub(crate) fn has_miri() -> bool {
    let mut cargo = nightly("cargo");
    let output = cargo.args(["miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    output.is_ok_and(|status| status.success())
}

pub(super) fn install_miri() -> Result<()> {
    let arguments = ["--no-self-update", "--profile", "minimal", "--component", "miri", "--component", "rust-src"];
    rustup(&[&["toolchain", "install", NIGHTLY], &arguments[..]].concat())
}

pub(super) fn add_arm_target() -> Result<()> {
    rustup(&["target", "add", "aarch64-unknown-linux-gnu"])
}

fn rustup(arguments: &[&str]) -> Result<()> {
    quietly(Command::new("rustup").args(arguments)).context("does this machine reach https://static.rust-lang.org?")
}

/// A program of the toolchain [`NIGHTLY`].
pub(crate) fn nightly(program: &str) -> Command {
    let mut rustup = Command::new("rustup");
    // Cargo, which runs this, names the toolchain that it is of.
    rustup.args(["run", NIGHTLY, program]).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    rustup
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_say() {
        assert!(is_version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)\nrelease: 0.9.143\n", "0.9.143"));
        assert!(is_version("3.8.0\n", "3.8.0"));
        assert!(!is_version("cargo-fuzz 0.13.20\n", "0.13.2"));
        assert!(!is_version("", "0.13.2"));
    }
}
