//! Whether a rule of iptables matches: iptables(8), iptables-extensions(8).

use std::net::IpAddr;

use ipnet::IpNet;

use super::words::Word;
use super::{Options, Sets};
use crate::evidence::firewall::condition::{Condition, Conditions, Known, Match};
use crate::evidence::firewall::course::Walk;
use crate::evidence::firewall::packet::{Bits, Packet, Tracking, state};

/// An option with its arguments.
pub(super) struct Asked<'w> {
    pub(super) is_negated: bool,
    /// The match that it belongs to.
    pub(super) module: &'w str,
    pub(super) name: &'w str,
    pub(super) arguments: &'w [Word],
}

impl Asked<'_> {
    pub(super) fn first(&self) -> Option<&str> {
        self.arguments.first().map(|word| word.text.as_str())
    }
}

/// Whether a match asks about a header that a SYN of a program does not have. Without the
/// header it does not match, negated or not.
pub(in crate::evidence::firewall) fn lacks_header(module: &str) -> bool {
    matches!(module, "rt" | "frag" | "hbh" | "dst" | "mh" | "srh" | "ah" | "esp")
}

/// What a match depends on, of which every option is beside the point; none: it is known.
pub(in crate::evidence::firewall) fn module(name: &str) -> Option<Condition> {
    Some(match name {
        "tcp" | "udp" | "udplite" | "sctp" | "dccp" | "icmp" | "icmp6" | "multiport" | "comment" | "conntrack"
        | "state" | "iprange" | "owner" | "set" | "mark" | "connmark" | "addrtype" | "pkttype" | "recent" => {
            return None;
        }
        "limit" | "hashlimit" | "connlimit" | "quota" | "quota2" | "connbytes" | "rateest" | "fuzzy" | "nfacct" => {
            Condition::Rate
        }
        "statistic" | "nth" | "random" | "condition" => Condition::Chance,
        "time" => Condition::Time,
        "cgroup" => Condition::Cgroup,
        "length" | "length2" | "ttl" | "hl" | "dscp" | "tos" | "ecn" | "tcpmss" | "u32" | "string" | "bpf" | "mac"
        | "ipv6header" | "rt" | "frag" | "hbh" | "dst" | "mh" | "srh" | "ah" | "esp" | "eui64" | "ipv4options"
        | "osf" => Condition::Packet,
        "policy" | "rpfilter" | "devgroup" | "physdev" | "realm" | "socket" => Condition::Routing,
        "helper" | "cluster" | "connlabel" => Condition::Tracking,
        _ => Condition::Extension,
    })
}

/// Whether an option matches; `options` are all that the rule has.
pub(super) fn matches(asked: &Asked<'_>, options: &Options<'_>, sets: &Sets<'_>, walk: &mut Walk<'_>) -> Match {
    let packet = &walk.packet;
    let matched = match (asked.module, asked.name) {
        (_, "-p" | "--protocol") => asked.first().map_or(NOT_UNDERSTOOD, protocol),
        (_, "-d" | "--destination") => address(asked.first(), packet.dst),
        (_, "-s" | "--source") => address(asked.first(), packet.src),
        (_, "-o" | "--out-interface") => interface(asked.first(), packet.out.as_ref()),
        (_, "-i" | "--in-interface") => interface(asked.first(), packet.came_in.as_ref()),
        (_, "-f" | "--fragment") => Match::No,
        ("owner", _) => owner(asked, options, packet),
        ("set", "--match-set") => return set(asked, options, sets, walk).negated_if(asked.is_negated),
        // They only say what is counted; what `--match-set` cannot know it has said.
        ("set", _) => return Match::Yes,
        ("conntrack", name) if name != "--ctstate" && packet.is_tracked() != Match::Yes => {
            // xt_conntrack: without an entry the state alone decides, where it is asked for.
            return if options.have("--ctstate") { Match::Yes } else { packet.is_tracked() };
        }
        ("connmark", _) if packet.is_tracked() != Match::Yes => return packet.is_tracked(),
        ("conntrack" | "state", _) => tracking(asked, packet),
        ("mark", "--mark") => mark(asked.first(), packet.mark),
        ("connmark", "--mark") => mark(asked.first(), packet.ct_mark),
        ("addrtype", _) => address_type(asked, packet),
        ("iprange", "--dst-range") => address_range(asked.first(), packet.dst),
        ("iprange", "--src-range") => address_range(asked.first(), packet.src),
        ("pkttype", "--pkt-type") => Match::of(asked.first() == Some("unicast")),
        ("recent", "--set") => Match::Yes,
        ("recent", "--rcheck" | "--update" | "--remove") => Match::maybe(Condition::Set),
        ("recent", _) | ("comment", "--comment") => return Match::Yes,
        (_, "--dport" | "--dports" | "--destination-port" | "--destination-ports") => ports(asked.first(), packet.port),
        (_, "--sport" | "--sports" | "--source-port" | "--source-ports") => ports(asked.first(), SOURCE_PORT),
        (_, "--ports" | "--port") => ports(asked.first(), packet.port).or(ports(asked.first(), SOURCE_PORT)),
        (_, "--tcp-flags") => match asked.arguments {
            [mask, set, ..] => flags(&mask.text, &set.text),
            _ => NOT_UNDERSTOOD,
        },
        (_, "--syn") => Match::Yes,
        (_, "--tcp-option") => Match::maybe(Condition::Packet),
        _ => NOT_UNDERSTOOD,
    };
    matched.negated_if(asked.is_negated)
}

