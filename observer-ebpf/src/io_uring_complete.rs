//! `io_uring_complete(ctx, req, cqe)`: a request of an io_uring was answered.
//!
//! A connect by io_uring that fails before SYN-SENT passes no system call on
//! connect() and no state transition; where fexit does not load, its answer is
//! all there is to see. Costs every completion of the host, so it stands or
//! falls with the tracepoints on connect(). These arguments since Linux 6.10.

use aya_ebpf::{helpers::bpf_probe_read_user, macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::{address::Address, record::PendingConnect};

use crate::{attempt, connect, maps::*, sock};

/// `IORING_OP_CONNECT` of `include/uapi/linux/io_uring.h`.
const IORING_OP_CONNECT: u8 = 16;
/// Offset of `res` in `struct io_uring_cqe`, the same header.
const CQE_RES: u64 = 8;

#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub(crate) fn io_uring_complete(ctx: RawTracePointContext) -> i32 {
    let req: u64 = ctx.arg(1);
    if req == 0 || sock::read::<u8>(req, &URING_OPCODE) != IORING_OP_CONNECT {
        return 0;
    }
    let res: i32 = sock::read_at(ctx.arg::<u64>(2) + CQE_RES);
    let errno = res.wrapping_neg();
    if !attempt::is_connect_errno(errno) {
        return 0;
    }
    let Some(sk) = sock::unconnected_of_file(sock::read_at(req)) else { return 0 };
    // A connect that was in progress had reached SYN-SENT.
    if attempt::has_just_ended(sk) || sock::read::<u8>(req, &URING_IN_PROGRESS) != 0 {
        return 0;
    }
    let addr: u64 = sock::read(req, &URING_ADDR);
    // SAFETY: the helper checks the address.
    let Ok(head) = (unsafe { bpf_probe_read_user(addr as *const [u8; 8]) }) else { return 0 };
    // SAFETY: as above.
    let v6 = || Address::from_words(unsafe { bpf_probe_read_user((addr + 8) as *const [u32; 4]) }.unwrap_or_default());
    let len: u32 = sock::read(req, &URING_ADDR_LEN);
    let Some(target) = connect::target(head, len, v6) else { return 0 };
    let pending = PendingConnect {
        // connect() fails within microseconds; when it was called is not known.
        started_ns: attempt::now(),
        sk,
        daddr: target.daddr,
        dport: target.dport,
        family: u16::from(target.family),
        reserved: 0,
    };
    attempt::fail_connect(&pending, errno as u16);
    0
}
