//! The kernel programs of observer. They record facts and filter by port; they
//! never judge.
//!
//! | hook | fact | since Linux |
//! |---|---|---|
//! | [`inet_sock_set_state`] | an attempt begins, its handshake completes, it ends | 4.16 |
//! | [`tcp_receive_reset`] | a RST was accepted | 4.15 |
//! | [`inet_sk_error_report`] | an ICMP error: type, code, sender | 5.14 |
//! | [`tcp_destroy_sock`] | an end that was missed | 4.16 |
//! | [`kfree_skb`] | a SYN was dropped by this host; no neighbour (since 5.17) | all |
//! | [`tcp_retransmit_skb`] | a SYN was retransmitted | 4.15 |
//! | [`icmp_send`] | this host sent an ICMP error for a SYN | 5.12 |
//! | [`connect`] | connect() failed before SYN-SENT | all |
//! | [`io_uring_complete`] | the same by io_uring | 6.10 |
//! | [`icmp_err`] | ICMP type, code and sender, both families | 5.5, fentry |
//! | [`tcp_reset`] | TTL and interface of a RST | 5.11, fentry |
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "BPF has no fetch-and-add through core::sync::atomic")]

mod attempt;
mod connect;
mod icmp_err;
mod icmp_send;
mod inet_sk_error_report;
mod inet_sock_set_state;
mod io_uring_complete;
mod kfree_skb;
mod maps;
mod sock;
mod tcp_destroy_sock;
mod tcp_receive_reset;
mod tcp_reset;
mod tcp_retransmit_skb;
mod tracepoint;

use observer_common::{
    address::Address,
    record::{AttemptRecord, DestinationCounters, DestinationKey, OutcomeKey},
};

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Never read. It puts the layouts of the structs that cross the border into the
/// object's BTF, where a test compares them with user space's.
#[used]
#[unsafe(no_mangle)]
static ABI: Abi = Abi {
    attempt: AttemptRecord::NONE,
    outcome: OutcomeKey {
        saddr: Address::UNSPECIFIED,
        destination: DestinationKey { daddr: Address::UNSPECIFIED, dport: 0, reserved: 0 },
        code: AttemptRecord::NONE.code,
    },
    counters: DestinationCounters { since_ns: 0, attempts: 0, established: 0, fastest_handshake_ns: 0 },
};

#[repr(C)]
struct Abi {
    attempt: AttemptRecord,
    outcome: OutcomeKey,
    counters: DestinationCounters,
}

/// Several helpers are GPL-only; the programs are dual-licensed for that.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
