//! `tcp_v4_err(skb, info)` and `tcp_v6_err(skb, opt, type, code, offset, info)`:
//! an ICMP error that quotes a TCP segment, before its socket is looked up.
//!
//! `skb->data` is the quoted IP header here, the transport header the ICMP one.
//! Where the socket keeps the error in its queue (IPv4 since Linux 5.18) this
//! adds nothing. Checked on 5.10 to 7.3.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use observer_common::address::Address;

use crate::{attempt, maps::*, sock};

const ICMP_DEST_UNREACH: u8 = 3;
const ICMP_TIME_EXCEEDED: u8 = 11;
const ICMPV6_DEST_UNREACH: u8 = 1;
const ICMPV6_TIME_EXCEED: u8 = 3;
const IPV4_DADDR: u64 = 16;
const IPV4_SADDR: u64 = 12;
const IPV6_SADDR: u64 = 8;
const IPV6_DADDR: u64 = 24;

#[fentry(function = "tcp_v4_err")]
pub(crate) fn tcp_v4_err(ctx: FEntryContext) -> i32 {
    let skb: u64 = ctx.arg(0);
    let [icmp_type, icmp_code] = sock::read_at::<[u8; 2]>(sock::transport_header(skb));
    if icmp_type == ICMP_DEST_UNREACH || icmp_type == ICMP_TIME_EXCEEDED {
        let quoted: u64 = sock::read(skb, &SKB_DATA);
        let header_len = u64::from(sock::read_at::<u8>(quoted) & 0xf) * 4;
        let saddr = Address::mapped(sock::read_at(quoted + IPV4_SADDR));
        let daddr = Address::mapped(sock::read_at(quoted + IPV4_DADDR));
        remember(skb, saddr, daddr, quoted + header_len, [icmp_type, icmp_code]);
    }
    0
}

#[fentry(function = "tcp_v6_err")]
pub(crate) fn tcp_v6_err(ctx: FEntryContext) -> i32 {
    let skb: u64 = ctx.arg(0);
    let icmp_type: u8 = ctx.arg(2);
    if icmp_type == ICMPV6_DEST_UNREACH || icmp_type == ICMPV6_TIME_EXCEED {
        let quoted: u64 = sock::read(skb, &SKB_DATA);
        let offset: i32 = ctx.arg(4);
        let (saddr, daddr) = (sock::v6_address(quoted + IPV6_SADDR), sock::v6_address(quoted + IPV6_DADDR));
        remember(skb, saddr, daddr, quoted + offset as u64, [icmp_type, ctx.arg(3)]);
    }
    0
}

#[inline(always)]
fn remember(skb: u64, saddr: Address, daddr: Address, tcp: u64, [icmp_type, icmp_code]: [u8; 2]) {
    let [s0, s1, d0, d1] = sock::read_at::<[u8; 4]>(tcp);
    let dport = u16::from_be_bytes([d0, d1]);
    if !sock::is_watched(dport) {
        return;
    }
    let Some(sender) = sock::sender(skb) else { return };
    let connection = Connection { saddr, daddr, sport: u16::from_be_bytes([s0, s1]), dport };
    let error = IcmpError {
        from: sender.addr,
        at_ns: attempt::now(),
        iif: sock::read(skb, &SKB_IIF),
        icmp_type,
        icmp_code,
        ttl: sender.ttl,
        reserved: 0,
    };
    // An LRU map always has room.
    let _ = ICMP_ERRORS.insert(&connection, &error, 0);
}
