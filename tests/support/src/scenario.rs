//! Every way in which a connection attempt can end, and what is true of it.

use crate::addr::Ip;
use crate::icmp::Unreachable;

/// Who answers in the lab, outside the client's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The router on the way: an address that is not the destination.
    Router,
    /// The destination's own host.
    Server,
}

/// The firewall front end that holds a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// nftables.
    Nft,
    /// iptables and ip6tables.
    Iptables,
}

/// What the client's own firewall does with a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Drops it; the kernel gives up by itself.
    Drop,
    /// Drops it; the application gives up first.
    DropAbandoned,
    /// Answers with a RST.
    Reset,
    /// Answers with ICMP port unreachable.
    IcmpPort,
    /// Answers with ICMP administratively prohibited.
    IcmpAdmin,
}

/// One way in which an attempt can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// Banner, QUIT, an orderly end.
    Success,
    /// Nobody listens: the destination's stack answers with a RST.
    ClosedPort,
    /// A firewall beyond this host answers with a RST in the destination's name.
    RemoteReset(Hop, Tool),
    /// The SYN is dropped on the way and the kernel gives up.
    DropTimeout,
    /// The SYN is dropped on the way and the application gives up after 1.5 s.
    DropAbandoned,
    /// The same after 2.5 s.
    DropAbandonedLate,
    /// The application drops the attempt after 50 ms.
    Cancelled,
    /// SIGKILL during connect().
    Killed,
    /// A firewall beyond this host answers with an ICMP error.
    Icmp(Unreachable, Hop),
    /// Accepted, then reset before the banner.
    ResetBeforeBanner,
    /// Accepted, then closed before the banner.
    ClosedBeforeBanner,
    /// Accepted, no banner, and the application leaves after 1 s.
    Silent,
    /// Accepted, banner, then reset in mid-session.
    ResetMidSession,
    /// Accepted, banner, then nothing that the client says gets through.
    Stalled,
    /// This host's own firewall stops the SYN.
    LocalFirewall(Tool, Verdict),
    /// No route to the destination.
    NoRoute,
    /// A route of type `unreachable`.
    UnreachableRoute,
    /// A route of type `prohibit`.
    ProhibitRoute,
    /// A route of type `blackhole`.
    BlackholeRoute,
    /// An on-link destination that nobody answers for.
    NoNeighbour,
    /// No ephemeral port is left.
    PortsExhausted,
    /// The outgoing interface offers no source address.
    NoSourceAddress,
    /// A cgroup's BPF program refuses connect().
    CgroupDeny,
    /// Nobody listens on this host's loopback address.
    LoopbackClosed,
    /// Nobody listens on this host's own address.
    OwnAddressClosed,
    /// The socket is bound to the loopback address, from which nothing leaves this host.
    BoundToLoopback,
    /// The IPv6 socket is bound to an address of the other family.
    BoundToOtherFamily,
    /// A security module (Landlock) refuses connect().
    SecurityPolicy,
    /// A router on the way finds the hop limit used up.
    TimeExceeded,
    /// This host's own firewall drops the answer.
    AnswerDropped,
    /// An administrator destroys the socket, as `ss -K` does, while it connects.
    Destroyed,
    /// The same after the banner.
    DestroyedInSession,
    /// Accepted, banner, then nothing that the client says gets through, and the
    /// application gives up first.
    StalledAbandoned,
    /// Accepted, banner, then a pause, QUIT, and an end in order.
    Idle,
    /// Accepted, and the application leaves without reading the banner.
    Unread,
    /// The listener closes while the connection waits to be accepted.
    QueuedReset,
    /// This host redirects the connection to a program of its own, which resets it.
    RedirectedReset,
    /// This host redirects the connection to itself, and nobody listens.
    RedirectedRefused,
    /// As [`Scenario::Success`], by MPTCP.
    MptcpSuccess,
    /// As [`Scenario::ClosedPort`], by MPTCP.
    MptcpClosedPort,
}

/// Where in the lab a destination lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// On the server, behind the router.
    Behind,
    /// Nowhere: the client's routing table decides.
    Routing,
    /// On a link where nobody answers.
    EmptyLink,
    /// The loopback address.
    Loopback,
    /// The client's own first source address.
    OwnAddress,
}

/// What is true of an attempt, in the product's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// The only right label.
    pub label: &'static str,
    /// The only right reason; `None` for `connected`.
    pub reason: Option<&'static str>,
    /// The origins that are right, depending on the evidence a kernel offers;
    /// empty for `connected`.
    pub origins: &'static [&'static str],
    /// Whether it was actively said no to. `None` where the vocabulary leaves it
    /// open, and for `connected`.
    pub active_refusal: Option<bool>,
}

