//! What fails at an address of this host itself: nobody else is on the way, and nobody else can
//! be asked. The rules and the words that stand in for those about others.

use super::cause::{Cause, Words};
use super::evidence::{Evidence, Reach};
use super::grounds::{after, between_others, by_icmp, comes_and_goes, of, resets, silent, some_succeed, worked_before};
use super::rules::Rule;
use crate::format::span::span;

/// Whether the destination is this host itself.
pub(super) fn is_home(e: &Evidence) -> bool {
    e.reach() == Reach::Own
}

/// Whether rules about others may name the cause here.
pub(super) const fn is_at_home(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::LocalFirewall
            | Cause::LocalRedirect
            | Cause::SecurityPolicy
            | Cause::ConntrackFull
            | Cause::RouteFault
            | Cause::LocalResource
            | Cause::WrongSourceAddress
            | Cause::NotServed
            | Cause::NotMailServer
            | Cause::Greylisting
            | Cause::MessageRefused
            | Cause::WrongExchanger
    )
}

/// As the table of rules, for this host's own addresses.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "reset-by-this-host",
        cause: Cause::ServerDown,
        weight: 55,
        source: "RFC 9293, 3.5.2: a port on which nobody listens answers a SYN with RST",
        holds: |e| resets(e).map(|n| format!("{}: a TCP RST by this host itself{}", of(n, e), after(e))),
    },
    Rule {
        name: "reset-may-be-the-own-firewall",
        cause: Cause::LocalFirewall,
        weight: 40,
        source: "nft(8), REJECT STATEMENT: a firewall can send the same RST",
        holds: |e| resets(e).map(|n| format!("{}: a RST, which a rule of this host can send too", of(n, e))),
    },
    Rule {
        name: "served-before-and-stopped",
        cause: Cause::ServerDown,
        weight: 15,
        source: "a server that answered and stopped",
        holds: |e| resets(e).and_then(|_| worked_before(e)),
    },
    Rule {
        name: "served-in-between",
        cause: Cause::ServerDown,
        weight: -40,
        source: "a server that answers between refusals is up",
        holds: some_succeed,
    },
    Rule {
        name: "rejected-by-the-own-firewall",
        cause: Cause::LocalFirewall,
        weight: 90,
        source: "no TCP answers a SYN with an ICMP error of itself: a rule does",
        holds: |e| e.subject.all_of(by_icmp).map(|n| format!("{}: an ICMP reject by this host", of(n, e))),
    },
    Rule {
        name: "rejected-by-the-own-firewall-at-times",
        cause: Cause::LocalFirewall,
        weight: 45,
        source: "as above",
        holds: |e| {
            let n = e.subject.count(by_icmp);
            let is_part = n > 0 && e.subject.all_of(by_icmp).is_none();
            is_part.then(|| format!("{}: an ICMP reject by this host", of(n, e)))
        },
    },
    Rule {
        name: "silence-of-the-own-firewall",
        cause: Cause::LocalFirewall,
        weight: 50,
        source: "a rule that drops leaves no answer",
        holds: |e| {
            let n = silent(e)?;
            let waited = e.subject.waited.median().map(|waited| format!("; the sender waits {}", span(waited)));
            Some(format!("{} got no answer{}", of(n, e), waited.unwrap_or_default()))
        },
    },
    Rule {
        name: "silence-of-a-full-queue",
        cause: Cause::NotServed,
        weight: 40,
        source: "listen(2): where the queue of a server that does not accept is full, SYNs go unanswered",
        holds: |e| silent(e).map(|n| format!("{} got no answer, as from a server that does not accept", of(n, e))),
    },
    Rule {
        name: "served-at-times",
        cause: Cause::NotServed,
        weight: 60,
        source: "a server that is restarted, or that takes no more than so many at a time",
        holds: |e| between_others(e).filter(|_| comes_and_goes(e)),
    },
];

/// What a person reads of a cause here, where it differs.
pub(super) const fn words(cause: Cause) -> Option<Words> {
    Some(match cause {
        Cause::ServerDown => Words {
            verdict: "nothing listens on port {port} at this address of this host",
            next_step: "this is this host's own address: see whether its mail server runs and listens on it (ss -ltnp \
                        'sport = :{port}')",
            by_hand: "ss -ltnp 'sport = :{port}'; nc -vz {dst} {port}",
            surer: "whether a program listens on that address and port",
        },
        Cause::LocalFirewall => Words {
            verdict: "this host's own firewall stops connections to port {port} of this host itself",
            next_step: "allow TCP to {dst}, port {port}, in this host's firewall: on the way out and in, loopback included",
            by_hand: "nft list ruleset; iptables-save; ip6tables-save",
            surer: "the counters of the rules: the one that stops it goes up with each attempt",
        },
        Cause::NotServed => Words {
            verdict: "this host's own server on port {port} does not serve connections, or not all",
            next_step: "look at the server of this host: its log, its limits of processes and connections, and what it \
                        waits for",
            by_hand: "ss -ltn 'sport = :{port}', where Recv-Q near Send-Q is a full queue; nc {dst} {port}",
            surer: "the server's own log at the time of the failures",
        },
        Cause::NotMailServer => Words {
            verdict: "what answers at this host's own address on port {port} is not a mail server",
            next_step: "see which program listens (ss -ltnp 'sport = :{port}'), and whether the address and port are meant",
            by_hand: "nc {dst} {port}, and read the first line: a mail server's begins with 220",
            surer: "the name of the program that listens",
        },
        _ => return None,
    })
}
