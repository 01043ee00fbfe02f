//! From the deciding facts of an attempt to its label, reason and origin.
//!
//! [`label`] is the one place that judges. Events and the exact counters of the
//! kernel go through it alike, so that both always agree.

use observer_common::record::{EndCode, FAMILY_V6, end, fact, phase};
use serde::{Deserialize, Serialize};

use crate::choice::Choice;

/// What a person reads first. Every attempt gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// Active refusal: a RST, or an ICMP reject, answered our SYN.
    Refused,
    /// Nobody answered until the kernel or the application gave up.
    Timeout,
    /// The network, or our own routing table, has no way there.
    Unreachable,
    /// This host stopped the attempt itself.
    Blocked,
    /// Accepted, then reset by the peer.
    Reset,
    /// Accepted, then closed by the peer without a byte.
    Closed,
    /// Accepted, but no banner until the application gave up.
    Silent,
    /// The application dropped the attempt before anyone could fail it.
    Cancelled,
    /// Handshake, banner, and an end in order.
    Connected,
    /// A label of a later version, in what that has written.
    #[serde(other)]
    Unknown,
}

impl Label {
    /// How many labels there are, [`Self::Unknown`] included.
    pub const COUNT: usize = Self::READ.len();
    /// Every label that can be read, in the order in which summaries show them.
    pub const READ: [Self; 10] = [
        Self::Refused,
        Self::Timeout,
        Self::Unreachable,
        Self::Blocked,
        Self::Reset,
        Self::Closed,
        Self::Silent,
        Self::Cancelled,
        Self::Connected,
        Self::Unknown,
    ];
    /// Every label that this version gives, in the same order.
    pub const ALL: [Self; 9] = {
        let [given @ .., _] = Self::READ;
        given
    };

    /// True if the destination completed the handshake, whatever came then.
    pub const fn is_answered(self, reason: Option<Reason>) -> bool {
        match self {
            Self::Connected | Self::Reset | Self::Closed | Self::Silent => true,
            Self::Timeout => matches!(reason, Some(Reason::Stalled)),
            _ => false,
        }
    }

    /// The label as events and filters write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Blocked => "blocked",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Cancelled => "cancelled",
            Self::Connected => "connected",
            Self::Unknown => "unknown",
        }
    }
}

impl Choice for Label {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }

    fn help(self) -> Option<&'static str> {
        Some(match self {
            Self::Refused => "Active refusal: a RST, or an ICMP reject, answered our SYN",
            Self::Timeout => "Nobody answered until the kernel or the application gave up",
            Self::Unreachable => "The network, or our own routing table, has no way there",
            Self::Blocked => "This host stopped the attempt itself",
            Self::Reset => "Accepted, then reset by the peer",
            Self::Closed => "Accepted, then closed by the peer without a byte",
            Self::Silent => "Accepted, but no banner until the application gave up",
            Self::Cancelled => "Dropped on this host before anyone could fail it",
            Self::Connected => "Handshake, banner, and an end in order",
            Self::Unknown => return None,
        })
    }
}

/// The mechanism, as evidence for the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A RST answered our SYN.
    Rst,
    /// IPv4 3/3, IPv6 1/4.
    IcmpPortUnreachable,
    /// IPv4 3/9, 3/10, 3/13, IPv6 1/1, 1/5, 1/6.
    IcmpAdminProhibited,
    /// IPv4 3/2.
    IcmpProtocolUnreachable,
    /// The kernel gave up: ETIMEDOUT.
    SynTimeout,
    /// The application gave up, after a SYN retransmit or one second.
    Abandoned,
    /// In session, then the peer stopped acknowledging what was sent, until the kernel or the
    /// application gave up.
    Stalled,
    /// IPv4 3/0 and its kin, IPv6 1/0.
    IcmpNetUnreachable,
    /// IPv4 3/1 and its kin, IPv6 1/3.
    IcmpHostUnreachable,
    /// IPv4 11, IPv6 3: a router found the hop limit used up, as in a loop of routes.
    IcmpTimeExceeded,
    /// The next hop did not answer ARP or NDP.
    NoNeighbour,
    /// Our routing table has no usable route.
    NoRoute,
    /// Our routing table prohibits the destination.
    RouteProhibited,
    /// Netfilter, or a BPF program of this host, dropped or rejected the SYN.
    LocalFirewall,
    /// connect() was not permitted: EPERM.
    PermissionDenied,
    /// A security module refused connect(): SELinux, AppArmor, Landlock.
    SecurityPolicy,
    /// No free local port.
    PortsExhausted,
    /// No usable source address, or the one that the socket is bound to cannot reach the
    /// destination.
    NoSourceAddress,
    /// Before a single byte of the banner.
    BeforeBanner,
    /// After at least one byte.
    MidSession,
    /// No banner until the application gave up.
    NoBanner,
    /// Before a SYN retransmit and within a second.
    Early,
    /// The process exited.
    ProcessExit,
    /// Somebody destroyed the socket, as `ss -K` does.
    Destroyed,
    /// The evidence is missing; the event says which. Also a reason of a later version.
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// The reason as events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rst => "rst",
            Self::IcmpPortUnreachable => "icmp-port-unreachable",
            Self::IcmpAdminProhibited => "icmp-admin-prohibited",
            Self::IcmpProtocolUnreachable => "icmp-protocol-unreachable",
            Self::SynTimeout => "syn-timeout",
            Self::Abandoned => "abandoned",
            Self::Stalled => "stalled",
            Self::IcmpNetUnreachable => "icmp-net-unreachable",
            Self::IcmpHostUnreachable => "icmp-host-unreachable",
            Self::IcmpTimeExceeded => "icmp-time-exceeded",
            Self::NoNeighbour => "no-neighbour",
            Self::NoRoute => "no-route",
            Self::RouteProhibited => "route-prohibited",
            Self::LocalFirewall => "local-firewall",
            Self::PermissionDenied => "permission-denied",
            Self::SecurityPolicy => "security-policy",
            Self::PortsExhausted => "ports-exhausted",
            Self::NoSourceAddress => "no-source-address",
            Self::BeforeBanner => "before-banner",
            Self::MidSession => "mid-session",
            Self::NoBanner => "no-banner",
            Self::Early => "early",
            Self::ProcessExit => "process-exit",
            Self::Destroyed => "destroyed",
            Self::Unknown => "unknown",
        }
    }
}

