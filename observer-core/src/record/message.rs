//! What a sink delivers: an event, an alert or a minute, in the sink's format.

/// One formatted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The record's own id, stable over restarts and repeats, so that a receiver
    /// can drop what it has already.
    pub id: String,
    /// The record in the sink's format, one line, newline included.
    pub body: Vec<u8>,
}
