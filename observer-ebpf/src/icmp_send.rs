//! `icmp_send(skb, type, code)`: this host sends an ICMP error (IPv4).
//!
//! For a SYN of ours that is this host's own firewall, or its own failure to
//! find the neighbour. Since Linux 5.12.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::record::{fact, phase};

use crate::{attempt, maps::SKB_SK, sock};

/// `ICMP_DEST_UNREACH` of `include/uapi/linux/icmp.h`.
const ICMP_DEST_UNREACH: i32 = 3;

#[raw_tracepoint(tracepoint = "icmp_send")]
pub(crate) fn icmp_send(ctx: RawTracePointContext) -> i32 {
    let icmp_type: i32 = ctx.arg(1);
    if icmp_type == ICMP_DEST_UNREACH
        && let Some(record) = attempt::of(sock::read(ctx.arg(0), &SKB_SK))
        && record.code.phase == phase::SYN_SENT
    {
        record.code.facts |= fact::ICMP_SENT_HERE;
    }
    0
}