/// Who said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// This host.
    Local,
    /// The destination address itself.
    Remote,
    /// An address that is neither.
    Network,
    /// A RST in the destination's name that does not look like the destination's.
    SuspectedMiddlebox,
    /// Nobody: silence.
    None,
    /// Somebody spoke, and this kernel does not say who; the event names what
    /// was missing. Also an origin of a later version.
    #[serde(other)]
    Unknown,
}

impl Origin {
    /// The origin as events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Network => "network",
            Self::SuspectedMiddlebox => "suspected-middlebox",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// The judgement on one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What a person reads first.
    pub label: Label,
    /// The mechanism; `None` for `connected`.
    pub reason: Option<Reason>,
    /// Who said no; `None` for `connected`.
    pub origin: Option<Origin>,
    /// True for everything that was actively said no to, false for silence.
    pub active_refusal: bool,
}

impl Verdict {
    const fn new(label: Label, reason: Reason, origin: Origin, active_refusal: bool) -> Self {
        Self { label, reason: Some(reason), origin: Some(origin), active_refusal }
    }

    const DESTROYED: Self = Self::new(Label::Cancelled, Reason::Destroyed, Origin::Local, false);

    const CONNECTED: Self = Self { label: Label::Connected, reason: None, origin: None, active_refusal: false };

    /// True for everything but `connected`.
    pub fn is_failure(&self) -> bool {
        self.label != Label::Connected
    }
}

/// Judges an attempt by its deciding facts. Pure, and total: facts that fit no
/// outcome give the reason `unknown`.
pub fn label(code: &EndCode) -> Verdict {
    match code.phase {
        phase::CONNECT => label_connect(code),
        phase::ESTABLISHED => label_session(code),
        _ => label_handshake(code),
    }
}

const EPERM: u16 = libc::EPERM as u16;
const EACCES: u16 = libc::EACCES as u16;
const EINVAL: u16 = libc::EINVAL as u16;
const ENOPROTOOPT: u16 = libc::ENOPROTOOPT as u16;
const EADDRNOTAVAIL: u16 = libc::EADDRNOTAVAIL as u16;
const ENETUNREACH: u16 = libc::ENETUNREACH as u16;
const ECONNABORTED: u16 = libc::ECONNABORTED as u16;
const ETIMEDOUT: u16 = libc::ETIMEDOUT as u16;
const ECONNREFUSED: u16 = libc::ECONNREFUSED as u16;
const EHOSTUNREACH: u16 = libc::EHOSTUNREACH as u16;

/// connect() failed before SYN-SENT: only this host has spoken.
fn label_connect(code: &EndCode) -> Verdict {
    let has = |bit| code.facts & bit != 0;
    let (label, reason, active) = match code.sk_err {
        _ if has(fact::SOURCE_UNUSABLE) => (Label::Blocked, Reason::NoSourceAddress, false),
        // A blackhole route answers EINVAL, an unreachable one EHOSTUNREACH.
        ENETUNREACH | EHOSTUNREACH | EINVAL => (Label::Unreachable, Reason::NoRoute, false),
        // A security module is asked before a route is looked for, and connect() itself has no
        // EACCES but that of a prohibit route.
        EACCES if has(fact::BEFORE_ROUTE) => (Label::Blocked, Reason::SecurityPolicy, true),
        EACCES => (Label::Unreachable, Reason::RouteProhibited, false),
        EPERM => (Label::Blocked, Reason::PermissionDenied, true),
        EADDRNOTAVAIL => (Label::Blocked, Reason::NoSourceAddress, false),
        _ => (Label::Blocked, Reason::Unknown, false),
    };
    Verdict::new(label, reason, Origin::Local, active)
}

