//! observer: sees every outbound SMTP connection attempt in the kernel and says
//! who refused it, and how.
//!
//! # Architecture
//! Data flows one way, and each stage imports only from its left:
//!
//! ```text
//! kernel -> decode -> attempt -> label -> aggregate -> event -> format -> ui, spool -> sink
//!                                                         \-> minute
//!                                                         \-> tally -> scope -> alert
//! ```
//!
//! - [`kernel`] is the only user of aya. The programs record facts, and count
//!   every outcome exactly; they never judge.
//! - [`decode`], [`attempt`], [`label`], [`origin`], [`aggregate`], [`event`],
//!   [`filter`], [`ledger`], [`mod@format`], [`tally`], [`scope`], [`alert`] and
//!   the texts in [`ui`] are pure: synchronous, no clock, no I/O. Time comes in
//!   as an argument.
//! - [`tally`] counts exactly by destination, prefix, source, family and window;
//!   [`scope`] concludes from it how far failures reach, and an [`alert`] tells
//!   when that changes. [`mod@diagnose`] weighs what history holds, and names causes.
//! - [`pipeline`] strings them together; [`surroundings`] looks up what the
//!   outside world adds (interface names, cgroup paths).
//! - [`mta`] reads what the mail server logs of its deliveries, and joins it to the
//!   events; its parsers are left of [`event`], the join is right of it.
//! - [`history`] keeps events and per-minute counts in SQLite, and answers
//!   questions about them; it is a sink, and no stage knows it.
//! - [`dns`] asks name servers about destinations, domains and our own addresses,
//!   only where that is asked for; what it concludes from the answers is pure.
//! - [`config`] says what `observer run` is meant to do; [`spool`] keeps on disk what
//!   a [`sink`] is to deliver; a [`notice`] tells what ails one. [`metrics`], as
//!   pure, renders what the daemon knows for Prometheus, and [`wire`] is what it says
//!   to readers.
//! - [`firewall`], [`mod@route`] and [`probe`] look at this host and at destinations for a
//!   diagnosis; what they read of tools is parsed purely.
//! - [`command`] reads clocks and signals and writes to the world.
//!
//! One function, [`label::label`], judges events and counters alike, so that
//! the ledger `attempts = outcomes + in flight + lost` can be checked.

pub mod cli;
pub mod command;
pub mod config;
pub mod deliver;
pub mod exit;
pub mod follow;
pub mod host;
pub mod kernel;
mod queue;
pub mod store;
pub mod ui;

pub use deliver as sink;
pub use host::{dns, firewall, probe, route, surroundings};
#[cfg(test)]
use observer_core::sample;
pub use observer_core::{
    aggregate, alert, attempt, choice, decode, diagnose, event, filter, format, label, ledger, metrics, minute, notice,
    origin, pipeline, report, sanitize, schema, scope, steady, tally, wire, wrap,
};
pub use store::{history, spool};

/// What the mail server says of its own deliveries: [`observer_core::mta`] and [`observer_core::join`].
pub mod mta {
    pub use observer_core::join::{self, attach, hash};
    pub use observer_core::mta::*;
}
