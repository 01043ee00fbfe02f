//! What observer makes of the kernel's facts, without a clock or I/O: time comes in as an
//! argument.
//!
//! - [`fact`]: the record of an attempt, decoded and given names.
//! - [`judge`]: label, reason and origin of an attempt; which attempts a person asked for.
//! - [`count`]: exact counts by destination, prefix, source, family and window, and what
//!   follows from them of how far failures reach.
//! - [`record`]: what is handed on: events, minutes, alerts, notices.
//! - [`mod@format`]: how those are written.
//! - [`mta`]: what mail servers log of their deliveries, and the join to the events.
//! - [`evidence`]: what this host and others say when they are asked: plain facts.
//! - [`diagnose`]: likely causes, by rules on plain evidence.
//! - [`report`], [`metrics`]: built and rendered from counts.
//! - [`wire`]: the lines between `observer run` and its readers.

pub mod choice;
pub mod count;
pub mod diagnose;
pub mod evidence;
pub mod fact;
pub mod format;
pub mod judge;
pub mod metrics;
pub mod mta;
pub mod record;
pub mod report;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod sanitize;
pub mod wire;
pub mod wrap;

pub use self::count::{aggregate, ledger, scope, tally};
pub use self::fact::{attempt, decode, steady};
pub use self::judge::{filter, label, origin, pipeline};
pub use self::record::{alert, event, minute, notice, schema};
