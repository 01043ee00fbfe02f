//! Root: who has it, and how to get it for a program that is already built.
//! Cargo itself never runs as root for a user who is not, so that no file of the
//! target directory ends up as root's.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{IsTerminal as _, stdin};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// A program that root runs: this user, or sudo.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(program);
    sudo
}

/// Ends such a program with SIGTERM, which `sudo` and timeout(1) pass on, and waits for it.
pub(crate) fn end(child: &mut Child) {
    // It fails only for one that has ended.
    _ = command("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    _ = child.wait();
}

/// Becomes `program`, run as root. Returns only if that fails.
pub(crate) fn exec_as_root(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Infallible> {
    let error = self::command(program).args(arguments).exec();
    Err(error).with_context(|| {
        let program = program.display();
        if is_root() { format!("run {program}") } else { format!("{program} needs root; run sudo for it") }
    })
}
