//! `tcp_destroy_sock(sk)`: the end of a socket's life.
//!
//! Ends an attempt whose way to CLOSE was not seen, because that run was
//! skipped: the kernel runs no program on top of itself. All kernels since 4.16.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::record::end;

use crate::attempt;

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub(crate) fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    let sk = ctx.arg(0);
    attempt::finish(sk, end::DESTROYED);
    // Its address may soon be another socket's.
    attempt::has_ended(sk);
    0
}
