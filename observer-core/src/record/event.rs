//! The event, version 1: what every format is made from.
//!
//! Its JSON form is documented by `schema/observer.event.v1.json`. Additions
//! are allowed within a version; a change of meaning is a new version.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use observer_common::record::{fact, phase};
use serde::{Deserialize, Deserializer, Serialize};

pub use crate::aggregate::Destination;
use crate::attempt::Attempt;
use crate::label::{Label, Origin, Reason, Verdict};
use crate::mta;
use crate::origin::is_answered_here;
use crate::schema::{self, Name};
use crate::tally::Seen;

/// Value of [`Event::schema`].
pub const SCHEMA: &str = "observer.event.v1";

/// One finished attempt, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "schema_name")]
    pub schema: Name,
    /// Stable and unique per attempt: host, boot, start and CPU.
    pub id: String,
    /// When the attempt ended.
    pub time: Timestamp,
    /// This host's name.
    pub host: String,
    /// What a person reads first.
    pub label: Label,
    /// The mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Who said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Failures only: was it actively said no to, or was there silence?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_refusal: Option<bool>,
    /// Symbolic name of the errno that the attempt died of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Local end.
    #[serde(default, skip_serializing_if = "Endpoint::is_empty")]
    pub src: Endpoint,
    /// Destination.
    pub dst: Endpoint,
    /// When the attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// From start to end.
    #[serde(rename = "elapsed_ms", default, with = "as_ms", skip_serializing_if = "Option::is_none")]
    pub elapsed: Option<Duration>,
    /// From start to the completed handshake.
    #[serde(rename = "handshake_ms", default, with = "as_ms", skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Duration>,
    /// SYN retransmits.
    pub syn_retransmits: u16,
    /// What label, reason and origin rest on.
    #[serde(default, skip_serializing_if = "Evidence::is_empty")]
    pub evidence: Evidence,
    /// Who connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What the mail server's log says of the delivery behind it.
    #[serde(default, deserialize_with = "schema::lenient", skip_serializing_if = "Option::is_none")]
    pub mta: Option<Mta>,
    /// What is known of the destination so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address; IPv4-mapped addresses are written as IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Endpoint {
    fn is_empty(&self) -> bool {
        self.ip.is_none() && self.port.is_none()
    }
}

/// What label, reason and origin rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// TTL or hop limit of the RST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rst_ttl: Option<u8>,
    /// Interface by which the RST or ICMP error came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iface: Option<String>,
    /// Interface of the route to the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_iface: Option<String>,
    /// ICMP type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Sender of the ICMP error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_from: Option<IpAddr>,
    /// TTL or hop limit of the ICMP error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_ttl: Option<u8>,
    /// SYNs that this host dropped itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_drops: Option<u16>,
    /// Answers to the SYN that this host dropped itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_drops: Option<u16>,
    /// Payload bytes received, where the connection was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Bytes that were sent and that the peer had not acknowledged when the session stalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacked_bytes: Option<u32>,
    /// This host itself answered in the destination's name: it redirects the connection.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub redirected: bool,
    /// Evidence that this kernel, or these privileges, withheld.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Cow<'static, str>>,
}

impl Evidence {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// Name of the task, as it was; hostile.
    pub comm: String,
    /// Path of its cgroup, where it could be resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
}

/// What the mail server's log says of the delivery behind an attempt. Of the
/// recipient's address there is the domain alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mta {
    /// Whose log.
    pub kind: mta::MtaKind,
    /// The message, by its id within the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// Domain of the recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_domain: Option<String>,
    /// The host, as the server names it: mostly that of the MX record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What became of the message this time, perhaps through another host.
    #[serde(default, deserialize_with = "schema::lenient", skip_serializing_if = "Option::is_none")]
    pub status: Option<mta::DeliveryStatus>,
    /// What the server says of this connection.
    #[serde(default, deserialize_with = "schema::lenient", skip_serializing_if = "Option::is_none")]
    pub said: Option<mta::Said>,
    /// The same in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The log has no line on this attempt: its process and its time tell whose it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlogged: bool,
    /// So many lines fit equally well: what is here is the same in all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<u32>,
}

/// What the outside world adds to an attempt: looked up by the caller, so that
/// this stage stays pure.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Name of `iif`.
    pub iface: Option<String>,
    /// Name of `oif`.
    pub route_iface: Option<String>,
    /// Path of the task's cgroup.
    pub cgroup: Option<String>,
    /// The destination's counters.
    pub destination: Option<Destination>,
    /// Names that were not found in time, as [`Evidence::missing`] calls them.
    pub missing: Vec<&'static str>,
}

