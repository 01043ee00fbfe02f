//! What one's own SYNs may ask, and what they found out.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::format::span::span;
use crate::label::{Label, Origin, Reason};
use crate::sanitize::sanitize;

pub mod compare;
pub mod trace;

/// Ports that are probed without being forced: SMTP, submission (RFC 8314), and
/// the customary alternative.
pub const PORTS: [u16; 4] = [25, 465, 587, 2525];
/// Destination addresses in one run: a large operator's MX has about ten.
pub const MAX_DESTINATIONS: usize = 16;
/// Source addresses in one run.
pub const MAX_SOURCES: usize = 8;
/// Between two SYNs of one run, whatever their destinations.
pub const PAUSE: Duration = Duration::from_millis(200);
/// How long a handshake is awaited. An MTA waits longer; by then three SYNs have
/// been sent.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long the banner is awaited. RFC 5321 section 4.5.3.2.1 has five minutes
/// for it; servers that delay it on purpose take some ten seconds.
pub const BANNER_WAIT: Duration = Duration::from_secs(20);
/// From the first SYN of a run to its end; what is not begun by then is left out.
pub const MAX_TIME: Duration = Duration::from_secs(180);
/// Characters of a banner's first line that are kept. RFC 5321 section 4.5.3.1.5:
/// a reply line has at most 512 octets.
pub const MAX_BANNER: usize = 512;

/// What is to be probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Where to.
    pub destinations: Vec<IpAddr>,
    /// From which of our addresses; empty: whichever the kernel chooses. A source
    /// is used for destinations of its own family.
    pub sources: Vec<IpAddr>,
    /// The TCP port.
    pub port: u16,
}

/// Why a plan is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not one of [`PORTS`], and not forced.
    Port(u16),
    /// More than [`MAX_DESTINATIONS`] addresses: this many.
    Destinations(usize),
    /// More than [`MAX_SOURCES`] source addresses: this many.
    Sources(usize),
    /// Not the address of one host.
    Address(IpAddr),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port} is not a mail port; it is probed only when forced"),
            Self::Destinations(count) => write!(f, "{count} addresses are too many, at most {MAX_DESTINATIONS}"),
            Self::Sources(count) => write!(f, "{count} source addresses are too many, at most {MAX_SOURCES}"),
            Self::Address(address) => write!(f, "{address} is not the address of a host"),
        }
    }
}

impl std::error::Error for Refused {}

/// Says whether a plan may be carried out. `force` admits any port, and nothing
/// else: numbers and rates stay bounded.
///
/// # Errors
/// See [`Refused`].
pub fn admit(plan: &Plan, force: bool) -> Result<(), Refused> {
    if plan.port == 0 || !(force || PORTS.contains(&plan.port)) {
        return Err(Refused::Port(plan.port));
    }
    if plan.destinations.len() > MAX_DESTINATIONS {
        return Err(Refused::Destinations(plan.destinations.len()));
    }
    if plan.sources.len() > MAX_SOURCES {
        return Err(Refused::Sources(plan.sources.len()));
    }
    let is_many = |ip: &IpAddr| {
        let ip = ip.to_canonical();
        ip.is_multicast() || ip.is_unspecified() || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
    };
    let all = plan.destinations.iter().chain(&plan.sources);
    all.copied().find(is_many).map_or(Ok(()), |address| Err(Refused::Address(address)))
}

/// An ICMP error that answered a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// The outcome of one connect, in the words that events use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Where to.
    pub destination: SocketAddr,
    /// The source address that was asked for, or else the one that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What a person reads first.
    pub label: Label,
    /// The mechanism; absent for `connected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Who said no; absent for `connected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// True for what was actively said no to.
    pub active_refusal: bool,
    /// From the SYN to the handshake or the failure, in milliseconds.
    pub connect_ms: f64,
    /// From the handshake to the banner, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner_ms: Option<f64>,
    /// The banner's first line, made visible, at most [`MAX_BANNER`] characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
    /// The reply code of the banner: 220, 421, 554 (RFC 5321 section 4.3.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<u16>,
    /// The ICMP error, if one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
}

impl Probe {
    /// True if the other side greeted: a banner of the 200s.
    pub fn is_welcome(&self) -> bool {
        self.label == Label::Connected && self.reply.is_none_or(|reply| (200..300).contains(&reply))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        write!(f, ": {}", self.label.as_str())?;
        if let Some(reason) = self.reason {
            write!(f, " ({})", reason.as_str())?;
        }
        write!(f, " after {}", span(Duration::try_from_secs_f64(self.connect_ms / 1e3).unwrap_or_default()))?;
        if let Some(from) = self.icmp.and_then(|icmp| icmp.from) {
            write!(f, ", says {from}")?;
        }
        match &self.banner {
            Some(banner) => write!(f, ": {}", sanitize(banner)),
            None => Ok(()),
        }
    }
}
