//! What a diagnosis rests on: counted attempts, and what was looked up beside them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Mail;
use crate::event::Endpoint;
use crate::evidence::conntrack::Conntrack;
use crate::evidence::dns;
use crate::evidence::dns::AutonomousSystem;
use crate::evidence::firewall::{Flow, Walked};
use crate::evidence::probe::Probe;
use crate::evidence::probe::compare::Born;
use crate::evidence::probe::trace::Trace;
use crate::evidence::route::Route;
use crate::label::{Label, Origin, Reason};
use crate::record::entry::{DestinationTotals, Entry};

/// Addresses, sources and senders that are told apart; what comes after the first so
/// many is counted in the sums alone.
const KEPT: usize = 256;
/// Durations that are kept of a kind, for a median.
const DURATIONS: usize = 1_024;

/// Everything that rules look at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What was asked about, as it was typed; empty for "what is wrong right now".
    pub asked: String,
    /// Port that the attempts went to.
    pub port: u16,
    /// Attempts to the destinations in question.
    pub subject: Seen,
    /// Attempts to all others on the same port, in the same period.
    pub elsewhere: Seen,
    /// Attempts to the destinations in question in the week before the period.
    pub before: Seen,
    /// Attempts to all destinations on other watched ports, in the same period.
    pub other_ports: Seen,
    /// What this host's own firewall does with such a SYN at this moment.
    pub firewall: Option<Firewall>,
    /// How full connection tracking is at this moment, if it is in use.
    pub conntrack: Option<Conntrack>,
    /// This host's routing decision at this moment.
    pub route: Option<Route>,
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
    /// What could not be looked at, and why.
    pub not_seen: Vec<String>,
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

/// How an attempt ended.
pub type Ending = (Label, Option<Reason>, Option<Origin>);

/// Attempts, counted. Those that were cancelled say nothing and are left out.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All of them.
    pub all: Share,
    /// By their ending.
    pub endings: BTreeMap<Ending, u64>,
    /// By destination address.
    pub destinations: BTreeMap<IpAddr, Share>,
    /// By local address.
    pub sources: BTreeMap<IpAddr, Share>,
    /// Of IPv4.
    pub v4: Share,
    /// Of IPv6.
    pub v6: Share,
    /// Sender, type and code of ICMP errors that ended an attempt.
    pub icmp: BTreeMap<(IpAddr, u8, u8), u64>,
    /// From SYN to the active refusal.
    pub refused_after: Durations,
    /// From SYN to the completed handshake.
    pub handshakes: Durations,
    /// How long those waited whom nobody answered.
    pub waited: Durations,
    /// First and last attempt, and the last of each kind.
    pub times: Times,
}

/// When attempts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// The first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The first failure since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The last session that went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<Timestamp>,
}

/// A part of the attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// All of them.
    pub attempts: u64,
    /// Whose handshake was completed, whatever came then.
    pub answered: u64,
    /// That ended well.
    pub connected: u64,
    /// How often success and failure followed each other.
    pub changes: u64,
    /// Failures since the last success.
    pub streak: u64,
}

impl Share {
    fn add(&mut self, ending: Ending) {
        let is_connected = ending.0 == Label::Connected;
        let was_connected = self.streak == 0;
        self.changes += u64::from(self.attempts > 0 && is_connected != was_connected);
        self.attempts += 1;
        self.answered += u64::from(is_answered(ending));
        self.connected += u64::from(is_connected);
        self.streak = if is_connected { 0 } else { self.streak + 1 };
    }

    /// Adds a count whose order is not known.
    fn add_many(&mut self, ending: Ending, count: u64) {
        self.attempts += count;
        self.answered += if is_answered(ending) { count } else { 0 };
        self.connected += if ending.0 == Label::Connected { count } else { 0 };
    }

    /// Attempts that did not end well.
    pub fn failed(&self) -> u64 {
        self.attempts - self.connected
    }

    /// True if at least `least` attempts were made and nine in ten failed.
    pub fn fails(&self, least: u64) -> bool {
        self.attempts >= least && self.failed() * 10 >= self.attempts * 9
    }

    /// True if at least `least` attempts were made and nine in ten were answered.
    pub fn works(&self, least: u64) -> bool {
        self.attempts >= least && self.answered * 10 >= self.attempts * 9
    }
}

