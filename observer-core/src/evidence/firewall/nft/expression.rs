//! What an expression of nft is for this packet.

use std::net::IpAddr;

use serde_json::Value;

use crate::evidence::firewall::condition::{Condition, Conditions, Known, Match};
use crate::evidence::firewall::iptables::masked;
use crate::evidence::firewall::packet::{Bits, Packet, state};

/// Flags of a TCP header.
const TCP_FLAGS: [(&str, u64); 8] =
    [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ecn", 64), ("cwr", 128)];
const STATES: [(&str, u64); 5] = [
    ("invalid", state::INVALID),
    ("established", state::ESTABLISHED),
    ("related", state::RELATED),
    ("new", state::NEW),
    ("untracked", state::UNTRACKED),
];
const STATUS: [(&str, u64); 7] =
    [("expected", 1), ("seen-reply", 2), ("assured", 4), ("confirmed", 8), ("snat", 16), ("dnat", 32), ("dying", 512)];

/// A value, or why it is not known.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Address(Known<IpAddr>),
    Number(Known<u64>),
    /// Bits, of which these have names.
    Bits(Bits, &'static [(&'static str, u64)], Conditions),
    /// Any of these words stands for it.
    Words(&'static [&'static str]),
    Interface(Known<String>),
    All(Vec<Seen>),
    /// The packet has no such thing, and the rule does not match, whatever it asks.
    Nothing,
    Unknown(Conditions),
}

impl Seen {
    fn unknown(condition: Condition) -> Self {
        Self::Unknown(condition.into())
    }

    fn number(number: impl Into<u64>) -> Self {
        Self::Number(Ok(number.into()))
    }

    /// The number of a name that stands for it.
    pub(super) fn bit(names: &[(&str, u64)], word: &str) -> Option<u64> {
        names.iter().find(|(name, _)| *name == word).map(|(_, bit)| *bit)
    }
}

/// What it is.
pub(super) fn evaluate(expression: &Value, packet: &Packet<'_>) -> Seen {
    let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
        return Seen::unknown(Condition::Extension);
    };
    let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    match kind.as_str() {
        "payload" => payload(word("protocol"), word("field"), packet),
        "meta" => meta(body.as_str().unwrap_or_else(|| word("key")), packet),
        "ct" => connection(word("key"), word("dir"), packet),
        "concat" => {
            let parts: Vec<Seen> = body.as_array().into_iter().flatten().map(|part| evaluate(part, packet)).collect();
            if parts.iter().any(|part| matches!(part, Seen::Nothing)) { Seen::Nothing } else { Seen::All(parts) }
        }
        "&" | "|" | "^" => operation(kind, body, packet),
        "fib" => fib(body, packet),
        "numgen" => Seen::unknown(Condition::Chance),
        "socket" => Seen::unknown(if word("key") == "cgroupv2" { Condition::Cgroup } else { Condition::Routing }),
        "rt" | "ipsec" => Seen::unknown(Condition::Routing),
        "exthdr" => extension_header(body, packet),
        "jhash" | "symhash" | "tcp option" | "ip option" | "sctp chunk" | "osf" | "dccp option" => {
            Seen::unknown(Condition::Packet)
        }
        // Its statement has said so.
        "elem" => body.get("val").map_or(Seen::unknown(Condition::Extension), |inner| evaluate(inner, packet)),
        _ => Seen::unknown(Condition::Extension),
    }
}

