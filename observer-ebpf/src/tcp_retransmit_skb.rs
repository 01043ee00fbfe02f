//! `tcp_retransmit_skb(sk, skb, ...)`: a segment was sent again.
//!
//! Counts SYN retransmits while an attempt is in flight. All kernels since 4.15.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::attempt;

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub(crate) fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    if let Some(record) = attempt::of(ctx.arg(0)) {
        record.retransmit();
    }
    0
}
