//! connect() calls that fail before SYN-SENT: no route, not permitted, no
//! source address. No state transition speaks of them.
//!
//! Two pairs of hooks give the same facts, and one is attached: fentry and fexit
//! of `__sys_connect_file` (since Linux 5.10; sees io_uring), or the tracepoints
//! `syscalls:sys_enter_connect` and `sys_exit_connect` (everywhere, but they
//! cost every system call of the host, and io_uring passes them by: see
//! [`crate::io_uring_complete`]).

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{fentry, fexit, tracepoint},
    programs::{FEntryContext, FExitContext, TracePointContext},
};
use observer_common::{
    address::Address,
    record::{FAMILY_V4, FAMILY_V6, PendingConnect},
    stat,
};

use crate::{attempt, maps::*, sock};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCKADDR_IN_LEN: u32 = 16;
const SOCKADDR_IN6_LEN: u32 = 24;
/// Offsets in a `sys_enter_*` record: 8 bytes of common fields, the number of
/// the call, then its arguments, 8 bytes each.
const ENTER_ARG: usize = 16;
/// Offset of the result in a `sys_exit_*` record.
const EXIT_RET: usize = 16;

#[tracepoint(category = "syscalls", name = "sys_enter_connect")]
pub(crate) fn sys_enter_connect(ctx: TracePointContext) -> u32 {
    let arg = |index: usize| field::<u64>(&ctx, ENTER_ARG + 8 * index);
    let addr = arg(1);
    // SAFETY: the helper checks the address.
    let read = |offset: u64| unsafe { bpf_probe_read_user((addr + offset) as *const [u32; 4]) };
    // SAFETY: as above.
    let Ok(head) = (unsafe { bpf_probe_read_user(addr as *const [u8; 8]) }) else { return 0 };
    let Some(target) = target(head, arg(2) as u32, || Address::from_words(read(8).unwrap_or_default())) else {
        return 0;
    };
    if let Some(sk) = sock::unconnected(arg(0) as u32) {
        enter(sk, target);
    }
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub(crate) fn sys_exit_connect(ctx: TracePointContext) -> u32 {
    exit(field(&ctx, EXIT_RET));
    0
}

/// A field of a tracepoint's record. A direct load, which the verifier checks,
/// is a tenth of what `TracePointContext::read_at` costs.
#[inline(always)]
fn field<T: Copy>(ctx: &TracePointContext, offset: usize) -> T {
    // SAFETY: the record is as long as the fields that its ABI lists, and each
    // is aligned as its type is.
    unsafe { ctx.as_ptr().cast::<u8>().add(offset).cast::<T>().read_volatile() }
}

/// `__sys_connect_file(file, address, addrlen, file_flags)`, net/socket.c.
#[fentry(function = "__sys_connect_file")]
pub(crate) fn connect_file_enter(ctx: FEntryContext) -> i32 {
    let addr: u64 = ctx.arg(1);
    let Some(target) = target(sock::read_at(addr), ctx.arg(2), || sock::v6_address(addr + 8)) else {
        return 0;
    };
    if let Some(sk) = sock::unconnected_of_file(ctx.arg(0)) {
        enter(sk, target);
    }
    0
}

/// As [`connect_file_enter`], with the result.
#[fexit(function = "__sys_connect_file")]
pub(crate) fn connect_file_exit(ctx: FExitContext) -> i32 {
    // The result follows the four arguments.
    exit(i64::from(ctx.arg::<i32>(4)));
    0
}

/// Where a connect() call goes to.
pub(crate) struct Target {
    pub(crate) family: u8,
    pub(crate) daddr: Address,
    pub(crate) dport: u16,
}

/// The destination in a `struct sockaddr`, if its port is watched. `head` is its
/// first eight bytes, `v6` reads the sixteen behind them.
#[inline(always)]
pub(crate) fn target(head: [u8; 8], len: u32, v6: impl Fn() -> Address) -> Option<Target> {
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

#[inline(always)]
fn enter(sk: u64, target: Target) {
    let pending = PendingConnect {
        started_ns: attempt::now(),
        sk,
        daddr: target.daddr,
        dport: target.dport,
        family: u16::from(target.family),
        reserved: 0,
    };
    let thread = bpf_get_current_pid_tgid();
    if let Some(known) = PENDING.get_ptr_mut(&thread) {
        // SAFETY: only this thread uses this element, and it is here.
        unsafe { *known = pending };
    } else if PENDING.insert(&thread, &pending, 0).is_err() {
        count(stat::PENDING_FULL);
    }
}

#[inline(always)]
fn exit(ret: i64) {
    let errno = (ret as i32).wrapping_neg();
    if !attempt::is_connect_errno(errno) {
        return;
    }
    let Some(known) = PENDING.get_ptr_mut(&bpf_get_current_pid_tgid()) else { return };
    // SAFETY: only this thread uses this element, and it is here.
    let pending = unsafe { &mut *known };
    if pending.sk != 0 {
        attempt::fail_connect(pending, errno as u16);
        pending.sk = 0;
    }
}