/// The host that events come from.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name of the host, `/proc/sys/kernel/hostname`.
    pub name: String,
    /// First eight digits of `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
}

/// Evidence that the attached hooks can deliver; what they can't is named in
/// [`Evidence::missing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// TTL and incoming interface of a RST.
    pub rst_origin: bool,
    /// Type, code and sender of an IPv4 ICMP error.
    pub icmp_v4: bool,
    /// Type, code and sender of an IPv6 ICMP error.
    pub icmp_v6: bool,
    /// SYNs that this host dropped itself.
    pub syn_drops: bool,
}

impl Event {
    /// The event for an attempt and its verdict.
    pub fn new(attempt: &Attempt, verdict: Verdict, host: &Host, able: Capabilities, around: Surroundings) -> Self {
        let evidence = evidence(attempt, verdict, able, &around);
        let process = attempt.process.as_ref().map(|task| Process {
            pid: task.pid,
            uid: task.uid,
            comm: task.comm.clone(),
            cgroup: around.cgroup,
            netns: attempt.netns,
        });
        Self {
            schema: SCHEMA,
            id: format!("{}-{}-{:x}.{:x}", host.name, host.boot, attempt.started_ns, attempt.cpu),
            time: attempt.ended,
            host: host.name.clone(),
            label: verdict.label,
            reason: verdict.reason,
            origin: verdict.origin,
            active_refusal: verdict.is_failure().then_some(verdict.active_refusal),
            errno: errno(attempt).map(errno_name),
            src: Endpoint { ip: attempt.saddr, port: attempt.sport },
            dst: Endpoint { ip: Some(attempt.daddr), port: Some(attempt.dport) },
            started: attempt.started,
            elapsed: attempt.elapsed,
            handshake: attempt.handshake,
            syn_retransmits: attempt.syn_retransmits,
            evidence,
            process,
            mta: None,
            destination: around.destination,
        }
    }

    /// Bytes of memory that it takes, by which queues are bounded. What allocators add
    /// is left out.
    pub fn retained_bytes(&self) -> usize {
        let Self { id, host, errno, evidence, process, mta, .. } = self;
        let heap = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let of_process = |process: &Process| process.comm.capacity() + heap(&process.cgroup);
        let of_mta = |mta: &Mta| {
            [&mta.queue_id, &mta.recipient_domain, &mta.host, &mta.words].into_iter().map(heap).sum::<usize>()
        };
        size_of::<Self>()
            + id.capacity()
            + host.capacity()
            + heap(errno)
            + heap(&evidence.iface)
            + heap(&evidence.route_iface)
            + evidence.missing.capacity() * size_of::<Cow<'static, str>>()
            + process.as_ref().map_or(0, of_process)
            + mta.as_ref().map_or(0, of_mta)
    }
}

fn evidence(attempt: &Attempt, verdict: Verdict, able: Capabilities, around: &Surroundings) -> Evidence {
    let is_icmp = attempt.code.facts & fact::ICMP != 0;
    Evidence {
        rst_ttl: attempt.rst_ttl,
        iface: around.iface.clone(),
        route_iface: around.route_iface.clone(),
        icmp_type: is_icmp.then_some(attempt.code.icmp_type),
        icmp_code: is_icmp.then_some(attempt.code.icmp_code),
        icmp_from: attempt.icmp_from,
        icmp_ttl: attempt.icmp_ttl,
        syn_drops: Some(attempt.syn_drops).filter(|&drops| drops > 0),
        answer_drops: Some(attempt.answer_drops).filter(|&drops| drops > 0),
        unacked_bytes: Some(attempt.unacked_bytes)
            .filter(|&bytes| bytes > 0 && verdict.reason == Some(Reason::Stalled)),
        redirected: is_redirected(attempt, verdict, able),
        bytes_received: (attempt.code.phase == phase::ESTABLISHED).then_some(attempt.bytes_received),
        missing: missing(attempt, verdict, able, &around.missing),
    }
}

