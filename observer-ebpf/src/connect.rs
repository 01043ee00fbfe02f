//! connect() calls that fail before SYN-SENT: no route, not permitted, no
//! source address. No state transition speaks of them.
//!
//! Either of two gives the same facts: fexit of `__sys_connect_file` (since
//! Linux 5.10; sees io_uring), or the tracepoints `syscalls:sys_enter_connect`
//! and `sys_exit_connect` (everywhere, but they cost every system call of the
//! host, and io_uring passes them by: see [`crate::io_uring_complete`]).
//!
//! sendto() that connects as it sends (MSG_FASTOPEN) passes both by: fexit of
//! `__inet_stream_connect` sees it, and nothing else.
//!
//! All is read when the call returns, and only if it fails, for most do not. A
//! thread of the caller's could have changed the address meanwhile, to deceive
//! itself.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{fexit, tracepoint},
    programs::{FExitContext, TracePointContext},
};
use observer_common::{
    address::Address,
    record::{FAMILY_V4, FAMILY_V6},
};

use crate::{
    attempt::{self, Target},
    maps::*,
    sock,
    tracepoint::field,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCKADDR_IN_LEN: u32 = 16;
const SOCKADDR_IN6_LEN: u32 = 24;
/// Offset of `sin6_addr` in `struct sockaddr_in6`.
const SIN6_ADDR: u64 = 8;
/// Offsets in a `sys_enter_*` record: 8 bytes of common fields, the number of
/// the call, then its arguments, 8 bytes each.
const ENTER_ARG: usize = 16;
/// Offset of the result in a `sys_exit_*` record.
const EXIT_RET: usize = 16;

#[tracepoint(category = "syscalls", name = "sys_enter_connect")]
pub(crate) fn sys_enter_connect(ctx: TracePointContext) -> u32 {
    let arg = |index: usize| field::<u64>(&ctx, ENTER_ARG + 8 * index);
    let call = Call { addr: arg(1), fd: arg(0) as u32, len: arg(2) as u32 };
    let thread = bpf_get_current_pid_tgid();
    if let Some(known) = CALLS.get_ptr_mut(&thread) {
        // SAFETY: only this thread uses this element, and it is here.
        unsafe { *known = call };
    } else {
        // An LRU map always has room.
        let _ = CALLS.insert(&thread, &call, 0);
    }
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub(crate) fn sys_exit_connect(ctx: TracePointContext) -> u32 {
    let Some(errno) = telling_errno(field(&ctx, EXIT_RET)) else { return 0 };
    // SAFETY: only this thread uses this element, and it is here.
    let Some(&call) = (unsafe { CALLS.get(&bpf_get_current_pid_tgid()) }) else { return 0 };
    if let Some(target) = user_target(call.addr, call.len)
        && let Some(sk) = sock::unconnected(call.fd)
    {
        attempt::fail_connect(sk, &target, errno);
    }
    0
}

/// `__sys_connect_file(file, address, addrlen, file_flags)`, net/socket.c.
#[fexit(function = "__sys_connect_file")]
pub(crate) fn connect_file_exit(ctx: FExitContext) -> i32 {
    // The result follows the four arguments.
    let Some(errno) = telling_errno(i64::from(ctx.arg::<i32>(4))) else { return 0 };
    let addr: u64 = ctx.arg(1);
    let v6 = || sock::v6_address(addr + SIN6_ADDR);
    if let Some(target) = target(sock::read_at(addr), ctx.arg(2), v6)
        && let Some(sk) = sock::unconnected_of_file(ctx.arg(0))
    {
        attempt::fail_connect(sk, &target, errno);
    }
    0
}

/// `__inet_stream_connect(sock, uaddr, addr_len, flags, is_sendmsg)`, net/ipv4/af_inet.c.
#[fexit(function = "__inet_stream_connect")]
pub(crate) fn fast_open_exit(ctx: FExitContext) -> i32 {
    // connect() comes by here too.
    if ctx.arg::<i32>(4) == 0 {
        return 0;
    }
    // The result follows the five arguments.
    let Some(errno) = telling_errno(i64::from(ctx.arg::<i32>(5))) else { return 0 };
    let addr: u64 = ctx.arg(1);
    let v6 = || sock::v6_address(addr + SIN6_ADDR);
    if let Some(target) = target(sock::read_at(addr), ctx.arg::<i32>(2) as u32, v6)
        && let Some(sk) = sock::unconnected_of_socket(ctx.arg(0))
    {
        attempt::fail_connect(sk, &target, errno);
    }
    0
}

/// The errno of a result, if it is one by which connect() tells of an attempt: a
/// new one that failed before SYN-SENT, or an earlier one of the same socket.
#[inline(always)]
fn telling_errno(result: i64) -> Option<i32> {
    const ECONNABORTED: i32 = 103;
    let errno = (result as i32).wrapping_neg();
    (attempt::is_connect_errno(errno) || errno == ECONNABORTED).then_some(errno)
}

/// The destination in a `struct sockaddr` of the current task's.
#[inline(always)]
pub(crate) fn user_target(addr: u64, len: u32) -> Option<Target> {
    // SAFETY: the helper checks the address.
    let head = unsafe { bpf_probe_read_user(addr as *const [u8; 8]) }.ok()?;
    // SAFETY: as above.
    let v6 = || unsafe { bpf_probe_read_user((addr + SIN6_ADDR) as *const [u32; 4]) }.unwrap_or_default();
    target(head, len, || Address::from_words(v6()))
}

/// The destination in a `struct sockaddr`, if its port is watched. `head` is its
/// first eight bytes, `v6` reads the sixteen behind them.
#[inline(always)]
fn target(head: [u8; 8], len: u32, v6: impl Fn() -> Address) -> Option<Target> {
    let [f0, f1, p0, p1, a, b, c, d] = head;
    let dport = u16::from_be_bytes([p0, p1]);
    if !sock::is_watched(dport) {
        return None;
    }
    match u16::from_ne_bytes([f0, f1]) {
        AF_INET if len >= SOCKADDR_IN_LEN => {
            Some(Target { family: FAMILY_V4, daddr: Address::mapped(u32::from_ne_bytes([a, b, c, d])), dport })
        }
        AF_INET6 if len >= SOCKADDR_IN6_LEN => {
            let daddr = v6();
            let family = if daddr.is_mapped() { FAMILY_V4 } else { FAMILY_V6 };
            Some(Target { family, daddr, dport })
        }
        _ => None,
    }
}
