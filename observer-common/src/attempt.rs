//! The attempt state machine: which facts begin, advance and end an attempt.
//!
//! Pure: it reads no clock and no memory but its arguments. The kernel programs
//! call it with what they read from a socket; a property test in user space
//! calls it with any order of facts.

use crate::address::Address;
use crate::record::{AttemptRecord, FAMILY_V4, end, fact, phase};

/// TCP states as `inet_sock_set_state` reports them (`BPF_TCP_*` in
/// `include/uapi/linux/bpf.h`, a stable ABI).
pub mod tcp_state {
    /// ESTABLISHED.
    pub const ESTABLISHED: i32 = 1;
    /// SYN-SENT.
    pub const SYN_SENT: i32 = 2;
    /// FIN-WAIT-1.
    pub const FIN_WAIT1: i32 = 4;
    /// FIN-WAIT-2.
    pub const FIN_WAIT2: i32 = 5;
    /// CLOSE.
    pub const CLOSE: i32 = 7;
    /// CLOSE-WAIT.
    pub const CLOSE_WAIT: i32 = 8;
    /// CLOSING.
    pub const CLOSING: i32 = 11;
}

/// One second in nanoseconds: the border between `cancelled` and `abandoned`,
/// the initial SYN retransmission timeout (RFC 6298, section 2).
pub const ONE_SECOND_NS: u64 = 1_000_000_000;

/// Retransmission timeouts in a row after which a session has stalled: fewer are what a lost
/// packet costs.
pub const STALLED_AFTER: u8 = 2;

/// True if connect() failed with `errno` because the socket is bound to `source`.
#[inline(always)]
pub fn is_source_at_fault(errno: u16, source: Address, destination: Address) -> bool {
    const EINVAL: u16 = 22;
    const EAFNOSUPPORT: u16 = 97;
    const ENETUNREACH: u16 = 101;
    if source == Address::UNSPECIFIED {
        return false;
    }
    let is_other_family = source.is_mapped() != destination.is_mapped();
    match errno {
        // A blackhole route answers EINVAL too; of IPv6 Linux compares no source with it.
        EINVAL => is_other_family || (source.is_mapped() && source.is_loopback() && !destination.is_loopback()),
        EAFNOSUPPORT | ENETUNREACH => is_other_family,
        _ => false,
    }
}

/// What a TCP state transition means for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An attempt begins.
    Begin,
    /// Its handshake completed.
    Establish,
    /// It sends no more. It ends here, unless it has shut down one way alone, as Exim does behind
    /// QUIT: then it waits for answers.
    Fin,
    /// It ends; the value is one of [`end`].
    End(u8),
    /// Nothing: the attempt has ended already, or it is no attempt.
    Ignore,
}

/// What the transition from TCP state `old` to `new` means.
#[inline(always)]
pub fn step(old: i32, new: i32) -> Step {
    match (old, new) {
        (tcp_state::CLOSE, tcp_state::SYN_SENT) => Step::Begin,
        (tcp_state::SYN_SENT, tcp_state::ESTABLISHED) => Step::Establish,
        (tcp_state::SYN_SENT | tcp_state::ESTABLISHED, tcp_state::CLOSE) => Step::End(end::CLOSE),
        (tcp_state::ESTABLISHED, tcp_state::FIN_WAIT1) => Step::Fin,
        (tcp_state::ESTABLISHED, tcp_state::CLOSE_WAIT) => Step::End(end::PEER_FIN),
        // It had shut down one way; close() sets the same state once more.
        (tcp_state::FIN_WAIT1, tcp_state::FIN_WAIT1) | (tcp_state::FIN_WAIT2, tcp_state::FIN_WAIT2) => {
            Step::End(end::LOCAL_FIN)
        }
        (tcp_state::FIN_WAIT1, tcp_state::CLOSING) => Step::End(end::PEER_FIN),
        (tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2, tcp_state::CLOSE) => Step::End(end::CLOSE),
        _ => Step::Ignore,
    }
}