/// Whether the destination completed the handshake.
fn is_answered((label, reason, _): Ending) -> bool {
    label.is_answered(reason)
}

/// Durations of one kind: the first so many.
#[derive(Clone, Debug, Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    fn add(&mut self, duration: Option<Duration>) {
        if self.0.len() < DURATIONS {
            self.0.extend(duration);
        }
    }

    /// The one in the middle.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

impl Seen {
    /// Adds an attempt, to be called in the order of time.
    pub fn add(&mut self, entry: &Entry) {
        if entry.label == Label::Cancelled {
            return;
        }
        let ending = (entry.label, entry.reason, entry.origin);
        *self.endings.entry(ending).or_default() += 1;
        self.all.add(ending);
        self.add_places(entry.src, entry.dst, |share| share.add(ending));
        self.add_times(entry);
        self.add_facts(entry);
        match entry.label {
            Label::Refused => self.refused_after.add(entry.elapsed),
            Label::Timeout if !is_answered(ending) => self.waited.add(entry.elapsed),
            _ => {}
        }
        self.handshakes.add(entry.handshake);
    }

    /// Adds what history counted of a destination.
    pub fn add_totals(&mut self, totals: &DestinationTotals) {
        for (&(label, reason), tally) in &totals.outcomes {
            self.add_count(totals.destination.ip(), label, reason, tally.count);
        }
    }

    /// Adds a count of which neither order nor origin is known.
    pub fn add_count(&mut self, dst: IpAddr, label: Label, reason: Option<Reason>, count: u64) {
        if label == Label::Cancelled {
            return;
        }
        let ending = (label, reason, None);
        *self.endings.entry(ending).or_default() += count;
        self.all.add_many(ending, count);
        let (src, dst) = (Endpoint::default(), Endpoint { ip: Some(dst), port: None });
        self.add_places(src, dst, |share| share.add_many(ending, count));
    }

    fn add_places(&mut self, src: Endpoint, dst: Endpoint, add: impl Fn(&mut Share)) {
        if let Some(dst) = dst.ip {
            add(if dst.is_ipv4() { &mut self.v4 } else { &mut self.v6 });
            place(&mut self.destinations, dst).into_iter().for_each(&add);
        }
        if let Some(src) = src.ip {
            place(&mut self.sources, src).into_iter().for_each(&add);
        }
    }

    fn add_times(&mut self, entry: &Entry) {
        let times = &mut self.times;
        times.first = times.first.or(Some(entry.time));
        times.last = Some(entry.time);
        if entry.label == Label::Connected {
            times.connected = Some(entry.time);
            times.failing_since = None;
        } else {
            times.failing_since = times.failing_since.or(Some(entry.time));
        }
    }

    /// Adds who rejected an attempt, and not the attempt itself.
    pub fn add_facts(&mut self, entry: &Entry) {
        let facts = &entry.evidence;
        let by_icmp = matches!(entry.label, Label::Refused | Label::Unreachable);
        if let (Some(from), Some(kind), Some(code), true) = (facts.icmp_from, facts.icmp_type, facts.icmp_code, by_icmp)
        {
            place(&mut self.icmp, (from, kind, code)).into_iter().for_each(|count| *count += 1);
        }
    }

    /// Failures that ended so.
    pub fn count(&self, is_meant: impl Fn(Ending) -> bool) -> u64 {
        self.endings
            .iter()
            .filter(|(ending, _)| ending.0 != Label::Connected && is_meant(**ending))
            .map(|(_, n)| n)
            .sum()
    }

    /// [`Self::count`] if it is most failures: nine in ten.
    pub fn mostly(&self, is_meant: impl Fn(Ending) -> bool) -> Option<u64> {
        let count = self.count(is_meant);
        (count > 0 && count * 10 >= self.all.failed() * 9).then_some(count)
    }

    /// Destinations of which nine attempts in ten fail.
    pub fn failing_destinations(&self) -> usize {
        self.destinations.values().filter(|share| share.fails(1)).count()
    }
}

/// The value of a key, if there is room for it.
fn place<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K) -> Option<&mut V> {
    if map.len() >= KEPT && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}
