//! What a trace saw at each hop.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::Icmp;

/// Hops that are tried.
pub const MAX_HOPS: u8 = 30;
/// Hops without an answer after which a trace is given up.
pub const MAX_SILENT: usize = 4;

/// What a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// A SYN to the port in question.
    Syn,
    /// A datagram to a port where nobody listens: what answers it is the
    /// destination itself.
    Udp,
}

/// What came back for one TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing.
    Silence,
    /// The TTL ran out on the way: this router said so. Before Linux 5.8 a SYN's
    /// router is not known.
    TimeExceeded {
        /// The router.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
    },
    /// Another ICMP error.
    Unreachable(Icmp),
    /// A RST.
    Reset,
    /// A handshake.
    Accepted,
    /// This host itself refused: the errno.
    Failed {
        /// As in errno(3).
        errno: i32,
    },
}

/// One TTL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hop {
    /// The TTL, or hop limit.
    pub ttl: u8,
    /// What came back.
    pub answer: Answer,
    /// After how many milliseconds; how long was waited, for silence.
    pub elapsed_ms: f64,
}

/// What the hops said, from the first one on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// What was sent.
    pub kind: ProbeKind,
    /// Where to; for datagrams the port is not the one in question.
    pub destination: SocketAddr,
    /// The source address; absent if nothing could be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The hops.
    pub hops: Vec<Hop>,
}

impl Trace {
    /// The hop that answered for the destination, or ended the trace otherwise.
    pub fn end(&self) -> Option<&Hop> {
        self.hops.last().filter(|hop| !matches!(hop.answer, Answer::Silence | Answer::TimeExceeded { .. }))
    }

    /// The last router that is known, and its hop.
    pub fn last_router(&self) -> Option<(u8, IpAddr)> {
        self.hops.iter().rev().find_map(|hop| match hop.answer {
            Answer::TimeExceeded { from: Some(from) } => Some((hop.ttl, from)),
            _ => None,
        })
    }

    /// Adds a hop; false if it was the last to try.
    pub fn push(&mut self, hop: Hop) -> bool {
        self.hops.push(hop);
        let silent = self.hops.iter().rev().take_while(|hop| hop.answer == Answer::Silence).count();
        let goes_on = matches!(hop.answer, Answer::Silence | Answer::TimeExceeded { .. });
        goes_on && silent < MAX_SILENT && hop.ttl < MAX_HOPS
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        f.write_str(":")?;
        for hop in &self.hops {
            write!(f, " {}=", hop.ttl)?;
            match hop.answer {
                Answer::Silence => f.write_str("*")?,
                Answer::TimeExceeded { from: Some(from) } => write!(f, "{from}")?,
                Answer::TimeExceeded { from: None } => f.write_str("?")?,
                Answer::Unreachable(Icmp { kind, code, from: Some(from) }) => write!(f, "ICMP {kind}/{code} {from}")?,
                Answer::Unreachable(Icmp { kind, code, from: None }) => write!(f, "ICMP {kind}/{code}")?,
                Answer::Reset => f.write_str("RST")?,
                Answer::Accepted => f.write_str("accepted")?,
                Answer::Failed { errno } => write!(f, "errno {errno}")?,
            }
        }
        Ok(())
    }
}
