//! A mail host's day, sped up: a few attempts a second of every kind.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::addr::{Ip, destination};
use crate::attempt::open;
use crate::case::{Family, Mode};
use crate::connect::{Ending, SESSION_LIMIT, converse, establish};
use crate::icmp::Unreachable;
use crate::role::name_thread;
use crate::scenario::{Hop, Scenario, Tool, Verdict};

/// One kind of traffic, made by one process.
#[derive(Clone, Copy, Debug)]
struct Kind {
    comm: &'static str,
    scenario: Scenario,
    ip: Ip,
    /// How many at a time, each by its own thread.
    lanes: u32,
    /// Between two attempts of a lane, ± 50 %.
    pause: Duration,
    /// How long connect() may take.
    patience: Duration,
}

const fn kind(comm: &'static str, scenario: Scenario, ip: Ip, lanes: u32, pause_ms: u64) -> Kind {
    let (pause, patience) = (Duration::from_millis(pause_ms), Duration::from_millis(2500));
    Kind { comm, scenario, ip, lanes, pause, patience }
}

const KINDS: [Kind; 13] = [
    kind("smtp", Scenario::Success, Ip::V4, 2, 300),
    kind("smtp", Scenario::Success, Ip::V6, 1, 500),
    kind("smtp", Scenario::ClosedPort, Ip::V4, 1, 400),
    kind("exim4", Scenario::ClosedPort, Ip::V6, 1, 600),
    kind("smtp", Scenario::DropAbandoned, Ip::V4, 4, 200),
    kind("kumod", Scenario::DropAbandonedLate, Ip::V6, 2, 300),
    kind("smtp", Scenario::Icmp(Unreachable::AdminProhibited, Hop::Router), Ip::V4, 1, 500),
    kind("exim4", Scenario::Icmp(Unreachable::V6NoRoute, Hop::Router), Ip::V6, 1, 700),
    kind("kumod", Scenario::ResetBeforeBanner, Ip::V4, 1, 500),
    kind("smtp", Scenario::ClosedBeforeBanner, Ip::V4, 1, 800),
    kind("sendmail", Scenario::Silent, Ip::V4, 1, 400),
    kind("php", Scenario::LocalFirewall(Tool::Nft, Verdict::Reset), Ip::V4, 1, 600),
    kind("smtp", Scenario::NoRoute, Ip::V6, 1, 600),
];

/// What one process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    kind: usize,
    port: u16,
}

/// One order for every kind.
pub(crate) fn orders(port: u16) -> impl Iterator<Item = Order> {
    (0..KINDS.len()).map(move |kind| Order { kind, port })
}

/// Makes traffic until stdin closes.
pub(crate) fn run(order: &Order) -> Result<()> {
    let kind = *KINDS.get(order.kind).context("no such kind of traffic")?;
    let port = order.port;
    name_thread(kind.comm)?;
    for lane in 0..kind.lanes {
        std::thread::spawn(move || {
            if let Err(error) = traffic(kind, port, lane) {
                eprintln!("lab demo: {error:#}");
                std::process::exit(1);
            }
        });
    }
    // Returns at the end of the lab; the process's end is its threads' end.
    std::io::stdin().read(&mut [0]).context("wait for the end of the lab")?;
    Ok(())
}

fn traffic(kind: Kind, port: u16, lane: u32) -> Result<()> {
    name_thread(kind.comm)?;
    let mut random = fastrand::Rng::with_seed(u64::from(std::process::id()) << 8 | u64::from(lane));
    let family = if kind.ip == Ip::V4 { Family::V4 } else { Family::V6 };
    let to = family.address(destination(kind.scenario, kind.ip), port);
    loop {
        std::thread::sleep(kind.pause.mul_f64(0.5 + random.f64()));
        let socket = open(family, true)?;
        if establish(&socket, &to, Mode::NonBlocking, Some(kind.patience), || {})? == Ending::Connected {
            converse(&socket, Duration::from_secs(2), Duration::ZERO, b"QUIT\r\n", SESSION_LIMIT)?;
        }
    }
}
