//! Thousands of mixed attempts from a few processes, with hundreds in flight.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, bind, connect, recv, send, sockopt};
use rustix::time::{ClockId, Timespec};
use serde::{Deserialize, Serialize};

use crate::addr::{self, Ip, destination};
use crate::alone::port;
use crate::attempt::{local, nanoseconds, now_ns, open};
use crate::case::Family;
use crate::icmp::Unreachable;
use crate::role::{name_thread, own_pid};
use crate::scenario::{Hop, Scenario, Tool, Verdict};
use crate::sock;

/// A storm's size.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Seeds the mixture: the same seed gives the same scenarios in the same order.
    pub seed: u64,
    /// The number of processes.
    pub processes: u32,
    /// Attempts of all processes together.
    pub attempts: u32,
    /// The destination port.
    pub port: u16,
    /// How long after the start the attempts that nobody answers are given up,
    /// all at once. Extended as needed so that each was open for 1.5 s at least.
    pub hold: Duration,
}

impl Default for Storm {
    fn default() -> Self {
        Self { seed: 25, processes: 8, attempts: 10_000, port: port(), hold: Duration::from_secs(4) }
    }
}

/// What one process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) attempts: u32,
    pub(crate) port: u16,
    pub(crate) hold: Duration,
    pub(crate) comm: String,
    /// The first of the ports that this process alone uses.
    pub(crate) first_port: u16,
}

/// What a client of the storm saw of one attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StormAttempt {
    /// The client's process id (tgid).
    pub pid: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The source address.
    pub src_ip: IpAddr,
    /// The source port; ports are reused, so it alone identifies nothing.
    pub src_port: u16,
    /// The destination address.
    pub dst_ip: IpAddr,
    /// The errno of connect() or of the session.
    pub errno: Option<String>,
    /// CLOCK_MONOTONIC just before connect, in nanoseconds.
    pub started_monotonic_ns: u64,
    /// Nanoseconds until the client closed the socket.
    pub elapsed_ns: u64,
    /// Retransmitted segments (TCP_INFO) just before that.
    pub retransmits: u32,
}

/// Attempts under way that end by themselves, per process.
const WINDOW: usize = 256;
/// Ports outside the ephemeral range that each process uses over and over for
/// attempts that are refused, so that the same connection soon comes again.
pub(crate) const OWN_PORTS: u16 = 8;
/// No process of a storm lives longer.
const LIMIT: Duration = Duration::from_secs(18);
/// What an abandoned attempt was open for at least.
const ABANDON_AFTER: Duration = Duration::from_millis(1500);

/// The mixture: how often, what.
const MIXTURE: [(u32, Scenario); 14] = [
    (20, Scenario::ClosedPort),
    (6, Scenario::RemoteReset(Hop::Router, Tool::Nft)),
    (5, Scenario::Icmp(Unreachable::Port, Hop::Router)),
    (5, Scenario::Icmp(Unreachable::AdminProhibited, Hop::Server)),
    (3, Scenario::Icmp(Unreachable::V6Port, Hop::Router)),
    (3, Scenario::Icmp(Unreachable::V6AdminProhibited, Hop::Router)),
    (18, Scenario::DropAbandoned),
    (14, Scenario::Success),
    (6, Scenario::ResetBeforeBanner),
    (4, Scenario::ClosedBeforeBanner),
    (4, Scenario::Silent),
    (4, Scenario::LocalFirewall(Tool::Nft, Verdict::DropAbandoned)),
    (3, Scenario::LocalFirewall(Tool::Nft, Verdict::Reset)),
    (5, Scenario::Cancelled),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    scenario: Scenario,
    ip: Ip,
    source: IpAddr,
    /// When the client closes it, after its start; `None`: with all the others.
    patience: Option<Duration>,
}

fn plans(seed: u64, count: u32) -> Vec<Plan> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| plan(&mut random)).collect()
}

