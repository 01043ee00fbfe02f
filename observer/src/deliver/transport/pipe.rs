//! A connected socket whose every call ends by a deadline, and that knows what the
//! other side has not taken yet.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// A stream or datagram socket.
#[derive(Debug)]
pub(super) struct Pipe {
    socket: OwnedFd,
    deadline: Instant,
    written: u64,
}

impl Pipe {
    pub(super) const fn new(socket: OwnedFd, deadline: Instant) -> Self {
        Self { socket, deadline, written: 0 }
    }

    /// For the calls that follow. One that has passed lets them take and give what
    /// is there, without waiting.
    pub(super) const fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    pub(super) const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Bytes written in all.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Counts bytes that went out by another way.
    pub(super) const fn count(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Bytes that the other side has not acknowledged, or over a unix socket has
    /// not read: `SIOCOUTQ` of tcp(7) and unix(7). Over unix sockets the kernel
    /// adds its own overhead, so it is never less than the bytes.
    pub(super) fn outstanding(&self) -> io::Result<u64> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open, and TIOCOUTQ (the same number as SIOCOUTQ)
        // writes one int.
        let answer = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if answer == 0 { Ok(u64::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
    }

    /// Until it is ready, or the deadline.
    pub(super) fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => {
                    self.written += count as u64;
                    return Ok(count);
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
