//! How far a failure reaches: one destination, a prefix, one of our source
//! addresses, a family, or everything.
//!
//! [`assess`] concludes from counts over a window, and each [`Verdict`] carries
//! the numbers that it rests on. [`ScopeTracker`] tells when one begins, widens
//! and ends.

mod rate;
mod reach;
mod text;
mod tracker;
mod view;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::reach::{Reach, sentences};
pub use self::tracker::{Change, EndCause, MAX_ACTIVE, OpenScope, ScopeChange, ScopeTracker};
use self::view::View;
use crate::label::{Label, Origin};
use crate::steady::Now;
use crate::tally::{Family, Tallies, Window};

/// Fewer attempts say nothing: with a tenth of all attempts failing by chance,
/// five failures in a row come up once in 100,000.
pub const MIN_ATTEMPTS: u64 = 5;
/// A family, a source address or everything fails only if so many destinations
/// do; two that are down at once are a coincidence that happens.
pub const MIN_DESTINATIONS: u64 = 3;
/// A prefix fails only if so many of its hosts do; one is that host.
pub const MIN_HOSTS: u64 = 2;

/// Shares that a verdict needs.
#[derive(Clone, Copy, Debug)]
struct Thresholds {
    /// Least share of failures among the attempts in question, and of failing
    /// destinations among theirs.
    failing: f64,
    /// Greatest share of failures among what it is compared with.
    elsewhere: f64,
    /// A rate limit needs no more than a failure.
    any_failure_of_a_limit: bool,
}

/// To begin: some attempts get through while a block takes hold or leaks, and
/// some destinations are always down.
const BEGIN: Thresholds = Thresholds { failing: 0.9, elsewhere: 0.1, any_failure_of_a_limit: false };
/// To go on: far enough from [`BEGIN`] that a share that wavers around it is one
/// alert and not many.
const STAY: Thresholds = Thresholds { failing: 0.7, elsewhere: 0.3, any_failure_of_a_limit: true };

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "kebab-case")]
pub enum Scope {
    /// Every destination: this host itself, its provider or a firewall blocks the port.
    Everything {
        /// Destination port.
        port: u16,
    },
    /// IPv4 destinations, while IPv6 works.
    OnlyIpv4 {
        /// Destination port.
        port: u16,
    },
    /// IPv6 destinations, while IPv4 works.
    OnlyIpv6 {
        /// Destination port.
        port: u16,
    },
    /// What leaves from one local address, while others of its family work.
    OnlySource {
        /// The local address.
        ip: IpAddr,
    },
    /// The destinations of one prefix, while others work.
    Prefix {
        /// The prefix.
        prefix: IpNet,
        /// Destination port.
        port: u16,
    },
    /// One destination, while others work.
    Destination {
        /// Its address.
        ip: IpAddr,
        /// Its port.
        port: u16,
    },
    /// One destination, after so many connections in a period: a rate limit.
    Intermittent {
        /// Its address.
        ip: IpAddr,
        /// Its port.
        port: u16,
        /// Connections that succeed in a period, about.
        connections: u64,
        /// The period, in seconds.
        period_s: u64,
    },
    /// There are failures, and too few attempts or destinations to tell.
    TooLittleData {
        /// Destination port.
        port: u16,
    },
}

impl Scope {
    /// The scope as events write it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Everything { .. } => "everything",
            Self::OnlyIpv4 { .. } => "only-ipv4",
            Self::OnlyIpv6 { .. } => "only-ipv6",
            Self::OnlySource { .. } => "only-source",
            Self::Prefix { .. } => "prefix",
            Self::Destination { .. } => "destination",
            Self::Intermittent { .. } => "intermittent",
            Self::TooLittleData { .. } => "too-little-data",
        }
    }

    /// The destination port, where the scope has one.
    pub const fn port(&self) -> Option<u16> {
        match *self {
            Self::OnlySource { .. } => None,
            Self::Everything { port }
            | Self::OnlyIpv4 { port }
            | Self::OnlyIpv6 { port }
            | Self::TooLittleData { port }
            | Self::Prefix { port, .. }
            | Self::Destination { port, .. }
            | Self::Intermittent { port, .. } => Some(port),
        }
    }

    /// True if this scope is wider than `other`, and says all that `other` does:
    /// where everything fails on a port, so does every source address.
    pub fn covers(&self, other: &Self) -> bool {
        if let (Self::Everything { .. }, Self::OnlySource { .. }) = (self, other) {
            return true;
        }
        if self.port() != other.port() {
            return false;
        }
        match self {
            Self::Everything { .. } => !matches!(other, Self::Everything { .. }),
            Self::OnlyIpv4 { .. } => other.address().is_some_and(|addr| addr.is_ipv4()),
            Self::OnlyIpv6 { .. } => other.address().is_some_and(|addr| addr.is_ipv6()),
            Self::Prefix { prefix, .. } => {
                !matches!(other, Self::Prefix { .. }) && other.address().is_some_and(|addr| prefix.contains(&addr))
            }
            Self::Destination { ip, .. } => matches!(other, Self::Intermittent { ip: of, .. } if of == ip),
            Self::OnlySource { .. } | Self::Intermittent { .. } | Self::TooLittleData { .. } => false,
        }
    }

    /// A destination address within the scope, where it has one.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Prefix { prefix, .. } => Some(prefix.addr()),
            Self::Destination { ip, .. } | Self::Intermittent { ip, .. } => Some(*ip),
            _ => None,
        }
    }

    /// The same for a rate limit, whatever the rate.
    fn identity(&self) -> Self {
        match *self {
            Self::Intermittent { ip, port, .. } => Self::Intermittent { ip, port, connections: 0, period_s: 0 },
            _ => self.clone(),
        }
    }

    const fn only(family: Family, port: u16) -> Self {
        match family {
            Family::Ipv4 => Self::OnlyIpv4 { port },
            Family::Ipv6 => Self::OnlyIpv6 { port },
        }
    }
}

/// What a verdict rests on. Attempts that the application dropped before anyone
/// could fail them (`cancelled`) are in none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// The window that was looked at.
    pub window: Window,
    /// Attempts within the scope.
    pub attempts: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Destinations within the scope; for a source address, those that failed
    /// from it.
    pub destinations: u64,
    /// The most frequent failure within the scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// [`Scope::Everything`]: [`Origin::Local`] where this host itself gave most of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Attempts in what the scope is compared with: other destinations, the
    /// other family, other source addresses.
    pub elsewhere_attempts: u64,
    /// How many of them succeeded.
    pub elsewhere_successes: u64,
}

/// What fails, and the numbers that say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What fails.
    #[serde(flatten)]
    pub scope: Scope,
    /// What that rests on.
    #[serde(flatten)]
    pub numbers: Numbers,
}

/// How far the failures of a window reach, in the order of scopes: the widest
/// that hold, none within another. Empty if there are none worth a verdict.
pub fn assess(tallies: &Tallies, window: Window, now: impl Into<Now>) -> Vec<Verdict> {
    View::new(tallies, window, now.into()).verdicts()
}

#[cfg(test)]
mod tests;
