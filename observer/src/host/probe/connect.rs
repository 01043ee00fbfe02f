//! One connect for each address and source address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use observer_common::record::{EndCode, FAMILY_V4, FAMILY_V6, end, fact, phase};
use observer_core::label::label;
use observer_core::sanitize::sanitize;
use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketType, bind, recv, send, shutdown};

use super::socket::{self, millis};
use super::{BANNER_WAIT, CONNECT_WAIT, Icmp, MAX_BANNER, MAX_TIME, PAUSE, Plan, Probe, Refused, admit};

const QUIT: &[u8] = b"QUIT\r\n";
/// How long the answer to QUIT is awaited, so that the session ends in order.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// Bytes of a greeting that are read in search of its end.
const MAX_READ: usize = 8_192;
/// Submission over TLS (RFC 8314 section 3.3).
const IMPLICIT_TLS: u16 = 465;

/// How long one probe waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the handshake, at most [`CONNECT_WAIT`].
    pub connect: Duration,
    /// For the banner, at most [`BANNER_WAIT`].
    pub banner: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: CONNECT_WAIT, banner: BANNER_WAIT }
    }
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Run {
    /// One for each pair of addresses, in the order of the plan.
    pub probes: Vec<Probe>,
    /// Pairs that were not tried: out of time, or no socket was to be had.
    pub left_out: usize,
}

/// Carries out a plan: destinations one after the other, the sources of each at
/// once, so that they are compared at the same time.
///
/// # Errors
/// If the plan is refused; see [`admit`].
pub fn connect(plan: &Plan, patience: Patience, force: bool) -> Result<Run, Refused> {
    connect_and_tell(plan, patience, force, &|_| ())
}

