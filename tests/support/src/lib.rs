//! The network lab of `observer`: a client, a router and a server in network
//! namespaces of their own, and attempts whose outcome is known beforehand.
//!
//! - [`Lab::up`] builds it in well under a second; dropping it removes it.
//! - [`matrix`] lists every [`Case`]; [`Lab::run`] runs cases and returns what
//!   each client saw; [`Scenario::truth`] says what is true of it. Truth comes
//!   from the scenario and the client alone, never from the program under test.
//! - [`Lab::storm`] makes thousands of mixed attempts, [`Lab::blast`] refused ones
//!   at full speed, [`Lab::demo`] a mail host's traffic.
//!
//! The lab starts the program that links it again, with a role: its `main` calls
//! [`dispatch_role`] first. Traffic stays within the namespaces. A test program calls
//! [`isolate`] next, so that nothing else on the machine matters to it.

mod addr;
mod alone;
mod attempt;
mod blast;
mod case;
mod cgroup;
mod connect;
mod demo;
mod hold;
mod icmp;
mod lab;
mod landlock;
mod life;
mod middlebox;
mod ns;
mod relay;
mod role;
mod rules;
mod scenario;
mod server;
mod sock;
mod storm;
mod terminal;

pub use addr::{Ip, destination, router, sources};
pub use alone::{end_orphans, isolate, port};
pub use attempt::Observation;
pub use case::{Case, Family, Mode, Pace, matrix};
pub use hold::Held;
pub use icmp::Unreachable;
pub use lab::{Demo, Instead, Lab, LabConfig};
pub use landlock::can_deny_connect;
pub use life::{LifeTrial, life_table};
pub use middlebox::Middlebox;
pub use ns::Namespace;
pub use role::dispatch_role;
pub use scenario::{Hop, Scenario, Tool, Truth, Verdict};
pub use storm::{Storm, StormAttempt};
pub use terminal::Terminal;
