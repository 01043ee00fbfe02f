//! How a sink is doing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::store::spool;

/// What a sink has done so far, and what is in its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SinkStatus {
    /// Messages that the receiver has.
    pub delivered: u64,
    /// Messages that the receiver will never take.
    pub refused: u64,
    /// Messages that are lost, by cause.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Records that are neither spooled, nor written, nor dropped yet.
    pub queued: u64,
    /// Bytes of memory that they take.
    pub queue_bytes: u64,
    /// Bytes that they may take.
    pub queue_limit: u64,
    /// What keeps the receiver from having messages, and since when.
    pub trouble: Option<(Timestamp, String)>,
    /// What keeps the spool from taking them, and since when.
    pub spool_trouble: Option<(Timestamp, String)>,
    /// The receiver's words about the last message that it refused.
    pub last_refusal: Option<String>,
    /// Of a sink that has a spool.
    pub spool: Option<spool::SpoolStatus>,
}

/// Whether a sink's file or spool could be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// Not known yet.
    #[default]
    Pending,
    /// It is open.
    Done,
    /// Somebody else has it open: tried again.
    Busy(String),
    /// It could not be: tried again.
    Failed(String),
}

impl SinkStatus {
    /// Messages that are lost, those of the spool included.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum::<u64>() + self.spool.as_ref().map_or(0, spool::SpoolStatus::dropped_total)
    }

    /// `queue full 3, spool full 12`.
    pub fn drops_in_words(&self) -> String {
        let spool = self.spool.as_ref().map(|spool| spool.drops()).unwrap_or_default();
        let all = self.dropped.iter().map(|(&cause, &count)| (cause, count)).chain(spool);
        let words: Vec<_> =
            all.filter(|(_, count)| *count > 0).map(|(cause, count)| format!("{cause} {count}")).collect();
        words.join(", ")
    }

    /// What is in the way, and since when: of the spool first, for what it does not take
    /// is soon lost.
    pub fn any_trouble(&self) -> Option<&(Timestamp, String)> {
        self.spool_trouble.as_ref().or(self.trouble.as_ref())
    }

    /// Messages that were taken and are not delivered yet.
    pub fn waiting(&self) -> u64 {
        self.queued + self.spool.as_ref().map_or(0, |spool| spool.messages)
    }

    /// Remembers when trouble began, and why it goes on.
    pub(super) fn set_trouble(&mut self, now: Timestamp, cause: String) {
        set(&mut self.trouble, now, cause);
    }

    /// The same of the spool.
    pub(super) fn set_spool_trouble(&mut self, now: Timestamp, cause: String) {
        set(&mut self.spool_trouble, now, cause);
    }
}

fn set(trouble: &mut Option<(Timestamp, String)>, now: Timestamp, cause: String) {
    let since = trouble.as_ref().map_or(now, |(since, _)| *since);
    *trouble = Some((since, cause));
}
