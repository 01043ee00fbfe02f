//! `inet_sock_set_state(sk, oldstate, newstate)`: every TCP state transition.
//!
//! The only hook that sees an attempt begin in the context of the task that
//! connects, whichever way it connects (io_uring too). All kernels since 4.16.

use aya_ebpf::{
    EbpfContext,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use aya_log_ebpf::debug;
use observer_common::{
    attempt::{Step, end_from, step, tcp_state},
    record::end,
};

use crate::{attempt, sock, tracepoint::field};

/// Offsets of `struct trace_event_raw_inet_sock_set_state`, which the loader has
/// found to be these.
const SKADDR: usize = 8;
const OLDSTATE: usize = 16;
const NEWSTATE: usize = 20;

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    transition(&ctx, || ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// The same as a classic tracepoint, which costs more.
///
/// Since Linux 7.0 a run on a raw tracepoint can be preempted, and the kernel
/// skips every other run of that program on that CPU until it ends. A classic
/// tracepoint turns preemption off first.
#[tracepoint(category = "sock", name = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state_classic(ctx: TracePointContext) -> u32 {
    transition(&ctx, || field(&ctx, SKADDR), field(&ctx, OLDSTATE), field(&ctx, NEWSTATE));
    0
}

#[inline(always)]
fn transition(ctx: &impl EbpfContext, sk: impl Fn() -> u64, old: i32, new: i32) {
    let step = step(old, new);
    match step {
        Step::Ignore => {}
        Step::Begin => attempt::begin(sk()),
        Step::Establish | Step::Fin | Step::End(_) => advance(ctx, sk(), old, step),
    }
}

#[inline(always)]
fn advance(ctx: &impl EbpfContext, sk: u64, old: i32, step: Step) {
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
    let end = match step {
        Step::End(end) => end_from(old, end, sock::sk_err(sk)),
        Step::Fin if attempt::waits_for_answers(sk) => return,
        Step::Fin => end::LOCAL_FIN,
        _ => return attempt::establish(sk, record),
    };
    // The run that should have seen the handshake was skipped.
    if old != tcp_state::SYN_SENT && record.established_ns == 0 {
        attempt::establish(sk, record);
    }
    attempt::finish_record(sk, record, end);
}