/// How an attempt really ends whose socket leaves the state `old` for CLOSE: from FIN-WAIT-2 without
/// an error, when the peer's FIN comes.
#[inline(always)]
pub fn end_from(old: i32, end: u8, sk_err: u16) -> u8 {
    if old == tcp_state::FIN_WAIT2 && end == end::CLOSE && sk_err == 0 { end::PEER_FIN } else { end }
}

/// What a socket and the current task say when an attempt ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketAtEnd {
    /// `sk_err`.
    pub sk_err: u16,
    /// `sk_err_soft`.
    pub sk_err_soft: u16,
    /// `sk_shutdown` is SHUTDOWN_MASK.
    pub shutdown: bool,
    /// `tcp_sock.segs_out`.
    pub segs_out: u32,
    /// `tcp_sock.total_retrans`.
    pub total_retrans: u32,
    /// `tcp_sock.bytes_received`; counts a FIN as one byte.
    pub bytes_received: u64,
    /// The current task has PF_EXITING.
    pub exiting: bool,
    /// `icsk_retransmits`: retransmission timeouts since the last acknowledgement.
    pub timeouts: u8,
    /// `snd_nxt - snd_una`, of a session that may have stalled.
    pub unacked_bytes: u32,
    /// What completed the handshake was received from a loopback device.
    pub from_loopback: bool,
}

impl AttemptRecord {
    /// The handshake completed.
    #[inline(always)]
    pub fn establish(&mut self, now_ns: u64, total_retrans: u32) {
        if self.code.phase == phase::SYN_SENT {
            self.code.phase = phase::ESTABLISHED;
            self.established_ns = now_ns;
            self.count_retransmits(total_retrans);
        }
    }

    /// The socket accepted a RST.
    #[inline(always)]
    pub fn reset(&mut self, in_caller: bool) {
        self.code.facts |= fact::RST;
        if in_caller && self.code.phase == phase::SYN_SENT {
            self.code.facts |= fact::RST_IN_CALLER;
        }
    }

    /// A SYN was retransmitted.
    #[inline(always)]
    pub fn retransmit(&mut self) {
        if self.code.phase == phase::SYN_SENT {
            self.syn_retransmits = self.syn_retransmits.saturating_add(1);
        }
    }

    /// A SYN was dropped on its way out of this host.
    #[inline(always)]
    pub fn drop_syn(&mut self) {
        if self.code.phase == phase::SYN_SENT {
            self.syn_drops = self.syn_drops.saturating_add(1);
        }
    }

    /// An answer to the SYN was dropped by this host.
    #[inline(always)]
    pub fn drop_answer(&mut self) {
        if self.code.phase == phase::SYN_SENT {
            self.answer_drops = self.answer_drops.saturating_add(1);
        }
    }

    /// An ICMP error of this type and code reached the socket before the
    /// handshake; `errno` is what the kernel made of it.
    #[inline(always)]
    pub fn icmp(&mut self, icmp_type: u8, icmp_code: u8, errno: u8, ttl: u8) {
        if self.code.phase == phase::SYN_SENT {
            self.code.facts |= fact::ICMP;
            self.code.icmp_type = icmp_type;
            self.code.icmp_code = icmp_code;
            self.code.soft_err = errno;
            self.icmp_ttl = ttl;
        }
    }

    /// The sender of the ICMP error.
    #[inline(always)]
    pub fn icmp_sender(&mut self, from: Address) {
        if self.code.phase == phase::SYN_SENT {
            self.icmp_from = from;
            self.code.facts |= fact::ICMP_SENDER;
            if from == self.daddr {
                self.code.facts |= fact::ICMP_FROM_DESTINATION;
            }
            if from == self.saddr || from.is_loopback() {
                self.code.facts |= fact::ICMP_FROM_SOURCE;
            }
        }
    }

    /// The attempt ended: completes the deciding facts.
    #[inline(always)]
    pub fn finish(&mut self, now_ns: u64, end: u8, socket: &SocketAtEnd) {
        self.ended_ns = now_ns;
        self.code.end = end;
        self.code.sk_err = socket.sk_err;
        if self.code.phase == phase::ESTABLISHED {
            self.finish_session(end, socket);
        } else {
            self.finish_handshake(socket);
        }
    }

