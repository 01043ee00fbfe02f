//! Answers from a name server on the loopback interface, honest and hostile.

mod hostile;
mod judgement;
mod lists;
mod mail;
mod reverse;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use super::{Resolver, Settings};

/// Long enough for a busy machine, short enough for tests that wait for it.
const TIMEOUT: Duration = Duration::from_millis(400);
/// As [`TIMEOUT`].
const DEADLINE: Duration = Duration::from_millis(700);

fn resolver(server: SocketAddr) -> Resolver {
    let settings = Settings { servers: vec![server], timeout: TIMEOUT, deadline: DEADLINE, ..Settings::default() };
    Resolver::new(settings).unwrap()
}

/// A resolver that waits as long as a user would have it wait.
fn patient(server: SocketAddr) -> Resolver {
    Resolver::new(Settings { servers: vec![server], ..Settings::default() }).unwrap()
}
