//! `tcp_receive_reset(sk)`: every RST that a socket accepts.
//!
//! Also in FIN-WAIT and later, when the application has closed and a RST is no
//! failure: the attempt has left the map by then. All kernels since 4.15.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::attempt;

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub(crate) fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    if let Some(record) = attempt::of(sk) {
        attempt::find_unsent(sk, record);
        attempt::reset(record);
    }
    0
}
