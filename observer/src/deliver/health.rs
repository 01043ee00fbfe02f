//! How a sink is doing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::spool;

/// What a sink has done so far, and what is in its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Messages that the receiver has.
    pub delivered: u64,
    /// Messages that the receiver will never take.
    pub refused: u64,
    /// Messages that are lost, by cause.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Messages that are neither spooled, nor written, nor dropped yet.
    pub queued: u64,
    /// What is in the way, and since when.
    pub trouble: Option<(Timestamp, String)>,
    /// The receiver's words about the last message that it refused.
    pub last_refusal: Option<String>,
    /// Of a sink that has a spool.
    pub spool: Option<spool::Status>,
}

impl Status {
    /// Messages that are lost.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// `queue full 3, spool full 12`.
    pub fn drops_in_words(&self) -> String {
        let spool = self.spool.as_ref().map(|spool| spool.drops()).unwrap_or_default();
        let all = self.dropped.iter().map(|(&cause, &count)| (cause, count)).chain(spool);
        let words: Vec<_> =
            all.filter(|(_, count)| *count > 0).map(|(cause, count)| format!("{cause} {count}")).collect();
        words.join(", ")
    }

    /// Remembers when trouble began, and why it goes on.
    pub(super) fn set_trouble(&mut self, now: Timestamp, cause: String) {
        let since = self.trouble.as_ref().map_or(now, |(since, _)| *since);
        self.trouble = Some((since, cause));
    }
}
