//! Refused connects as fast as the kernel makes them, for benchmarks.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::connect;
use serde::{Deserialize, Serialize};

use crate::attempt::{nanoseconds, open};
use crate::case::Family;

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) count: u32,
    pub(crate) dst: IpAddr,
    pub(crate) port: u16,
    pub(crate) concurrency: u32,
}

/// Makes the connects and writes the nanoseconds that they took.
pub(crate) fn run(order: &Order) -> Result<()> {
    let to = SocketAddr::new(order.dst, order.port);
    let threads = order.concurrency.max(1);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let shares = (0..threads).map(|index| order.count / threads + u32::from(index < order.count % threads));
        let running: Vec<_> = shares.map(|share| scope.spawn(move || refuse(share, to))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a blasting thread panicked")))
    })?;
    println!("{}", nanoseconds(start.elapsed()));
    Ok(())
}

fn refuse(count: u32, to: SocketAddr) -> Result<()> {
    let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
    for _ in 0..count {
        let socket = open(family, false)?;
        match connect(&socket, &to) {
            Err(Errno::CONNREFUSED) => {}
            Err(error) => return Err(error).with_context(|| format!("{to} did not refuse")),
            Ok(()) => bail!("{to} accepted: nothing may listen there"),
        }
    }
    Ok(())
}
