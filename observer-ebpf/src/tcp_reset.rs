//! `tcp_reset(sk, skb)`: the RST as a packet, just before `tcp_receive_reset`.
//!
//! Its TTL and the interface by which it came. `skb->dev` is NULL here already,
//! `skb_iif` is not. The `skb` argument came with Linux 5.11.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use observer_common::record::fact;

use crate::{attempt, maps::SKB_IIF, sock};

#[fentry(function = "tcp_reset")]
pub(crate) fn tcp_reset(ctx: FEntryContext) -> i32 {
    let skb: u64 = ctx.arg(1);
    if let Some(record) = attempt::of(ctx.arg(0))
        && let Some(sender) = sock::sender(skb)
    {
        record.rst_ttl = sender.ttl;
        record.iif = sock::read(skb, &SKB_IIF);
        if record.iif == sock::LOOPBACK_IFINDEX {
            record.code.facts |= fact::RST_FROM_LOOPBACK;
        }
    }
    0
}
