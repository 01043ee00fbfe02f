//! What a sink delivers: a record in the sink's format.

use crate::label::Label;

/// One formatted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The record's own id, stable over restarts and repeats, so that a receiver
    /// can drop what it has already.
    pub id: String,
    /// What it is, so that no receiver has to look into the body.
    pub kind: MessageKind,
    /// The label of an event.
    pub label: Option<Label>,
    /// The record in the sink's format: one line with its newline, or a datagram.
    pub body: Vec<u8>,
}

/// What a message tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// An attempt that ended.
    Event,
    /// How far failures reach has changed.
    Alert,
    /// Counts of a minute.
    Minute,
    /// Something about observer itself.
    Notice,
}

impl MessageKind {
    /// All of them. Spools write their place in this list: it may only grow.
    pub const ALL: [Self; 4] = [Self::Event, Self::Alert, Self::Minute, Self::Notice];

    /// The kind as subjects name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Alert => "alert",
            Self::Minute => "minute",
            Self::Notice => "notice",
        }
    }
}
