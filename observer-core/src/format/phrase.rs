//! An outcome in words: what happened, who did it, and after how long.
//!
//! Every judgement that [`crate::label::label`] can make has its own phrase.

use std::net::IpAddr;
use std::time::Duration;

use crate::event::Event;
use crate::format::span::span;
use crate::label::{Label, Origin, Reason};
use crate::sanitize::sanitize;

/// The outcome in words. Times count from the start of the attempt; inside an
/// accepted connection, from the handshake.
pub fn phrase(event: &Event) -> String {
    let words = known(event).unwrap_or_else(|| {
        let reason = event.reason.map_or("no reason", Reason::as_str);
        let origin = event.origin.map_or("no origin", Origin::as_str);
        format!("{}: {reason}, {origin}", event.label.as_str())
    });
    let is_unknown = event.reason == Some(Reason::Unknown) || event.origin == Some(Origin::Unknown);
    if is_unknown && !event.evidence.missing.is_empty() {
        return format!("{words} (missing: {})", event.evidence.missing.join(", "));
    }
    words
}

/// A task's name, sanitised; in quotes if it could be mistaken for our words.
pub fn task_name(comm: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
    if !comm.is_empty() && comm.chars().all(is_plain) {
        return comm.to_owned();
    }
    format!("\"{}\"", sanitize(&comm.replace('"', "'")))
}

fn known(event: &Event) -> Option<String> {
    match (event.label, event.reason) {
        (Label::Refused, Some(reason)) => refused(event, reason),
        (Label::Timeout, Some(reason)) => timeout(event, reason),
        (Label::Unreachable, Some(reason)) => unreachable(event, reason),
        (Label::Blocked, Some(reason)) => blocked(event, reason),
        (Label::Cancelled, Some(reason)) => cancelled(event, reason),
        _ => session(event),
    }
}

fn refused(event: &Event, reason: Reason) -> Option<String> {
    let after = after(event.elapsed);
    if reason != Reason::Rst {
        return Some(format!("rejected {}: ICMP {}{after}", by_whom(event)?, icmp(event, reason)?));
    }
    Some(match event.origin? {
        Origin::Remote => format!("refused by the remote host: RST{after}"),
        Origin::Local if event.evidence.redirected => {
            format!("refused by this host itself in the remote host's name: RST{after}")
        }
        Origin::Local => format!("refused by this host itself: RST{after}"),
        Origin::SuspectedMiddlebox => {
            format!("refused in the remote host's name, by a suspected middlebox: RST{after}{}", rst_ttl(event))
        }
        Origin::Unknown => format!("refused by the remote host, or by this host itself: RST{after}"),
        Origin::Network | Origin::None => return None,
    })
}

fn timeout(event: &Event, reason: Reason) -> Option<String> {
    let tried = retransmits(event.syn_retransmits);
    Some(match reason {
        Reason::SynTimeout => format!("no answer: the kernel gave up{}{tried}", after(event.elapsed)),
        Reason::Abandoned => format!("no answer: {} gave up{}{tried}", who(event), after(event.elapsed)),
        Reason::Stalled => {
            let who = if event.errno.is_some() { "the kernel".to_owned() } else { who(event) };
            format!("accepted, then silence: {who} gave up{}{}", after(in_session(event)), unacked(event))
        }
        Reason::Unknown => format!("no answer{}{tried}; how it ended is not known", after(event.elapsed)),
        _ => return None,
    })
}

fn unreachable(event: &Event, reason: Reason) -> Option<String> {
    Some(match reason {
        Reason::NoNeighbour => no_neighbour(event),
        Reason::NoRoute => format!("no route to the destination from this host{}", errno(event)),
        Reason::RouteProhibited => format!("this host's routing table prohibits the destination{}", errno(event)),
        Reason::IcmpNetUnreachable | Reason::IcmpHostUnreachable | Reason::IcmpTimeExceeded => {
            format!("reported {}: ICMP {}{}", by_whom(event)?, icmp(event, reason)?, after(event.elapsed))
        }
        _ => return None,
    })
}

fn no_neighbour(event: &Event) -> String {
    let protocol = if event.dst.ip.is_some_and(|ip| ip.is_ipv6()) { "NDP" } else { "ARP" };
    let device = event.evidence.route_iface.as_deref();
    let on = device.map(|name| format!(" on {}", sanitize(name))).unwrap_or_default();
    format!("next hop{on} does not answer {protocol}: gave up{}", after(event.elapsed))
}

fn blocked(event: &Event, reason: Reason) -> Option<String> {
    Some(match reason {
        Reason::LocalFirewall if event.active_refusal == Some(true) => {
            format!("this host's own firewall rejected the SYN{}", after(event.elapsed))
        }
        Reason::LocalFirewall => format!("this host's own firewall dropped the SYN{}", drops(event)),
        Reason::PermissionDenied => format!("this host does not permit the connection{}", errno(event)),
        Reason::SecurityPolicy => format!("a security policy of this host refused connect(){}", errno(event)),
        Reason::PortsExhausted => format!("no free local port on this host{}", errno(event)),
        Reason::NoSourceAddress if event.src.ip.is_some() && event.errno.as_deref() != Some("EADDRNOTAVAIL") => {
            let source = event.src.ip.map(|ip| ip.to_string()).unwrap_or_default();
            format!("bound to {source}, from which the destination cannot be reached{}", errno(event))
        }
        Reason::NoSourceAddress => format!("no usable source address on this host{}", errno(event)),
        Reason::Unknown => format!("this host could not connect{}; why is not known", errno(event)),
        _ => return None,
    })
}

