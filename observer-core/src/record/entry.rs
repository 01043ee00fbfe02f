//! Attempts as history keeps them, and as it counts them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Endpoint, Event, Evidence, Process};
use crate::label::{Label, Origin, Reason};
use crate::ledger::Outcome;

/// An event as history keeps it. The host's name is in `id`; what was known of
/// the destination at the time is to be counted anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As [`Event::id`].
    pub id: String,
    /// As [`Event::time`].
    pub time: Timestamp,
    /// As [`Event::label`].
    pub label: Label,
    /// As [`Event::reason`].
    pub reason: Option<Reason>,
    /// As [`Event::origin`].
    pub origin: Option<Origin>,
    /// As [`Event::active_refusal`].
    pub active_refusal: Option<bool>,
    /// As [`Event::errno`].
    pub errno: Option<String>,
    /// As [`Event::src`].
    pub src: Endpoint,
    /// As [`Event::dst`].
    pub dst: Endpoint,
    /// As [`Event::elapsed`].
    pub elapsed: Option<Duration>,
    /// As [`Event::handshake`].
    pub handshake: Option<Duration>,
    /// As [`Event::syn_retransmits`].
    pub syn_retransmits: u16,
    /// As [`Event::process`].
    pub process: Option<Process>,
    /// As [`Event::evidence`].
    pub evidence: Evidence,
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            time: event.time,
            label: event.label,
            reason: event.reason,
            origin: event.origin,
            active_refusal: event.active_refusal,
            errno: event.errno.clone(),
            src: event.src,
            dst: event.dst,
            elapsed: event.elapsed,
            handshake: event.handshake,
            syn_retransmits: event.syn_retransmits,
            process: event.process.clone(),
            evidence: event.evidence.clone(),
        }
    }
}

/// What attempts have in common that the table `minute` counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MinuteKey {
    /// Start of the minute, in seconds since 1970-01-01 UTC.
    pub minute: i64,
    /// Local address, where one was chosen.
    pub src_ip: Option<IpAddr>,
    /// Destination.
    pub dst_ip: Option<IpAddr>,
    /// Destination port; 0 where it is not known.
    pub dst_port: u16,
    /// The verdict.
    pub label: Label,
    /// Its reason.
    pub reason: Option<Reason>,
    /// As [`Evidence::redirected`]; `None` where an older version counted, which did not tell.
    pub redirected: Option<bool>,
}

impl MinuteKey {
    /// What the row that counts this entry counts.
    pub fn of(entry: &Entry) -> Self {
        Brief::from(entry).key()
    }

    /// The same of the entry of this event.
    pub fn of_event(event: &Event) -> Self {
        let &Event { time, src, dst, label, reason, .. } = event;
        Self {
            minute: minute(time),
            src_ip: src.ip.map(|ip| ip.to_canonical()),
            dst_ip: dst.ip.map(|ip| ip.to_canonical()),
            dst_port: dst.port.unwrap_or(0),
            label,
            reason,
            redirected: Some(event.evidence.redirected),
        }
    }
}

/// Start of the minute that a time lies in: seconds since 1970-01-01 UTC.
pub fn minute(time: Timestamp) -> i64 {
    let seconds = nanoseconds(time).div_euclid(1_000_000_000);
    seconds - seconds.rem_euclid(60)
}

/// The time at which the minute began that a time lies in.
pub fn whole_minute(time: Timestamp) -> Timestamp {
    Timestamp::from_second(minute(time)).unwrap_or(time)
}

/// Nanoseconds since 1970-01-01 UTC; times that 64 bits do not hold (before
/// 1677, after 2262) become the nearest that they do.
pub fn nanoseconds(time: Timestamp) -> i64 {
    let exact = time.as_nanosecond();
    i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
}

/// The part of an [`Entry`] that can be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// When the attempt ended.
    pub time: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// As [`Event::origin`].
    pub origin: Option<Origin>,
    /// Local address.
    pub src_ip: Option<IpAddr>,
    /// Destination.
    pub dst_ip: Option<IpAddr>,
    /// Destination port; 0 where it is not known.
    pub dst_port: u16,
    /// From start to end.
    pub elapsed: Option<Duration>,
    /// From start to the completed handshake.
    pub handshake: Option<Duration>,
    /// Name of the task, as it was; hostile.
    pub comm: Option<String>,
    /// As [`Evidence::redirected`].
    pub redirected: bool,
}

impl From<&Entry> for Brief {
    fn from(entry: &Entry) -> Self {
        Self {
            time: entry.time,
            outcome: (entry.label, entry.reason),
            origin: entry.origin,
            src_ip: entry.src.ip.map(|ip| ip.to_canonical()),
            dst_ip: entry.dst.ip.map(|ip| ip.to_canonical()),
            dst_port: entry.dst.port.unwrap_or(0),
            elapsed: entry.elapsed,
            handshake: entry.handshake,
            comm: None,
            redirected: entry.evidence.redirected,
        }
    }
}

impl Brief {
    /// What the row that counts this attempt counts.
    pub fn key(&self) -> MinuteKey {
        MinuteKey {
            minute: minute(self.time),
            src_ip: self.src_ip,
            dst_ip: self.dst_ip,
            dst_port: self.dst_port,
            label: self.outcome.0,
            reason: self.outcome.1,
            redirected: Some(self.redirected),
        }
    }
}

/// How often an outcome came, and between which minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Attempts.
    pub count: u64,
    /// Those among them that this host redirected to itself.
    pub redirected: u64,
    /// Those among them of which that is not known: an older version counted them.
    pub not_known: u64,
    /// Start of the first minute with one that was not redirected, if there is any.
    pub first: Timestamp,
    /// Start of the last such minute.
    pub last: Timestamp,
}

impl Tally {
    /// Attempts that this host did not redirect to itself. Those of which that is not known are
    /// taken to be as those of which it is: for redirected where any other is.
    pub fn outside(&self) -> u64 {
        self.count - self.here()
    }

    /// Attempts that this host redirected to itself, by the same rule.
    pub fn here(&self) -> u64 {
        let not_known = if self.redirected > 0 { self.not_known } else { 0 };
        (self.redirected + not_known).min(self.count)
    }
}

/// How often each outcome came.
pub type Tallies = BTreeMap<Outcome, Tally>;

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationTotals {
    /// Address and port.
    pub destination: SocketAddr,
    /// Its outcomes.
    pub outcomes: Tallies,
}
