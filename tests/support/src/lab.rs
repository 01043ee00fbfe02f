//! The lab itself: brought up in one call, gone on drop.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::time::ClockId;

use crate::addr::Ip;
use crate::alone::port;
use crate::attempt::{self, Observation, now_ns};
use crate::case::{Case, Pace};
use crate::cgroup::{self, DenyingCgroup};
use crate::ns::{self, Namespace};
use crate::role::{Process, Role, own_pid};
use crate::rules::{self, Node};
use crate::scenario::Scenario;
use crate::storm::{self, Storm, StormAttempt};
use crate::{blast, demo};

/// Attempts under way at a time in [`Lab::run`].
const CONCURRENT: usize = 48;
/// From the start of connect() to SIGKILL.
const KILL_AFTER: Duration = Duration::from_millis(300);

/// How often sockets are destroyed that are to be.
const DESTROY_EVERY: Duration = Duration::from_millis(300);

/// Where the storm's processes find ports of their own: below the ephemeral ones.
const STORM_PORTS: u16 = 30_000;

/// What a lab is like.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// The one-way delay between client and router.
    pub delay: Duration,
    /// The ports that the server's listeners listen on.
    pub ports: Vec<u16>,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self { delay: Duration::from_millis(10), ports: vec![port(), 2525] }
    }
}

/// Client, router and server, and the processes that live there. Dropping it
/// ends them all and removes the namespaces.
#[derive(Debug)]
pub struct Lab {
    // Before the namespaces: fields are dropped in this order.
    _server_role: Process,
    _relay_role: Process,
    client: Namespace,
    router: Namespace,
    server: Namespace,
    ports: Vec<u16>,
}

/// Traffic that goes on until this is dropped.
#[derive(Debug)]
pub struct Demo {
    processes: Vec<Process>,
}

/// A server that stands in for others, until this is dropped.
#[derive(Debug)]
pub struct Instead {
    _process: Process,
}

impl Demo {
    /// The ids of the processes that make the traffic.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}

impl Lab {
    /// Brings a lab up. Needs root, /dev/net/tun, iproute2, nftables and iptables.
    pub fn up(config: LabConfig) -> Result<Self> {
        static SEQUENCE: AtomicU32 = AtomicU32::new(0);
        Self::sweep()?;
        let stem = format!("{}{}-{}", ns::PREFIX, own_pid(), SEQUENCE.fetch_add(1, Ordering::Relaxed));
        let client = Namespace::create(format!("{stem}-client"))?;
        let router = Namespace::create(format!("{stem}-router"))?;
        let server = Namespace::create(format!("{stem}-server"))?;
        furnish(&client, &router, &server)?;
        let mut relay_role =
            Process::start(&Role::Relay { client: client.path(), router: router.path(), delay: config.delay })?;
        let mut server_role = Process::start(&Role::Server { ns: server.path(), ports: config.ports.clone() })?;
        relay_role.wait_ready().context("the relay between client and router")?;
        client.ip(&rules::client_ip())?;
        router.ip(&rules::router_ip())?;
        server_role.wait_ready().context("the server's listeners")?;
        Ok(Self { _server_role: server_role, _relay_role: relay_role, client, router, server, ports: config.ports })
    }

    /// Removes what labs left behind whose process is gone.
    pub fn sweep() -> Result<()> {
        ns::sweep()?;
        cgroup::sweep()
    }

    /// The namespace that attempts come from.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The namespace between the two.
    pub fn router(&self) -> &Namespace {
        &self.router
    }

    /// The namespace of the destinations.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// Runs each case in a process of its own in the client's namespace, many at
    /// a time, and returns what each client saw, in the order of `cases`.
    pub fn run(&self, cases: &[Case], port: u16) -> Result<Vec<Observation>> {
        self.run_at(Pace::Hurried, cases, port)
    }

