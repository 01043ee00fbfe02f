//! The client: one process, one attempt, and what it saw.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustix::fs::Uid;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with, sockopt};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::addr::Ip;
use crate::case::{Case, Family, Mode, Pace};
use crate::connect::{Ending, SESSION_LIMIT, converse, destroyed, establish, leave_unread};
use crate::role::{die_with, hurry, name_thread, own_pid};
use crate::scenario::{Scenario, Verdict};
use crate::{cgroup, landlock, sock};

/// Between banner and QUIT, where a client takes its time.
const IDLE: Duration = Duration::from_millis(1500);
/// When a client gives up on a session: time for three retransmission timeouts.
const GIVE_UP: Duration = Duration::from_secs(3);

/// What one attempt's process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) case: String,
    pub(crate) pace: Pace,
    pub(crate) port: u16,
    pub(crate) comm: String,
    pub(crate) uid: u32,
    /// The cgroup to join first.
    pub(crate) cgroup: Option<PathBuf>,
}

/// What a client saw of its own attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// The case's name.
    pub case: String,
    /// The client's process id (tgid).
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// Its user.
    pub uid: u32,
    /// The source address, if the socket ever knew it.
    pub src_ip: Option<IpAddr>,
    /// The source port, if the socket ever told: a blocking connect that failed
    /// without bind() did not.
    pub src_port: Option<u16>,
    /// The destination, IPv4 for mapped sockets.
    pub dst_ip: IpAddr,
    /// The destination port.
    pub dst_port: u16,
    /// The errno of connect() or of the session; `None` where the client saw none.
    pub errno: Option<String>,
    /// CLOCK_REALTIME just before connect, in nanoseconds.
    pub started_realtime_ns: u64,
    /// CLOCK_MONOTONIC just before connect, in nanoseconds.
    pub started_monotonic_ns: u64,
    /// Nanoseconds until the client's own outcome; for a connection, until its close.
    pub elapsed_ns: u64,
    /// The kernel's own count of retransmitted segments (TCP_INFO) before the
    /// close; `None` where a failed connect() has cleared it, or the client died.
    pub retransmits: Option<u32>,
}

/// Runs one attempt and writes the observation to stdout.
pub(crate) fn run(order: &Order, parent: i32) -> Result<()> {
    let case = Case::by_name(&order.case).with_context(|| format!("no case {}", order.case))?;
    name_thread(&order.comm)?;
    hurry();
    if let Some(cgroup) = &order.cgroup {
        cgroup::join(cgroup)?;
    }
    if order.uid != 0 {
        let uid = Uid::from_raw(order.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).context("setresuid")?;
        die_with(parent)?; // A change of user clears the death signal.
    }
    // Held until the end: the only port that the attempt may use.
    let holder = (case.scenario == Scenario::PortsExhausted).then(|| hold_port(case.family)).transpose()?;
    let socket = prepare(case, order.pace, holder.as_ref())?;
    if case.scenario == Scenario::SecurityPolicy {
        landlock::deny_connect()?;
    }
    perform(order, case, &socket)
}

fn perform(order: &Order, case: Case, socket: &OwnedFd) -> Result<()> {
    let to = case.family.address(case.destination(), order.port);
    let mut seen = Observation {
        case: order.case.clone(),
        pid: own_pid().cast_unsigned(),
        comm: order.comm.clone(),
        uid: order.uid,
        src_ip: None,
        src_port: None,
        dst_ip: case.destination(),
        dst_port: order.port,
        errno: None,
        started_realtime_ns: now_ns(ClockId::Realtime),
        started_monotonic_ns: now_ns(ClockId::Monotonic),
        elapsed_ns: 0,
        retransmits: None,
    };
    note_source(&mut seen, socket);
    if case.scenario == Scenario::Killed {
        report(&seen)?; // It will not live to say more.
    }
    let clock = Instant::now();
    let mut connect =
        || establish(socket, &to, case.mode, case.patience(order.pace), || note_source(&mut seen, socket));
    let (ending, counted) = match order.pace {
        Pace::Hurried => (connect()?, None),
        Pace::Real => counting_retransmits(socket, connect)?,
    };
    let errno = match ending {
        Ending::Failed(errno) => Some(errno),
        Ending::GaveUp => None,
        Ending::Connected => {
            note_source(&mut seen, socket);
            session(case.scenario, socket, &seen)?
        }
    };
    note_source(&mut seen, socket);
    // The kernel disconnects a socket whose connect() it has failed, and forgets.
    if !matches!(ending, Ending::Failed(_)) || case.mode == Mode::NonBlocking {
        seen.retransmits = Some(sock::retransmits(socket)?);
    }
    seen.retransmits = seen.retransmits.or(counted);
    seen.errno = errno.map(sock::errno_name);
    seen.elapsed_ns = nanoseconds(clock.elapsed());
    report(&seen)
}

