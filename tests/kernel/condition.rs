//! `observer` as other users, with fewer privileges, on a host where something is
//! missing: the command for each, and what it must end with.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer::kernel::hooks::{HOOKS, Hook};
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

/// None of observer's kernel programs is left of what this process and its children have
/// loaded: each that is loaded is in the hands of a process that is none of them.
pub(crate) fn nothing_is_attached() -> Result<()> {
    // The kernel frees programs a grace period after their last user, and another
    // observer may end at this moment. What stays is left.
    let deadline = Instant::now() + FREED_WITHIN;
    let mut left = unclaimed_programs()?;
    while !left.is_empty() {
        ensure!(Instant::now() < deadline, "left in the kernel: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
        let now = unclaimed_programs()?;
        left.retain(|id, _| now.contains_key(id));
    }
    Ok(())
}

const FREED_WITHIN: Duration = Duration::from_secs(30);

/// Programs with names of observer's, by id, without those of other processes.
fn unclaimed_programs() -> Result<BTreeMap<u32, String>> {
    let is_ours = |name: &str| {
        // The kernel keeps fifteen bytes of a name.
        let kept = |hook: &Hook| hook.program.get(..15).unwrap_or(hook.program) == name;
        !name.is_empty() && HOOKS.iter().any(kept)
    };
    // One that is freed meanwhile is none.
    let programs = aya::programs::loaded_programs().filter_map(Result::ok);
    let named = programs.filter_map(|program| Some((program.id(), program.name_as_str()?.to_owned())));
    let mut programs: BTreeMap<u32, String> = named.filter(|(_, name)| is_ours(name)).collect();
    if !programs.is_empty() {
        for pid in processes_of_others()? {
            held(pid).iter().for_each(|id| drop(programs.remove(id)));
        }
    }
    Ok(programs)
}

/// All processes but this one and those that descend from it.
fn processes_of_others() -> Result<Vec<u32>> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that has ended meanwhile holds nothing.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name, in brackets, may be anything.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.insert(pid, parent.unwrap_or(0));
    }
    let is_own = |&pid: &u32| {
        let line = std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
        line.take(parents.len() + 1).any(|pid| pid == std::process::id())
    };
    Ok(parents.keys().copied().filter(|pid| !is_own(pid)).collect())
}

/// The ids of the programs that a process holds, itself or by a link.
fn held(pid: u32) -> Vec<u32> {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let of_bpf = descriptors
        .filter_map(Result::ok)
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("bpf")));
    let ids = of_bpf.filter_map(|entry| {
        let number = entry.file_name().into_string().ok()?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    });
    ids.collect()
}