fn payload(protocol: &str, field: &str, packet: &Packet<'_>) -> Seen {
    let is_v4 = packet.flow.dst.is_ipv4();
    match (protocol, field) {
        ("ip", _) if !is_v4 => Seen::Nothing,
        ("ip6", _) if is_v4 => Seen::Nothing,
        ("ip" | "ip6", "daddr") => Seen::Address(packet.dst),
        ("ip" | "ip6", "saddr") => Seen::Address(packet.src),
        ("ip", "protocol") | ("ip6", "nexthdr") => TCP,
        ("ip", "version") => Seen::number(4_u32),
        ("ip6", "version") => Seen::number(6_u32),
        ("tcp" | "th", "dport") => Seen::Number(packet.port.map(u64::from)),
        ("tcp" | "th", "sport") => Seen::Number(Err(Condition::SourcePort.into())),
        ("tcp", "flags") => Seen::Bits(Bits::of(2), &TCP_FLAGS, Conditions::NONE),
        ("ether", "type") => protocol_of(packet),
        (
            "udp" | "udplite" | "icmp" | "icmpv6" | "igmp" | "sctp" | "dccp" | "esp" | "ah" | "comp" | "arp" | "gre",
            _,
        ) => Seen::Nothing,
        _ => Seen::unknown(Condition::Packet),
    }
}

/// A SYN of a program has no extension header of IPv6.
fn extension_header(body: &Value, packet: &Packet<'_>) -> Seen {
    if body.get("field").is_none() && packet.flow.dst.is_ipv6() { Seen::number(0_u32) } else { Seen::Nothing }
}

const TCP: Seen = Seen::Words(&["tcp", "6"]);

fn protocol_of(packet: &Packet<'_>) -> Seen {
    Seen::Words(if packet.flow.dst.is_ipv4() { &["ip", "2048"] } else { &["ip6", "34525"] })
}

fn meta(key: &str, packet: &Packet<'_>) -> Seen {
    let user = |known: Known<u64>| if packet.has_socket() { Seen::Number(known) } else { Seen::Nothing };
    let interface = |known: &Option<Known<String>>| Seen::Interface(known.clone().unwrap_or(Ok(String::new())));
    match key {
        "l4proto" => TCP,
        "nfproto" => Seen::Words(if packet.flow.dst.is_ipv4() { &["ipv4", "2"] } else { &["ipv6", "10"] }),
        "protocol" => protocol_of(packet),
        "oif" | "oifname" => interface(&packet.out),
        "iif" | "iifname" => interface(&packet.came_in),
        "skuid" => user(packet.user()),
        "skgid" => user(packet.group()),
        "mark" => Seen::Bits(packet.mark, &[], Condition::Mark.into()),
        "pkttype" if packet.has_socket() => Seen::Words(&["host", "unicast"]),
        "cgroup" => Seen::unknown(Condition::Cgroup),
        "random" => Seen::unknown(Condition::Chance),
        "time" | "day" | "hour" => Seen::unknown(Condition::Time),
        "oifgroup" | "iifgroup" | "oifkind" | "iifkind" | "oiftype" | "iiftype" | "ibrname" | "obrname" | "sdif"
        | "sdifname" => Seen::unknown(Condition::Interface),
        "rtclassid" | "ipsec" | "secpath" => Seen::unknown(Condition::Routing),
        "length" | "priority" | "cpu" | "pkttype" => Seen::unknown(Condition::Packet),
        _ => Seen::unknown(Condition::Extension),
    }
}

fn connection(key: &str, direction: &str, packet: &Packet<'_>) -> Seen {
    let tracking = Condition::Tracking.into();
    let is_original = direction.is_empty() || direction == "original";
    if key != "state" {
        match packet.is_tracked() {
            Match::Yes => {}
            Match::No => return Seen::Nothing,
            Match::Maybe(why) => return Seen::Unknown(why),
        }
    }
    match key {
        "state" => Seen::Bits(packet.states(), &STATES, tracking),
        "mark" => Seen::Bits(packet.ct_mark, &[], Condition::Mark.into()),
        "direction" => Seen::Words(&["original", "0"]),
        "status" => {
            let bit = |matches: Match, bit: u64| match matches {
                Match::Yes => (bit, bit),
                Match::No => (0, bit),
                Match::Maybe(_) => (0, 0),
            };
            let (dnat, snat) = (bit(packet.is_redirected, 32), bit(packet.is_masqueraded, 16));
            let known = 1 | 2 | 4 | 8 | dnat.1 | snat.1;
            let why = packet.is_redirected.conditions().with(packet.is_masqueraded.conditions());
            let why = if why.is_empty() { tracking } else { why };
            Seen::Bits(Bits { value: dnat.0 | snat.0, known }, &STATUS, why)
        }
        "ip daddr" | "ip6 daddr" | "daddr" if is_original => Seen::Address(Ok(packet.flow.dst)),
        "ip saddr" | "ip6 saddr" | "saddr" if is_original => {
            Seen::Address(packet.flow.src.ok_or(Condition::SourceAddress.into()))
        }
        "proto-dst" if is_original => Seen::number(packet.flow.port),
        "protocol" => TCP,
        "l3proto" => Seen::Words(if packet.flow.dst.is_ipv4() { &["ipv4", "2"] } else { &["ipv6", "10"] }),
        _ => Seen::Unknown(tracking),
    }
}