const UNIT: [Scenario; 23] = [
    Scenario::Success,
    Scenario::ClosedPort,
    Scenario::RemoteReset(Hop::Server, Tool::Nft),
    Scenario::RemoteReset(Hop::Router, Tool::Nft),
    Scenario::RemoteReset(Hop::Server, Tool::Iptables),
    Scenario::RemoteReset(Hop::Router, Tool::Iptables),
    Scenario::DropTimeout,
    Scenario::DropAbandoned,
    Scenario::DropAbandonedLate,
    Scenario::Cancelled,
    Scenario::Killed,
    Scenario::ResetBeforeBanner,
    Scenario::ClosedBeforeBanner,
    Scenario::Silent,
    Scenario::ResetMidSession,
    Scenario::Stalled,
    Scenario::NoRoute,
    Scenario::UnreachableRoute,
    Scenario::ProhibitRoute,
    Scenario::BlackholeRoute,
    Scenario::NoNeighbour,
    Scenario::PortsExhausted,
    Scenario::CgroupDeny,
];

const TAIL: [Scenario; 18] = [
    Scenario::NoSourceAddress,
    Scenario::LoopbackClosed,
    Scenario::OwnAddressClosed,
    Scenario::BoundToLoopback,
    Scenario::BoundToOtherFamily,
    Scenario::SecurityPolicy,
    Scenario::TimeExceeded,
    Scenario::AnswerDropped,
    Scenario::Destroyed,
    Scenario::DestroyedInSession,
    Scenario::StalledAbandoned,
    Scenario::Idle,
    Scenario::Unread,
    Scenario::QueuedReset,
    Scenario::RedirectedReset,
    Scenario::RedirectedRefused,
    Scenario::MptcpSuccess,
    Scenario::MptcpClosedPort,
];

const VERDICTS: [Verdict; 5] =
    [Verdict::Drop, Verdict::DropAbandoned, Verdict::Reset, Verdict::IcmpPort, Verdict::IcmpAdmin];

impl Scenario {
    /// All of them, in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        let icmp = Unreachable::ALL
            .into_iter()
            .flat_map(|kind| [Self::Icmp(kind, Hop::Router), Self::Icmp(kind, Hop::Server)]);
        let local = [Tool::Nft, Tool::Iptables]
            .into_iter()
            .flat_map(|tool| VERDICTS.map(|verdict| Self::LocalFirewall(tool, verdict)));
        UNIT.into_iter().chain(icmp).chain(local).chain(TAIL)
    }

    /// The place in [`Scenario::all`].
    pub(crate) fn index(self) -> u8 {
        let position = Self::all().position(|scenario| scenario == self);
        u8::try_from(position.unwrap_or_default()).unwrap_or(u8::MAX)
    }

    /// A stable name, such as `icmp-3-13-router`.
    pub fn name(self) -> String {
        match self {
            Self::RemoteReset(hop, tool) => format!("reset-{}-{}", hop.name(), tool.name()),
            Self::Icmp(kind, hop) => format!("{}-{}", kind.name(), hop.name()),
            Self::LocalFirewall(tool, verdict) => format!("local-{}-{}", tool.name(), verdict.name()),
            other => kebab(&format!("{other:?}")),
        }
    }

    /// The scenario of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|scenario| scenario.name() == name)
    }

    pub(crate) fn place(self) -> Place {
        match self {
            Self::NoRoute | Self::UnreachableRoute | Self::ProhibitRoute | Self::BlackholeRoute => Place::Routing,
            Self::NoSourceAddress => Place::Routing,
            Self::NoNeighbour => Place::EmptyLink,
            Self::LoopbackClosed => Place::Loopback,
            Self::OwnAddressClosed => Place::OwnAddress,
            _ => Place::Behind,
        }
    }

    /// Whether the scenario exists for an IP version.
    pub fn exists_for(self, ip: Ip) -> bool {
        match self {
            Self::Icmp(kind, _) => kind.ip() == ip,
            // IPv4 takes any interface's address, or else sends from 0.0.0.0:
            // connect() never fails for want of a source.
            Self::NoSourceAddress => ip == Ip::V6,
            _ => true,
        }
    }

    /// Whether the matrix tries it by sendto(MSG_FASTOPEN) as well: what fails before a SYN, and
    /// a few that do not.
    pub(crate) fn is_tried_by_fast_open(self) -> bool {
        matches!(
            self,
            Self::Success
                | Self::ClosedPort
                | Self::NoRoute
                | Self::UnreachableRoute
                | Self::ProhibitRoute
                | Self::BlackholeRoute
                | Self::CgroupDeny
        )
    }

    /// What is true of such an attempt.
    pub fn truth(self) -> Truth {
        match self {
            Self::Success | Self::MptcpSuccess | Self::Idle | Self::Unread => {
                Truth { label: "connected", reason: None, origins: &[], active_refusal: None }
            }
            Self::ClosedPort | Self::RemoteReset(..) | Self::MptcpClosedPort => {
                failure("refused", "rst", &["remote", "suspected-middlebox"], true)
            }
            Self::LoopbackClosed | Self::OwnAddressClosed => failure("refused", "rst", LOCAL, true),
            // Where no hook sees the RST as a packet, it may be the destination's.
            Self::RedirectedRefused => failure("refused", "rst", &["local", "unknown"], true),
            Self::DropTimeout | Self::AnswerDropped => failure("timeout", "syn-timeout", NONE, false),
            Self::DropAbandoned | Self::DropAbandonedLate => failure("timeout", "abandoned", NONE, false),
            Self::Stalled | Self::StalledAbandoned => failure("timeout", "stalled", NONE, false),
            Self::Cancelled => failure("cancelled", "early", NONE, false),
            Self::Killed => failure("cancelled", "process-exit", NONE, false),
            Self::Destroyed | Self::DestroyedInSession => failure("cancelled", "destroyed", LOCAL, false),
            Self::TimeExceeded => failure("unreachable", "icmp-time-exceeded", &["network", "unknown"], false),
            Self::Icmp(kind, hop) => icmp_truth(kind, hop),
            Self::ResetBeforeBanner | Self::QueuedReset => failure("reset", "before-banner", REMOTE, true),
            Self::RedirectedReset => failure("reset", "before-banner", LOCAL, true),
            Self::ResetMidSession => failure("reset", "mid-session", REMOTE, true),
            Self::ClosedBeforeBanner => open(failure("closed", "before-banner", REMOTE, false)),
            Self::Silent => failure("silent", "no-banner", NONE, false),
            Self::LocalFirewall(_, verdict) => failure("blocked", "local-firewall", LOCAL, verdict.answers()),
            Self::NoRoute | Self::UnreachableRoute | Self::BlackholeRoute => {
                failure("unreachable", "no-route", LOCAL, false)
            }
            Self::ProhibitRoute => open(failure("unreachable", "route-prohibited", LOCAL, false)),
            Self::NoNeighbour => failure("unreachable", "no-neighbour", LOCAL, false),
            Self::PortsExhausted => failure("blocked", "ports-exhausted", LOCAL, false),
            Self::NoSourceAddress | Self::BoundToLoopback | Self::BoundToOtherFamily => {
                failure("blocked", "no-source-address", LOCAL, false)
            }
            Self::SecurityPolicy => failure("blocked", "security-policy", LOCAL, true),
            Self::CgroupDeny => open(failure("blocked", "permission-denied", LOCAL, false)),
        }
    }
}

