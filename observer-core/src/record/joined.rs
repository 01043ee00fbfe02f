//! What was joined to an event after it was handed on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Endpoint, Mta};

/// What the mail server's log says of an attempt whose event was sent before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// [`crate::event::Event::id`].
    pub id: String,
    /// [`crate::event::Event::time`].
    pub time: Timestamp,
    /// [`crate::event::Event::dst`].
    pub dst: Endpoint,
    /// What it says.
    pub mta: Mta,
}
