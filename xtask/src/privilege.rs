//! Root: who has it, and how to get it for a program that is already built.
//! Cargo itself never runs as root for a user who is not, so that no file of the
//! target directory ends up as root's.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{IsTerminal as _, stdin};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `sudo` would work: without a password, or with one that a person at
/// this terminal gives now.
pub(crate) fn can_sudo() -> bool {
    let sudo = |arguments: &[&str]| {
        Command::new("sudo").args(arguments).stderr(Stdio::inherit()).status().is_ok_and(|status| status.success())
    };
    if stdin().is_terminal() { sudo(&["--validate"]) } else { sudo(&["--non-interactive", "true"]) }
}

/// Becomes `program`, run as root. Returns only if that fails.
pub(crate) fn exec_as_root(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Infallible> {
    let mut command = if is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(program);
        sudo
    };
    let error = command.args(arguments).exec();
    Err(error).with_context(|| {
        let program = program.display();
        if is_root() { format!("run {program}") } else { format!("{program} needs root; run sudo for it") }
    })
}
