//! Socket options and limits that rustix does not name.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result};
use libc::{c_int, socklen_t};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Linux 6.3; not in libc's list of names.
const IP_LOCAL_PORT_RANGE: c_int = 51;

/// The number of SYN retransmits after which the kernel gives up.
pub(crate) fn set_syn_count(socket: impl AsFd, count: c_int) -> Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_SYNCNT, &count).context("TCP_SYNCNT")
}

/// Leaves a socket a single port to choose from (Linux 6.3).
pub(crate) fn set_only_port(socket: impl AsFd, port: u16) -> Result<()> {
    let range = (u32::from(port) << 16) | u32::from(port);
    set(socket, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range).context("IP_LOCAL_PORT_RANGE, which needs Linux 6.3")
}

/// Leaves the choice of the port to connect(), although the socket is bound to an
/// address: it can then share a port with connections to other destinations.
pub(crate) fn set_late_port(socket: impl AsFd) -> Result<()> {
    let on: c_int = 1;
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &on).context("IP_BIND_ADDRESS_NO_PORT")
}

fn set<T>(socket: impl AsFd, level: c_int, name: c_int, value: &T) -> std::io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    // SAFETY: the kernel reads `length` bytes, the size of what the pointer points to.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// How many segments the kernel has sent again on this connection.
pub(crate) fn retransmits(socket: impl AsFd) -> Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the buffer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("TCP_INFO");
    }
    // SAFETY: all bytes were zeroed at first, and tcp_info is plain old data.
    Ok(unsafe { info.assume_init() }.tcpi_total_retrans)
}

/// Lets this process open as many files as it ever may.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).context("RLIMIT_NOFILE")
}

/// Lifts the limit on locked memory, which BPF programs count against before
/// Linux 5.11. Without the right to do so the limit stays.
pub(crate) fn raise_memlock_limit() {
    _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// An errno's name, or its number where it has none here.
pub(crate) fn errno_name(errno: rustix::io::Errno) -> String {
    let name = match errno.raw_os_error() {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::EINVAL => "EINVAL",
        libc::EPIPE => "EPIPE",
        libc::ENOPROTOOPT => "ENOPROTOOPT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ECANCELED => "ECANCELED",
        number => return format!("errno {number}"),
    };
    name.to_owned()
}
