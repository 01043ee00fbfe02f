//! `tcp_reset(sk, skb)`: the RST as a packet, just before `tcp_receive_reset`.
//!
//! Its TTL and the interface by which it came. `skb->dev` is NULL here already,
//! `skb_iif` is not. The `skb` argument came with Linux 5.11.

use aya_ebpf::{EbpfContext as _, macros::fentry, programs::FEntryContext};
use observer_common::record::fact;

use crate::{attempt, maps::SKB_IIF, sock};

#[fentry(function = "tcp_reset")]
pub(crate) fn tcp_reset(ctx: FEntryContext) -> i32 {
    let skb: u64 = ctx.arg(1);
    // As an argument it is a pointer, with which the verifier allows no
    // arithmetic but additions; read from where it lies it is a number.
    let sk = sock::read_at(ctx.as_ptr() as u64);
    if let Some(record) = attempt::of(sk)
        && let Some(sender) = sock::sender(skb)
    {
        record.rst_ttl = sender.ttl;
        record.iif = sock::read(skb, &SKB_IIF);
        if record.iif == sock::LOOPBACK_IFINDEX {
            record.code.facts |= fact::ANSWER_FROM_LOOPBACK;
        }
    }
    0
}
