//! `io_uring_complete(ctx, req, cqe)`: a request of an io_uring was answered.
//!
//! A connect by io_uring that fails before SYN-SENT passes no system call on
//! connect() and no state transition; where fexit does not load, its answer is
//! all there is to see. Costs every completion of the host, so it stands or
//! falls with the tracepoints on connect(). These arguments since Linux 6.10.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

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
    let addr: u64 = sock::read(req, &URING_ADDR);
    if let Some(target) = connect::user_target(addr, sock::read(req, &URING_ADDR_LEN))
        && let Some(sk) = sock::unconnected_of_file(sock::read_at(req))
    {
        // A connect that was in progress had reached SYN-SENT.
        if sock::read::<u8>(req, &URING_IN_PROGRESS) != 0 {
            attempt::has_ended(sk);
        } else {
            attempt::fail_connect(sk, &target, errno);
        }
    }
    0
}
