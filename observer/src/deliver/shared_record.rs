//! A record on its way to the sinks, which share it.

use std::sync::Arc;

use observer_core::alert::Alert;
use observer_core::event::Event;
use observer_core::format::Entry;
use observer_core::minute::Minute;
use observer_core::notice::Notice;

/// What the words and lists of an alert or a notice take, roughly: there are few.
const WORDS: usize = 1_024;

/// A record that several sinks hold at the same time. Each formats it on a thread of
/// its own.
#[derive(Clone, Debug)]
pub enum SharedRecord {
    /// An attempt that ended.
    Event(Arc<Event>),
    /// How far failures reach has changed.
    Alert(Arc<Alert>),
    /// Counts of a minute.
    Minute(Arc<Minute>),
    /// Something about observer itself.
    Notice(Arc<Notice>),
}

impl SharedRecord {
    /// The record as formats take it.
    pub fn entry(&self) -> Entry<'_> {
        match self {
            Self::Event(event) => Entry::Event(event),
            Self::Alert(alert) => Entry::Alert(alert),
            Self::Minute(minute) => Entry::Minute(minute),
            Self::Notice(notice) => Entry::Notice(notice),
        }
    }

    /// Bytes of memory that it takes, by which queues are bounded. Each queue counts
    /// them all, also where they share it.
    pub fn retained_bytes(&self) -> u64 {
        let bytes = match self {
            Self::Event(event) => event.retained_bytes(),
            Self::Minute(minute) => size_of::<Minute>() + minute.id.capacity() + minute.host.capacity(),
            Self::Alert(_) => size_of::<Alert>() + WORDS,
            Self::Notice(_) => size_of::<Notice>() + WORDS,
        };
        (bytes + size_of::<Self>()) as u64
    }
}

impl From<Event> for SharedRecord {
    fn from(event: Event) -> Self {
        Self::Event(Arc::new(event))
    }
}

impl From<Arc<Event>> for SharedRecord {
    fn from(event: Arc<Event>) -> Self {
        Self::Event(event)
    }
}

impl From<Alert> for SharedRecord {
    fn from(alert: Alert) -> Self {
        Self::Alert(Arc::new(alert))
    }
}

impl From<Minute> for SharedRecord {
    fn from(minute: Minute) -> Self {
        Self::Minute(Arc::new(minute))
    }
}

impl From<Notice> for SharedRecord {
    fn from(notice: Notice) -> Self {
        Self::Notice(Arc::new(notice))
    }
}
