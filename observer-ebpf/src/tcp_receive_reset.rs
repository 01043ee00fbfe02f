//! `tcp_receive_reset(sk)`: every RST that a socket accepts.
//!
//! Also in FIN-WAIT and later, when the application has closed and a RST is no
//! failure: the attempt has left the map by then. All kernels since 4.15.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::attempt;

/// A RST in the caller's own context within this time of connect() crossed no
/// wire: it took less than 0.4 ms where it was measured.
const LOCAL_ANSWER_NS: u64 = 1_000_000;

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub(crate) fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    if let Some(record) = attempt::of(ctx.arg(0)) {
        // Only a SYN that this host dropped makes the difference.
        let in_caller = record.syn_drops > 0
            && attempt::current_pid() == record.pid
            && attempt::now().saturating_sub(record.started_ns) < LOCAL_ANSWER_NS;
        record.reset(in_caller);
    }
    0
}
