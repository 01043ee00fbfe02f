//! Sockets that hear of ICMP errors (ip(7), `IP_RECVERR`), without a privilege.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::Icmp;

/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`, `include/uapi/linux/errqueue.h`.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;
/// Size of `struct sock_extended_err`, behind which the sender's address lies.
const EXTENDED: usize = 16;

/// A socket that is not blocking, and whose ICMP errors are kept.
pub(super) fn open(kind: SocketType, is_v4: bool) -> io::Result<OwnedFd> {
    let family = if is_v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if is_v4 {
        set(&socket, libc::IPPROTO_IP, libc::IP_RECVERR)?;
    } else {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)?;
    }
    Ok(socket)
}

/// The TTL, or hop limit, of what the socket sends.
pub(super) fn set_ttl(socket: impl AsFd, is_v4: bool, ttl: u8) -> io::Result<()> {
    if is_v4 {
        sockopt::set_ip_ttl(socket, ttl.into())?;
    } else {
        sockopt::set_ipv6_unicast_hops(socket, Some(ttl))?;
    }
    Ok(())
}

fn set(socket: impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, the size of what the pointer points to.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(&on).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until the socket has something to say, at most until then. False: it
/// has not.
pub(super) fn wait(socket: impl AsFd, what: PollFlags, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut waited = [PollFd::from_borrowed_fd(socket.as_fd(), what)];
        match poll(&mut waited, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The error that the socket has, taken from it; 0: none.
pub(super) fn error(socket: impl AsFd) -> io::Result<i32> {
    Ok(sockopt::socket_error(socket)?.err().map_or(0, |errno| errno.raw_os_error()))
}

/// The address that the socket sends from.
pub(super) fn local(socket: impl AsFd) -> Option<IpAddr> {
    let address = SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()?;
    Some(address.ip()).filter(|ip| !ip.is_unspecified())
}

/// Room for control messages, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 512]);

/// The next ICMP error of the socket, taken from its queue. Before Linux 5.8 TCP
/// keeps none.
pub(super) fn icmp(socket: impl AsFd) -> Option<Icmp> {
    let mut data = [0u8; 1];
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut control = Control([0; 512]);
    // SAFETY: msghdr is plain old data; all zero is a valid, empty one.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len();
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the message points to buffers of the lengths it says, which outlive
    // the call.
    let result = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    if result < 0 {
        return None;
    }
    // SAFETY: the kernel has filled in the message and its control buffer.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR yield headers within the buffer,
        // or null.
        let found = unsafe { payload(&*header) };
        if let Some(found) = found {
            return Some(found);
        }
        // SAFETY: both belong together, as above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    None
}

/// # Safety
/// The header must lie in a control buffer with as many bytes behind it as it says.
unsafe fn payload(header: &libc::cmsghdr) -> Option<Icmp> {
    let is_error = matches!(
        (header.cmsg_level, header.cmsg_type),
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    );
    if !is_error {
        return None;
    }
    let head = size_of::<libc::cmsghdr>();
    let length = header.cmsg_len.checked_sub(head)?;
    // SAFETY: the kernel writes `cmsg_len` bytes, the header's own included.
    let bytes = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(header), length) };
    parse(bytes)
}

/// `struct sock_extended_err` and, behind it, the sender's `sockaddr`.
pub(super) fn parse(bytes: &[u8]) -> Option<Icmp> {
    let (head, sender) = bytes.split_at_checked(EXTENDED)?;
    let (origin, kind, code) = (head[4], head[5], head[6]);
    if !matches!(origin, ORIGIN_ICMP | ORIGIN_ICMP6) {
        return None;
    }
    let family = sender.first_chunk().map(|family| u16::from_ne_bytes(*family)).map(libc::c_int::from);
    let from = match family {
        Some(libc::AF_INET) => sender.get(4..).and_then(<[u8]>::first_chunk).map(|ip| IpAddr::V4(Ipv4Addr::from(*ip))),
        Some(libc::AF_INET6) => {
            sender.get(8..).and_then(<[u8]>::first_chunk::<16>).map(|ip| IpAddr::V6(Ipv6Addr::from(*ip)))
        }
        _ => None,
    };
    Some(Icmp { kind, code, from: from.map(|ip| ip.to_canonical()) })
}

/// A duration as events write it.
pub(super) fn millis(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}
