//! Conclusions from probes. Pure.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::Probe;
use super::trace::{Answer, Trace};
use crate::label::Label;

/// Whether the outcome depends on our source address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BySource {
    /// Fewer than two source addresses: no comparison.
    TooFew,
    /// Every source address is welcome.
    AllWelcome,
    /// None is, and all fail in the same way: it is not one address of ours.
    AllAlike {
        /// How.
        label: Label,
    },
    /// None is, and they fail in different ways.
    AllFail,
    /// Some are welcome and some are not: it is the address.
    Ours {
        /// Those that are.
        welcome: Vec<IpAddr>,
        /// Those that are not.
        unwelcome: Vec<IpAddr>,
    },
}

impl fmt::Display for BySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::TooFew => f.write_str("only one source address: nothing to compare"),
            Self::AllWelcome => f.write_str("every source address is welcome"),
            Self::AllAlike { label } => write!(f, "every source address fails alike: {}", label.as_str()),
            Self::AllFail => f.write_str("every source address fails, in different ways"),
            Self::Ours { welcome, unwelcome } => {
                write!(f, "it is our address: {} not welcome, {} welcome", list(unwelcome), list(welcome))
            }
        }
    }
}

/// Compares probes of one destination from different sources. An address that
/// this host could not send from says nothing about the other side, and is left
/// out.
pub fn by_source(probes: &[Probe]) -> BySource {
    let sent = |probe: &&Probe| probe.label != Label::Blocked && probe.label != Label::Cancelled;
    let probes: Vec<_> = probes.iter().filter(sent).filter_map(|probe| Some((probe.source?, probe))).collect();
    let (welcome, unwelcome): (Vec<_>, Vec<_>) = probes.iter().partition(|(_, probe)| probe.is_welcome());
    let distinct = |list: &[&(IpAddr, &Probe)]| {
        let mut addresses: Vec<IpAddr> = list.iter().map(|(source, _)| *source).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    };
    let all = distinct(&probes.iter().collect::<Vec<_>>());
    let (welcome, failed) = (distinct(&welcome), unwelcome);
    match failed.first() {
        _ if all.len() < 2 => BySource::TooFew,
        None => BySource::AllWelcome,
        Some((_, first)) if welcome.is_empty() => {
            let alike = |probe: &Probe| (probe.label, probe.reply) == (first.label, first.reply);
            let is_alike = failed.iter().all(|(_, probe)| alike(probe));
            if is_alike { BySource::AllAlike { label: first.label } } else { BySource::AllFail }
        }
        Some(_) => BySource::Ours { welcome, unwelcome: distinct(&failed) },
    }
}

/// Where the answer to a SYN is born.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Born {
    /// As far away as the destination itself: there, or at the last router before
    /// it, which is asked for the same TTL.
    AtTheEnd {
        /// The TTL that it took.
        hop: u8,
    },
    /// Nearer than the destination: somebody on the way speaks in its name.
    OnTheWay {
        /// The TTL that it took.
        hop: u8,
        /// The TTL that it takes to reach the destination.
        destination: u8,
        /// The last router before it that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<IpAddr>,
    },
    /// In its sender's own name: an ICMP error.
    Named {
        /// The TTL that it took.
        hop: u8,
        /// The sender.
        by: IpAddr,
    },
    /// Nowhere: silence behind this router, if one is known.
    Silence {
        /// The last router that answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<IpAddr>,
        /// Its TTL; 0: none answered.
        hop: u8,
    },
    /// Not to be told: why.
    Unclear {
        /// What is missing.
        why: Unclear,
    },
}

/// Why it cannot be told where an answer is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unclear {
    /// Nothing else showed how far away the destination is.
    NoDistance,
    /// The datagrams took a shorter path than the SYNs.
    PathsDiffer,
    /// This host itself refused to send.
    NotSent,
    /// Routers answered up to the last hop that was tried: a loop, or a long way.
    NoEnd,
}

impl Unclear {
    /// The reason in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoDistance => "how far away the destination is did not show",
            Self::PathsDiffer => "datagrams take another path",
            Self::NotSent => "this host did not send it",
            Self::NoEnd => "routers answer without end",
        }
    }
}

impl fmt::Display for Born {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtTheEnd { hop } => write!(f, "answered at hop {hop}, where the destination is"),
            Self::OnTheWay { hop, destination, after } => {
                write!(f, "answered at hop {hop}, though the destination is {destination} hops away")?;
                after.map_or(Ok(()), |after| write!(f, "; the last router before is {after}"))
            }
            Self::Named { hop, by } => write!(f, "refused by {by} at hop {hop}"),
            Self::Silence { after: Some(after), hop } => write!(f, "silence behind hop {hop}, {after}"),
            Self::Silence { after: None, .. } => f.write_str("silence from the first hop on"),
            Self::Unclear { why } => write!(f, "not clear where it is answered: {}", why.as_str()),
        }
    }
}

/// Compares a trace of SYNs with one of datagrams: how far away the one's end is,
/// and the other's.
pub fn born(syn: &Trace, reference: Option<&Trace>) -> Born {
    let Some(end) = syn.end() else {
        if syn.hops.last().is_some_and(|hop| matches!(hop.answer, Answer::TimeExceeded { .. })) {
            return Born::Unclear { why: Unclear::NoEnd };
        }
        let (hop, after) = syn.last_router().map_or((0, None), |(hop, router)| (hop, Some(router)));
        return Born::Silence { after, hop };
    };
    let destination = syn.destination.ip();
    match end.answer {
        Answer::Failed { .. } => return Born::Unclear { why: Unclear::NotSent },
        Answer::Unreachable(icmp) if icmp.from.is_some_and(|from| from != destination) => {
            return icmp.from.map_or(Born::Unclear { why: Unclear::NoDistance }, |by| Born::Named { hop: end.ttl, by });
        }
        _ => {}
    }
    let Some(distance) = reference.and_then(|reference| distance(reference, destination)) else {
        return Born::Unclear { why: Unclear::NoDistance };
    };
    match end.ttl.cmp(&distance) {
        std::cmp::Ordering::Equal => Born::AtTheEnd { hop: end.ttl },
        std::cmp::Ordering::Greater => Born::Unclear { why: Unclear::PathsDiffer },
        std::cmp::Ordering::Less => {
            let after = syn.last_router().map(|(_, router)| router);
            Born::OnTheWay { hop: end.ttl, destination: distance, after }
        }
    }
}

/// The TTL for which the destination itself answered: by an ICMP error in its own
/// name, or by a datagram.
fn distance(reference: &Trace, destination: IpAddr) -> Option<u8> {
    let end = reference.end()?;
    match end.answer {
        Answer::Unreachable(icmp) if icmp.from == Some(destination) => Some(end.ttl),
        Answer::Accepted => Some(end.ttl),
        _ => None,
    }
}
