//! The report: what became of the attempts of a period, as a table, JSON, or one
//! HTML page.
//!
//! [`Builder`] counts; [`Report`] is what was counted, and what every format is
//! made from. All of it is pure.

mod build;
pub mod html;
pub mod json;
mod names;
pub mod palette;
pub mod period;
mod plot;
mod recorded;
pub mod table;
mod timeline;
mod words;

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

pub use self::build::{About, Builder, Frame};
pub use self::names::{NameBook, Names};
pub use self::period::{Moment, Period};
pub use self::recorded::Recorded;
pub use self::timeline::{Bucket, Timeline};
use crate::label::{Label, Reason};
use crate::ledger;
use crate::scope::Reach;
use crate::tally::Seen;
use crate::wire;

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "observer.report.v1";

/// What became of the attempts of a period. Its JSON form is documented by
/// `schema/observer.report.v1.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// When it was made.
    pub generated: Timestamp,
    /// The host that it is about.
    pub host: String,
    /// Where the numbers come from.
    pub source: Source,
    /// What it covers.
    pub period: Period,
    /// Which attempts it covers.
    pub selection: Selection,
    /// Attempts to this host itself, among all: they say nothing of the outside, and are in no
    /// scope and under no local address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
    /// Attempts that reached for other hosts, which is what a reader asks for first.
    pub outside: Outside,
    /// Attempts that this host redirected to itself, among all: it answered in the destinations'
    /// names. What went well so is in no scope, and none of it under a local address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirected: Option<Local>,
    /// Everything.
    pub overview: Overview,
    /// What the labels mean that occur.
    pub meanings: Vec<Meaning>,
    /// Outcomes over time.
    pub timeline: Timeline,
    /// Destinations, most failures first.
    pub destinations: Vec<Destination>,
    /// The other destinations, together.
    pub destinations_omitted: Omitted,
    /// Local addresses, most attempts first.
    pub sources: Vec<SourceAddress>,
    /// How long active refusals took: without gaps, shortest first.
    pub refusal_times: Vec<Bin>,
    /// Processes by name, most failures first; of attempts whose event arrived.
    pub processes: Vec<Process>,
    /// The processes of other names, together.
    pub processes_omitted: Omitted,
    /// How far failures reach at the end of the period, each scope once.
    pub scopes: Vec<Reach>,
    /// Scopes that are not listed, single destinations as a rule.
    pub scopes_omitted: u64,
    /// What was counted, and what was lost.
    pub ledger: Account,
}

/// Where the numbers come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A history file.
    History {
        /// Its path.
        path: PathBuf,
        /// What it holds, in whole minutes; absent where it holds nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        holds: Option<Period>,
    },
    /// The kernel, for the time of the report.
    Live,
}

/// Which attempts a report covers. Values of one kind are alternatives, kinds
/// add up; a kind without values admits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// Labels.
    pub labels: Vec<Label>,
    /// Destination prefixes.
    pub destinations: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<u16>,
}

impl Selection {
    /// True if it holds attempts like these.
    pub fn admits(&self, seen: &Seen) -> bool {
        let daddr = seen.daddr.to_canonical();
        (self.labels.is_empty() || self.labels.contains(&seen.outcome.0))
            && (self.ports.is_empty() || self.ports.contains(&seen.dport))
            && (self.destinations.is_empty() || self.destinations.iter().any(|net| net.contains(&daddr)))
    }

    /// True if it holds everything.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// Attempts by label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCounts([u64; Label::COUNT]);

impl LabelCounts {
    /// Adds attempts.
    pub fn add(&mut self, label: Label, count: u64) {
        self.0[label as usize] += count;
    }

    /// Attempts with a label.
    pub fn of(&self, label: Label) -> u64 {
        self.0[label as usize]
    }

    /// All attempts.
    pub fn attempts(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Attempts that ended in any other way than `connected`.
    pub fn failures(&self) -> u64 {
        self.attempts() - self.of(Label::Connected)
    }

    /// Labels that occurred, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Label, u64)> {
        Label::READ.into_iter().map(|label| (label, self.of(label))).filter(|&(_, count)| count > 0)
    }
}

impl FromIterator<(Label, u64)> for LabelCounts {
    fn from_iter<T: IntoIterator<Item = (Label, u64)>>(counts: T) -> Self {
        let mut sum = Self::default();
        counts.into_iter().for_each(|(label, count)| sum.add(label, count));
        sum
    }
}

impl Serialize for LabelCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (label, count) in self.iter() {
            map.serialize_entry(label.as_str(), &count)?;
        }
        map.end()
    }
}

/// Everything in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
    /// Handshakes completed.
    pub established: u64,
    /// Destinations.
    pub destinations: u64,
    /// First failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failed: Option<Timestamp>,
    /// Last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failed: Option<Timestamp>,
    /// Last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_succeeded: Option<Timestamp>,
    /// From start to the completed handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<Quantiles>,
    /// From start to an active refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal_ms: Option<Quantiles>,
    /// How often each outcome came, in the order of labels.
    pub outcomes: Vec<OutcomeCount>,
}

