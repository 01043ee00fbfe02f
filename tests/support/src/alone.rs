//! What a test program has to itself on a machine that others use too: network, mounts, and
//! the port that its attempts go to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Where mail goes.
const SMTP: u16 = 25;
/// Ports to choose from: not privileged, and below those that the kernel chooses, as a
/// connection to a port of those can meet itself.
const FIRST: u16 = 12_000;
const COUNT: u16 = 12_000;

/// The port, and the socket that keeps it from other test programs as long as this one lives.
static RESERVED: OnceLock<(u16, OwnedFd)> = OnceLock::new();

/// The port that attempts go to: 25, or after [`isolate`] one that no other test program
/// on this machine uses at the time. observer sees the attempts of all network namespaces.
pub fn port() -> u16 {
    RESERVED.get().map_or(SMTP, |&(port, _)| port)
}

/// Moves this process into a network namespace and a mount namespace of its own, with an
/// empty /run, and gives it a [`port`] of its own. What it listens on meets nobody, what it
/// mounts is gone with it, and another observer's socket is not there. It adopts processes
/// whose parent ends. For `main`, before there is a second thread; needs root.
pub fn isolate() -> Result<()> {
    let reserved = reserve()?;
    set_child_subreaper(Some(getpid())).context("adopt orphans")?;
    // SAFETY: this is the only thread, and no descriptor's table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
        .context("unshare network and mounts: this needs root")?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).context("make mounts private")?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=755")).context("mount /run")?;
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("start ip, of iproute2")?;
    ensure!(status.success(), "ip link set lo up: {status}");
    ensure!(RESERVED.set(reserved).is_ok(), "isolated twice");
    Ok(())
}

/// So long [`end_orphans`] tries: a process that waits for a disk cannot be ended.
const ORPHANS_END_WITHIN: Duration = Duration::from_secs(10);

/// Ends all that this process started or adopted. After the trials: what one that failed left
/// running would make attempts beside those of the next test program.
pub fn end_orphans() -> Result<()> {
    let deadline = Instant::now() + ORPHANS_END_WITHIN;
    loop {
        let children = children()?;
        if children.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "these processes do not end: {children:?}");
        for child in children {
            // It may have ended; its own children are ours next.
            _ = kill_process(child, Signal::KILL);
            _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
        sleep(Duration::from_millis(10));
    }
}

/// The processes whose parent this one is.
fn children() -> Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let name = entry.context("list processes")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        // It may have ended. What comes before the last parenthesis is its name.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.extend(parent.filter(|&parent: &i32| parent == getpid().as_raw_nonzero().get()).map(|_| pid));
    }
    Ok(children)
}

/// A port that is free in the network namespace of whoever started this.
fn reserve() -> Result<(u16, OwnedFd)> {
    let start = getpid().as_raw_nonzero().get().unsigned_abs() % u32::from(COUNT);
    for nth in 0..COUNT {
        let port = FIRST + (u16::try_from(start)? + nth) % COUNT;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok((port, socket));
        }
    }
    anyhow::bail!("no free port from {FIRST} to {}", FIRST + COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let (first, second) = (reserve().unwrap(), reserve().unwrap());
        assert_ne!(first.0, second.0);
        assert!((FIRST..FIRST + COUNT).contains(&first.0));
    }

    #[test]
    fn children_are_found() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let found = children().unwrap().contains(&Pid::from_child(&child));
        child.kill().and_then(|()| child.wait()).unwrap();
        assert!(found);
        assert!(!children().unwrap().contains(&Pid::from_child(&child)));
    }

    #[test]
    fn the_port_is_that_of_smtp_unless_isolated() {
        assert_eq!(port(), SMTP);
    }
}
