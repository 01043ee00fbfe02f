//! The structs that cross the border between kernel and user space.

use crate::address::Address;

/// Size of `comm`, `TASK_COMM_LEN` in `include/linux/sched.h`.
pub const COMM_LEN: usize = 16;

/// `EndCode::family` for IPv4, also for IPv4-mapped sockets.
pub const FAMILY_V4: u8 = 4;
/// `EndCode::family` for IPv6.
pub const FAMILY_V6: u8 = 6;

/// How far an attempt came before it ended.
pub mod phase {
    /// connect() failed before the socket entered SYN-SENT.
    pub const CONNECT: u8 = 0;
    /// The socket was in SYN-SENT: no handshake.
    pub const SYN_SENT: u8 = 1;
    /// The handshake had completed.
    pub const ESTABLISHED: u8 = 2;
}

/// What ended an attempt.
pub mod end {
    /// connect() returned an error before SYN-SENT.
    pub const CONNECT_FAILED: u8 = 0;
    /// The socket went to CLOSE.
    pub const CLOSE: u8 = 1;
    /// The application closed first (ESTABLISHED to FIN-WAIT-1).
    pub const LOCAL_FIN: u8 = 2;
    /// The peer closed first (ESTABLISHED to CLOSE-WAIT).
    pub const PEER_FIN: u8 = 3;
    /// The socket was destroyed and its way to CLOSE was not seen.
    pub const DESTROYED: u8 = 4;
    /// The socket began a new attempt and the end of this one was not seen.
    pub const REPLACED: u8 = 5;
}

/// Facts seen during an attempt; bits of [`EndCode::facts`].
pub mod fact {
    /// The socket accepted a RST.
    pub const RST: u32 = 1 << 0;
    /// That RST was processed in the task that connects: it came from this host.
    pub const RST_IN_CALLER: u32 = 1 << 1;
    /// Every SYN was dropped on its way out of this host.
    pub const SYN_DROPPED_ALL: u32 = 1 << 2;
    /// At least one SYN, not all, was dropped on its way out of this host.
    pub const SYN_DROPPED_SOME: u32 = 1 << 3;
    /// A SYN was freed because no neighbour answered (ARP, NDP).
    pub const NEIGH_FAILED: u32 = 1 << 4;
    /// An ICMP error reached the socket; type and code are valid.
    pub const ICMP: u32 = 1 << 5;
    /// The ICMP error's sender is known.
    pub const ICMP_SENDER: u32 = 1 << 6;
    /// The ICMP error's sender is the destination.
    pub const ICMP_FROM_DESTINATION: u32 = 1 << 7;
    /// The ICMP error's sender is this host: our source address, or loopback, or
    /// it was received from a loopback device.
    pub const ICMP_FROM_SOURCE: u32 = 1 << 8;
    /// This host itself sent an ICMP error for one of the SYNs.
    pub const ICMP_SENT_HERE: u32 = 1 << 9;
    /// At least one SYN was retransmitted.
    pub const SYN_RETRANSMITTED: u32 = 1 << 10;
    /// The attempt lasted for one second or longer.
    pub const ONE_SECOND: u32 = 1 << 11;
    /// `sk_shutdown` was SHUTDOWN_MASK: the application closed the socket.
    pub const SHUTDOWN: u32 = 1 << 12;
    /// No segment was ever handed to IP (`segs_out` is 0).
    pub const NO_SEGS_OUT: u32 = 1 << 13;
    /// The task that ended the attempt was exiting, or was the kernel's own,
    /// cleaning up behind one.
    pub const EXITING: u32 = 1 << 14;
    /// At least one byte of payload came from the peer.
    pub const BYTES_RECEIVED: u32 = 1 << 15;
    /// The route to the destination leaves by a loopback device.
    pub const LOOPBACK: u32 = 1 << 16;
    /// The RST, or the answer that completed the handshake, was received from a loopback
    /// device: this host gave it, whatever the destination.
    pub const ANSWER_FROM_LOOPBACK: u32 = 1 << 17;
    /// The attempt's beginning was not seen; identity and start are unknown.
    pub const LATE_START: u32 = 1 << 18;
    /// A SYN (IPv6) was freed on its way out of this host, without a reason
    /// given: neighbour discovery does that when nobody answers.
    pub const SYN_FREED: u32 = 1 << 19;
    /// The address that the socket is bound to cannot reach the destination.
    pub const SOURCE_UNUSABLE: u32 = 1 << 20;
    /// connect() failed before the socket took its destination in, and so before anything
    /// looked for a route.
    pub const BEFORE_ROUTE: u32 = 1 << 21;
    /// connect() failed after that.
    pub const AFTER_ROUTE: u32 = 1 << 22;
    /// The application ended the session, and what had been sent was not acknowledged for
    /// several retransmission timeouts.
    pub const UNACKED: u32 = 1 << 23;
}

/// The few facts that decide an attempt's label, reason and origin.
///
/// A part of [`OutcomeKey`], so it holds nothing that
/// varies between attempts with the same outcome.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndCode {
    /// Bits of [`fact`].
    pub facts: u32,
    /// `sk_err` at the end, or connect()'s errno in [`phase::CONNECT`]; 0: none.
    pub sk_err: u16,
    /// A value of [`phase`].
    pub phase: u8,
    /// A value of [`end`].
    pub end: u8,
    /// ICMP type, valid with [`fact::ICMP`].
    pub icmp_type: u8,
    /// ICMP code, valid with [`fact::ICMP`].
    pub icmp_code: u8,
    /// errno of an ICMP error or `sk_err_soft`; 0: none. Errnos that TCP can
    /// report fit a byte.
    pub soft_err: u8,
    /// [`FAMILY_V4`] or [`FAMILY_V6`].
    pub family: u8,
}