/// Attempts to this host itself, or redirected to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Local {
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
}

/// Attempts to other hosts than this one, without those that were redirected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
    /// Their destinations; where memory was short, those that are remembered.
    pub destinations: u64,
    /// Destinations to which an attempt failed.
    pub destinations_failing: u64,
    /// Destinations to which every attempt failed.
    pub destinations_always_failing: u64,
    /// Attempts to destinations that are not remembered: they are in no number of destinations.
    #[serde(skip_serializing_if = "is_none")]
    pub attempts_forgotten: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What a label means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Meaning {
    /// The label.
    pub label: Label,
    /// In a sentence.
    pub meaning: &'static str,
}

/// How often an outcome came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeCount {
    /// The label.
    pub label: Label,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Attempts.
    pub count: u64,
}

/// Quantiles of a duration in milliseconds, right to 5 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Durations that they were taken of.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// Exceeded by one in twenty.
    pub p95: f64,
    /// Exceeded by one in a hundred.
    pub p99: f64,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Destination {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// What the mail server's log calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Names>,
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
    /// Handshakes completed.
    pub established: u64,
    /// Attempts by label.
    pub labels: LabelCounts,
    /// The most frequent failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mostly: Option<OutcomeCount>,
    /// Failures since the last success.
    pub streak: u64,
    /// First failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failed: Option<Timestamp>,
    /// Last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failed: Option<Timestamp>,
    /// Last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_succeeded: Option<Timestamp>,
    /// From start to the completed handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<Quantiles>,
    /// From start to an active refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal_ms: Option<Quantiles>,
}

/// What a list leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Omitted {
    /// Entries; where memory was short, of those that are remembered.
    pub entries: u64,
    /// Their attempts.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
}

/// One local address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceAddress {
    /// The address; `None` for attempts that ended before one was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
    /// Attempts by label.
    pub labels: LabelCounts,
}

/// One bar of a distribution, `to` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Milliseconds.
    pub from_ms: f64,
    /// Milliseconds.
    pub to_ms: f64,
    /// Attempts; near the ends, right to 5 % of the time.
    pub count: u64,
}

/// Processes of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// The name, as it was; hostile.
    pub comm: String,
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that ended in any other way than `connected`.
    pub failures: u64,
    /// Attempts by label.
    pub labels: LabelCounts,
}

/// What was counted, and what was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Account {
    /// What history holds of the selection: `attempts = events + counted_only`.
    History {
        /// Attempts that ended.
        attempts: u64,
        /// Those recorded with all details.
        events: u64,
        /// Those whose event was lost or is not kept any more; counted all the
        /// same.
        counted_only: u64,
    },
    /// What the kernel counted, whatever the selection:
    /// `attempts = outcomes + in_flight + lost`.
    Live {
        /// Attempts begun.
        attempts: u64,
        /// Attempts that ended.
        outcomes: u64,
        /// Attempts that have not ended.
        in_flight: u64,
        /// Attempts that were begun and then not followed, by cause.
        lost: Vec<Cause>,
        /// 0, or the run miscounted.
        imbalance: i64,
        /// Events that reached this process.
        events: u64,
        /// Events that did not, by cause; counted all the same.
        events_lost: Vec<Cause>,
        /// What else a reader must know.
        remarks: Vec<Cause>,
        /// What no hook of this kernel sees: it is in none of these numbers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unseen: Vec<String>,
    },
}

/// How often something happened that should not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What.
    pub cause: &'static str,
    /// How often.
    pub count: u64,
}

impl Account {
    /// The account of what was read from `observer run`, and what its hooks do not see.
    pub fn read(summary: &wire::Summary, unseen: Vec<String>) -> Self {
        let wire::Summary { account, events, too_slow, .. } = summary;
        let causes = |all: &[(&'static str, u64)]| {
            all.iter().filter(|(_, count)| *count > 0).map(|&(cause, count)| Cause { cause, count }).collect()
        };
        Self::Live {
            attempts: account.attempts,
            outcomes: account.outcomes,
            in_flight: account.in_flight,
            lost: causes(&[("attempt table full", account.lost)]),
            imbalance: i64::try_from(account.imbalance()).unwrap_or(i64::MAX),
            events: *events,
            events_lost: causes(&[("ring buffer full", account.events_lost), ("this reader was too slow", *too_slow)]),
            remarks: Vec::new(),
            unseen,
        }
    }

    /// The account of a live capture.
    pub fn live(ledger: &ledger::Ledger) -> Self {
        let causes = |all: &[(&'static str, u64)]| {
            all.iter().filter(|(_, count)| *count > 0).map(|&(cause, count)| Cause { cause, count }).collect()
        };
        Self::Live {
            attempts: ledger.attempts,
            outcomes: ledger.outcomes_total(),
            in_flight: ledger.in_flight,
            lost: causes(&ledger.lost),
            imbalance: i64::try_from(ledger.imbalance()).unwrap_or(i64::MAX),
            events: ledger.events_delivered,
            events_lost: causes(&ledger.events_lost),
            remarks: causes(&ledger.remarks),
            unseen: ledger.unseen.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