/// `payload & mask`, `mark | bits`.
fn operation(kind: &str, body: &Value, packet: &Packet<'_>) -> Seen {
    let Some([left, right]) = body.as_array().map(Vec::as_slice) else { return Seen::unknown(Condition::Extension) };
    match evaluate(left, packet) {
        Seen::Bits(bits, names, why) => {
            let Some(number) = number(right, names) else {
                return Seen::Unknown(why.with(Condition::Extension.into()));
            };
            let bits = match kind {
                "&" => bits.and(number),
                "|" => bits.or(number),
                _ => bits.xor(Bits::of(number)),
            };
            Seen::Bits(bits, names, why)
        }
        Seen::Address(Ok(address)) if kind == "&" => {
            let mask = right.as_str().and_then(|mask| mask.parse().ok());
            match mask.and_then(|mask| masked(address, mask)) {
                Some(address) => Seen::Address(Ok(address)),
                None => Seen::unknown(Condition::Extension),
            }
        }
        Seen::Number(Ok(left)) => match (kind, number(right, &[])) {
            ("&", Some(right)) => Seen::number(left & right),
            ("|", Some(right)) => Seen::number(left | right),
            ("^", Some(right)) => Seen::number(left ^ right),
            _ => Seen::unknown(Condition::Extension),
        },
        Seen::Address(Err(why)) | Seen::Number(Err(why)) | Seen::Unknown(why) => Seen::Unknown(why),
        Seen::Nothing => Seen::Nothing,
        _ => Seen::unknown(Condition::Extension),
    }
}

/// A number, a name that stands for one, or several of them together.
pub(super) fn number(value: &Value, names: &[(&str, u64)]) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::Bool(is_there) => Some(u64::from(*is_there)),
        Value::String(word) => Seen::bit(names, word).or_else(|| written(word)),
        Value::Array(all) => all.iter().try_fold(0, |sum, one| Some(sum | number(one, names)?)),
        Value::Object(object) => number(object.get("|")?, names),
        _ => None,
    }
}

/// `25`, `0x19`, and the services that mail has.
fn written(word: &str) -> Option<u64> {
    match word {
        "smtp" => Some(25),
        "submission" => Some(587),
        "submissions" | "urd" | "ssmtp" => Some(465),
        word => match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        },
    }
}

fn fib(body: &Value, packet: &Packet<'_>) -> Seen {
    let flags: Vec<&str> = match body.get("flags") {
        Some(Value::String(flag)) => vec![flag],
        Some(Value::Array(flags)) => flags.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_type = body.get("result").and_then(Value::as_str) == Some("type");
    let kind = match flags.as_slice() {
        ["daddr"] if is_type => packet.destination_type(),
        ["saddr"] if is_type => packet.source_type(),
        _ => Err(Condition::Routing.into()),
    };
    match kind {
        Ok("local") => Seen::Words(&["local"]),
        Ok("unicast") => Seen::Words(&["unicast"]),
        Ok("multicast") => Seen::Words(&["multicast"]),
        Ok(_) => Seen::Words(&["broadcast"]),
        Err(why) => Seen::Unknown(why),
    }
}