/// An answer came by loopback, and the route leads elsewhere. Not where the route is unknown, nor
/// where a RST in the handshake may be that of a firewall rule whose drop is not seen.
fn is_redirected(attempt: &Attempt, verdict: Verdict, able: Capabilities) -> bool {
    let is_no_rule = able.syn_drops || attempt.code.phase == phase::ESTABLISHED;
    let is_answer = is_answered_here(&attempt.code) && verdict.label != Label::Blocked;
    is_answer && attempt.oif.is_some() && is_no_rule
}

fn missing(attempt: &Attempt, verdict: Verdict, able: Capabilities, names: &[&'static str]) -> Vec<Cow<'static, str>> {
    let has = |bit| attempt.code.facts & bit != 0;
    let is_icmp = matches!(
        verdict.reason,
        Some(
            Reason::IcmpPortUnreachable
                | Reason::IcmpAdminProhibited
                | Reason::IcmpProtocolUnreachable
                | Reason::IcmpNetUnreachable
                | Reason::IcmpHostUnreachable
                | Reason::IcmpTimeExceeded
        )
    );
    let mut missing = Vec::new();
    let mut need = |is_missing: bool, name| {
        if is_missing {
            missing.push(Cow::Borrowed(name));
        }
    };
    need(has(fact::LATE_START), "start");
    need(has(fact::LATE_START), "process");
    need(verdict.reason == Some(Reason::Unknown), "end");
    need(has(fact::RST) && attempt.rst_ttl.is_none(), "rst_ttl");
    let is_connect = attempt.code.phase == phase::CONNECT;
    let is_denied = is_connect && i32::from(attempt.code.sk_err) == libc::EACCES;
    need(is_denied && !has(fact::BEFORE_ROUTE | fact::AFTER_ROUTE), "connect_order");
    // An IPv4 source address that is no longer this host's gives the same errno as no route.
    let may_be_gone = attempt.saddr.is_some_and(|source| source.is_ipv4() && !source.is_loopback());
    let is_no_route = is_connect && i32::from(attempt.code.sk_err) == libc::ENETUNREACH;
    need(is_no_route && may_be_gone && !has(fact::SOURCE_UNUSABLE), "src_is_local");
    need(is_icmp && !has(fact::ICMP), "icmp_type");
    need(is_icmp && !has(fact::ICMP_SENDER), "icmp_from");
    // This host's own firewall looks like each of these to who cannot see it drop.
    let may_be_own = matches!(verdict.label, Label::Timeout | Label::Refused | Label::Cancelled)
        && attempt.code.phase == phase::SYN_SENT;
    need(may_be_own && !able.syn_drops, "syn_drops");
    missing.extend(names.iter().map(|&name| Cow::Borrowed(name)));
    missing
}

/// The errno that the attempt died of: `sk_err`, or the error that a socket
/// kept when the application closed it first.
fn errno(attempt: &Attempt) -> Option<u16> {
    let code = &attempt.code;
    let soft = if code.phase == phase::SYN_SENT { u16::from(code.soft_err) } else { 0 };
    [code.sk_err, soft].into_iter().find(|&errno| errno != 0)
}

/// Symbolic name of a Linux errno that a TCP connect or session can end with;
/// other errnos keep their number, as `E113`.
pub fn errno_name(errno: u16) -> String {
    let name = match i32::from(errno) {
        libc::EPERM => "EPERM",
        libc::EINTR => "EINTR",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EINVAL => "EINVAL",
        libc::EPIPE => "EPIPE",
        libc::EPROTO => "EPROTO",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::ENOPROTOOPT => "ENOPROTOOPT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        _ => return format!("E{errno}"),
    };
    name.to_owned()
}

/// Milliseconds with microsecond precision.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// Reads [`SCHEMA`], and no other version.
fn schema_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    schema::expect(SCHEMA, deserializer)
}

/// A duration as [`milliseconds`].
mod as_ms {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_f64(super::milliseconds(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let Some(ms) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
        // Microseconds are all that was written.
        let seconds = (ms * 1_000.0).round() / 1_000_000.0;
        Duration::try_from_secs_f64(seconds).map(Some).map_err(D::Error::custom)
    }
}
impl Seen {
    /// The attempt of an event; `None` for an event without a destination.
    pub fn from_event(event: &Event) -> Option<Self> {
        Some(Self {
            at: event.time,
            saddr: event.src.ip,
            daddr: event.dst.ip?,
            dport: event.dst.port?,
            outcome: (event.label, event.reason),
            handshake: event.handshake,
            elapsed: event.elapsed,
            count: 1,
            redirected: event.evidence.redirected,
        })
    }
}
