//! Sinks: where `observer run` sends what happens.
//!
//! Each sink has a name, a format, a filter and a target. A target that can be
//! away (everything behind a network or a socket) gets its messages from a
//! spool on disk, so that they outlive the receiver, and this process.

mod attention;
mod backoff;
mod dead_letter;
mod delivery;
mod file;
mod formatter;
mod health;
mod intake;
mod outlet;
mod shared;
mod shared_record;
mod tls;
pub mod transport;
mod writing;

pub use observer_core::record::message;

pub use crate::config::target;
pub use attention::Attention;
pub use health::{Opening, SinkStatus};
pub use outlet::{Outlet, dead_letters, end_all, spool_name};
pub use shared_record::SharedRecord;