    /// As [`Lab::run`], at this pace.
    pub fn run_at(&self, pace: Pace, cases: &[Case], port: u16) -> Result<Vec<Observation>> {
        self.check_port(port)?;
        let denied = |case: &Case| case.scenario == Scenario::CgroupDeny;
        let cgroup = cases.iter().any(denied).then(DenyingCgroup::create).transpose()?;
        let is_redirected =
            |case: &Case| matches!(case.scenario, Scenario::RedirectedReset | Scenario::RedirectedRefused);
        let _redirect = cases.iter().any(is_redirected).then(|| self.redirect()).transpose()?;
        let next = AtomicUsize::new(0);
        let work = || {
            let mut seen = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else { return Ok(seen) };
                let within = cgroup.as_ref().filter(|_| denied(case));
                let observation =
                    self.attempt(*case, pace, port, within).with_context(|| format!("case {}", case.name()))?;
                seen.push((index, observation));
            }
        };
        let mut seen = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONCURRENT.min(cases.len())).map(|_| scope.spawn(work)).collect();
            let results: Vec<Result<Vec<_>>> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread of the lab panicked")))
                .collect();
            results.into_iter().collect::<Result<Vec<_>>>()
        })?
        .concat();
        seen.sort_by_key(|(index, _)| *index);
        Ok(seen.into_iter().map(|(_, observation)| observation).collect())
    }

    fn attempt(&self, case: Case, pace: Pace, port: u16, cgroup: Option<&DenyingCgroup>) -> Result<Observation> {
        let order = attempt::Order {
            case: case.name(),
            pace,
            port,
            comm: case.comm(),
            uid: case.uid(),
            cgroup: cgroup.map(|cgroup| cgroup.path().to_owned()),
        };
        let mut process = Process::start_quiet(&Role::Attempt { ns: self.client.path(), parent: own_pid(), order })?;
        let mut next_line = |port| {
            let line = match case.scenario {
                Scenario::Destroyed | Scenario::DestroyedInSession => {
                    self.line_while_destroying(case, port, &mut process)
                }
                _ => process.line(),
            };
            if let Some(line) = line? {
                return Ok(line);
            }
            process.finish()?;
            bail!("the client ended without a word");
        };
        let mut line = next_line(None)?;
        if case.scenario == Scenario::DestroyedInSession {
            let seen: Observation = serde_json::from_str(&line).with_context(|| format!("the client said {line}"))?;
            line = next_line(seen.src_port)?;
        }
        let mut seen: Observation = serde_json::from_str(&line).with_context(|| format!("the client said {line}"))?;
        ensure!(seen.pid == process.pid(), "the client is not the process that the lab started");
        if case.scenario == Scenario::Killed {
            std::thread::sleep(KILL_AFTER);
            process.kill()?;
            seen.elapsed_ns = now_ns(ClockId::Monotonic).saturating_sub(seen.started_monotonic_ns);
        } else {
            process.finish()?;
        }
        Ok(seen)
    }

    /// The client's next line. Until it comes, sockets to the case's destination are destroyed:
    /// of a session only the one with this local port, once that is known.
    fn line_while_destroying(&self, case: Case, port: Option<u16>, process: &mut Process) -> Result<Option<String>> {
        let (said, is_said) = mpsc::channel::<()>();
        let is_due = port.is_some() || case.scenario == Scenario::Destroyed;
        std::thread::scope(|scope| {
            let destroyer = scope.spawn(move || -> Result<()> {
                while is_said.recv_timeout(DESTROY_EVERY) == Err(RecvTimeoutError::Timeout) {
                    if is_due {
                        self.client.destroy_sockets(case.destination(), port)?;
                    }
                }
                Ok(())
            });
            let line = process.line();
            drop(said);
            destroyer.join().unwrap_or_else(|_| bail!("the destroying thread panicked"))?;
            line
        })
    }

    /// Has the client redirect what goes to some destinations to itself. Ends with the process.
    fn redirect(&self) -> Result<Process> {
        let ports = [rules::REDIRECTED, rules::REDIRECTED_AND_SERVED];
        let mut process = Process::start(&Role::Redirected { ns: self.client.path(), ports })?;
        process.wait_ready().context("the listeners that the client redirects to")?;
        // Another run may have left them.
        self.client.nft(&format!("table inet redirects {{}}\nflush table inet redirects\n{}", rules::redirects()))?;
        Ok(process)
    }

    /// Has a server of the client's own serve what goes to these destinations, as a proxy or a
    /// control panel does, until the value is dropped; the rules stay.
    pub fn serve_instead(&self, destinations: &[IpAddr]) -> Result<Instead> {
        let process = self.redirect()?;
        self.client.nft(&rules::serve_instead(destinations))?;
        Ok(Instead { _process: process })
    }

    /// Thousands of mixed attempts from a few processes; what each client saw.
    /// One storm at a time: its processes use fixed ports for a part of them.
    pub fn storm(&self, storm: Storm) -> Result<Vec<StormAttempt>> {
        self.check_port(storm.port)?;
        let count = storm.processes.clamp(1, 256);
        let mut processes = Vec::new();
        for index in 0..count {
            let order = storm::Order {
                seed: storm.seed.wrapping_mul(1_000_003).wrapping_add(index.into()),
                attempts: storm.attempts / count + u32::from(index < storm.attempts % count),
                port: storm.port,
                hold: storm.hold,
                comm: format!("obs-s{index:02}"),
                first_port: STORM_PORTS + u16::try_from(index)? * storm::OWN_PORTS,
            };
            let role = Role::Storm { ns: self.client.path(), parent: own_pid(), order };
            processes.push(Process::start_quiet(&role)?);
        }
        let mut seen = Vec::new();
        for process in &mut processes {
            while let Some(line) = process.line()? {
                seen.push(serde_json::from_str(&line).with_context(|| format!("the storm said {line}"))?);
            }
            process.finish()?;
        }
        ensure!(seen.len() == storm.attempts as usize, "{} of {} attempts reported", seen.len(), storm.attempts);
        Ok(seen)
    }

    /// `count` refused connects to a port where nobody listens, from the client's
    /// namespace by `concurrency` threads of one process. Returns how long they
    /// took. The destination is usually 127.0.0.1.
    pub fn blast(&self, count: u32, dst: IpAddr, port: u16, concurrency: u32) -> Result<Duration> {
        let order = blast::Order { count, dst, port, concurrency };
        let role = Role::Blast { ns: self.client.path(), parent: own_pid(), order };
        let mut process = Process::start_quiet(&role)?;
        let line = process.line()?;
        process.finish()?;
        let line = line.context("the blast ended without a word")?;
        Ok(Duration::from_nanos(line.parse().with_context(|| format!("the blast said {line}"))?))
    }

    /// Starts about a dozen kinds of traffic, a few attempts a second of each.
    pub fn demo(&self, port: u16) -> Result<Demo> {
        self.check_port(port)?;
        let start = |order| Process::start(&Role::Demo { ns: self.client.path(), order });
        Ok(Demo { processes: demo::orders(port).map(start).collect::<Result<_>>()? })
    }

    fn check_port(&self, port: u16) -> Result<()> {
        ensure!(self.ports.contains(&port), "the lab's servers do not listen on port {port}, only on {:?}", self.ports);
        Ok(())
    }
}

/// Everything that does not need the relay.
fn furnish(client: &Namespace, router: &Namespace, server: &Namespace) -> Result<()> {
    for namespace in [client, router, server] {
        namespace.sysctl(rules::EVERYWHERE)?;
    }
    client.sysctl(rules::CLIENT)?;
    router.sysctl(rules::ROUTER)?;
    server.sysctl(rules::SERVER)?;
    client.ip(rules::CLIENT_LINKS_IP)?;
    client.sysctl(rules::CLIENT_LINKS)?;
    router.ip(&rules::router_links_ip(server.name()))?;
    server.ip(&rules::server_ip())?;
    for (node, namespace) in [(Node::Client, client), (Node::Router, router), (Node::Server, server)] {
        namespace.nft(&rules::nft(node))?;
        for ip in Ip::BOTH {
            namespace.iptables(ip, &rules::iptables(node, ip))?;
        }
    }
    Ok(())
}