const NOT_UNDERSTOOD: Match = Match::Maybe(EXTENSION);
const EXTENSION: Conditions = Conditions::of(Condition::Extension);
/// The kernel chooses one of the local range.
const SOURCE_PORT: Known<u16> = Err(Conditions::of(Condition::SourcePort));

fn protocol(word: &str) -> Match {
    match word {
        "tcp" | "all" | "ip" | "6" | "0" => Match::Yes,
        _ => Match::No,
    }
}

/// `203.0.113.0/24`, `10.0.0.0/255.0.255.0`, `2001:db8::1`.
fn address(word: Option<&str>, address: Known<IpAddr>) -> Match {
    let Some(word) = word else { return NOT_UNDERSTOOD };
    if let Some(network) = word.parse::<IpNet>().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from)) {
        return if network.prefix_len() == 0 {
            Match::of(address.map_or(true, |address| address.is_ipv4() == network.addr().is_ipv4()))
        } else {
            Match::known(address, |address| network.contains(&address))
        };
    }
    let Some((Ok(network), Ok(mask))) = word.split_once('/').map(|(network, mask)| (network.parse(), mask.parse()))
    else {
        return NOT_UNDERSTOOD;
    };
    Match::known(address, |address| {
        masked(address, mask).is_some_and(|masked| Some(masked) == self::masked(network, mask))
    })
}

pub(in crate::evidence::firewall) fn masked(address: IpAddr, mask: IpAddr) -> Option<IpAddr> {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => Some(IpAddr::V4(address & mask)),
        (IpAddr::V6(address), IpAddr::V6(mask)) => Some(IpAddr::V6(address & mask)),
        _ => None,
    }
}

/// `203.0.113.1-203.0.113.9`.
fn address_range(word: Option<&str>, address: Known<IpAddr>) -> Match {
    let Some(word) = word else { return NOT_UNDERSTOOD };
    let (low, high) = word.split_once('-').unwrap_or((word, word));
    match (low.parse::<IpAddr>(), high.parse::<IpAddr>()) {
        (Ok(low), Ok(high)) => Match::known(address, |address| (low..=high).contains(&address)),
        _ => NOT_UNDERSTOOD,
    }
}

/// `eth0`, `eth+`. Where there is no interface, rules see an empty name.
fn interface(word: Option<&str>, interface: Option<&Known<String>>) -> Match {
    let Some(word) = word else { return NOT_UNDERSTOOD };
    let is_meant = |name: &str| word.strip_suffix('+').map_or(word == name, |prefix| name.starts_with(prefix));
    match interface {
        None => Match::of(is_meant("")),
        Some(Err(_)) if word == "+" => Match::Yes,
        Some(Ok(name)) => Match::of(is_meant(name)),
        Some(Err(why)) => Match::Maybe(*why),
    }
}

/// `25`, `25,587`, `1:1024`.
fn ports(word: Option<&str>, port: Known<u16>) -> Match {
    let Some(word) = word else { return NOT_UNDERSTOOD };
    let number = |text: &str, of_none: u16| match text {
        "" => Some(of_none),
        "smtp" => Some(25),
        "submission" => Some(587),
        "submissions" | "urd" | "ssmtp" => Some(465),
        text => text.parse().ok(),
    };
    let within = |part: &str| {
        let (low, high) = part.split_once(':').unwrap_or((part, part));
        let (low, high) = (number(low, 0)?, number(high, u16::MAX)?);
        Some(if (low, high) == (0, u16::MAX) {
            Match::Yes
        } else {
            Match::known(port, |port| (low..=high).contains(&port))
        })
    };
    word.split(',').map(within).try_fold(Match::No, |all, one| Some(all.or(one?))).unwrap_or(NOT_UNDERSTOOD)
}

/// Of the flags in `mask`, those in `set` and no other: this is a SYN.
fn flags(mask: &str, set: &str) -> Match {
    const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let read = |list: &str| {
        list.split(',').try_fold(0_u8, |all, name| match name {
            "ALL" => Some(0x3f),
            "NONE" => Some(all),
            name => NAMES.iter().position(|known| *known == name).map(|bit| all | 1 << bit),
        })
    };
    match (read(mask), read(set)) {
        (Some(mask), Some(set)) => Match::of(2 & mask == set),
        _ => NOT_UNDERSTOOD,
    }
}