const LOCAL: &[&str] = &["local"];
const NONE: &[&str] = &["none"];
const REMOTE: &[&str] = &["remote"];

const fn failure(label: &'static str, reason: &'static str, origins: &'static [&'static str], active: bool) -> Truth {
    Truth { label, reason: Some(reason), origins, active_refusal: Some(active) }
}

/// The same truth where the vocabulary does not settle `active_refusal`.
const fn open(truth: Truth) -> Truth {
    Truth { active_refusal: None, ..truth }
}

fn icmp_truth(kind: Unreachable, hop: Hop) -> Truth {
    let origins: &[&str] = match (hop, kind.ip()) {
        (Hop::Router, Ip::V4) => &["network"],
        (Hop::Server, Ip::V4) => REMOTE,
        // Without RECVERR the kernel keeps no sender for ICMPv6; only a hook on
        // its ICMPv6 handler shows it.
        (Hop::Router, Ip::V6) => &["network", "unknown"],
        (Hop::Server, Ip::V6) => &["remote", "unknown"],
    };
    let (label, reason) = kind.truth();
    failure(label, reason, origins, label == "refused")
}

impl Hop {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Server => "server",
        }
    }
}

impl Tool {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
        }
    }
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::DropAbandoned => "drop-abandoned",
            Self::Reset => "reset",
            Self::IcmpPort => "icmp-port",
            Self::IcmpAdmin => "icmp-admin",
        }
    }

    const fn answers(self) -> bool {
        !matches!(self, Self::Drop | Self::DropAbandoned)
    }
}

fn kebab(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_stable() {
        let names: HashSet<_> = Scenario::all().map(Scenario::name).collect();
        assert_eq!(names.len(), Scenario::all().count());
        assert!(names.contains("reset-before-banner"));
        assert!(names.contains("icmp-3-13-router"));
        assert!(names.contains("icmp6-1-5-server"));
        assert!(names.contains("local-iptables-drop-abandoned"));
    }

    #[test]
    fn only_connected_has_no_reason() {
        for scenario in Scenario::all() {
            let truth = scenario.truth();
            assert_eq!(truth.label == "connected", truth.reason.is_none(), "{scenario:?}");
            assert_eq!(truth.label == "connected", truth.origins.is_empty(), "{scenario:?}");
        }
    }

    #[test]
    fn no_scenario_is_missing_from_all() {
        assert_eq!(Scenario::all().count(), 23 + 13 * 2 + 2 * 5 + 18);
    }
}
