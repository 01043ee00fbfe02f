//! The wire between client and router: two TUN devices and a delay.
//!
//! With no delay at all an ICMP error arrives while connect() still holds its
//! socket, and the kernel then takes another path. Kernels without netem need
//! the delay as well, hence this process.

use std::collections::VecDeque;
use std::ffi::c_short;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ns;
use crate::role::announce_ready;

/// The device's name on both ends.
const DEVICE: &str = "wan0";
/// Larger than any packet that the device's MTU of 1500 lets through.
const PACKET: usize = 2048;
/// Packets taken from one end before the other gets its turn.
const BATCH: usize = 256;
/// Packets on their way at a time in one direction; more are dropped, as a
/// router's queue would. 10,000 handshakes fit several times over.
const QUEUE: usize = 65_536;

/// One direction: what was read from one device and is due at the other.
#[derive(Default)]
struct Wire {
    packets: VecDeque<(Instant, Vec<u8>)>,
}

impl Wire {
    fn fill(&mut self, from: &mut File, due: impl Fn() -> Instant) -> Result<()> {
        let mut buffer = [0; PACKET];
        for _ in 0..BATCH {
            match from.read(&mut buffer) {
                Ok(length) if self.packets.len() < QUEUE => {
                    self.packets.push_back((due(), buffer.get(..length).unwrap_or_default().to_vec()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("read from the TUN device"),
            }
        }
        Ok(())
    }

    fn drain(&mut self, to: &mut File, now: Instant) -> Result<()> {
        while let Some((_, packet)) = self.packets.pop_front_if(|(due, _)| *due <= now) {
            match to.write(&packet) {
                // EINVAL: the kernel did not like the packet, as any link would drop it.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::InvalidInput) => {}
                Err(error) => return Err(error).context("write to the TUN device"),
            }
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        self.packets.front().map(|(due, _)| *due)
    }
}

/// Forwards between a TUN device in each namespace, `delay` after a packet came,
/// until stdin closes.
pub(crate) fn run(client: &Path, router: &Path, delay: Duration) -> Result<()> {
    ns::enter(router)?;
    let mut router_tun = open_tun()?;
    ns::enter(client)?;
    let mut client_tun = open_tun()?;
    announce_ready()?;

    let (mut outward, mut inward) = (Wire::default(), Wire::default());
    let stdin = std::io::stdin();
    loop {
        let timeout = [outward.next_due(), inward.next_due()].into_iter().flatten().min().map(until);
        let mut fds = [
            PollFd::new(&client_tun, PollFlags::IN),
            PollFd::new(&router_tun, PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll the TUN devices"),
        }
        if !fds[2].revents().is_empty() {
            return Ok(()); // The lab is gone.
        }
        outward.fill(&mut client_tun, || Instant::now() + delay)?;
        inward.fill(&mut router_tun, || Instant::now() + delay)?;
        let now = Instant::now();
        outward.drain(&mut router_tun, now)?;
        inward.drain(&mut client_tun, now)?;
    }
}

fn until(due: Instant) -> Timespec {
    let left = due.saturating_duration_since(Instant::now());
    Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}

/// A TUN device in the namespace that the thread is in; it lives as long as the file.
fn open_tun() -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("open /dev/net/tun: is the tun module loaded?")?;
    // SAFETY: ifreq is plain old data, for which zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]); // Signed or not by processor.
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives across the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("TUNSETIFF");
    }
    Ok(file)
}
