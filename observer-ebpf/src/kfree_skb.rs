//! `kfree_skb(skb, location, reason, ...)`: a packet was dropped, and why.
//!
//! A SYN of ours that netfilter or a cgroup program of this host dropped never
//! left; one freed by neighbour resolution had nobody to go to. The reasons'
//! values differ by kernel. Since Linux 5.17.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::record::fact;

use crate::{attempt, maps::*, sock};

#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    let reason: u32 = ctx.arg(2);
    let is = |value: u32| value != 0 && reason == value;
    let is_firewall = is(REASON_NETFILTER_DROP.load()) || is(REASON_BPF_CGROUP_EGRESS.load());
    let is_neighbour = is(REASON_NEIGH_FAILED.load());
    if !is_firewall && !is_neighbour {
        return 0;
    }
    if let Some(record) = attempt::of(sock::read(ctx.arg(0), &SKB_SK)) {
        if is_firewall {
            record.drop_syn();
        } else {
            record.code.facts |= fact::NEIGH_FAILED;
        }
    }
    0
}
