//! Sets as `ipset save` lists them: ipset(8).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::condition::{Condition, Known, Match};
use super::course::Walk;

/// Sets in sets that are followed.
const DEPTH: usize = 4;

/// All sets of a listing, by name.
#[derive(Default)]
pub(super) struct IpSets<'a> {
    sets: BTreeMap<&'a str, IpSet<'a>>,
}

struct IpSet<'a> {
    kind: &'a str,
    is_v6: Option<bool>,
    /// What is left of an address before it is compared, in bits.
    netmask: Option<u8>,
    /// What is between the name and the end, of each member.
    members: Vec<&'a str>,
}

impl<'a> IpSets<'a> {
    pub(super) fn read(save: &'a str) -> Self {
        let mut sets: BTreeMap<&str, IpSet<'_>> = BTreeMap::new();
        for line in save.lines() {
            let Some((verb, rest)) = line.split_once(' ') else { continue };
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            match verb {
                "create" => {
                    let (kind, options) = rest.split_once(' ').unwrap_or((rest, ""));
                    let value_of = |name: &str| {
                        let mut words = options.split_whitespace().skip_while(|word| *word != name);
                        words.nth(1)
                    };
                    let is_v6 = value_of("family").map(|family| family == "inet6");
                    let netmask = value_of("netmask").map(|mask| mask.parse().unwrap_or(u8::MAX));
                    sets.insert(name, IpSet { kind, is_v6, netmask, members: Vec::new() });
                }
                "add" => {
                    if let Some(set) = sets.get_mut(name) {
                        set.members.push(rest);
                    }
                }
                _ => {}
            }
        }
        Self { sets }
    }

    /// Whether the packet is in a set: `directions` as in `dst`, `dst,dst`.
    pub(super) fn matches(&self, name: &str, directions: &str, walk: &mut Walk<'_>) -> Match {
        self.matches_at(name, directions, walk, 0)
    }

    fn matches_at(&self, name: &str, directions: &str, walk: &mut Walk<'_>, depth: usize) -> Match {
        let unknown = Match::maybe(Condition::Set);
        let Some(set) = self.sets.get(name).filter(|_| depth < DEPTH) else { return unknown };
        if set.kind == "list:set" {
            let members = set.members.iter().filter_map(|member| member.split_whitespace().next());
            return members.fold(Match::No, |all, member| all.or(self.matches_at(member, directions, walk, depth + 1)));
        }
        let Some((_, parts)) = set.kind.split_once(':') else { return unknown };
        let parts: Vec<&str> = parts.split(',').collect();
        let directions: Vec<&str> = directions.split(',').collect();
        // The kernel finds nothing in a set of another family, or with more parts.
        if set.is_v6.is_some_and(|is_v6| is_v6 != walk.packet.flow.dst.is_ipv6()) || directions.len() < parts.len() {
            return Match::No;
        }
        let asked: Vec<Part> =
            parts.iter().zip(&directions).map(|(part, direction)| Part::of(part, direction, walk)).collect();
        // The narrowest network decides, and may say that it does not match.
        let (mut found, mut best) = (Match::No, None);
        for member in &set.members {
            if !walk.spend_member() {
                return found.or(Match::maybe(Condition::Listing));
            }
            let (matched, width) = compare(&asked, set.netmask, member);
            if matched == Match::No {
                continue;
            }
            let options = member.split(" comment ").next().unwrap_or_default();
            let is_exception = options.split_whitespace().skip(1).any(|word| word == "nomatch");
            if matched == Match::Yes && best.is_none_or(|best| width >= best) {
                best = Some(width);
                found = Match::of(!is_exception);
            } else if matched != Match::Yes && best.is_none() {
                found = found.or(matched);
            }
        }
        found
    }
}

/// What is looked for in one part of a set.
enum Part {
    Address(Known<IpAddr>),
    Port(Known<u16>),
    Interface(Known<String>),
    Unknown(Condition),
}

impl Part {
    fn of(part: &str, direction: &str, walk: &Walk<'_>) -> Self {
        let packet = &walk.packet;
        let is_dst = direction == "dst";
        match part {
            "ip" | "net" if is_dst => Self::Address(packet.dst),
            "ip" | "net" => Self::Address(packet.src),
            "port" if is_dst => Self::Port(packet.port),
            "port" => Self::Unknown(Condition::SourcePort),
            "iface" => {
                let interface = if is_dst { packet.out.clone() } else { packet.came_in.clone() };
                Self::Interface(interface.unwrap_or(Ok(String::new())))
            }
            "mark" => Self::Unknown(Condition::Mark),
            "mac" => Self::Unknown(Condition::Packet),
            _ => Self::Unknown(Condition::Set),
        }
    }

    /// Whether this is it, and how narrow it is in bits.
    fn compare(&self, text: &str, netmask: Option<u8>) -> (Match, u32) {
        match self {
            Self::Address(known) => address(text, *known, netmask),
            Self::Port(known) => (port(text, *known), 0),
            Self::Interface(known) => (Match::known(known.as_ref().map_err(|why| *why), |name| name == text), 0),
            Self::Unknown(condition) => (Match::maybe(*condition), 0),
        }
    }
}

fn compare(asked: &[Part], netmask: Option<u8>, member: &str) -> (Match, u32) {
    let element = member.split_whitespace().next().unwrap_or_default();
    let (mut matched, mut width) = (Match::Yes, 0);
    let mut texts = element.split(',');
    for part in asked {
        let Some(text) = texts.next() else { return (Match::maybe(Condition::Set), 0) };
        let (one, narrow) = part.compare(text, netmask);
        matched = matched.and(one);
        width += narrow;
        if matched == Match::No {
            break;
        }
    }
    (matched, width)
}

fn address(text: &str, known: Known<IpAddr>, netmask: Option<u8>) -> (Match, u32) {
    if let Some((low, high)) = text.split_once('-') {
        return match (low.parse::<IpAddr>(), high.parse::<IpAddr>()) {
            (Ok(low), Ok(high)) => (Match::known(known, |address| (low..=high).contains(&address)), 0),
            _ => (Match::maybe(Condition::Set), 0),
        };
    }
    let single = || {
        text.parse::<IpAddr>().ok().and_then(|single| match netmask {
            Some(bits) => IpNet::new(single, bits).ok().map(|network| network.trunc()),
            None => Some(IpNet::from(single)),
        })
    };
    match text.parse::<IpNet>().ok().or_else(single) {
        Some(network) => (Match::known(known, |address| network.contains(&address)), u32::from(network.prefix_len())),
        None => (Match::maybe(Condition::Set), 0),
    }
}

/// `25`, `tcp:25`, `tcp:25-30`, `udp:53`.
fn port(text: &str, known: Known<u16>) -> Match {
    let (protocol, ports) = text.split_once(':').unwrap_or(("tcp", text));
    if !matches!(protocol, "tcp" | "6") {
        return Match::No;
    }
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    match (low.parse::<u16>(), high.parse::<u16>()) {
        (Ok(low), Ok(high)) => Match::known(known, |port| (low..=high).contains(&port)),
        _ if ports == "smtp" => Match::known(known, |port| port == 25),
        _ => Match::maybe(Condition::Set),
    }
}
