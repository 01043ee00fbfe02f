//! What a rule of iptables does.

use std::net::IpAddr;

use super::matches::marked;
use super::words::Word;
use crate::evidence::firewall::condition::{Condition, Conditions, Known, Match};
use crate::evidence::firewall::course::{Frame, Named, Step, Verdict, Walk};
use crate::evidence::firewall::packet::{Bits, Tracking};

/// Targets after which the next rule follows.
const GO_ON: [&str; 27] = [
    "LOG",
    "ULOG",
    "NFLOG",
    "AUDIT",
    "CLASSIFY",
    "TOS",
    "DSCP",
    "ECN",
    "TTL",
    "HL",
    "TCPMSS",
    "TCPOPTSTRIP",
    "SET",
    "TRACE",
    "RATEEST",
    "IDLETIMER",
    "TEE",
    "SECMARK",
    "CONNSECMARK",
    "CHECKSUM",
    "LED",
    "HMARK",
    "ACCOUNT",
    "NETFLOW",
    "LOGMARK",
    "IPMARK",
    "DHCPMAC",
];

const REDIRECTED: Known<IpAddr> = Err(Conditions::of(Condition::Redirect));
const PORT: Known<u16> = Err(Conditions::of(Condition::Redirect));

/// Whether the next rule follows, whatever the target does beside.
pub(in crate::evidence::firewall) fn goes_on(target: &str) -> bool {
    GO_ON.contains(&target)
}

/// Does it, where the rule matches.
pub(super) fn apply(
    (name, options): (&str, &[Word]),
    is_mangle: bool,
    matches: Match,
    walk: &mut Walk<'_>,
    frame: &mut Frame,
    rule: &dyn Named,
) -> Step {
    let value_of = |name: &str| {
        let at = options.iter().position(|word| !word.is_quoted && word.text == name)?;
        options.get(at + 1).map(|word| word.text.as_str())
    };
    let all = walk.reach(frame, matches);
    match name {
        "ACCEPT" => walk.verdict(frame, matches, Verdict::Accept, rule),
        "RETURN" => walk.verdict(frame, matches, Verdict::Return, rule),
        "DROP" | "REJECT" | "TARPIT" | "DELUDE" | "CHAOS" | "STEAL" | "ECHO" => {
            walk.verdict(frame, matches, Verdict::Stop(name), rule)
        }
        "QUEUE" | "NFQUEUE" => walk.verdict(frame, matches, Verdict::Ask(name), rule),
        "MARK" => {
            let set = ["--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark"]
                .iter()
                .find_map(|option| value_of(option).map(|value| (*option, value)));
            let new = set.and_then(|(option, value)| changed(walk.packet.mark, option, value));
            walk.packet.set_mark(all, new.unwrap_or(Bits::UNKNOWN), is_mangle);
            Step::Next
        }
        "CONNMARK" => {
            connection_mark(&value_of, options, all, is_mangle, walk);
            Step::Next
        }
        "CT" | "NOTRACK" => {
            let is_untracked = name == "NOTRACK" || options.iter().any(|word| word.text == "--notrack");
            if is_untracked && walk.packet.tracking == Tracking::Before {
                walk.packet.is_untracked = walk.packet.is_untracked.or(all);
            }
            Step::Next
        }
        "REDIRECT" => {
            let dst = if walk.packet.has_socket() { Ok(walk.packet.loopback()) } else { REDIRECTED };
            let port = value_of("--to-ports").map(|ports| ports.parse().map_err(|_| Condition::Redirect.into()));
            let word = match &port {
                Some(Ok(port)) => format!("redirect to port {port}"),
                _ => "redirect".to_owned(),
            };
            walk.redirect(frame, matches, (Some(dst), port), &word, rule)
        }
        "DNAT" => {
            let to = value_of("--to-destination").unwrap_or_default();
            let word = format!("dnat to {to}");
            walk.redirect(frame, matches, destination(to), &word, rule)
        }
        "NETMAP" | "TPROXY" | "DNPT" | "MIRROR" => {
            walk.redirect(frame, matches, (Some(REDIRECTED), Some(PORT)), name, rule)
        }
        "SNAT" | "MASQUERADE" | "SAME" => {
            let unknown = Err(Condition::SourceAddress.into());
            let src = value_of("--to-source")
                .and_then(|to| destination(to).0)
                .map_or(unknown, |src| src.map_err(|_| Condition::SourceAddress.into()));
            walk.masquerade(frame, matches, src, rule)
        }
        name if goes_on(name) => Step::Next,
        _ => walk.verdict(frame, matches, Verdict::Any(name), rule),
    }
}

/// A mark that `--set-xmark VALUE/MASK` or its kin change.
fn changed(mark: Bits, option: &str, value: &str) -> Option<Bits> {
    let (value, mask) = marked(value)?;
    Some(match option {
        "--set-xmark" => mark.and(!mask & ALL).xor(Bits::of(value)),
        "--set-mark" => mark.and(!mask & ALL).or(value),
        "--and-mark" => mark.and(value),
        "--or-mark" => mark.or(value),
        _ => mark.xor(Bits::of(value)),
    })
}

/// Marks have 32 bits.
const ALL: u64 = 0xffff_ffff;

fn connection_mark<'w>(
    value_of: &dyn Fn(&str) -> Option<&'w str>,
    options: &[Word],
    all: Match,
    is_mangle: bool,
    walk: &mut Walk<'_>,
) {
    let mask = |name: &str| {
        value_of(name).or_else(|| value_of("--mask")).map_or(Some(ALL), |mask| marked(mask).map(|(mask, _)| mask))
    };
    let (of_packet, of_connection) = (mask("--nfmask").unwrap_or(ALL), mask("--ctmask").unwrap_or(ALL));
    let has = |name: &str| options.iter().any(|word| word.text == name);
    let (mark, ct_mark) = (walk.packet.mark, walk.packet.ct_mark);
    if has("--restore-mark") {
        let new = mark.and(!of_packet & ALL).xor(ct_mark.and(of_connection));
        let all = all.and(walk.packet.is_tracked());
        walk.packet.set_mark(all, new, is_mangle);
    } else if has("--save-mark") {
        walk.packet.set_ct_mark(all, ct_mark.and(!of_connection & ALL).xor(mark.and(of_packet)));
    } else {
        let set = ["--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark"];
        let found = set.iter().find_map(|option| changed(ct_mark, option, value_of(option)?));
        walk.packet.set_ct_mark(all, found.unwrap_or(Bits::UNKNOWN));
    }
}

/// `10.0.0.1`, `10.0.0.1:25`, `:25`, `10.0.0.1-10.0.0.9:25-27`, `[2001:db8::1]:25`.
fn destination(to: &str) -> (Option<Known<IpAddr>>, Option<Known<u16>>) {
    let (address, port) = if let Some((address, rest)) = to.strip_prefix('[').and_then(|to| to.split_once(']')) {
        (address, rest.strip_prefix(':'))
    } else if to.matches(':').count() > 1 {
        (to, None)
    } else {
        to.split_once(':').map_or((to, None), |(address, port)| (address, Some(port)))
    };
    let address = (!address.is_empty()).then(|| address.parse().map_err(|_| Condition::Redirect.into()));
    (address, port.map(|port| port.parse().map_err(|_| Condition::Redirect.into())))
}
