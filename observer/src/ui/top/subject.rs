//! What a list, and a row of it, is about.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use observer_core::event::Event;
use observer_core::tally::{Key, Tallies, Tally};

/// What a row, or the detail, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Destination(Key),
    Prefix(IpNet),
    Source(Option<IpAddr>),
}

impl Subject {
    /// True for an attempt that is counted under this subject.
    pub(super) fn covers(self, event: &Event) -> bool {
        match self {
            Self::Destination((ip, port)) => event.dst.ip == Some(ip) && event.dst.port == Some(port),
            Self::Prefix(net) => event.dst.ip.is_some_and(|ip| net.contains(&ip)),
            Self::Source(saddr) => event.src.ip == saddr,
        }
    }

    pub(super) fn is_within(self, net: &IpNet) -> bool {
        match self {
            Self::Destination((ip, _)) => net.contains(&ip),
            Self::Prefix(prefix) => net.contains(&prefix) || prefix.contains(net),
            Self::Source(saddr) => saddr.is_some_and(|ip| net.contains(&ip)),
        }
    }

    pub(super) fn tally(self, tallies: &Tallies) -> Option<&Tally> {
        match self {
            Self::Destination(key) => tallies.destination(key),
            Self::Prefix(net) => tallies.prefix(net),
            Self::Source(saddr) => tallies.source(saddr),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Destination((ip, port)) => SocketAddr::new(ip, port).fmt(f),
            Self::Prefix(net) => net.fmt(f),
            Self::Source(Some(ip)) => ip.fmt(f),
            Self::Source(None) => f.write_str("none chosen"),
        }
    }
}

/// What is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Addresses with ports.
    #[default]
    Destinations,
    /// Destinations by network.
    Prefixes,
    /// Local addresses.
    Sources,
}

impl View {
    /// Every view, in the order of the tabs.
    pub const ALL: [Self; 3] = [Self::Destinations, Self::Prefixes, Self::Sources];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Destinations => "destinations",
            Self::Prefixes => "prefixes",
            Self::Sources => "sources",
        }
    }

    pub(super) fn subjects<'a>(self, tallies: &'a Tallies) -> Box<dyn Iterator<Item = (Subject, &'a Tally)> + 'a> {
        match self {
            Self::Destinations => {
                Box::new(tallies.destinations().map(|(key, tally)| (Subject::Destination(key), tally)))
            }
            Self::Prefixes => Box::new(tallies.prefixes().map(|(net, tally)| (Subject::Prefix(net), tally))),
            Self::Sources => Box::new(tallies.sources().map(|(saddr, tally)| (Subject::Source(saddr), tally))),
        }
    }
}
