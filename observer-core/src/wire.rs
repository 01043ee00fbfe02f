//! What `observer run` and its readers say to each other on the unix socket: one
//! JSON object a line. A reader first sends a [`Request`]; it gets a [`Hello`], the
//! [`Known`] parts of what was counted before if it asked for them, and then events,
//! deliveries, alerts and [`Account`]s as they come, and a [`Lost`] where it was too slow for
//! some. When it closes its writing half it gets a [`Summary`]. One that probes gets a
//! [`Probing`] instead, and nothing more.
//!
//! # Versions
//! Both sides skip members and kinds of lines that they do not know, and read values that they
//! do not know as unknown. [`PROTOCOL`] grows with what a reader has to ask for; [`v0`] is for
//! readers that cannot read unknown values.

pub mod v0;

use jiff::Timestamp;
use observer_common::stat;
use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::count::{Ended, Totals};
use crate::event::{Endpoint, Event};
use crate::label::{Label, Reason};
use crate::ledger::Ledger;
pub use crate::record::joined::Joined;
use crate::tally::{Head, Part};

/// What this version speaks. 0 had no number, and read no unknown values; 1 brought
/// [`Request::known`] and [`Missing`].
pub const PROTOCOL: u32 = 1;

/// Longest request that is read.
pub const REQUEST_MAX: u64 = 4_096;

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Attempts that went well, too.
    #[serde(default)]
    pub successes: bool,
    /// Alerts, too.
    #[serde(default)]
    pub alerts: bool,
    /// An account every second, too.
    #[serde(default)]
    pub accounts: bool,
    /// Nothing, but that the connections of this process are not recorded while it stays:
    /// it probes. Not written otherwise, since earlier versions refuse it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probing: bool,
    /// What the reader speaks, as [`PROTOCOL`]. A daemon of protocol 0 refuses a request that
    /// has one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protocol: u32,
    /// What was counted before, with at most so many destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the program.
    pub version: String,
    /// Ports that are watched.
    pub ports: Vec<u16>,
    /// Hooks that are attached.
    pub hooks: usize,
    /// What it speaks, as [`PROTOCOL`].
    #[serde(default)]
    pub protocol: u32,
    /// Since when it has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What happens and none of its hooks sees; empty also where it does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// A part of what was counted until now. They come in the order of variants, before the first
/// event, and again once a reader that lost events has caught up; nothing comes between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// What comes before the groups.
    Head(Head),
    /// One group.
    Group(Box<Part>),
    /// That was all.
    End,
}

/// Attempts that the kernel counted and whose events were lost before they came to
/// `observer run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// When that was found, at the latest some seconds after they ended.
    pub time: Timestamp,
    /// [`Event::src`], without the port.
    pub src: Endpoint,
    /// [`Event::dst`].
    pub dst: Endpoint,
    /// How they ended.
    pub label: Label,
    /// The mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// This host redirected them to itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirected: bool,
    /// How many.
    pub count: u64,
}

impl Missing {
    /// How they ended, and how many; `None` without a destination.
    pub fn ended(&self) -> Option<(Ended, u64)> {
        let ended = Ended {
            src_ip: self.src.ip,
            dst_ip: self.dst.ip?,
            dst_port: self.dst.port?,
            label: self.label,
            reason: self.reason,
            redirected: self.redirected,
        };
        Some((ended, self.count))
    }
}

/// The connections of the process that asks are not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probing {
    /// So many of them, at most.
    pub connections: u32,
}

/// Events that this reader was too slow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many, since the last time.
    pub events: u64,
}

/// The ledger in numbers, since the hooks were attached:
/// `attempts = outcomes + in flight + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that ended.
    pub outcomes: u64,
    /// Attempts that have not.
    pub in_flight: u64,
    /// Attempts that were not followed.
    pub lost: u64,
    /// Events that found the ring buffer full.
    pub events_lost: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
}

