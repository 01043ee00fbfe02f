//! Answers from a name server on the loopback interface, honest and hostile.

mod hostile;
mod lists;
mod mail;
mod reverse;
pub(crate) mod server;

use std::net::SocketAddr;
use std::time::Duration;

use super::{Resolver, Settings};

/// For answers that never come.
const TIMEOUT: Duration = Duration::from_millis(300);
/// As [`TIMEOUT`].
const DEADLINE: Duration = Duration::from_millis(500);
/// For answers that come at once, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(server: SocketAddr) -> Settings {
    Settings { servers: vec![server], timeout: PATIENCE, deadline: PATIENCE, ..Settings::default() }
}

fn resolver(server: SocketAddr) -> Resolver {
    Resolver::new(settings(server)).unwrap()
}

fn hasty(server: SocketAddr) -> Resolver {
    Resolver::new(Settings { timeout: TIMEOUT, deadline: DEADLINE, ..settings(server) }).unwrap()
}
