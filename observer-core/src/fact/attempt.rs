//! An attempt as user space sees it: the kernel's record with wall-clock times
//! and typed addresses.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;
use observer_common::address::Address;
use observer_common::record::{AttemptRecord, EndCode, fact};

/// One finished connection attempt. Facts only; [`crate::label`] judges.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// CLOCK_BOOTTIME nanoseconds at the start, with `cpu` the attempt's
    /// identity within one boot.
    pub started_ns: u64,
    /// CPU on which the attempt began.
    pub cpu: u32,
    /// Wall-clock time of the start; `None` when the start was not seen.
    pub started: Option<Timestamp>,
    /// Wall-clock time of the end.
    pub ended: Timestamp,
    /// From start to end, suspends of this host included; `None` when the start was not seen.
    pub elapsed: Option<Duration>,
    /// From start to ESTABLISHED; `None` without a handshake.
    pub handshake: Option<Duration>,
    /// Local address; `None` when none was chosen.
    pub saddr: Option<IpAddr>,
    /// Local port; `None` when none was bound.
    pub sport: Option<u16>,
    /// Destination address.
    pub daddr: IpAddr,
    /// Destination port.
    pub dport: u16,
    /// SYN retransmits.
    pub syn_retransmits: u16,
    /// SYNs that this host dropped itself.
    pub syn_drops: u16,
    /// Answers to the SYN that this host dropped itself.
    pub answer_drops: u16,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Bytes sent and not acknowledged, of a session that stalled.
    pub unacked_bytes: u32,
    /// The deciding facts.
    pub code: EndCode,
    /// TTL or hop limit of the RST.
    pub rst_ttl: Option<u8>,
    /// TTL or hop limit of the ICMP error.
    pub icmp_ttl: Option<u8>,
    /// Sender of the ICMP error.
    pub icmp_from: Option<IpAddr>,
    /// Interface index by which the RST or ICMP error came in.
    pub iif: Option<u32>,
    /// Interface index of the route to the destination.
    pub oif: Option<u32>,
    /// Who connected; `None` when the start was not seen.
    pub process: Option<Task>,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
}

/// The task that called connect().
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// Name of the task. Bytes that are no UTF-8 are replaced; control
    /// characters are kept, and escaped by whoever prints them.
    pub comm: String,
    /// Its cgroup v2 id.
    pub cgroup: u64,
}

/// Offset from CLOCK_BOOTTIME to the wall clock, measured by the caller. That clock counts
/// suspends: a time before one is converted as exactly as one after it.
#[derive(Clone, Copy, Debug)]
pub struct ClockOffset(i128);

impl ClockOffset {
    /// From one reading of both clocks, taken together.
    pub fn new(boot_ns: u64, wall: Timestamp) -> Self {
        Self(wall.as_nanosecond() - i128::from(boot_ns))
    }

    /// The wall-clock time of a CLOCK_BOOTTIME reading. A reading beyond what
    /// a timestamp can hold becomes the epoch.
    pub fn wall(self, boot_ns: u64) -> Timestamp {
        Timestamp::from_nanosecond(self.0 + i128::from(boot_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Attempt {
    /// The attempt that a record describes.
    pub fn from_record(record: &AttemptRecord, clock: ClockOffset) -> Self {
        let has = |bit| record.code.facts & bit != 0;
        let is_known = !has(fact::LATE_START);
        let since_start =
            |ns: u64| (is_known && ns != 0).then(|| Duration::from_nanos(ns.saturating_sub(record.started_ns)));
        Self {
            started_ns: record.started_ns,
            cpu: record.cpu,
            started: is_known.then(|| clock.wall(record.started_ns)),
            ended: clock.wall(record.ended_ns),
            elapsed: since_start(record.ended_ns),
            handshake: since_start(record.established_ns),
            saddr: Some(address(record.saddr)).filter(|addr| !addr.is_unspecified()),
            sport: non_zero(record.sport),
            daddr: address(record.daddr),
            dport: record.dport,
            syn_retransmits: record.syn_retransmits,
            syn_drops: record.syn_drops,
            answer_drops: record.answer_drops,
            bytes_received: record.bytes_received,
            unacked_bytes: record.unacked_bytes,
            code: record.code,
            rst_ttl: non_zero(record.rst_ttl),
            icmp_ttl: non_zero(record.icmp_ttl),
            icmp_from: has(fact::ICMP_SENDER).then(|| address(record.icmp_from)),
            iif: non_zero(record.iif),
            oif: non_zero(record.oif),
            process: is_known.then(|| task(record)),
            netns: record.netns,
        }
    }
}

/// An address as it is on the wire: IPv4-mapped becomes IPv4.
pub fn address(addr: Address) -> IpAddr {
    Ipv6Addr::from(addr.octets()).to_canonical()
}

fn non_zero<T: PartialEq + Default>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn task(record: &AttemptRecord) -> Task {
    let len = record.comm.iter().position(|&byte| byte == 0).unwrap_or(record.comm.len());
    Task {
        pid: record.pid,
        uid: record.uid,
        comm: String::from_utf8_lossy(&record.comm[..len]).into_owned(),
        cgroup: record.cgroup,
    }
}