impl Account {
    /// The ledger of these totals.
    pub fn of(totals: &Totals) -> Self {
        let ledger = Ledger::new(totals, 0);
        Self {
            attempts: ledger.attempts,
            outcomes: ledger.outcomes_total(),
            in_flight: ledger.in_flight,
            lost: ledger.lost_total(),
            events_lost: totals.stat(stat::RING_FULL),
            malformed: 0,
        }
    }

    /// Attempts minus everything that became of them: 0 if the ledger balances.
    pub fn imbalance(&self) -> i128 {
        let accounted = [self.outcomes, self.in_flight, self.lost];
        i128::from(self.attempts) - accounted.into_iter().map(i128::from).sum::<i128>()
    }
}

/// The closing summary of the reader's own time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// For a person, as the closing summary of `observer watch`.
    pub text: String,
    /// The same in numbers.
    pub account: Account,
    /// Events that came to this reader, also those that it did not ask for.
    pub events: u64,
    /// Events that it was too slow for.
    pub too_slow: u64,
}

/// Why a reader is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words.
    pub cause: String,
    /// What the daemon speaks, as [`PROTOCOL`].
    #[serde(default)]
    pub protocol: u32,
}

/// An alert of which this version can read the sentence only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterAlert {
    /// When the change was found.
    pub time: Timestamp,
    /// The change in a sentence.
    pub text: String,
}

/// A line to a reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The first line.
    Hello(Hello),
    /// The only line, to one that probes.
    Probing(Probing),
    /// The first line, and the last.
    Refusal(Refusal),
    /// An attempt that ended.
    Event(Box<Event>),
    /// What the mail server's log says of an attempt.
    Delivery(Box<Joined>),
    /// How far failures reach has changed.
    Alert(Box<Alert>),
    /// The ledger in numbers.
    Account(Account),
    /// What was counted before.
    Known(Known),
    /// Attempts without events.
    Missing(Box<Missing>),
    /// The reader was too slow.
    Lost(Lost),
    /// `observer run` ends.
    End,
    /// The last line.
    Summary(Summary),
    /// Read in place of an alert that only a later version knows in full; never written.
    #[serde(skip)]
    LaterAlert(LaterAlert),
}

/// The kinds of [`Line`] as they are written, without those of which single lines may be left
/// out: what is known before, deliveries.
const KINDS: [&str; 10] =
    ["hello", "probing", "refusal", "event", "missing", "alert", "account", "lost", "end", "summary"];

impl Line {
    /// Reads a line. `None` if it is of a kind that only later versions know, which
    /// is to be skipped.
    ///
    /// # Errors
    /// If it is no JSON, or a kind that is known with other contents.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Option<Self>> {
        serde_json::from_slice(json).map(Some).or_else(|error| Self::of_later_version(json).ok_or(error))
    }

    /// A line that cannot be read as this version writes it. `None` if it is damaged.
    fn of_later_version(json: &[u8]) -> Option<Option<Self>> {
        let (kind, contents) = match serde_json::from_slice(json) {
            Ok(serde_json::Value::String(kind)) => (kind, serde_json::Value::Null),
            Ok(serde_json::Value::Object(object)) if object.len() == 1 => object.into_iter().next()?,
            _ => return None,
        };
        if kind == "alert" {
            return serde_json::from_value(contents).ok().map(|alert| Some(Self::LaterAlert(alert)));
        }
        (!KINDS.contains(&kind.as_str())).then_some(None)
    }

    /// The line, newline included.
    ///
    /// # Errors
    /// Those of serialisation, which plain values do not have.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|json| json + "\n")
    }
}

/// The event of a line as the daemon wrote it, with what only later versions know. `None` if the
/// line is no event.
pub fn event_as_it_came(line: &[u8]) -> Option<&str> {
    let json = line.strip_prefix(b"{\"event\":")?.strip_suffix(b"}\n")?;
    std::str::from_utf8(json).ok()
}

#[cfg(test)]
mod tests;
