//! Many attempts in flight at once, for as long as one likes.

use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::connect;
use serde::{Deserialize, Serialize};

use crate::addr::{Ip, destination};
use crate::attempt::open;
use crate::case::Family;
use crate::lab::Lab;
use crate::role::{Process, Role, announce_ready};
use crate::scenario::Scenario;
use crate::sock;

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    count: u32,
    port: u16,
}

/// Attempts that nobody answers. Dropping it ends them.
#[derive(Debug)]
pub struct Held {
    _process: Process,
}

impl Lab {
    /// Starts `count` attempts of one process that stay in flight until the
    /// result is dropped, half of them by IPv6: the client has 8,000 ports for
    /// each.
    pub fn hold(&self, count: u32, port: u16) -> Result<Held> {
        let mut process = Process::start(&Role::Hold { ns: self.client().path(), order: Order { count, port } })?;
        process.wait_ready().context("hold attempts in flight")?;
        Ok(Held { _process: process })
    }
}

/// Holds them until stdin closes.
pub(crate) fn run(order: &Order) -> Result<()> {
    sock::raise_file_limit()?;
    let mut sockets = Vec::new();
    for index in 0..order.count {
        let (ip, family) = if index % 2 == 0 { (Ip::V4, Family::V4) } else { (Ip::V6, Family::V6) };
        let to = SocketAddr::new(destination(Scenario::DropAbandoned, ip), order.port);
        let socket = open(family, true)?;
        match connect(&socket, &to) {
            Err(Errno::INPROGRESS) => sockets.push(socket),
            ended => bail!("attempt {index} to {to} did not stay in flight: {ended:?}"),
        }
    }
    announce_ready()?;
    std::io::stdin().read(&mut [0]).context("wait for the end of the lab")?;
    Ok(())
}