/// As [`connect`], and hands over each probe as soon as it has ended.
///
/// # Errors
/// As [`connect`].
pub fn connect_and_tell(
    plan: &Plan,
    patience: Patience,
    force: bool,
    tell: &(dyn Fn(&Probe) + Sync),
) -> Result<Run, Refused> {
    admit(plan, force)?;
    let deadline = Instant::now() + MAX_TIME;
    let mut run = Run::default();
    for &ip in &plan.destinations {
        let destination = SocketAddr::new(ip.to_canonical(), plan.port);
        let sources = sources(plan, destination.ip());
        if Instant::now() >= deadline {
            run.left_out += sources.len();
            continue;
        }
        let probes = std::thread::scope(|scope| {
            let threads: Vec<_> = sources
                .into_iter()
                .map(|source| {
                    let thread = scope.spawn(move || probe(destination, source, patience).inspect(tell));
                    std::thread::sleep(PAUSE);
                    thread
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().ok().and_then(Result::ok)).collect::<Vec<_>>()
        });
        run.left_out += probes.iter().filter(|probe| probe.is_none()).count();
        run.probes.extend(probes.into_iter().flatten());
    }
    Ok(run)
}

/// The sources of the destination's family; `None`: as the kernel chooses.
fn sources(plan: &Plan, destination: IpAddr) -> Vec<Option<IpAddr>> {
    if plan.sources.is_empty() {
        return vec![None];
    }
    let canonical = plan.sources.iter().map(IpAddr::to_canonical);
    canonical.filter(|source| source.is_ipv4() == destination.is_ipv4()).map(Some).collect()
}

/// One connect.
///
/// # Errors
/// If no socket is to be had; a failure to connect is an outcome.
fn probe(destination: SocketAddr, source: Option<IpAddr>, patience: Patience) -> io::Result<Probe> {
    let socket = socket::open(SocketType::STREAM, destination.is_ipv4())?;
    let start = Instant::now();
    let mut seen = Seen::new(destination, source);
    if let Err(errno) = begin(&socket, destination, source) {
        seen.code.sk_err = errno_of(errno);
        return Ok(seen.judge(start.elapsed()));
    }
    seen.code.phase = phase::SYN_SENT;
    seen.code.end = end::CLOSE;
    let until = start + patience.connect.min(CONNECT_WAIT);
    let error = if socket::wait(&socket, PollFlags::OUT, until)? { Some(socket::error(&socket)?) } else { None };
    let handshake = start.elapsed();
    seen.local = seen.local.or_else(|| socket::local(&socket));
    match error {
        Some(0) => {
            seen.code.phase = phase::ESTABLISHED;
            seen.code.end = end::LOCAL_FIN;
            if destination.port() == IMPLICIT_TLS {
                // There the client speaks first: no banner is missing.
                seen.code.facts |= fact::BYTES_RECEIVED;
            } else {
                seen.listen(&socket, patience.banner.min(BANNER_WAIT))?;
            }
        }
        Some(errno) => seen.fail(errno, socket::icmp(&socket)),
        None => seen.code.facts |= fact::SHUTDOWN | fact::ONE_SECOND | fact::SYN_RETRANSMITTED,
    }
    Ok(seen.judge(handshake))
}

/// Binds, and sends the SYN.
fn begin(socket: &OwnedFd, to: SocketAddr, source: Option<IpAddr>) -> Result<(), rustix::io::Errno> {
    if let Some(source) = source {
        bind(socket, &SocketAddr::new(source, 0))?;
    }
    match rustix::net::connect(socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn errno_of(errno: rustix::io::Errno) -> u16 {
    u16::try_from(errno.raw_os_error()).unwrap_or(0)
}

/// What is seen of an attempt, as the kernel programs would record it.
pub(super) struct Seen {
    destination: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) code: EndCode,
    icmp: Option<Icmp>,
    banner: Option<(Vec<u8>, Duration)>,
}

impl Seen {
    pub(super) fn new(destination: SocketAddr, source: Option<IpAddr>) -> Self {
        let family = if destination.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        let code = EndCode { phase: phase::CONNECT, end: end::CONNECT_FAILED, family, ..EndCode::default() };
        Self { destination, local: source, code, icmp: None, banner: None }
    }

    /// The handshake failed. ECONNREFUSED without an ICMP error is a RST.
    pub(super) fn fail(&mut self, errno: i32, icmp: Option<Icmp>) {
        self.code.sk_err = u16::try_from(errno).unwrap_or(0);
        let is_local = self.destination.ip().is_loopback() || self.local == Some(self.destination.ip());
        if is_local {
            self.code.facts |= fact::LOOPBACK;
        }
        let Some(icmp) = icmp else {
            if errno == libc::ECONNREFUSED {
                self.code.facts |= fact::RST;
            }
            return;
        };
        self.icmp = Some(icmp);
        self.code.facts |= fact::ICMP;
        (self.code.icmp_type, self.code.icmp_code) = (icmp.kind, icmp.code);
        if let Some(from) = icmp.from {
            self.code.facts |= fact::ICMP_SENDER;
            if self.local == Some(from) || from.is_loopback() {
                self.code.facts |= fact::ICMP_FROM_SOURCE;
            } else if from == self.destination.ip() {
                self.code.facts |= fact::ICMP_FROM_DESTINATION;
            }
        }
    }

    /// Awaits the whole greeting, and takes leave. Who speaks before its end is
    /// taken for a spammer (Postfix's postscreen(8): "pregreet").
    fn listen(&mut self, socket: &OwnedFd, patience: Duration) -> io::Result<()> {
        let start = Instant::now();
        let mut bytes = Vec::new();
        let mut after = Duration::ZERO;
        while !is_whole(&bytes) && bytes.len() < MAX_READ && self.code.end == end::LOCAL_FIN {
            if !socket::wait(socket, PollFlags::IN, start + patience)? {
                break;
            }
            let was_silent = bytes.is_empty();
            self.read(socket, &mut bytes);
            if was_silent {
                after = start.elapsed();
            }
        }
        if !bytes.is_empty() {
            self.code.facts |= fact::BYTES_RECEIVED;
            self.banner = Some((bytes, after));
            let is_whole = self.banner.as_ref().is_some_and(|(bytes, _)| is_whole(bytes));
            if is_whole && self.code.end == end::LOCAL_FIN {
                take_leave(socket);
            }
        }
        Ok(())
    }

    /// Reads once. The peer's end, or its RST, becomes the attempt's.
    fn read(&mut self, socket: &OwnedFd, into: &mut Vec<u8>) {
        let mut buffer = [0u8; 1_024];
        match recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => self.code.end = end::PEER_FIN,
            Ok((length, _)) => into.extend_from_slice(&buffer[..length]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(errno) => {
                self.code.end = end::CLOSE;
                self.code.sk_err = errno_of(errno);
                if errno == rustix::io::Errno::CONNRESET {
                    self.code.facts |= fact::RST;
                }
            }
        }
    }

    /// The same judgement as for every event.
    pub(super) fn judge(self, connected: Duration) -> Probe {
        let verdict = label(&self.code);
        let line = self.banner.as_ref().map(|(bytes, _)| first_line(bytes));
        Probe {
            destination: self.destination,
            source: self.local,
            label: verdict.label,
            reason: verdict.reason,
            origin: verdict.origin,
            active_refusal: verdict.active_refusal,
            connect_ms: millis(connected),
            banner_ms: self.banner.as_ref().map(|&(_, after)| millis(after)),
            reply: line.as_deref().and_then(reply),
            banner: line,
            icmp: self.icmp,
        }
    }
}

/// Lets a connection that was made for another purpose end in order.
pub(super) fn end_in_order(socket: &OwnedFd, destination: SocketAddr) -> io::Result<()> {
    let mut seen = Seen::new(destination, None);
    seen.code.end = end::LOCAL_FIN;
    seen.listen(socket, BANNER_WAIT)
}

/// Whether the last line of a greeting is there: one without a hyphen behind its
/// code (RFC 5321 section 4.2.1).
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else { return false };
    let line = bytes[..end].rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    line.get(3) != Some(&b'-')
}

/// Says QUIT, and waits for the other side to say something or close. That it
/// cannot be said is no part of the outcome.
fn take_leave(socket: &OwnedFd) {
    if send(socket, QUIT, SendFlags::NOSIGNAL).is_err() {
        return;
    }
    let until = Instant::now() + GOODBYE_WAIT;
    let mut buffer = [0u8; 1_024];
    if socket::wait(socket, PollFlags::IN, until).unwrap_or(false) {
        let _ = recv(socket, &mut buffer, RecvFlags::empty());
    }
    let _ = shutdown(socket, Shutdown::Write);
}

/// The first line, visible and bounded.
pub(super) fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    sanitize(&text).chars().take(MAX_BANNER).collect()
}

/// Three digits and a separator (RFC 5321 section 4.2).
fn reply(line: &str) -> Option<u16> {
    let digits = line.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let is_reply = matches!(line.as_bytes().get(3), None | Some(b' ' | b'-'));
    if is_reply { digits.parse().ok() } else { None }
}