    /// Ends an attempt whose connect() failed before SYN-SENT with `errno`.
    #[inline(always)]
    pub fn fail_connect(&mut self, now_ns: u64, errno: u16) {
        self.ended_ns = now_ns;
        self.code.phase = phase::CONNECT;
        self.code.end = end::CONNECT_FAILED;
        self.code.sk_err = errno;
    }

    #[inline(always)]
    fn finish_session(&mut self, end: u8, socket: &SocketAtEnd) {
        let fin = u64::from(end == end::PEER_FIN);
        self.bytes_received = socket.bytes_received.saturating_sub(fin);
        // What the handshake went through decides nothing any more, and each
        // fact that stays is one more entry in the outcome counters.
        self.code.facts &= fact::RST | fact::LOOPBACK | fact::LATE_START | fact::ANSWER_FROM_LOOPBACK;
        self.unacked_bytes = socket.unacked_bytes;
        let is_local_end = matches!(end, end::CLOSE | end::LOCAL_FIN) && socket.sk_err == 0;
        let has_stalled = socket.timeouts >= STALLED_AFTER && socket.unacked_bytes > 0;
        self.note(fact::UNACKED, is_local_end && has_stalled);
        self.note(fact::ANSWER_FROM_LOOPBACK, socket.from_loopback);
        self.code.soft_err = 0;
        self.code.icmp_type = 0;
        self.code.icmp_code = 0;
        if self.bytes_received > 0 {
            self.code.facts |= fact::BYTES_RECEIVED;
        }
    }

    #[inline(always)]
    fn finish_handshake(&mut self, socket: &SocketAtEnd) {
        self.count_retransmits(socket.total_retrans);
        if self.code.soft_err == 0 {
            self.code.soft_err = socket.sk_err_soft as u8;
        }
        let sent = self.syn_retransmits.saturating_add(1);
        let lasted = self.ended_ns.saturating_sub(self.started_ns);
        self.note(fact::SYN_RETRANSMITTED, self.syn_retransmits > 0);
        // What was answered had left, whatever became of another SYN.
        let had_left = self.answer_drops > 0;
        self.note(fact::SYN_DROPPED_ALL, self.syn_drops >= sent && !had_left);
        self.note(fact::SYN_DROPPED_SOME, self.syn_drops > 0 && self.syn_drops < sent && !had_left);
        self.note(fact::ONE_SECOND, lasted >= ONE_SECOND_NS);
        self.note(fact::SHUTDOWN, socket.shutdown);
        self.note(fact::NO_SEGS_OUT, socket.segs_out == 0);
        self.note(fact::EXITING, socket.exiting);
        self.note(fact::SOURCE_UNUSABLE, self.is_sent_from_loopback());
    }

    /// Linux sends from ::1 into the network, and every router and host drops it (RFC 4291,
    /// section 2.5.3). From 127.0.0.1 it does so only for who translates the address.
    #[inline(always)]
    fn is_sent_from_loopback(&self) -> bool {
        let is_elsewhere = self.oif != 0 && self.code.facts & fact::LOOPBACK == 0;
        is_elsewhere && !self.saddr.is_mapped() && self.saddr.is_loopback()
    }

    #[inline(always)]
    fn note(&mut self, bit: u32, is_set: bool) {
        self.code.facts |= if is_set { bit } else { 0 };
    }

    /// `total_retrans` is exact also where a run of the retransmit hook was
    /// skipped; the hook is exact where the member could not be read.
    #[inline(always)]
    fn count_retransmits(&mut self, total_retrans: u32) {
        let total = total_retrans.min(u32::from(u16::MAX)) as u16;
        if total > self.syn_retransmits {
            self.syn_retransmits = total;
        }
    }

    /// True if the session ended as SMTP sessions should: a banner byte came,
    /// and nobody reset it or fell silent.
    #[inline(always)]
    pub fn is_success(&self) -> bool {
        self.code.phase == phase::ESTABLISHED
            && self.code.facts & (fact::BYTES_RECEIVED | fact::RST | fact::UNACKED) == fact::BYTES_RECEIVED
            && self.code.sk_err == 0
    }

    /// True if `daddr` holds an IPv4 address.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        self.code.family == FAMILY_V4
    }
}

#[cfg(test)]
mod tests;
