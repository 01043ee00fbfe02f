//! Scenario × family × mode: what the matrix of tests is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{self, Ip, destination};
use crate::scenario::{Place, Scenario, Verdict};

/// The socket's address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
    /// AF_INET6 to an IPv4-mapped address: IPv4 on the wire.
    Mapped,
}

/// How the client calls connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// connect() that sleeps.
    Blocking,
    /// connect() that returns EINPROGRESS, then poll().
    NonBlocking,
    /// IORING_OP_CONNECT.
    IoUring,
    /// sendto(MSG_FASTOPEN) without data, as Exim connects.
    FastOpen,
}

/// How long an attempt that nobody answers lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// Seconds: the kernel is told to give up early, and applications do.
    #[default]
    Hurried,
    /// As on a mail host: the kernel's own patience, about two minutes, and the
    /// 30 s of Postfix or the 60 s of KumoMTA.
    Real,
}

/// One test case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// How the attempt ends.
    pub scenario: Scenario,
    /// The socket's family.
    pub family: Family,
    /// How connect is called.
    pub mode: Mode,
}

/// The unprivileged user that non-blocking cases run as.
const NOBODY: u32 = 65_534;

/// Every case that makes sense. Left out: ICMP errors of the other IP version,
/// and IPv4 without a source address, which Linux never refuses.
pub fn matrix() -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in Scenario::all() {
        for family in [Family::V4, Family::V6, Family::Mapped] {
            // An IPv4 socket cannot be bound to an IPv6 address at all.
            let is_possible = scenario != Scenario::BoundToOtherFamily || family != Family::V4;
            if scenario.exists_for(family.ip()) && is_possible {
                let modes =
                    Mode::ALL.into_iter().filter(|&mode| mode != Mode::FastOpen || scenario.is_tried_by_fast_open());
                cases.extend(modes.map(|mode| Case { scenario, family, mode }));
            }
        }
    }
    cases
}

impl Family {
    /// The IP version on the wire.
    pub const fn ip(self) -> Ip {
        match self {
            Self::V4 | Self::Mapped => Ip::V4,
            Self::V6 => Ip::V6,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Mapped => "mapped",
        }
    }

    /// An address as a socket of this family wants it.
    pub(crate) fn address(self, ip: IpAddr, port: u16) -> SocketAddr {
        match (self, ip) {
            (Self::Mapped | Self::V6, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), port),
            _ => SocketAddr::new(ip, port),
        }
    }
}

impl Mode {
    const ALL: [Self; 4] = [Self::Blocking, Self::NonBlocking, Self::IoUring, Self::FastOpen];

    const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::NonBlocking => "nonblocking",
            Self::IoUring => "iouring",
            Self::FastOpen => "fastopen",
        }
    }
}

impl Case {
    /// A stable name, such as `icmp-3-13-router/v4/nonblocking`.
    pub fn name(self) -> String {
        format!("{}/{}/{}", self.scenario.name(), self.family.name(), self.mode.name())
    }

    /// The case of that name in [`matrix`].
    pub fn by_name(name: &str) -> Option<Self> {
        matrix().into_iter().find(|case| case.name() == name)
    }

    /// The destination address, IPv4 for mapped sockets.
    pub fn destination(self) -> IpAddr {
        destination(self.scenario, self.family.ip())
    }

    /// The name that the client's process bears, at most 15 bytes: `obs-c` and
    /// the case's place in the matrix.
    pub fn comm(self) -> String {
        let index = matrix().into_iter().position(|case| case == self).unwrap_or(usize::MAX);
        format!("obs-c{index:03}")
    }

    /// The user that the client runs as: nobody for non-blocking cases, so that
    /// attribution to users is seen to work, root for the others (io_uring may be
    /// root's alone).
    pub const fn uid(self) -> u32 {
        match self.mode {
            Mode::NonBlocking => NOBODY,
            Mode::Blocking | Mode::IoUring | Mode::FastOpen => 0,
        }
    }

    /// The first Linux version that can run the case at all: one free port is
    /// left to a socket by IP_LOCAL_PORT_RANGE, lest other cases be disturbed.
    pub const fn since(self) -> (u32, u32) {
        match self.scenario {
            Scenario::PortsExhausted => (6, 3),
            // Landlock knows of connect().
            Scenario::SecurityPolicy => (6, 7),
            // The client asks an MPTCP socket for TCP_INFO.
            Scenario::MptcpSuccess | Scenario::MptcpClosedPort => (5, 16),
            _ => (5, 10),
        }
    }

