//! What a test program has to itself on a machine that others use too: network, mounts, and
//! the port that its attempts go to.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustix::process::{getpid, set_child_subreaper};
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
    fn the_port_is_that_of_smtp_unless_isolated() {
        assert_eq!(port(), SMTP);
    }
}
