//! observer: sees every outbound SMTP connection attempt in the kernel and says
//! who refused it, and how.
//!
//! Everything here touches the world; what is pure is in [`observer_core`]. `ARCHITECTURE.md`
//! has the graph of both, the path of one attempt, the threads and the invariants.
//!
//! - [`kernel`] is the only user of aya. The programs record facts, and count
//!   every outcome exactly; they never judge.
//! - [`store`] keeps history in SQLite, and spools.
//! - [`host`] asks this host and others: names, routes, firewall rules, name servers, probes.
//! - [`follow`] reads logs as they grow.
//! - [`config`] says what `observer run` is meant to do; [`cli`] lays options over it.
//! - [`deliver`] sends what spools hold.
//! - [`ui`] has the texts and the screen, and reads no clock.
//! - [`command`] reads clocks and signals, and puts all of it together.

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