/// One attempt: kept in a map while it is in flight, sent once when it ends.
///
/// Times are nanoseconds of CLOCK_BOOTTIME (`bpf_ktime_get_boot_ns`), which counts suspends;
/// 0 when it did not happen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Entered SYN-SENT, or called connect().
    pub started_ns: u64,
    /// Entered ESTABLISHED.
    pub established_ns: u64,
    /// Ended.
    pub ended_ns: u64,
    /// The connecting task's cgroup v2 id.
    pub cgroup: u64,
    /// Payload bytes received at the end of the attempt (`bytes_received`).
    pub bytes_received: u64,
    /// Local address; unspecified when none was chosen.
    pub saddr: Address,
    /// Destination address.
    pub daddr: Address,
    /// Sender of the ICMP error, valid with [`fact::ICMP_SENDER`].
    pub icmp_from: Address,
    /// Name of the task that connects, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Real user id of the connecting task, in the initial user namespace.
    pub uid: u32,
    /// Interface index by which a RST or ICMP error came in; 0: not seen.
    pub iif: u32,
    /// Interface index of the route to the destination; 0: not seen.
    pub oif: u32,
    /// CPU on which the attempt began: with `started_ns`, its identity.
    pub cpu: u32,
    /// The deciding facts.
    pub code: EndCode,
    /// Destination port, host order.
    pub dport: u16,
    /// Local port, host order; 0 when none was bound.
    pub sport: u16,
    /// SYN retransmits.
    pub syn_retransmits: u16,
    /// SYNs dropped on their way out of this host.
    pub syn_drops: u16,
    /// TTL or hop limit of the RST; 0: not seen.
    pub rst_ttl: u8,
    /// TTL or hop limit of the ICMP error; 0: not seen.
    pub icmp_ttl: u8,
    /// Answers to the SYN that this host dropped.
    pub answer_drops: u16,
    /// Bytes sent and not acknowledged, of a session that stalled.
    pub unacked_bytes: u32,
    /// Zero.
    pub reserved: u32,
    /// The counters of the destination, when the attempt is sent; zero before, and
    /// if there was no room to count it.
    pub counters: DestinationCounters,
}

impl AttemptRecord {
    /// All zero.
    pub const NONE: Self = Self {
        started_ns: 0,
        established_ns: 0,
        ended_ns: 0,
        cgroup: 0,
        bytes_received: 0,
        saddr: Address::UNSPECIFIED,
        daddr: Address::UNSPECIFIED,
        icmp_from: Address::UNSPECIFIED,
        comm: [0; COMM_LEN],
        netns: 0,
        pid: 0,
        uid: 0,
        iif: 0,
        oif: 0,
        cpu: 0,
        code: EndCode { facts: 0, sk_err: 0, phase: 0, end: 0, icmp_type: 0, icmp_code: 0, soft_err: 0, family: 0 },
        dport: 0,
        sport: 0,
        syn_retransmits: 0,
        syn_drops: 0,
        rst_ttl: 0,
        icmp_ttl: 0,
        answer_drops: 0,
        unacked_bytes: 0,
        reserved: 0,
        counters: DestinationCounters { since_ns: 0, attempts: 0, established: 0, fastest_handshake_ns: 0 },
    };
}

/// A destination: key of the per-destination counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// Destination address.
    pub daddr: Address,
    /// Destination port, host order.
    pub dport: u16,
    /// Zero.
    pub reserved: u16,
}

/// What the kernel counts for a destination, as long as it remembers it: the
/// least recently used one is forgotten for a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestinationCounters {
    /// Start of the first attempt counted, as in [`AttemptRecord`]. It tells
    /// counters that began anew from those before.
    pub since_ns: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// Handshakes completed.
    pub established: u64,
    /// The shortest time from SYN to ESTABLISHED without a retransmit, in
    /// nanoseconds; 0: none yet.
    pub fastest_handshake_ns: u64,
}

/// Key of the counters of outcomes that no event tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutcomeKey {
    /// Local address; unspecified when none was chosen.
    pub saddr: Address,
    /// The destination.
    pub destination: DestinationKey,
    /// How attempts to it ended.
    pub code: EndCode,
}

impl OutcomeKey {
    /// Of a finished attempt.
    #[inline(always)]
    pub const fn of(record: &AttemptRecord) -> Self {
        let destination = DestinationKey { daddr: record.daddr, dport: record.dport, reserved: 0 };
        Self { saddr: record.saddr, destination, code: record.code }
    }
}

const _: () = assert!(size_of::<EndCode>() == 12 && align_of::<EndCode>() == 4);
const _: () = assert!(size_of::<AttemptRecord>() == 192 && align_of::<AttemptRecord>() == 8);
const _: () = assert!(size_of::<DestinationKey>() == 20 && align_of::<DestinationKey>() == 4);
const _: () = assert!(size_of::<DestinationCounters>() == 32);
const _: () = assert!(size_of::<OutcomeKey>() == 48 && align_of::<OutcomeKey>() == 4);
