//! What observer makes of the kernel's facts, without a clock or I/O: time comes in as an
//! argument.
//!
//! - [`fact`]: the record of an attempt, decoded and given names.
//! - [`judge`]: label, reason and origin of an attempt.
//! - [`count`]: exact counts by destination, prefix, source, family and window, and what
//!   follows from them of how far failures reach.
//! - [`record`]: what is handed on: events, minutes, alerts, notices.
//! - [`pipeline`]: the stages from a record to an event.
//! - [`mod@format`]: how those are written.
//! - [`answer`]: what an answer of the other side means.
//! - [`mta`]: what mail servers log of their deliveries; [`join`]: which events that is about.
//! - [`evidence`]: what this host and others say when they are asked: plain facts.
//! - [`diagnose`]: likely causes, by rules on plain evidence.
//! - [`report`], [`metrics`]: built and rendered from counts.
//! - [`wire`]: the lines between `observer run` and its readers.

pub mod answer;
pub mod choice;
pub mod count;
pub mod diagnose;
pub mod evidence;
pub mod fact;
pub mod format;
pub mod join;
pub mod judge;
pub mod metrics;
pub mod mta;
pub mod pipeline;
pub mod record;
pub mod report;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod sanitize;
pub mod wire;
pub mod wrap;

pub use self::count::{aggregate, ledger, scope, tally};
pub use self::fact::{attempt, decode, steady};
pub use self::judge::{label, origin};
pub use self::record::{alert, event, filter, minute, notice, schema};