fn plan(random: &mut fastrand::Rng) -> Plan {
    let total = MIXTURE.iter().map(|(weight, _)| weight).sum();
    let mut pick = random.u32(0..total);
    let mut scenario = Scenario::ClosedPort;
    for (weight, candidate) in MIXTURE {
        if pick < weight {
            scenario = candidate;
            break;
        }
        pick -= weight;
    }
    let wanted = if random.u8(0..3) == 0 { Ip::V6 } else { Ip::V4 };
    let ip = if scenario.exists_for(wanted) { wanted } else { other(wanted) };
    let source = addr::sources(ip)[random.usize(0..2)];
    let cancelled = scenario == Scenario::Cancelled;
    let patience = cancelled.then(|| Duration::from_millis(random.u64(20..80)));
    Plan { scenario, ip, source, patience }
}

const fn other(ip: Ip) -> Ip {
    match ip {
        Ip::V4 => Ip::V6,
        Ip::V6 => Ip::V4,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    AwaitingBanner,
    Quitting,
}

struct Flight {
    socket: OwnedFd,
    plan: Plan,
    stage: Stage,
    clock: Instant,
    own_port: Option<u16>,
    seen: StormAttempt,
}

struct Worker {
    epoll: OwnedFd,
    flights: HashMap<u64, Flight>,
    /// Those among the flights that end by themselves.
    short: usize,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    done: Vec<StormAttempt>,
    port: u16,
    free_ports: Vec<u16>,
}

/// Runs one process's share and writes an attempt a line.
pub(crate) fn run(order: &Order) -> Result<()> {
    name_thread(&order.comm)?;
    sock::raise_file_limit()?;
    let mut worker = Worker {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create")?,
        flights: HashMap::new(),
        short: 0,
        timers: BinaryHeap::new(),
        done: Vec::new(),
        port: order.port,
        free_ports: (order.first_port..order.first_port + OWN_PORTS).collect(),
    };
    worker.fly(order)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for attempt in &worker.done {
        serde_json::to_writer(&mut out, attempt).context("write an attempt")?;
        out.write_all(b"\n").context("write an attempt")?;
    }
    out.flush().context("report")
}

impl Worker {
    fn fly(&mut self, order: &Order) -> Result<()> {
        let start = Instant::now();
        for (id, plan) in (0..).zip(plans(order.seed, order.attempts)) {
            self.launch(id, plan)?;
            self.turn(Duration::ZERO)?;
            while self.short >= WINDOW {
                ensure!(
                    start.elapsed() < LIMIT,
                    "the storm takes too long: {} of {} done",
                    self.done.len(),
                    order.attempts
                );
                self.turn(Duration::from_millis(5))?;
            }
        }
        let deadline = (start + order.hold).max(Instant::now() + ABANDON_AFTER);
        while Instant::now() < deadline || self.short > 0 {
            ensure!(start.elapsed() < LIMIT, "the storm takes too long: {} still under way", self.short);
            self.turn(Duration::from_millis(5))?;
        }
        let held: Vec<u64> = self.flights.keys().copied().collect();
        held.into_iter().try_for_each(|id| self.finish(id, None))
    }

    fn launch(&mut self, id: u64, plan: Plan) -> Result<()> {
        let family = if plan.ip == Ip::V4 { Family::V4 } else { Family::V6 };
        let socket = open(family, true)?;
        let own_port = if plan.leaves_no_trace() { self.free_ports.pop() } else { None };
        sock::set_late_port(&socket)?;
        let from = family.address(plan.source, own_port.unwrap_or_default());
        bind(&socket, &from).with_context(|| format!("bind to {from}"))?;
        let dst_ip = destination(plan.scenario, plan.ip);
        let clock = Instant::now();
        let started_monotonic_ns = now_ns(ClockId::Monotonic);
        let outcome = connect(&socket, &family.address(dst_ip, self.port));
        let seen = StormAttempt {
            pid: own_pid().cast_unsigned(),
            scenario: plan.scenario.name(),
            src_ip: plan.source,
            src_port: local(&socket).context("the connecting socket's own address")?.port(),
            dst_ip,
            errno: None,
            started_monotonic_ns,
            elapsed_ns: 0,
            retransmits: 0,
        };
        self.track(id, Flight { socket, plan, stage: Stage::Connecting, clock, own_port, seen })?;
        match outcome {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
            Err(errno) => self.finish(id, Some(errno)),
        }
    }

    fn track(&mut self, id: u64, flight: Flight) -> Result<()> {
        if let Some(patience) = flight.plan.patience {
            self.timers.push(Reverse((flight.clock + patience, id)));
        }
        let events = EventFlags::IN | EventFlags::OUT;
        epoll::add(&self.epoll, &flight.socket, EventData::new_u64(id), events).context("epoll_ctl")?;
        self.short += usize::from(!flight.plan.is_held());
        self.flights.insert(id, flight);
        Ok(())
    }

    /// Handles what has happened, or waits for it.
    fn turn(&mut self, wait: Duration) -> Result<()> {
        let mut events = Vec::with_capacity(512);
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for event in events {
            self.advance(event.data.u64())?;
        }
        while let Some(Reverse((due, id))) = self.timers.peek().copied()
            && due <= Instant::now()
        {
            self.timers.pop();
            self.finish(id, None)?;
        }
        Ok(())
    }

    fn advance(&mut self, id: u64) -> Result<()> {
        let Some(flight) = self.flights.get_mut(&id) else { return Ok(()) };
        if flight.stage == Stage::Connecting {
            if let Err(errno) = sockopt::socket_error(&flight.socket).context("SO_ERROR")? {
                return self.finish(id, Some(errno));
            }
            flight.stage = Stage::AwaitingBanner;
            return epoll::modify(&self.epoll, &flight.socket, EventData::new_u64(id), EventFlags::IN)
                .context("epoll_ctl");
        }
        let mut buffer = [0; 512];
        match recv(&flight.socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, 0)) => self.finish(id, None),
            Ok(_) if flight.stage == Stage::AwaitingBanner => {
                flight.stage = Stage::Quitting;
                match send(&flight.socket, b"QUIT\r\n", SendFlags::NOSIGNAL) {
                    Ok(_) => Ok(()),
                    Err(errno) => self.finish(id, Some(errno)),
                }
            }
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => self.finish(id, Some(errno)),
        }
    }

    /// Closes a flight's socket and writes down how it ended.
    fn finish(&mut self, id: u64, errno: Option<Errno>) -> Result<()> {
        let Some(mut flight) = self.flights.remove(&id) else { return Ok(()) };
        self.short -= usize::from(!flight.plan.is_held());
        flight.seen.retransmits = sock::retransmits(&flight.socket)?;
        flight.seen.errno = errno.map(sock::errno_name);
        drop(flight.socket);
        self.free_ports.extend(flight.own_port);
        flight.seen.elapsed_ns = nanoseconds(flight.clock.elapsed());
        self.done.push(flight.seen);
        Ok(())
    }
}

impl Plan {
    /// Whether the connection can come again at once: refused, so no TIME-WAIT.
    const fn leaves_no_trace(self) -> bool {
        matches!(self.scenario, Scenario::ClosedPort | Scenario::RemoteReset(..) | Scenario::Icmp(..))
    }

    /// Whether only the common deadline ends it.
    const fn is_held(self) -> bool {
        matches!(
            self.scenario,
            Scenario::DropAbandoned | Scenario::Silent | Scenario::LocalFirewall(_, Verdict::DropAbandoned)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_storm() {
        assert_eq!(plans(7, 500), plans(7, 500));
        assert_ne!(plans(7, 500), plans(8, 500));
    }

    #[test]
    fn every_scenario_of_the_mixture_occurs() {
        let plans = plans(1, 2000);
        for (_, scenario) in MIXTURE {
            assert!(plans.iter().any(|plan| plan.scenario == scenario), "{scenario:?}");
        }
    }
}
