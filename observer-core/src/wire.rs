//! What `observer run` and its readers say to each other on the unix socket: one
//! JSON object a line. A reader first sends a [`Request`]; it gets a [`Hello`],
//! and then events, deliveries, alerts and [`Account`]s as they come, and a [`Lost`] where it
//! was too slow for some. When it closes its writing half it gets a [`Summary`]. One that
//! probes gets a [`Probing`] instead, and nothing more.

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::event::Event;
pub use crate::record::joined::Joined as Delivery;

/// Longest request that is read.
pub const REQUEST_MAX: u64 = 4_096;

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// What was counted since `earlier`; attempts that were in flight then count as
    /// begun since.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(earlier.attempts) + earlier.in_flight,
            outcomes: self.outcomes.saturating_sub(earlier.outcomes),
            in_flight: self.in_flight,
            lost: self.lost.saturating_sub(earlier.lost),
            events_lost: self.events_lost.saturating_sub(earlier.events_lost),
            malformed: self.malformed.saturating_sub(earlier.malformed),
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
    Delivery(Box<Delivery>),
    /// How far failures reach has changed.
    Alert(Box<Alert>),
    /// The ledger in numbers.
    Account(Account),
    /// The reader was too slow.
    Lost(Lost),
    /// `observer run` ends.
    End,
    /// The last line.
    Summary(Summary),
}

/// The kinds of [`Line`] as they are written.
const KINDS: [&str; 10] =
    ["hello", "probing", "refusal", "event", "delivery", "alert", "account", "lost", "end", "summary"];

impl Line {
    /// Reads a line. `None` if it is of a kind that only later versions know, which
    /// is to be skipped.
    ///
    /// # Errors
    /// If it is no JSON, or a kind that is known with other contents.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Option<Self>> {
        serde_json::from_slice(json).map(Some).or_else(|error| {
            let kind = match serde_json::from_slice(json) {
                Ok(serde_json::Value::String(kind)) => kind,
                Ok(serde_json::Value::Object(object)) if object.len() == 1 => {
                    object.into_iter().map(|(kind, _)| kind).collect()
                }
                _ => return Err(error),
            };
            if KINDS.contains(&kind.as_str()) { Err(error) } else { Ok(None) }
        })
    }

    /// The line, newline included.
    ///
    /// # Errors
    /// Those of serialisation, which plain values do not have.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|json| json + "\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_of_later_versions_are_skipped_and_damage_is_not() {
        for later in [&br#"{"weather":{"sun":true}}"#[..], br#""pause""#] {
            assert_eq!(Line::from_json(later).unwrap(), None);
        }
        for damaged in [&b"{\"lost\":{}}"[..], b"\"hello\"", b"{", b"", b"[]", b"{\"a\":1,\"b\":2}"] {
            assert!(Line::from_json(damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn members_of_later_versions_are_skipped() {
        let line = Line::from_json(br#"{"lost":{"events":3,"why":"slow"}}"#).unwrap();
        assert_eq!(line, Some(Line::Lost(Lost { events: 3 })));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_read_or_refused(bytes in any::<Vec<u8>>(), text in "[\\[{\"a-z:0-9,}\\]]{0,64}") {
            let _ = Line::from_json(&bytes);
            let _ = Line::from_json(text.as_bytes());
            let _ = serde_json::from_slice::<Request>(&bytes);
        }

        #[test]
        fn what_is_written_is_read(attempts: u64, outcomes: u64, events: u64, version: String, ports: Vec<u16>) {
            let account = Account { attempts, outcomes, ..Account::default() };
            let summary = Summary { text: version.clone(), account, events, too_slow: events };
            let hello = Hello { version, ports, hooks: 3 };
            let lines = [Line::Hello(hello), Line::Account(account), Line::Lost(Lost { events }), Line::End,
                Line::Summary(summary)];
            for line in lines {
                let json = line.to_json().unwrap();
                prop_assert_eq!(json.find('\n'), Some(json.len() - 1));
                prop_assert_eq!(Line::from_json(json.as_bytes()).unwrap(), Some(line));
            }
        }
    }
}
