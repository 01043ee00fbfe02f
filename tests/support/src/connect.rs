//! connect() in its three modes, and the short SMTP session after it.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, SendFlags, connect, getpeername, recv, send, sendto};

use crate::case::Mode;

/// A session that lasts longer than this is not what its scenario says.
pub(crate) const SESSION_LIMIT: Duration = Duration::from_secs(10);

/// How connect() ended for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Connected,
    Failed(Errno),
    GaveUp,
}

/// Connects in the given mode; `started` is called once connect is under way, or
/// just before it where that cannot be seen from here.
pub(crate) fn establish(
    socket: &OwnedFd,
    to: &SocketAddr,
    mode: Mode,
    patience: Option<Duration>,
    mut started: impl FnMut(),
) -> Result<Ending> {
    match mode {
        Mode::Blocking => {
            started();
            blocking(socket, to, patience)
        }
        Mode::NonBlocking => nonblocking(socket, to, patience, started),
        Mode::IoUring => {
            started();
            uring(socket, to, patience)
        }
        Mode::FastOpen => {
            started();
            fast_open(socket, to)
        }
    }
}

fn blocking(socket: &OwnedFd, to: &SocketAddr, patience: Option<Duration>) -> Result<Ending> {
    sockopt::set_socket_timeout(socket, Timeout::Send, patience).context("SO_SNDTIMEO")?;
    Ok(match connect(socket, to) {
        Ok(()) => Ending::Connected,
        Err(Errno::INPROGRESS) => Ending::GaveUp, // SO_SNDTIMEO has passed.
        Err(errno) => Ending::Failed(errno),
    })
}

/// Without a cookie of an earlier connection this is connect() by another call.
fn fast_open(socket: &OwnedFd, to: &SocketAddr) -> Result<Ending> {
    let flags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
    Ok(match sendto(socket, &[], flags, to) {
        Ok(_) => Ending::Connected,
        Err(errno) => Ending::Failed(errno),
    })
}

fn nonblocking(
    socket: &OwnedFd,
    to: &SocketAddr,
    patience: Option<Duration>,
    mut started: impl FnMut(),
) -> Result<Ending> {
    let outcome = connect(socket, to);
    started();
    match outcome {
        Ok(()) => return Ok(Ending::Connected),
        Err(Errno::INPROGRESS) => {}
        Err(errno) => return Ok(Ending::Failed(errno)),
    }
    let until = patience.map(|patience| Instant::now() + patience);
    loop {
        if !wait(socket, PollFlags::OUT, until)? {
            return Ok(Ending::GaveUp);
        }
        if let Err(errno) = sockopt::socket_error(socket).context("SO_ERROR")? {
            return Ok(Ending::Failed(errno));
        }
        if getpeername(socket).is_ok() {
            return Ok(Ending::Connected);
        }
    }
}

fn uring(socket: &OwnedFd, to: &SocketAddr, patience: Option<Duration>) -> Result<Ending> {
    const CONNECT: u64 = 1;
    let mut ring = IoUring::new(4).context("io_uring_setup")?;
    let address = to.as_any();
    let entry = opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.addr_len())
        .build()
        .user_data(CONNECT);
    let limit = types::Timespec::from(patience.unwrap_or_default());
    let entry = if patience.is_some() { entry.flags(squeue::Flags::IO_LINK) } else { entry };
    // SAFETY: socket, address and limit outlive the ring's use of them: both
    // entries complete before this function returns.
    unsafe { ring.submission().push(&entry).context("submission queue")? };
    if patience.is_some() {
        let timeout = opcode::LinkTimeout::new(&raw const limit).build();
        // SAFETY: as above.
        unsafe { ring.submission().push(&timeout).context("submission queue")? };
    }
    ring.submit_and_wait(1 + usize::from(patience.is_some())).context("io_uring_enter")?;
    let result = ring
        .completion()
        .find(|entry| entry.user_data() == CONNECT)
        .context("io_uring did not complete the connect")?
        .result();
    Ok(match -result {
        0 => Ending::Connected,
        libc::ECANCELED => Ending::GaveUp,
        errno => Ending::Failed(Errno::from_raw_os_error(errno)),
    })
}

/// Waits for the banner, and leaves without reading it.
pub(crate) fn leave_unread(socket: &OwnedFd, banner_wait: Duration) -> Result<Option<Errno>> {
    wait(socket, PollFlags::IN, Some(Instant::now() + banner_wait))?;
    Ok(None)
}

/// Waits for the banner, tells so, and stays until somebody else ends the session.
pub(crate) fn destroyed(
    socket: &OwnedFd,
    banner_wait: Duration,
    tell: impl FnOnce() -> Result<()>,
) -> Result<Option<Errno>> {
    let mut buffer = [0; 512];
    if wait(socket, PollFlags::IN, Some(Instant::now() + banner_wait))? {
        _ = recv(socket, &mut buffer, RecvFlags::empty()).context("the banner")?;
    }
    tell()?;
    wait(socket, PollFlags::IN, Some(Instant::now() + SESSION_LIMIT))?;
    Ok(recv(socket, &mut buffer, RecvFlags::DONTWAIT).err())
}

/// Waits for the banner, takes a pause, says one line, and stays until the session is over,
/// at most for `limit`. The errno that ended it, if any.
pub(crate) fn converse(
    socket: &OwnedFd,
    banner_wait: Duration,
    pause: Duration,
    line: &[u8],
    limit: Duration,
) -> Result<Option<Errno>> {
    let mut buffer = [0; 512];
    if !wait(socket, PollFlags::IN, Some(Instant::now() + banner_wait))? {
        return Ok(None);
    }
    match recv(socket, &mut buffer, RecvFlags::empty()) {
        Ok((_, 0)) => return Ok(None),
        Ok(_) => {}
        Err(errno) => return Ok(Some(errno)),
    }
    std::thread::sleep(pause);
    if let Err(errno) = send(socket, line, SendFlags::NOSIGNAL) {
        return Ok(Some(errno));
    }
    let until = Instant::now() + limit;
    while wait(socket, PollFlags::IN, Some(until))? {
        match recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Ok(Some(errno)),
        }
    }
    Ok(None)
}

/// False once `until` has passed.
fn wait(socket: &OwnedFd, events: PollFlags, until: Option<Instant>) -> Result<bool> {
    loop {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut [PollFd::new(socket, events)], timeout.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}
