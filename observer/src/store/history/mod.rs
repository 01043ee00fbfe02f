//! History: events, per-minute counts and what mail servers log, in an SQLite file, written by
//! `observer run` and `observer watch --record`, and readable meanwhile.
//!
//! - [`Recorder`] writes batches, each in one transaction.
//! - [`Writer`] is a thread that owns a recorder, so that nobody waits for a
//!   disk; it counts what it could not write.
//! - [`History`] reads.
//! - [`schema`] documents the tables.

mod delivery;
mod entry;
mod error;
mod lock;
mod read;
mod reserve;
pub mod schema;
mod thread;
mod write;

use std::path::Path;

pub use delivery::{Connect, DeliveryRow};
pub use entry::{Entry, MinuteKey, minute, whole_minute};
pub use error::{Error, Result};
pub use lock::{LOCK_SUFFIX, make_directory};
pub use read::{Brief, DestinationTotals, History, Question, SourceTotals, Tallies, Tally, ensure_ours};
pub use reserve::RESERVE_SUFFIX;
pub use thread::{HistoryStatus, Writer};
pub use write::{Recorder, Retention, Written};

/// Where history is unless told otherwise.
pub const DEFAULT_PATH: &str = "/var/lib/observer/history.sqlite";

/// [`DEFAULT_PATH`].
pub fn default_path() -> &'static Path {
    Path::new(DEFAULT_PATH)
}

#[cfg(test)]
mod tests;