/// Connects, and looks meanwhile how often the kernel has sent the SYN again:
/// later it will not say.
fn counting_retransmits(socket: &OwnedFd, connect: impl FnOnce() -> Result<Ending>) -> Result<(Ending, Option<u32>)> {
    // Retransmits are a second apart at least, and the last is long before the end.
    const BETWEEN: Duration = Duration::from_millis(400);
    let (is_over, over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let counter = scope.spawn(move || -> Result<u32> {
            let mut most = 0;
            while over.recv_timeout(BETWEEN) == Err(RecvTimeoutError::Timeout) {
                most = most.max(sock::retransmits(socket)?);
            }
            Ok(most)
        });
        let ending = connect();
        drop(is_over);
        let counted = counter.join().map_err(|_| anyhow!("the counting thread panicked"))?;
        Ok((ending?, Some(counted?)))
    })
}

/// Not only for those that were accepted: io_uring calls an IPv4 socket connected
/// that the own firewall rejects by ICMP, and the session then meets the errno.
fn session(scenario: Scenario, socket: &OwnedFd, seen: &Observation) -> Result<Option<rustix::io::Errno>> {
    let wait = if scenario == Scenario::Silent { Duration::from_secs(1) } else { Duration::from_secs(5) };
    let is_in_order = matches!(scenario, Scenario::Success | Scenario::MptcpSuccess | Scenario::Idle);
    let line: &[u8] = if is_in_order { b"QUIT\r\n" } else { b"EHLO client.example.net\r\n" };
    if scenario == Scenario::Stalled {
        sockopt::set_tcp_user_timeout(socket, 2000).context("TCP_USER_TIMEOUT")?;
    }
    match scenario {
        Scenario::Unread => leave_unread(socket, wait),
        Scenario::Idle => converse(socket, wait, IDLE, line, SESSION_LIMIT),
        Scenario::StalledAbandoned => converse(socket, wait, Duration::ZERO, line, GIVE_UP),
        Scenario::DestroyedInSession => destroyed(socket, wait, || report(seen)),
        _ => converse(socket, wait, Duration::ZERO, line, SESSION_LIMIT),
    }
}

/// A socket for the case, bound and tuned as the case wants it.
fn prepare(case: Case, pace: Pace, holder: Option<&(OwnedFd, u16)>) -> Result<OwnedFd> {
    let is_mptcp = matches!(case.scenario, Scenario::MptcpSuccess | Scenario::MptcpClosedPort);
    let protocol = is_mptcp.then_some(ipproto::MPTCP);
    let socket = open_with(case.family, case.mode == Mode::NonBlocking, protocol)?;
    if let Some(source) = case.source() {
        bind(&socket, &case.family.address(source, 0)).with_context(|| format!("bind to {source}"))?;
    }
    let is_kernels = matches!(
        case.scenario,
        Scenario::DropTimeout
            | Scenario::LocalFirewall(_, Verdict::Drop)
            | Scenario::AnswerDropped
            | Scenario::BoundToLoopback
    );
    if is_kernels && pace == Pace::Hurried {
        sock::set_syn_count(&socket, 1)?; // Gives up after 1 s + 2 s.
    }
    if case.scenario == Scenario::TimeExceeded {
        match case.family.ip() {
            Ip::V4 => sockopt::set_ip_ttl(&socket, 1).context("IP_TTL")?,
            Ip::V6 => sockopt::set_ipv6_unicast_hops(&socket, Some(1)).context("IPV6_UNICAST_HOPS")?,
        }
    }
    if let Some((_, port)) = holder {
        sock::set_only_port(&socket, *port)?;
    }
    Ok(socket)
}

pub(crate) fn open(family: Family, nonblocking: bool) -> Result<OwnedFd> {
    open_with(family, nonblocking, None)
}

fn open_with(family: Family, nonblocking: bool, protocol: Option<Protocol>) -> Result<OwnedFd> {
    let domain = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = if nonblocking { SocketFlags::CLOEXEC | SocketFlags::NONBLOCK } else { SocketFlags::CLOEXEC };
    socket_with(domain, SocketType::STREAM, flags, protocol).context("socket")
}

/// Occupies a port for every address.
fn hold_port(family: Family) -> Result<(OwnedFd, u16)> {
    let socket = open(family, false)?;
    let any: IpAddr = match family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 | Family::Mapped => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    bind(&socket, &SocketAddr::new(any, 0)).context("bind the held port")?;
    let port = local(&socket).context("the held port")?.port();
    Ok((socket, port))
}

/// The socket's own address, IPv4 for mapped sockets.
pub(crate) fn local(socket: &OwnedFd) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn note_source(seen: &mut Observation, socket: &OwnedFd) {
    if let Some(local) = local(socket) {
        if !local.ip().is_unspecified() {
            seen.src_ip = Some(local.ip());
        }
        if local.port() != 0 {
            seen.src_port = Some(local.port());
        }
    }
}

fn report(seen: &Observation) -> Result<()> {
    let mut line = serde_json::to_vec(seen).context("write the observation")?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).context("report")
}

pub(crate) fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