fn label_session(code: &EndCode) -> Verdict {
    let has = |bit| code.facts & bit != 0;
    let banner = has(fact::BYTES_RECEIVED);
    let peer = if has(fact::LOOPBACK | fact::ANSWER_FROM_LOOPBACK) { Origin::Local } else { Origin::Remote };
    if has(fact::RST) {
        let reason = if banner { Reason::MidSession } else { Reason::BeforeBanner };
        return Verdict::new(Label::Reset, reason, peer, true);
    }
    match (code.end, code.sk_err) {
        (end::CLOSE, ETIMEDOUT) => Verdict::new(Label::Timeout, Reason::Stalled, Origin::None, false),
        (_, ECONNABORTED) => Verdict::DESTROYED,
        _ if has(fact::UNACKED) => Verdict::new(Label::Timeout, Reason::Stalled, Origin::None, false),
        _ if banner => Verdict::CONNECTED,
        (end::PEER_FIN, _) => Verdict::new(Label::Closed, Reason::BeforeBanner, peer, false),
        (end::DESTROYED | end::REPLACED, _) => Verdict::new(Label::Silent, Reason::Unknown, Origin::Unknown, false),
        _ => Verdict::new(Label::Silent, Reason::NoBanner, Origin::None, false),
    }
}

/// The order matters: a RST explains every errno, an ICMP error explains a
/// socket that looks abandoned, and what this host's own firewall did explains
/// both silence and a local answer.
fn label_handshake(code: &EndCode) -> Verdict {
    let has = |bit| code.facts & bit != 0;
    if has(fact::RST) {
        return label_rst(code);
    }
    if has(fact::NEIGH_FAILED) {
        return Verdict::new(Label::Unreachable, Reason::NoNeighbour, Origin::Local, false);
    }
    let is_told = is_silence(code) || is_own_rejection(code);
    // What leaves from where nothing can leave is dropped everywhere.
    let is_told = is_told && !has(fact::SOURCE_UNUSABLE);
    if has(fact::SYN_DROPPED_ALL) || (has(fact::SYN_DROPPED_SOME) && is_told) {
        let rejected = has(fact::ICMP | fact::ICMP_SENT_HERE) || answered(code);
        return Verdict::new(Label::Blocked, Reason::LocalFirewall, Origin::Local, rejected);
    }
    if let Some(verdict) = label_icmp(code) {
        return verdict;
    }
    label_silence(code)
}

/// An errno that only an answer can have caused.
fn answered(code: &EndCode) -> bool {
    code.soft_err != 0 || !matches!(code.sk_err, 0 | ETIMEDOUT | ECONNABORTED)
}

fn is_silence(code: &EndCode) -> bool {
    code.facts & fact::ICMP == 0 && !answered(code)
}

/// An ICMP error of this host's own that no neighbour failure explains. With a SYN that was
/// dropped here, it is the firewall's: the kernel may skip a run of the program that sees drops.
fn is_own_rejection(code: &EndCode) -> bool {
    let is_own = code.facts & (fact::ICMP_FROM_SOURCE | fact::ICMP_SENT_HERE) != 0;
    is_own && icmp_reason(code).is_some_and(|(label, _)| label == Label::Refused)
}

fn label_rst(code: &EndCode) -> Verdict {
    let has = |bit| code.facts & bit != 0;
    let dropped = has(fact::SYN_DROPPED_ALL) || (has(fact::SYN_DROPPED_SOME) && has(fact::RST_IN_CALLER));
    if dropped {
        return Verdict::new(Label::Blocked, Reason::LocalFirewall, Origin::Local, true);
    }
    let local = has(fact::LOOPBACK | fact::ANSWER_FROM_LOOPBACK);
    let origin = if local { Origin::Local } else { Origin::Remote };
    Verdict::new(Label::Refused, Reason::Rst, origin, true)
}

/// An ICMP error by its type and code, or, where the kernel keeps only that, by
/// the errno that the kernel made of it.
fn label_icmp(code: &EndCode) -> Option<Verdict> {
    let by_type = (code.facts & fact::ICMP != 0).then(|| icmp_reason(code)).flatten();
    let errno = if is_soft_only(code) { u16::from(code.soft_err) } else { code.sk_err };
    let (label, reason) = by_type.or_else(|| errno_reason(errno))?;
    // "Address unreachable" from this host itself: its own neighbour failure.
    let is_own = code.facts & (fact::ICMP_FROM_SOURCE | fact::SYN_FREED) != 0;
    if reason == Reason::IcmpHostUnreachable && is_own {
        return Some(Verdict::new(Label::Unreachable, Reason::NoNeighbour, Origin::Local, false));
    }
    Some(Verdict::new(label, reason, icmp_origin(code), label == Label::Refused))
}