/// Which socket it comes from. What is forwarded has none that rules see.
fn owner(asked: &Asked<'_>, options: &Options<'_>, packet: &Packet<'_>) -> Match {
    if !packet.has_socket() {
        return Match::No;
    }
    // The other names are known to the host alone.
    let number = |word: &str| if word == "root" { Some(0) } else { word.parse::<u64>().ok() };
    let is_within = |id: Known<u64>, unknown: Condition| {
        let Some(word) = asked.first() else { return NOT_UNDERSTOOD };
        let (low, high) = word.split_once('-').unwrap_or((word, word));
        match (number(low), number(high)) {
            (Some(low), Some(high)) => Match::known(id, |id| (low..=high).contains(&id)),
            _ => Match::maybe(unknown),
        }
    };
    match asked.name {
        "--uid-owner" => is_within(packet.user(), Condition::User),
        "--gid-owner" => match is_within(packet.group(), Condition::Group) {
            Match::No if options.have("--suppl-groups") => Match::maybe(Condition::Group),
            matched => matched,
        },
        "--socket-exists" | "--suppl-groups" => Match::Yes,
        _ => NOT_UNDERSTOOD,
    }
}

fn tracking(asked: &Asked<'_>, packet: &Packet<'_>) -> Match {
    let word = asked.first().unwrap_or_default();
    let why = Condition::Tracking.into();
    match asked.name {
        "--ctstate" | "--state" => word.split(',').fold(Match::No, |all, name| {
            let states = packet.states();
            all.or(match name {
                "NEW" => states.have_any(state::NEW, why),
                "INVALID" => states.have_any(state::INVALID, why),
                "ESTABLISHED" => states.have_any(state::ESTABLISHED, why),
                "RELATED" => states.have_any(state::RELATED, why),
                "UNTRACKED" => states.have_any(state::UNTRACKED, why),
                "DNAT" => packet.is_redirected,
                "SNAT" => packet.is_masqueraded,
                _ => NOT_UNDERSTOOD,
            })
        }),
        "--ctstatus" => word.split(',').fold(Match::No, |all, name| all.or(status(name, packet))),
        "--ctdir" => Match::of(word == "ORIGINAL"),
        "--ctproto" => protocol(word),
        "--ctorigdst" => address(Some(word), Ok(packet.flow.dst)),
        "--ctorigsrc" => address(Some(word), packet.flow.src.ok_or(Condition::SourceAddress.into())),
        "--ctorigdstport" => ports(Some(word), Ok(packet.flow.port)),
        _ => Match::Maybe(why),
    }
}

/// Of a connection that begins.
fn status(name: &str, packet: &Packet<'_>) -> Match {
    let is_first = packet.tracking == Tracking::New;
    match name {
        "EXPECTED" | "SEEN_REPLY" | "ASSURED" if is_first => Match::No,
        // It is confirmed where it leaves, and may come in again by loopback.
        "CONFIRMED" if is_first && packet.came_in.is_none() => Match::No,
        _ => Match::maybe(Condition::Tracking),
    }
}

/// `0x1`, `0x1/0xff`.
pub(super) fn marked(word: &str) -> Option<(u64, u64)> {
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(u64::from),
        None => text.parse::<u32>().ok().map(u64::from),
    };
    let (value, mask) = word.split_once('/').unwrap_or((word, "0xffffffff"));
    Some((number(value)?, number(mask)?))
}

fn mark(word: Option<&str>, bits: Bits) -> Match {
    match word.and_then(marked) {
        Some((value, mask)) => bits.and(mask).are(value, Condition::Mark.into()),
        None => NOT_UNDERSTOOD,
    }
}

fn address_type(asked: &Asked<'_>, packet: &Packet<'_>) -> Match {
    let is_any = |known: Known<&'static str>| {
        let words = asked.first().unwrap_or_default();
        Match::known(known, |known| words.split(',').any(|word| word.eq_ignore_ascii_case(known)))
    };
    match asked.name {
        "--dst-type" => is_any(packet.destination_type()),
        "--src-type" => is_any(packet.source_type()),
        // Narrows `local`, and nothing else.
        "--limit-iface-in" | "--limit-iface-out" => Match::Yes,
        _ => NOT_UNDERSTOOD,
    }
}

fn set(asked: &Asked<'_>, options: &Options<'_>, sets: &Sets<'_>, walk: &mut Walk<'_>) -> Match {
    let [name, directions, ..] = asked.arguments else { return NOT_UNDERSTOOD };
    let counted =
        ["--return-nomatch", "--packets-eq", "--packets-lt", "--packets-gt", "--bytes-eq", "--bytes-lt", "--bytes-gt"];
    if sets.changed.contains(name.text.as_str()) || counted.iter().any(|option| options.have(option)) {
        return Match::maybe(Condition::Set);
    }
    sets.listed.matches(&name.text, &directions.text, walk)
}