fn cancelled(event: &Event, reason: Reason) -> Option<String> {
    let after = after(event.elapsed);
    Some(match reason {
        Reason::Early => format!("cancelled by {}{after}, before any answer", who(event)),
        Reason::ProcessExit => format!("{} exited{after}, before any answer", who(event)),
        Reason::Destroyed => format!("socket destroyed on this host{after}, as by ss -K"),
        Reason::Unknown => format!("ended{after}{} without an answer; why is not known", errno(event)),
        _ => return None,
    })
}

/// Outcomes of accepted connections.
fn session(event: &Event) -> Option<String> {
    let after = after(in_session(event));
    let whom = match event.origin {
        Some(Origin::Local) if event.evidence.redirected => "this host itself in the remote host's name",
        Some(Origin::Local) => "this host itself",
        _ => "the remote host",
    };
    let by = if event.evidence.redirected { " by this host itself in the remote host's name" } else { "" };
    Some(match (event.label, event.reason) {
        (Label::Reset, Some(Reason::BeforeBanner)) => {
            format!("accepted, then reset by {whom}{after}, before the banner")
        }
        (Label::Reset, Some(Reason::MidSession)) => {
            format!("accepted, then reset by {whom} in mid-session{after}{}", received(event))
        }
        (Label::Closed, Some(Reason::BeforeBanner)) => {
            format!("accepted, then closed by {whom}{after}, before the banner")
        }
        (Label::Silent, Some(Reason::NoBanner)) => {
            format!("accepted{by}, but no banner{}: {} gave up", during(event), who(event))
        }
        (Label::Silent, Some(Reason::Unknown)) => {
            format!("accepted{by}, but no banner{}; how it ended is not known", during(event))
        }
        (Label::Connected, None) => {
            let accepted = self::after(event.handshake);
            format!("accepted{by}{accepted}, ended in order{after}{}", received(event))
        }
        _ => return None,
    })
}

fn by_whom(event: &Event) -> Option<String> {
    let address = event.evidence.icmp_from.map(|ip: IpAddr| format!(" at {ip}")).unwrap_or_default();
    Some(match event.origin? {
        Origin::Remote => "by the remote host".to_owned(),
        Origin::Local => "by this host itself".to_owned(),
        Origin::Network => format!("by a firewall or router{address}"),
        Origin::Unknown => "by an unknown sender".to_owned(),
        Origin::SuspectedMiddlebox | Origin::None => return None,
    })
}

fn icmp(event: &Event, reason: Reason) -> Option<String> {
    let name = match reason {
        Reason::IcmpPortUnreachable => "port unreachable",
        Reason::IcmpAdminProhibited => "administratively prohibited",
        Reason::IcmpProtocolUnreachable => "protocol unreachable",
        Reason::IcmpNetUnreachable => "network unreachable",
        Reason::IcmpHostUnreachable => "host unreachable",
        Reason::IcmpTimeExceeded => "time exceeded",
        _ => return None,
    };
    let numbers = event.evidence.icmp_type.zip(event.evidence.icmp_code);
    let numbers = numbers.map(|(kind, code)| format!(" ({kind}/{code})")).unwrap_or_default();
    Some(format!("{name}{numbers}"))
}

fn who(event: &Event) -> String {
    event.process.as_ref().map_or_else(|| "the application".to_owned(), |process| task_name(&process.comm))
}

fn in_session(event: &Event) -> Option<Duration> {
    Some(event.elapsed?.saturating_sub(event.handshake?))
}

fn after(duration: Option<Duration>) -> String {
    duration.map(|duration| format!(" after {}", span(duration))).unwrap_or_default()
}

fn during(event: &Event) -> String {
    in_session(event).map(|duration| format!(" in {}", span(duration))).unwrap_or_default()
}

fn retransmits(count: u16) -> String {
    match count {
        0 => String::new(),
        1 => ", 1 SYN retransmit".to_owned(),
        _ => format!(", {count} SYN retransmits"),
    }
}

fn drops(event: &Event) -> String {
    let times = event.evidence.syn_drops.filter(|&drops| drops > 1).map(|drops| format!(", {drops} times"));
    let within = event.elapsed.map(|elapsed| format!(" in {}", span(elapsed)));
    times.map(|times| times + &within.unwrap_or_default()).unwrap_or_default()
}

fn errno(event: &Event) -> String {
    event.errno.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
}

fn unacked(event: &Event) -> String {
    event.evidence.unacked_bytes.map(|bytes| format!(", {bytes} bytes not acknowledged")).unwrap_or_default()
}

fn rst_ttl(event: &Event) -> String {
    event.evidence.rst_ttl.map(|ttl| format!(", TTL {ttl}")).unwrap_or_default()
}

fn received(event: &Event) -> String {
    event.evidence.bytes_received.map(|bytes| format!(", {bytes} bytes received")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
