//! What `observer run` gives up once it is attached, as the kernel shows it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::condition::{ENOUGH, nobody, nothing_is_attached, reachable, root};

const CAP_CHOWN: u64 = 1 << 0;
const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_BPF: u64 = 1 << 39;

/// As a user of its own it is left with nothing, or before Linux 5.19 with CAP_BPF where
/// reading a map takes it; as root with what its files take. It still counts, and ends
/// in order.
pub(crate) fn privileges_are_given_up() -> Result<()> {
    let binary = reachable()?;
    kept_by(nobody(&binary, ENOUGH), CAP_BPF)?;
    kept_by(root(), CAP_BPF | CAP_CHOWN | CAP_DAC_OVERRIDE)?;
    nothing_is_attached()
}

fn kept_by(mut observer: Command, at_most: u64) -> Result<()> {
    let place = tempfile::Builder::new().prefix("observer-").tempdir_in("/tmp")?;
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    observer.args(["run", "--history"]).arg(place.path().join("history.sqlite"));
    observer.args(["--socket-group", "65534", "--socket"]).arg(place.path().join("socket"));
    let mut child = observer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let outcome = examine(&mut child, at_most);
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let status = child.wait()?;
    outcome?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

fn examine(child: &mut Child, at_most: u64) -> Result<()> {
    let mut stderr = BufReader::new(child.stderr.take().context("no stderr")?);
    let mut said = String::new();
    while !said.contains("outbound TCP connections") {
        ensure!(stderr.read_line(&mut said)? > 0, "it did not start: {said}");
    }
    // What else it says is for nobody to read, and must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", child.id()))?.collect::<Result<_, _>>()?;
    ensure!(threads.len() > 1, "only one thread: nothing to compare");
    let is_bpf_for_all = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")?.trim() == "0";
    for thread in threads {
        // One that had something to do at the start may have ended.
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        let field = |name: &str| -> Result<&str> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(line.with_context(|| format!("no {name}"))?.trim())
        };
        let set = |name: &str| -> Result<u64> { Ok(u64::from_str_radix(field(name)?, 16)?) };
        let kept = set("CapPrm")? | set("CapEff")? | set("CapInh")? | set("CapAmb")?;
        ensure!(kept & !at_most == 0, "{} keeps {kept:x}: {said}", field("Name")?);
        let needs_bpf = crate::privilege::release() < (5, 19) && !is_bpf_for_all;
        ensure!((kept & CAP_BPF != 0) == needs_bpf, "{} keeps {kept:x}: {said}", field("Name")?);
        if said.contains(" only\n") {
            ensure!(field("NoNewPrivs")? == "1", "{} can gain privileges", field("Name")?);
        }
    }
    println!("{}", said.trim_end());
    Ok(())
}
