//! `inet_sk_error_report(sk)`: a socket tells its application of an error.
//!
//! In SYN-SENT that is an ICMP error, and the tail of `sk_error_queue` holds it
//! (IPv4; for IPv6 only with IPV6_RECVERR). After CLOSE it is a second look at
//! an end that the state hook should have seen. Since Linux 5.14.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::{
    attempt::tcp_state,
    record::{end, phase},
    stat,
};

use crate::{attempt, maps::count, sock};

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
pub(crate) fn inet_sk_error_report(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(record) = attempt::of(sk) else { return 0 };
    if i32::from(sock::state(sk)) == tcp_state::CLOSE {
        // A failed connect() disconnects its socket, which wipes out what it ended with.
        let end = if sock::sk_err(sk) == 0 {
            end::DESTROYED
        } else {
            count(stat::RECOVERED_ENDS);
            end::CLOSE
        };
        attempt::finish_record(sk, record, end);
    } else if record.code.phase == phase::SYN_SENT
        && let Some(error) = sock::newest_icmp_error(sk)
    {
        attempt::answer_by_icmp(record, &error);
    }
    0
}
