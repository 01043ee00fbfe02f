//! `observer` as other users, with fewer privileges, on a host where something is
//! missing: the command for each, and what it must end with.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::watcher::OBSERVER;

/// A trial and its name.
pub(crate) type Named = (&'static str, fn() -> Result<()>);

/// Arguments that end by themselves, soon.
pub(crate) const BRIEFLY: [&str; 4] = ["watch", "--standalone", "--duration", "1s"];

/// What a service needs to be granted.
pub(crate) const ENOUGH: &[&str] = &["bpf", "perfmon"];

/// A copy of the binary where every user can read it.
pub(crate) fn reachable() -> Result<tempfile::TempPath> {
    use std::os::unix::fs::PermissionsExt;
    let copy = tempfile::Builder::new().prefix("observer-").tempfile_in("/tmp")?;
    std::fs::copy(OBSERVER, copy.path())?;
    std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755))?;
    // An open descriptor for writing would make the file busy.
    Ok(copy.into_temp_path())
}

/// User nobody with these capabilities and no other, and with as much locked memory
/// as a service unit grants by `LimitMEMLOCK=infinity`.
pub(crate) fn nobody(binary: &Path, capabilities: &[&str]) -> Command {
    // Inherited. A refusal shows where it matters: before Linux 5.11.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    let list = only(capabilities);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", &list, "--ambient-caps", &list]).arg(binary).stdin(Stdio::null());
    command
}

/// Root, who can have no other capabilities than these.
pub(crate) fn root_bounded_to(binary: &Path, capabilities: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", &only(capabilities)]).arg(binary).stdin(Stdio::null());
    command
}

fn only(capabilities: &[&str]) -> String {
    capabilities.iter().fold("-all".to_owned(), |list, name| format!("{list},+{name}"))
}

/// Root.
pub(crate) fn root() -> Command {
    let mut command = Command::new(OBSERVER);
    command.stdin(Stdio::null());
    command
}

/// The command, after a shell has prepared something for it in a mount namespace
/// of its own.
pub(crate) fn after(shell: &str, command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-c", &format!("{shell} && exec \"$@\""), "sh"]);
    outer.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    outer
}

/// Fails unless it ended with this code, and stderr names the cause.
pub(crate) fn expect(output: &Output, code: i32, cause: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "ended with {}, not {code}: {stderr}", output.status);
    ensure!(stderr.contains(cause), "'{cause}' is not named: {stderr}");
    Ok(())
}

/// Fails unless stderr is one line.
pub(crate) fn one_line(output: &Output) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(stderr.lines().count() == 1, "not one line: {stderr}");
    println!("said: {}", stderr.trim_end());
    Ok(())
}

/// No kernel program of observer's is left in this kernel.
pub(crate) fn nothing_is_attached() -> Result<()> {
    // The kernel frees programs a grace period after their last user.
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let left: Vec<String> = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .filter_map(|program| program.name_as_str().map(str::to_owned))
            .filter(|name| name.starts_with("inet_sock_set_s") || name.starts_with("tcp_receive_res"))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left in the kernel: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