    /// What the client is told: the errno of connect() or of the session, `None`
    /// where nothing failed or nobody waited for it.
    pub const fn expected_errno(self) -> Option<&'static str> {
        Some(match self.scenario {
            Scenario::ClosedPort | Scenario::RemoteReset(..) | Scenario::MptcpClosedPort => "ECONNREFUSED",
            Scenario::RedirectedRefused => "ECONNREFUSED",
            Scenario::LoopbackClosed | Scenario::OwnAddressClosed => "ECONNREFUSED",
            Scenario::DropTimeout | Scenario::Stalled | Scenario::AnswerDropped => "ETIMEDOUT",
            Scenario::Icmp(kind, _) => kind.errno(),
            Scenario::ResetBeforeBanner | Scenario::ResetMidSession => "ECONNRESET",
            Scenario::QueuedReset | Scenario::RedirectedReset => "ECONNRESET",
            Scenario::Destroyed | Scenario::DestroyedInSession => "ECONNABORTED",
            Scenario::TimeExceeded => "EHOSTUNREACH",
            Scenario::BoundToLoopback => match self.family {
                // Linux sends from ::1, and nobody can answer.
                Family::V6 => "ETIMEDOUT",
                Family::V4 | Family::Mapped => "EINVAL",
            },
            Scenario::BoundToOtherFamily => match self.family {
                Family::V6 => "EAFNOSUPPORT",
                Family::V4 | Family::Mapped => "ENETUNREACH",
            },
            Scenario::LocalFirewall(_, verdict) => return self.local_errno(verdict),
            Scenario::NoRoute => "ENETUNREACH",
            Scenario::UnreachableRoute | Scenario::NoNeighbour => "EHOSTUNREACH",
            Scenario::ProhibitRoute | Scenario::SecurityPolicy => "EACCES",
            Scenario::BlackholeRoute => "EINVAL",
            Scenario::PortsExhausted | Scenario::NoSourceAddress => "EADDRNOTAVAIL",
            Scenario::CgroupDeny => "EPERM",
            Scenario::Success | Scenario::ClosedBeforeBanner | Scenario::Silent | Scenario::Killed => return None,
            Scenario::DropAbandoned | Scenario::DropAbandonedLate | Scenario::Cancelled => return None,
            Scenario::StalledAbandoned | Scenario::Idle | Scenario::Unread | Scenario::MptcpSuccess => return None,
        })
    }

    const fn local_errno(self, verdict: Verdict) -> Option<&'static str> {
        match (verdict, self.family) {
            (Verdict::Drop, _) => Some("ETIMEDOUT"),
            (Verdict::DropAbandoned, _) => None,
            (Verdict::Reset | Verdict::IcmpPort, _) => Some("ECONNREFUSED"),
            (Verdict::IcmpAdmin, Family::V6) => Some("EACCES"),
            (Verdict::IcmpAdmin, _) => Some("EHOSTUNREACH"),
        }
    }

    /// How long the application waits for connect(); `None`: as long as the kernel.
    pub const fn patience(self, pace: Pace) -> Option<Duration> {
        Some(match (self.scenario, pace) {
            (Scenario::DropAbandoned | Scenario::LocalFirewall(_, Verdict::DropAbandoned), Pace::Hurried) => {
                Duration::from_millis(1500)
            }
            (Scenario::DropAbandoned | Scenario::LocalFirewall(_, Verdict::DropAbandoned), Pace::Real) => {
                Duration::from_secs(30)
            }
            (Scenario::DropAbandonedLate, Pace::Hurried) => Duration::from_millis(2500),
            (Scenario::DropAbandonedLate, Pace::Real) => Duration::from_secs(60),
            (Scenario::Cancelled, _) => Duration::from_millis(50),
            _ => return None,
        })
    }

    /// The address to bind to beforehand, if any.
    ///
    /// A blocking connect that failed has forgotten its port, so most cases bind.
    /// Non-blocking ones and the closed port leave it to the kernel, as mail
    /// servers do.
    pub(crate) fn source(self) -> Option<IpAddr> {
        match (self.scenario, self.family) {
            (Scenario::BoundToLoopback, Family::V6) => return Some(Ipv6Addr::LOCALHOST.into()),
            (Scenario::BoundToLoopback, _) => return Some(Ipv4Addr::LOCALHOST.into()),
            (Scenario::BoundToOtherFamily, Family::V6) => return Some(addr::sources(Ip::V4)[0]),
            (Scenario::BoundToOtherFamily, _) => return Some(addr::sources(Ip::V6)[0]),
            _ => {}
        }
        let unbound =
            matches!(self.scenario, Scenario::ClosedPort | Scenario::PortsExhausted | Scenario::NoSourceAddress);
        if unbound || (self.mode == Mode::NonBlocking && self.scenario != Scenario::Killed) {
            return None;
        }
        let choice = usize::from(self.mode == Mode::IoUring);
        match self.scenario.place() {
            Place::Behind | Place::Routing => Some(addr::sources(self.family.ip())[choice]),
            Place::EmptyLink | Place::Loopback | Place::OwnAddress => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_lead_back() {
        let cases = matrix();
        let names: HashSet<_> = cases.iter().map(|case| case.name()).collect();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            assert_eq!(Case::by_name(&case.name()), Some(case));
        }
    }

    #[test]
    fn comm_fits_into_the_kernels_field() {
        assert!(matrix().into_iter().all(|case| case.comm().len() <= 15));
    }

    #[test]
    fn mapped_sockets_get_mapped_addresses() {
        let case = Case { scenario: Scenario::Success, family: Family::Mapped, mode: Mode::Blocking };
        let address = case.family.address(case.destination(), 25);
        assert!(address.to_string().starts_with("[::ffff:203.0.113."), "{address}");
    }
}
