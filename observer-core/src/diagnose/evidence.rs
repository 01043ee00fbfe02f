//! What a diagnosis rests on: counted attempts, and what was looked up beside them.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::Mail;
use super::seen::{Seen, Share};
use crate::event::Endpoint;
use crate::evidence::conntrack::Conntrack;
use crate::evidence::dns;
use crate::evidence::dns::AutonomousSystem;
use crate::evidence::firewall::{Flow, Walked};
use crate::evidence::probe::Probe;
use crate::evidence::probe::compare::Born;
use crate::evidence::probe::trace::Trace;
use crate::evidence::route::Route;
use crate::fact::own::OwnAddresses;
use crate::label::{Label, Reason};
use crate::record::entry::{DestinationTotals, Entry, Tally};

/// Single attempts that are shown: of the first, and of the last.
const SAMPLES: (usize, usize) = (3, 7);

/// Everything that rules look at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What was asked about, as it was typed; empty for "what is wrong right now".
    pub asked: String,
    /// Port that the attempts went to.
    pub port: u16,
    /// This host's own addresses.
    pub own: OwnAddresses,
    /// Attempts to the destination in question: one, so that no evidence crosses from one
    /// to another.
    pub subject: Seen,
    /// Attempts to all others of the outside on the same port, in the same period.
    pub elsewhere: Seen,
    /// Attempts to this host itself, left out of `elsewhere`.
    pub local: Share,
    /// Attempts to other destinations that this host redirected to itself, left out of `elsewhere`.
    pub redirected: Share,
    /// Attempts to private networks, left out of `elsewhere` where the destination in question
    /// is in none.
    pub inner: Share,
    /// Attempts to the destination in question in the week before the period.
    pub before: Seen,
    /// Attempts to all destinations of the outside on other watched ports, in the same period.
    pub other_ports: Seen,
    /// What this host's own firewall does with such a SYN at this moment.
    pub firewall: Option<Firewall>,
    /// How full connection tracking is at this moment, if it is in use.
    pub conntrack: Option<Conntrack>,
    /// This host's routing decision at this moment.
    pub route: Option<Route>,
    /// That route leads to the destination's own link, with no router in between.
    pub is_on_link: bool,
    /// What probes found, if they were asked for.
    pub probes: Vec<Probe>,
    /// Where the answers to SYNs are born, if probes were asked for and one failed.
    pub traced: Vec<Traced>,
    /// Who operates the destinations' networks, if a database was named.
    pub operators: Vec<Operator>,
    /// What the mail server's log says of deliveries there.
    pub mail: Mail,
    /// What is remarkable in DNS, if it was asked.
    pub dns: Vec<dns::finding::Finding>,
    /// Single attempts that failed.
    pub samples: Vec<Sample>,
    /// What could not be looked at, and why.
    pub not_seen: Vec<String>,
}

/// One attempt that failed, as the other side can find it in its own logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When it ended.
    pub time: Timestamp,
    /// From where.
    pub src: Endpoint,
    /// To where.
    pub dst: Endpoint,
    /// How it ended.
    pub label: Label,
    /// The mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
}

impl Sample {
    fn of(entry: &Entry) -> Self {
        let &Entry { time, src, dst, label, reason, elapsed, .. } = entry;
        let elapsed_ms = elapsed.map(|elapsed| elapsed.as_millis().try_into().unwrap_or(u64::MAX));
        Self { time, src, dst, label, reason, elapsed_ms }
    }
}

/// A flow, and what the firewall's rules do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Firewall {
    /// The flow of the attempts that fail.
    pub flow: Flow,
    /// The answer, and its rules.
    #[serde(flatten)]
    pub walked: Walked,
}

/// SYNs with a rising TTL, and what they tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traced {
    /// The hops.
    pub trace: Trace,
    /// Where the answer is born.
    pub born: Born,
}

/// The autonomous system of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// The destination.
    pub address: IpAddr,
    /// Number and name of the autonomous system.
    #[serde(flatten)]
    pub system: AutonomousSystem,
}

/// Where a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This host itself.
    Own,
    /// A private network, or the link.
    Inner,
    /// Anywhere else.
    Outside,
}

impl Reach {
    /// Of an address.
    pub fn of(address: IpAddr, own: &OwnAddresses) -> Self {
        let is_inner = match address.to_canonical() {
            // 100.64.0.0/10: RFC 6598.
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || (v4.to_bits() >> 22) == 0x191,
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        match is_inner {
            _ if own.contains(address) => Self::Own,
            true => Self::Inner,
            false => Self::Outside,
        }
    }
}

impl Evidence {
    /// Of one destination, and of the attempts to it; everything else is to be added yet.
    pub fn about(destination: IpAddr, port: u16, own: OwnAddresses, subject: Seen) -> Self {
        let destination = destination.to_canonical();
        let mut evidence = Self { asked: destination.to_string(), port, own, subject, ..Self::default() };
        evidence.subject.destinations.entry(destination).or_default();
        evidence
    }

    /// Keeps single attempts that failed, to be shown: some of the first, and of the last.
    pub fn sample(&mut self, attempts: &[Entry]) {
        let failed = attempts.iter().filter(|entry| !matches!(entry.label, Label::Connected | Label::Cancelled));
        let mut samples: Vec<Sample> = failed.map(Sample::of).collect();
        let (first, last) = SAMPLES;
        if samples.len() > first + last {
            samples.drain(first..samples.len() - last);
        }
        self.samples = samples;
    }

    /// Where the destination in question is.
    pub fn reach(&self) -> Reach {
        let of = |address: &IpAddr| Reach::of(*address, &self.own);
        self.subject.destinations.keys().next().map_or(Reach::Outside, of)
    }

    /// Adds what history counted of another destination, to what it can be compared with.
    pub fn add_other(&mut self, totals: &DestinationTotals) {
        let here = self.reach();
        match Reach::of(totals.destination.ip(), &self.own) {
            Reach::Own => add_share(&mut self.local, totals, |tally| tally.count),
            // What is outside says nothing of this host's own server.
            _ if here == Reach::Own => {}
            there => {
                add_share(&mut self.redirected, totals, Tally::here);
                match there {
                    Reach::Inner if here == Reach::Outside => add_share(&mut self.inner, totals, Tally::outside),
                    _ if totals.destination.port() == self.port => self.elsewhere.add_outside(totals),
                    _ => self.other_ports.add_outside(totals),
                }
            }
        }
    }

    /// Adds who rejected an attempt to another destination, and from where it came; not the
    /// attempt itself.
    pub fn add_other_facts(&mut self, entry: &Entry) {
        let Some(destination) = entry.dst.ip.map(|ip| ip.to_canonical()) else { return };
        let (here, there) = (self.reach(), Reach::of(destination, &self.own));
        let is_comparable = there == Reach::Outside && here != Reach::Own || there == here;
        // What this host answered itself says nothing of them.
        if is_comparable && !entry.evidence.redirected && !self.subject.destinations.contains_key(&destination) {
            self.elsewhere.add_facts(entry);
            self.elsewhere.add_source(entry);
        }
    }
}

fn add_share(share: &mut Share, totals: &DestinationTotals, count: fn(&Tally) -> u64) {
    for (&(label, reason), tally) in totals.outcomes.iter().filter(|((label, _), _)| *label != Label::Cancelled) {
        share.add_many((label, reason, None), count(tally));
    }
}
