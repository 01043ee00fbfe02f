//! Probes with a rising TTL: at which hop is the answer born?
//!
//! Every SYN of a trace has the same ports, so that routers that choose a path by
//! them keep to one; datagrams are sent from one socket. One SYN or datagram at a
//! time, and each at most twice.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{SendFlags, SocketType, bind, send, sockopt};

use super::connect::end_in_order;
use super::socket::{self, millis};
use super::{Icmp, Plan, Refused, admit};
pub use observer_core::evidence::probe::trace::{Answer, Hop, MAX_HOPS, MAX_SILENT, ProbeKind, Trace};

/// Tries for each hop.
pub const TRIES: usize = 2;
/// How long one answer is awaited: less than the first retransmit of a SYN, at
/// one second (RFC 6298 section 2).
pub const HOP_WAIT: Duration = Duration::from_millis(900);
/// Between two probes of a trace.
pub const HOP_PAUSE: Duration = Duration::from_millis(50);
/// Of one trace.
pub const MAX_TRACE: Duration = Duration::from_secs(30);
/// Where datagrams go: the first of the ports that traceroute uses, where nobody
/// listens.
const UDP_PORT: u16 = 33_434;

/// Sends SYNs to the first destination of a plan, from its first source.
///
/// # Errors
/// If the plan is refused, or no socket is to be had.
pub fn syn(plan: &Plan, force: bool) -> Result<Option<Trace>, TraceError> {
    run(plan, force, ProbeKind::Syn)
}

/// Sends datagrams to it, to learn how far away it is.
///
/// # Errors
/// As [`syn`].
pub fn udp(plan: &Plan, force: bool) -> Result<Option<Trace>, TraceError> {
    run(plan, force, ProbeKind::Udp)
}

/// Why there is no trace.
#[derive(Debug)]
pub enum TraceError {
    /// The plan is refused.
    Refused(Refused),
    /// No socket is to be had.
    Io(io::Error),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Io(error) => write!(f, "trace: {error}"),
        }
    }
}

impl std::error::Error for TraceError {}

fn run(plan: &Plan, force: bool, kind: ProbeKind) -> Result<Option<Trace>, TraceError> {
    admit(plan, force).map_err(TraceError::Refused)?;
    let Some(ip) = plan.destinations.first().map(IpAddr::to_canonical) else { return Ok(None) };
    let fits = |source: &IpAddr| source.is_ipv4() == ip.is_ipv4();
    let source = plan.sources.iter().map(IpAddr::to_canonical).find(fits);
    let port = if kind == ProbeKind::Syn { plan.port } else { UDP_PORT };
    let mut prober = Prober { destination: SocketAddr::new(ip, port), source, used: None, port: 0 };
    let mut trace = Trace { kind, destination: prober.destination, source, hops: Vec::new() };
    let deadline = Instant::now() + MAX_TRACE;
    for ttl in 1..=MAX_HOPS {
        let hop = prober.hop(kind, ttl).map_err(TraceError::Io)?;
        trace.source = trace.source.or(prober.used);
        if !trace.push(hop) || Instant::now() >= deadline {
            break;
        }
    }
    Ok(Some(trace))
}

struct Prober {
    destination: SocketAddr,
    source: Option<IpAddr>,
    /// The address that the kernel chose, where none was asked for.
    used: Option<IpAddr>,
    /// Our port, once the first probe has got one.
    port: u16,
}

impl Prober {
    fn hop(&mut self, kind: ProbeKind, ttl: u8) -> io::Result<Hop> {
        let mut hop = Hop { ttl, answer: Answer::Silence, elapsed_ms: 0.0 };
        for _ in 0..TRIES {
            std::thread::sleep(HOP_PAUSE);
            let start = Instant::now();
            let socket = self.socket(kind, ttl)?;
            hop.answer = self.ask(&socket, kind, start + HOP_WAIT)?;
            self.used = self.used.or_else(|| socket::local(&socket));
            hop.elapsed_ms = millis(start.elapsed());
            if kind == ProbeKind::Syn && hop.answer == Answer::Accepted {
                end_in_order(&socket, self.destination)?;
            }
            if hop.answer != Answer::Silence {
                break;
            }
        }
        Ok(hop)
    }

    /// A socket with this TTL and the ports of the trace.
    fn socket(&mut self, kind: ProbeKind, ttl: u8) -> io::Result<OwnedFd> {
        let is_v4 = self.destination.is_ipv4();
        let kind = if kind == ProbeKind::Syn { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = socket::open(kind, is_v4)?;
        socket::set_ttl(&socket, is_v4, ttl)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        let unspecified = if is_v4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let ours = self.source.unwrap_or(unspecified);
        if bind(&socket, &SocketAddr::new(ours, self.port)).is_err() {
            bind(&socket, &SocketAddr::new(ours, 0))?;
        }
        if let Ok(address) = rustix::net::getsockname(&socket)
            .and_then(|name| SocketAddr::try_from(name).map_err(|_| rustix::io::Errno::AFNOSUPPORT))
        {
            self.port = address.port();
        }
        Ok(socket)
    }

    /// Sends one probe, and awaits what comes back.
    fn ask(&self, socket: &OwnedFd, kind: ProbeKind, until: Instant) -> io::Result<Answer> {
        let failed = |errno: rustix::io::Errno| Ok(Answer::Failed { errno: errno.raw_os_error() });
        match rustix::net::connect(socket, &self.destination) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(errno) => return failed(errno),
        }
        // An error makes a socket ready, whatever is asked for.
        let awaited = match kind {
            ProbeKind::Syn => PollFlags::OUT,
            ProbeKind::Udp => PollFlags::IN,
        };
        if kind == ProbeKind::Udp
            && let Err(errno) = send(socket, &[0; 32], SendFlags::NOSIGNAL)
        {
            return failed(errno);
        }
        if !socket::wait(socket, awaited, until)? {
            return Ok(Answer::Silence);
        }
        let icmp = socket::icmp(socket);
        Ok(answer(kind, socket::error(socket)?, icmp, self.destination.is_ipv4()))
    }
}

/// What an errno, and the ICMP error that is kept with it, say.
pub(super) fn answer(kind: ProbeKind, errno: i32, icmp: Option<Icmp>, is_v4: bool) -> Answer {
    let time_exceeded = if is_v4 { 11 } else { 3 };
    match (icmp, errno) {
        (Some(icmp), _) if icmp.kind == time_exceeded => Answer::TimeExceeded { from: icmp.from },
        (Some(icmp), _) => Answer::Unreachable(icmp),
        // For a datagram: one came back, somebody listens there after all.
        (None, 0) => Answer::Accepted,
        (None, libc::ECONNREFUSED) if kind == ProbeKind::Syn => Answer::Reset,
        // An older kernel tells of the error, and not of its type or sender.
        (None, libc::EHOSTUNREACH) => Answer::TimeExceeded { from: None },
        (None, errno) => Answer::Failed { errno },
    }
}
