//! `kfree_skb(skb, location, reason, ...)`: a packet was dropped, and why.
//!
//! A SYN of ours that netfilter or a cgroup program of this host dropped never
//! left; an answer that they dropped had come; a SYN freed by neighbour resolution
//! had nobody to go to (IPv6 gives no reason for that). The reasons' values differ
//! by kernel. Before Linux 5.17 there are none, and the place that dropped the
//! packet has to do: netfilter has a single one.

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use observer_common::record::{AttemptRecord, fact, phase};

use crate::{attempt, maps::*, sock, tracepoint::field};

/// Offsets of `struct trace_event_raw_kfree_skb`, which the loader has found to
/// be these.
const SKBADDR: usize = 8;
const REASON: usize = 36;

#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    if NF_HOOK_SLOW.load() != 0 {
        by_place(ctx.arg(0), ctx.arg(1));
        return 0;
    }
    by_reason(ctx.arg(2), || ctx.arg(0));
    0
}

/// The same as a classic tracepoint, for the reason that `inet_sock_set_state`
/// has one.
#[tracepoint(category = "skb", name = "kfree_skb")]
pub(crate) fn kfree_skb_classic(ctx: TracePointContext) -> u32 {
    by_reason(field(&ctx, REASON), || field(&ctx, SKBADDR));
    0
}

#[inline(always)]
fn by_reason(reason: u32, skb: impl Fn() -> u64) {
    let is = |value: u32| value != 0 && reason == value;
    let is_firewall = is(REASON_NETFILTER_DROP.load()) || is(REASON_BPF_CGROUP_EGRESS.load());
    let is_neighbour = is(REASON_NEIGH_FAILED.load());
    if !is_firewall && !is_neighbour && !is(REASON_NOT_SPECIFIED.load()) {
        return;
    }
    let skb = skb();
    let sk: u64 = sock::read(skb, &SKB_SK);
    if sk == 0 {
        return;
    }
    let Some(record) = attempt::of(sk) else { return };
    if is_firewall {
        drop_packet(record, skb);
    } else if is_neighbour {
        record.code.facts |= fact::NEIGH_FAILED;
    } else if record.code.phase == phase::SYN_SENT && !record.is_v4() && sock::is_first_syn(skb) {
        record.code.facts |= fact::SYN_FREED;
    }
}

/// The place is a return address; comparing it comes first, for most of what is
/// dropped is not our affair.
#[inline(always)]
fn by_place(skb: u64, place: u64) {
    if place < NF_HOOK_SLOW.load() || place >= NF_HOOK_SLOW_END.load() {
        return;
    }
    let sk: u64 = sock::read(skb, &SKB_SK);
    if sk != 0
        && let Some(record) = attempt::of(sk)
    {
        drop_packet(record, skb);
    }
}

/// This host's firewall dropped a packet of an attempt: its SYN on the way out, or what was
/// received for it.
#[inline(always)]
fn drop_packet(record: &mut AttemptRecord, skb: u64) {
    if sock::is_first_syn(skb) {
        record.drop_syn();
    } else {
        record.drop_answer();
    }
}