/// A soft error explains a socket that the application closed (`sk_err` 0) or
/// that timed out. In every other case `sk_err` is what the attempt died of.
fn is_soft_only(code: &EndCode) -> bool {
    matches!(code.sk_err, 0 | ETIMEDOUT)
}

fn icmp_origin(code: &EndCode) -> Origin {
    let has = |bit| code.facts & bit != 0;
    if has(fact::ICMP_FROM_SOURCE | fact::ICMP_SENT_HERE) {
        Origin::Local
    } else if !has(fact::ICMP_SENDER) {
        if has(fact::LOOPBACK) { Origin::Local } else { Origin::Unknown }
    } else if has(fact::ICMP_FROM_DESTINATION) {
        Origin::Remote
    } else {
        Origin::Network
    }
}

/// RFC 792 and RFC 1812 section 5.2.7.1 (IPv4 types 3 and 11), RFC 4443 sections 3.1 and 3.3
/// (IPv6 types 1 and 3).
fn icmp_reason(code: &EndCode) -> Option<(Label, Reason)> {
    let is_v6 = code.family == FAMILY_V6;
    match (is_v6, code.icmp_type, code.icmp_code) {
        (false, 3, 2) => Some((Label::Refused, Reason::IcmpProtocolUnreachable)),
        (false, 3, 3) | (true, 1, 4) => Some((Label::Refused, Reason::IcmpPortUnreachable)),
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => Some((Label::Refused, Reason::IcmpAdminProhibited)),
        (false, 3, 0 | 6 | 11) | (true, 1, 0) => Some((Label::Unreachable, Reason::IcmpNetUnreachable)),
        (false, 3, 1 | 5 | 7 | 8 | 12 | 14 | 15) | (true, 1, 2 | 3) => {
            Some((Label::Unreachable, Reason::IcmpHostUnreachable))
        }
        (false, 11, _) | (true, 3, _) => Some((Label::Unreachable, Reason::IcmpTimeExceeded)),
        // Also 3/4 and 2/0: a packet that is too big is no answer to a SYN.
        _ => None,
    }
}

/// What the kernel's errno for an ICMP error (`icmp_err_convert`,
/// `icmpv6_err_convert`) says of it.
fn errno_reason(errno: u16) -> Option<(Label, Reason)> {
    match errno {
        ECONNREFUSED => Some((Label::Refused, Reason::IcmpPortUnreachable)),
        ENOPROTOOPT => Some((Label::Refused, Reason::IcmpProtocolUnreachable)),
        EACCES => Some((Label::Refused, Reason::IcmpAdminProhibited)),
        ENETUNREACH => Some((Label::Unreachable, Reason::IcmpNetUnreachable)),
        EHOSTUNREACH => Some((Label::Unreachable, Reason::IcmpHostUnreachable)),
        _ => None,
    }
}

fn label_silence(code: &EndCode) -> Verdict {
    let has = |bit| code.facts & bit != 0;
    let waited = has(fact::SYN_RETRANSMITTED | fact::ONE_SECOND);
    let timeout = |reason| Verdict::new(Label::Timeout, reason, Origin::None, false);
    let cancelled = |reason| Verdict::new(Label::Cancelled, reason, Origin::None, false);
    let is_silent = code.sk_err == ETIMEDOUT || (code.sk_err == 0 && waited);
    match code.sk_err {
        _ if is_silent && has(fact::SOURCE_UNUSABLE) => {
            Verdict::new(Label::Blocked, Reason::NoSourceAddress, Origin::Local, false)
        }
        ETIMEDOUT => timeout(Reason::SynTimeout),
        ECONNABORTED => Verdict::DESTROYED,
        0 if code.end != end::CLOSE && !has(fact::SHUTDOWN) => {
            if waited {
                timeout(Reason::Unknown)
            } else {
                cancelled(Reason::Unknown)
            }
        }
        0 if !has(fact::SHUTDOWN) && has(fact::NO_SEGS_OUT) => {
            Verdict::new(Label::Blocked, Reason::PortsExhausted, Origin::Local, false)
        }
        0 if has(fact::EXITING) => cancelled(Reason::ProcessExit),
        0 if waited => timeout(Reason::Abandoned),
        0 => cancelled(Reason::Early),
        _ => cancelled(Reason::Unknown),
    }
}

#[cfg(test)]
mod tests;
