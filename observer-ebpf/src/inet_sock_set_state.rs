//! `inet_sock_set_state(sk, oldstate, newstate)`: every TCP state transition.
//!
//! The only hook that sees an attempt begin in the context of the task that
//! connects, whichever way it connects (io_uring too). All kernels since 4.16.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use observer_common::attempt::{Step, step, tcp_state};

use crate::attempt;

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let old: i32 = ctx.arg(1);
    let step = step(old, ctx.arg(2));
    if step == Step::Ignore {
        return 0;
    }
    let sk: u64 = ctx.arg(0);
    match step {
        Step::Begin => attempt::begin(sk),
        Step::Establish | Step::End(_) => advance(&ctx, sk, old, step),
        Step::Ignore => {}
    }
    0
}

#[inline(always)]
fn advance(ctx: &RawTracePointContext, sk: u64, old: i32, step: Step) {
    let record = match attempt::of(sk) {
        None if old == tcp_state::SYN_SENT => {
            let late = attempt::begin_late(sk);
            if late.is_some() {
                debug!(ctx, "the beginning of an attempt on socket {:x} was not seen", sk);
            }
            late
        }
        found => found,
    };
    let Some(record) = record else { return };
    match step {
        Step::End(end) => {
            // The run that should have seen the handshake was skipped.
            if old == tcp_state::ESTABLISHED && record.established_ns == 0 {
                attempt::establish(sk, record);
            }
            attempt::finish_record(sk, record, end);
        }
        _ => attempt::establish(sk, record),
    }
}
