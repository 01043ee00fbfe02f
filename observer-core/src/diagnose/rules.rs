//! What speaks for a cause, and what against: the table that a mail engineer reads,
//! and adds to. A rule looks at the evidence and, where it holds, says so in a line with
//! its numbers. Weights are points out of a hundred: ninety alone are proof, thirty a
//! hint; those of a cause are added up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::cause::Cause;
use super::evidence::Evidence;
use super::grounds::{
    SEVERAL, SOME, after, answer_dropped, answered_by_this_host, answers, at_once, before_banner, between_others,
    by_errno_alone, by_icmp, comes_and_goes, conntrack_is_full, dns, dropped_here, eacces, eacces_despite_a_route,
    elsewhere_works, every_answer_dropped, everything_fails, failing_by_ipv6, going, greeted, ipv6_alone_fails,
    ipv6_fails_for_several, is_like_a_block, is_next_hop, is_no_mail_server, list, little_gets_out, local_firewall,
    log_says, mostly, no_route, no_route_or_no_source, no_way_by_ipv6, nothing_answers_one_source, nothing_gets_out,
    of, of_family, one_source, one_source_works, one_source_works_meanwhile, others, others_fail_too, passes, redirect,
    redirected, resets, resets_like, rule_that_stops, senders, served_now, silent, some_answers, some_answers_dropped,
    some_are_rejected, some_succeed, stopped_in_part, they, traced, worked_before,
};
use super::mail::Told;
use super::seen::Ending;
use crate::answer::AnswerKind;
use crate::evidence::dns::finding::Finding as Dns;
use crate::evidence::firewall::Answer;
use crate::evidence::probe::compare::{Born, BySource, by_source};
use crate::evidence::route::Route;
use crate::format::span::span;
use crate::label::{Label, Origin, Reason};
use crate::sanitize::excerpt;

/// One line of the table.
pub(super) struct Rule {
    /// Its name, in JSON.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) cause: Cause,
    /// Points for the cause; below zero, against it.
    pub(super) weight: i32,
    /// Why it can be concluded.
    pub(super) source: &'static str,
    /// The line, if it holds.
    pub(super) holds: fn(&Evidence) -> Option<String>,
}

/// Connections in a day that a receiver may take for much from one address.
const MANY: u64 = 50;
/// So many destinations do not fail by chance.
const MANY_DESTINATIONS: usize = 8;
/// So often, success and failure follow each other by no two outages.
const OFTEN: u64 = 6;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "reset-by-destination",
        cause: Cause::ServerDown,
        weight: 50,
        source: "RFC 9293, 3.5.2: a port on which nobody listens answers a SYN with RST",
        holds: |e| {
            resets(e).map(|n| format!("{} a TCP RST in the destination's name{}", they(n, e, "are", "is"), after(e)))
        },
    },
    Rule {
        name: "reset-may-be-a-firewall",
        cause: Cause::RemoteFirewallRejects,
        weight: 35,
        source: "nft(8), REJECT STATEMENT: a firewall can send the same RST",
        holds: |e| resets(e).map(|n| format!("{} a RST, which a firewall there can send too", they(n, e, "are", "is"))),
    },
    Rule {
        name: "reset-may-be-a-block",
        cause: Cause::AddressBlocked,
        weight: 20,
        source: "RFC 5782: receivers refuse single addresses, by RST too",
        holds: |e| (resets(e).is_some() && e.subject.sources.len() < 2).then(|| one_source(e)),
    },
    Rule {
        name: "refused-at-the-distance-of-handshakes",
        cause: Cause::ServerDown,
        weight: 10,
        source: "a RST by the host itself takes one round trip, as a handshake does",
        holds: |e| {
            let (refused, handshake) = (e.subject.refused_after.median()?, e.subject.handshakes.median()?);
            let is_alike = refused * 2 >= handshake && refused <= handshake * 2 + Duration::from_millis(5);
            (resets(e).is_some() && is_alike)
                .then(|| format!("the RST takes {}, handshakes took {}", span(refused), span(handshake)))
        },
    },
    Rule {
        name: "refused-from-every-source",
        cause: Cause::ServerDown,
        weight: 20,
        source: "what refuses every address is not about one",
        holds: |e| {
            let sources = e.subject.sources.values().filter(|share| share.fails(1)).count();
            let is_all = sources > 1 && sources == e.subject.sources.len() && e.subject.counted_only == 0;
            // Both families are two destinations.
            (resets(e).is_some() && e.subject.destinations.len() == 1 && is_all)
                .then(|| format!("it refuses all {sources} local addresses that tried"))
        },
    },
    Rule {
        name: "worked-before-and-stopped",
        cause: Cause::ServerDown,
        weight: 15,
        source: "a server that answered this host and stopped for all",
        holds: |e| {
            let is_for_all = one_source_works(e).is_none() && one_source_works_meanwhile(e).is_none();
            (resets(e).is_some() && is_for_all).then(|| worked_before(e)).flatten()
        },
    },
    Rule {
        name: "its-router-cannot-reach-it",
        cause: Cause::ServerDown,
        weight: 70,
        source: "RFC 1812, 5.2.7.1: host unreachable is of the last router, whose ARP or NDP goes unanswered",
        holds: |e| {
            let n = mostly(e, Reason::IcmpHostUnreachable).filter(|_| by_errno_alone(e).is_none())?;
            (!everything_fails(e)).then(|| format!("{} ICMP host unreachable{}", they(n, e, "are", "is"), senders(e)))
        },
    },
    Rule {
        name: "a-router-may-not-reach-it",
        cause: Cause::ServerDown,
        weight: 60,
        source: "EHOSTUNREACH of connect(2): host unreachable, or time exceeded; this kernel does not show which",
        holds: |e| {
            by_errno_alone(e)
                .filter(|_| !everything_fails(e))
                .map(|n| format!("{} an ICMP error, which may be host unreachable", they(n, e, "are", "is")))
        },
    },
    Rule {
        name: "the-hop-limit-may-be-used-up",
        cause: Cause::NetworkFault,
        weight: 50,
        source: "as above",
        holds: |e| {
            by_errno_alone(e).map(|n| format!("{} an ICMP error, which may be time exceeded", they(n, e, "are", "is")))
        },
    },
    Rule {
        name: "its-link-is-ours-and-it-is-mute",
        cause: Cause::ServerDown,
        weight: 70,
        source: "RFC 826 and RFC 4861, 7.3: on one's own link the destination itself is the next hop",
        holds: |e| {
            let n = mostly(e, Reason::NoNeighbour).filter(|_| is_next_hop(e))?;
            Some(format!("{}: it is on this host's own link, and answers neither ARP nor NDP", of(n, e)))
        },
    },
    Rule {
        name: "silence-may-be-a-dead-host",
        cause: Cause::ServerDown,
        weight: 35,
        source: "a host that is down answers nothing",
        holds: |e| {
            let is_it = |_: &u64| !everything_fails(e);
            silent(e).filter(is_it).map(|n| format!("{} got no answer at all", of(n, e)))
        },
    },
    Rule {
        name: "rejected-by-icmp",
        cause: Cause::RemoteFirewallRejects,
        weight: 75,
        source: "RFC 1812, 5.2.7.1 and RFC 4443, 3.1: administratively prohibited; no TCP answers port unreachable of itself",
        holds: |e| {
            let n = e.subject.mostly(by_icmp)?;
            Some(format!("{} an ICMP reject{}", they(n, e, "are", "is"), senders(e)))
        },
    },
    Rule {
        name: "rejected-by-icmp-now-and-then",
        cause: Cause::RemoteFirewallRejects,
        weight: 75,
        source: "RFC 1812, 4.3.2.8 and RFC 4443, 2.4 (f): who sends ICMP errors limits how many, and leaves out the others",
        holds: |e| {
            let some = some_are_rejected(e)?;
            Some(format!("{some}{}, and the others got no answer", senders(e)))
        },
    },
    Rule {
        name: "some-are-rejected",
        cause: Cause::RemoteFirewallDrops,
        weight: -30,
        source: "who drops sends no ICMP errors; who rejects sends a limited number",
        holds: some_are_rejected,
    },
    Rule {
        name: "some-are-rejected-by-who-is-up",
        cause: Cause::ServerDown,
        weight: -20,
        source: "a host that is down rejects nothing",
        holds: some_are_rejected,
    },
    Rule {
        name: "rejects-by-the-destination-itself",
        cause: Cause::RemoteFirewallRejects,
        weight: 10,
        source: "an ICMP error from the destination's own address is its host's firewall",
        holds: |e| {
            let n = e.subject.mostly(|ending| by_icmp(ending) && ending.2 == Some(Origin::Remote))?;
            Some(format!("{n} of them come from the destination's own address"))
        },
    },
    Rule {
        name: "rejects-and-nothing-to-compare",
        cause: Cause::RemoteFirewallRejects,
        weight: -20,
        source: "where nothing else was answered, the router that rejects may be this host's provider's",
        holds: |e| {
            let is_by_itself = |(_, _, origin): Ending| origin == Some(Origin::Remote);
            let is_lonely = e.elsewhere.all.answered == 0 && e.subject.all.answered == 0 && !everything_fails(e);
            let is_rejected = e.subject.mostly(by_icmp).is_some() || some_are_rejected(e).is_some();
            (is_rejected && e.subject.count(is_by_itself) == 0 && is_lonely)
                .then(|| "no other destination answered in this period".to_owned())
        },
    },
    Rule {
        name: "silence",
        cause: Cause::RemoteFirewallDrops,
        weight: 50,
        source: "a firewall that drops leaves no answer; SYN retransmits go unanswered too",
        holds: |e| {
            let n = silent(e)?;
            let waited = e.subject.waited.median().map(|waited| format!("; the sender waits {}", span(waited)));
            Some(format!("{} got no answer{}", of(n, e), waited.unwrap_or_default()))
        },
    },
    Rule {
        name: "others-answer",
        cause: Cause::RemoteFirewallDrops,
        weight: 15,
        source: "what others answer is not this host's fault",
        holds: |e| (silent(e).is_some() && elsewhere_works(e)).then(|| others(e)),
    },
    Rule {
        name: "everything-is-silent-too",
        cause: Cause::RemoteFirewallDrops,
        weight: -40,
        source: "where all destinations fail, it is not one of them",
        holds: others_fail_too,
    },
    Rule {
        name: "everything-fails-too",
        cause: Cause::ServerDown,
        weight: -45,
        source: "where all destinations fail, it is not one of them",
        holds: others_fail_too,
    },
    Rule {
        name: "every-rejecter-is-the-same",
        cause: Cause::RemoteFirewallRejects,
        weight: -45,
        source: "where all destinations fail, it is not one of them",
        holds: others_fail_too,
    },
    Rule {
        name: "stopped-by-this-host",
        cause: Cause::LocalFirewall,
        weight: 95,
        source: "kfree_skb, NF_HOOK: this host's kernel dropped or rejected the SYN before it left",
        holds: |e| {
            let n = e.subject.all_of(dropped_here)?;
            Some(format!("{}: the SYN never left this host", of(n, e)))
        },
    },
    Rule {
        name: "not-permitted",
        cause: Cause::LocalFirewall,
        weight: 75,
        source: "EPERM of connect(2): a firewall rule, a BPF program of the service's cgroup (systemd: IPAddressDeny), or of a security module",
        holds: |e| {
            let n = e.subject.all_of(local_firewall)?;
            let is_seen = e.subject.all_of(dropped_here).is_some();
            (!is_seen).then(|| format!("{}: this host's kernel did not permit it", of(n, e)))
        },
    },
    Rule {
        name: "stopped-by-this-host-at-times",
        cause: Cause::LocalFirewall,
        weight: 60,
        source: "as above: a rule with a limit, for one user, or for one source address",
        holds: |e| stopped_in_part(e).map(|part| format!("{part}: the SYN never left this host")),
    },
    Rule {
        name: "the-answer-is-dropped-here",
        cause: Cause::LocalFirewall,
        weight: 92,
        source: "kfree_skb, NF_HOOK: this host's kernel dropped the answer to the SYN",
        holds: every_answer_dropped,
    },
    Rule {
        name: "some-answers-are-dropped-here",
        cause: Cause::LocalFirewall,
        weight: 60,
        source: "as above: of a part, which says nothing of the rest",
        holds: some_answers_dropped,
    },
    Rule {
        name: "answered-so-no-firewall-there",
        cause: Cause::RemoteFirewallDrops,
        weight: -90,
        source: "what answers is not silent",
        holds: answer_dropped,
    },
    Rule {
        name: "answered-so-it-is-up",
        cause: Cause::ServerDown,
        weight: -60,
        source: "what answers is not down",
        holds: answer_dropped,
    },
    Rule {
        name: "answered-so-no-block-on-the-way",
        cause: Cause::PortBlockedOutbound,
        weight: -90,
        source: "what is answered got out",
        holds: answer_dropped,
    },
    Rule {
        name: "a-policy-denies-it",
        cause: Cause::SecurityPolicy,
        weight: 90,
        source: "EACCES of connect(2) before any route was asked for: a security module (SELinux, AppArmor, Landlock)",
        holds: |e| {
            let n = mostly(e, Reason::SecurityPolicy)?;
            Some(format!("{}: a security module of this host refused connect()", of(n, e)))
        },
    },
    Rule {
        name: "a-policy-may-deny-it",
        cause: Cause::SecurityPolicy,
        weight: 50,
        source: "EACCES of connect(2): a route of type prohibit, or a security module; this kernel does not show which",
        holds: |e| eacces(e).map(|n| format!("{} EACCES", they(n, e, "are", "is"))),
    },
    Rule {
        name: "no-route-prohibits-it-now",
        cause: Cause::SecurityPolicy,
        weight: 20,
        source: "ip-route(8), route get: the decision for this destination as it is now",
        holds: eacces_despite_a_route,
    },
    Rule {
        name: "a-route-goes-there-now",
        cause: Cause::RouteFault,
        weight: -30,
        source: "ip-route(8), route get: the decision for this destination as it is now",
        holds: eacces_despite_a_route,
    },
    Rule {
        name: "a-rule-here-stops-it",
        cause: Cause::LocalFirewall,
        weight: 40,
        source: "the rules of this host's firewall as they are now, with the verdict that comes first",
        holds: rule_that_stops,
    },
    Rule {
        name: "a-rule-here-may-stop-it",
        cause: Cause::LocalFirewall,
        weight: 10,
        source: "a rule with a condition that cannot be known here, such as a rate, a user or a mark",
        holds: |e| {
            let walked = &e.firewall.as_ref()?.walked;
            let may = walked.answer == Answer::Unknown && e.subject.count(local_firewall) > 0;
            walked.findings.first().filter(|_| may).map(ToString::to_string)
        },
    },
    Rule {
        name: "no-room-for-connections",
        cause: Cause::ConntrackFull,
        weight: 75,
        source: "nf_conntrack(5) sysctls: at nf_conntrack_max the kernel drops new connections, as a rule would",
        holds: conntrack_is_full,
    },
    Rule {
        name: "no-rule-here-stops-it",
        cause: Cause::ConntrackFull,
        weight: 5,
        source: "the rules of this host's firewall as they are now, for this very flow",
        holds: |e| conntrack_is_full(e).filter(|_| passes(e)).map(|_| "no rule of this host stops it".to_owned()),
    },
    Rule {
        name: "no-room-so-no-rule",
        cause: Cause::LocalFirewall,
        weight: -50,
        source: "what connection tracking drops, no rule has dropped",
        holds: |e| conntrack_is_full(e).filter(|_| passes(e)),
    },
    Rule {
        name: "a-rule-here-redirects-it",
        cause: Cause::LocalRedirect,
        weight: 55,
        source: "nft(8), NAT STATEMENTS; iptables-extensions(8), REDIRECT: the rules as they are now, for this very flow",
        holds: |e| redirect(e).filter(|(is_certain, _)| *is_certain).map(|(_, rule)| rule),
    },
    Rule {
        name: "a-rule-here-may-redirect-it",
        cause: Cause::LocalRedirect,
        weight: 35,
        source: "as above, with a condition that cannot be known here, such as the group",
        holds: |e| redirect(e).filter(|(is_certain, _)| !is_certain).map(|(_, rule)| rule),
    },
    Rule {
        name: "this-host-answers",
        cause: Cause::LocalRedirect,
        weight: 90,
        source: "sk_buff, skb_iif: the answer came by loopback, and the destination is not this host",
        holds: answered_by_this_host,
    },
    Rule {
        name: "answered-within-this-host",
        cause: Cause::LocalRedirect,
        weight: 25,
        source: "no wire is as short: an answer of that speed comes from this host",
        holds: |e| redirect(e).and_then(|_| at_once(e)).map(|took| format!("the answer takes {}", span(took))),
    },
    Rule {
        name: "redirected-so-not-its-server",
        cause: Cause::ServerDown,
        weight: -60,
        source: "what is redirected here never reaches the destination",
        holds: redirected,
    },
    Rule {
        name: "redirected-so-no-firewall-there",
        cause: Cause::RemoteFirewallRejects,
        weight: -60,
        source: "what is redirected here never reaches the destination",
        holds: redirected,
    },
    Rule {
        name: "redirected-so-not-its-service",
        cause: Cause::NotServed,
        weight: -60,
        source: "what is redirected here never reaches the destination",
        holds: redirected,
    },
    Rule {
        name: "redirected-so-no-block-of-an-address",
        cause: Cause::AddressBlocked,
        weight: -60,
        source: "what is redirected here never reaches the destination",
        holds: redirected,
    },
    Rule {
        name: "redirected-so-no-block-on-the-way",
        cause: Cause::PortBlockedOutbound,
        weight: -90,
        source: "what is redirected here never leaves this host",
        holds: redirected,
    },
    Rule {
        name: "redirected-so-nothing-on-the-way-forges",
        cause: Cause::MiddleboxForges,
        weight: -90,
        source: "an answer that this host gives itself has a TTL of its own",
        holds: redirected,
    },
    Rule {
        name: "the-routing-table-refuses",
        cause: Cause::RouteFault,
        weight: 30,
        source: "ip-route(8), route get: the decision for this destination as it is now",
        holds: |e| match &e.route {
            Some(Route::Refused { why }) => Some(format!("the routing table says now: {why}")),
            _ => None,
        },
    },
    Rule {
        name: "nothing-gets-out",
        cause: Cause::PortBlockedOutbound,
        weight: 65,
        source: "several destinations of different owners do not fail at once",
        holds: |e| nothing_gets_out(e).filter(|nothing| nothing.networks > 1).map(|nothing| nothing.to_string()),
    },
    Rule {
        name: "nothing-gets-out-to-one-network",
        cause: Cause::PortBlockedOutbound,
        weight: 55,
        source: "as above; those of one network may have one owner",
        holds: |e| nothing_gets_out(e).filter(|nothing| nothing.networks == 1).map(|nothing| nothing.to_string()),
    },
    Rule {
        name: "all-stopped-at-once",
        cause: Cause::PortBlockedOutbound,
        weight: 10,
        source: "what worked a while ago at several destinations and stopped at all of them is not theirs",
        holds: |e| {
            let nothing = nothing_gets_out(e).filter(|nothing| nothing.worked >= SEVERAL)?;
            Some(format!("{} of these destinations answered before", nothing.worked))
        },
    },
    Rule {
        name: "little-gets-out",
        cause: Cause::PortBlockedOutbound,
        weight: 45,
        source: "a provider that blocks the port may let its own relay through",
        holds: little_gets_out,
    },
    Rule {
        name: "other-ports-work",
        cause: Cause::PortBlockedOutbound,
        weight: 20,
        source: "RFC 6409: providers that block port 25 leave submission open",
        holds: |e| {
            (nothing_gets_out(e).is_some() && of_family(e, &e.other_ports).works(1)).then(|| {
                let share = of_family(e, &e.other_ports);
                format!("{} of {} connections to other ports are answered", share.answered, share.attempts)
            })
        },
    },
    Rule {
        name: "one-network-rejects-all",
        cause: Cause::PortBlockedOutbound,
        weight: 20,
        source: "one router that rejects for many destinations is near this host",
        holds: |e| {
            let sender = e.subject.icmp.keys().map(|(from, ..)| *from).find(|from| {
                e.elsewhere.icmp.keys().any(|(other, ..)| other == from) && !e.subject.destinations.contains_key(from)
            })?;
            nothing_gets_out(e).map(|_| format!("{sender} rejects connections to other destinations too"))
        },
    },
    Rule {
        name: "another-source-works-meanwhile",
        cause: Cause::AddressBlocked,
        weight: 80,
        source: "the same destination answers another address of this host, between the failures of this one",
        holds: one_source_works_meanwhile,
    },
    Rule {
        name: "nothing-answers-that-source",
        cause: Cause::AddressBlocked,
        weight: -45,
        source: "an address to which no destination answers is not blocked by one of them",
        holds: nothing_answers_one_source,
    },
    Rule {
        name: "nothing-gets-out-from-that-source",
        cause: Cause::PortBlockedOutbound,
        weight: 55,
        source: "an address of its own may leave by a network of its own, which blocks the port",
        holds: |e| nothing_answers_one_source(e).filter(|_| is_like_a_block(e)),
    },
    Rule {
        name: "another-source-works",
        cause: Cause::AddressBlocked,
        weight: 50,
        source: "the same destination answered another address of this host, before these failures or after them",
        holds: one_source_works,
    },
    Rule {
        name: "another-source-works-so-it-is-up",
        cause: Cause::ServerDown,
        weight: -70,
        source: "a server that answers one address is up",
        holds: one_source_works_meanwhile,
    },
    Rule {
        name: "another-source-works-so-no-general-drop",
        cause: Cause::RemoteFirewallDrops,
        weight: -30,
        source: "a firewall that lets one address through is about the other",
        holds: one_source_works_meanwhile,
    },
    Rule {
        name: "another-source-works-so-no-general-reject",
        cause: Cause::RemoteFirewallRejects,
        weight: -30,
        source: "a firewall that lets one address through is about the other",
        holds: one_source_works_meanwhile,
    },
    Rule {
        name: "a-probe-from-another-source-works",
        cause: Cause::AddressBlocked,
        weight: 60,
        source: "the same destination, tried from each local address within seconds",
        holds: |e| {
            e.probes.chunk_by(|one, other| one.destination == other.destination).find_map(|of_one| {
                let BySource::Ours { welcome, unwelcome } = by_source(of_one) else { return None };
                let (welcome, unwelcome) = (list(&welcome), list(&unwelcome));
                Some(format!("probed now, it serves {welcome}, and not {unwelcome}"))
            })
        },
    },
    Rule {
        name: "probes-from-all-sources-are-refused",
        cause: Cause::ServerDown,
        weight: 20,
        source: "the same destination, tried from each local address within seconds",
        holds: |e| {
            let sources: BTreeSet<_> = e.probes.iter().filter_map(|probe| probe.source).collect();
            let is_all = e.probes.iter().all(|probe| probe.label == Label::Refused);
            (sources.len() > 1 && is_all)
                .then(|| format!("probed now, it refuses all {} local addresses", sources.len()))
        },
    },
    Rule {
        name: "a-probe-is-served",
        cause: Cause::ServerDown,
        weight: -40,
        source: "a server that greets is not down, or no longer",
        holds: served_now,
    },
    Rule {
        name: "a-probe-passes",
        cause: Cause::RemoteFirewallDrops,
        weight: -30,
        source: "a firewall that lets a probe through does not drop all, or no longer",
        holds: served_now,
    },
    Rule {
        name: "a-probe-is-not-rejected",
        cause: Cause::RemoteFirewallRejects,
        weight: -60,
        source: "a firewall that lets a probe through does not reject all, or no longer",
        holds: served_now,
    },
    Rule {
        name: "probe-is-greeted-with-a-no",
        cause: Cause::AddressBlocked,
        weight: 50,
        source: "RFC 5321, 3.1: 554 instead of a greeting refuses this client, whatever it wants",
        holds: |e| {
            greeted(e, |_, kind| matches!(kind, AnswerKind::Reputation | AnswerKind::PtrHelo | AnswerKind::Policy))
        },
    },
    Rule {
        name: "probe-is-put-off",
        cause: Cause::RateLimited,
        weight: 40,
        source: "RFC 5321, 3.8: 421 instead of a greeting: not now",
        holds: |e| {
            let is_later = |kind| {
                matches!(kind, AnswerKind::Rate | AnswerKind::Temporary | AnswerKind::Unclear | AnswerKind::Greylisting)
            };
            greeted(e, |code, kind| code < 500 && is_later(kind))
        },
    },
    Rule {
        name: "answer-is-born-on-the-way",
        cause: Cause::MiddleboxForges,
        weight: 60,
        source: "RFC 791: a SYN whose TTL does not reach the destination is answered in its name all the same",
        holds: |e| traced(e, |born| matches!(born, Born::OnTheWay { .. })),
    },
    Rule {
        name: "answer-is-born-at-the-end",
        cause: Cause::MiddleboxForges,
        weight: -40,
        source: "as above: no answer before the TTL reaches the destination",
        holds: |e| traced(e, |born| matches!(born, Born::AtTheEnd { .. })),
    },
    Rule {
        name: "answer-is-born-at-the-destination",
        cause: Cause::ServerDown,
        weight: 10,
        source: "as above: no answer before the TTL reaches the destination",
        holds: |e| resets(e).and_then(|_| traced(e, |born| matches!(born, Born::AtTheEnd { .. }))),
    },
    Rule {
        name: "silence-behind-a-router",
        cause: Cause::RemoteFirewallDrops,
        weight: 10,
        source: "RFC 1812, 5.3.1: routers say when a TTL runs out, and behind the last that does there is silence",
        holds: |e| silent(e).and_then(|_| traced(e, |born| matches!(born, Born::Silence { hop: 2.., .. }))),
    },
    Rule {
        name: "domain-takes-no-mail",
        cause: Cause::WrongExchanger,
        weight: 95,
        source: "RFC 7505 and RFC 5321, 5.1: a null MX, or no such domain",
        holds: |e| dns(e, |finding| matches!(finding, Dns::NullMx { .. } | Dns::NoSuchDomain { .. })),
    },
    Rule {
        name: "domain-says-both",
        cause: Cause::WrongExchanger,
        weight: 40,
        source: "RFC 7505, 3: a null MX stands alone",
        holds: |e| dns(e, |finding| matches!(finding, Dns::NullMxAmongOthers { .. })),
    },
    Rule {
        name: "not-an-exchanger-now",
        cause: Cause::WrongExchanger,
        weight: 75,
        source: "RFC 5321, 5.1: mail goes to the exchangers that DNS names",
        holds: |e| dns(e, |finding| matches!(finding, Dns::NotAnMxOfDomain { .. })),
    },
    Rule {
        name: "exchanger-cannot-be-reached",
        cause: Cause::WrongExchanger,
        weight: 65,
        source: "RFC 6890: special-purpose addresses; RFC 5321, 5.1: an exchanger has an address",
        holds: |e| {
            dns(e, |finding| {
                matches!(finding, Dns::MxAddressSpecial { .. } | Dns::MxHasNoAddress { .. } | Dns::MxIsAddress { .. })
            })
        },
    },
    Rule {
        name: "exchanger-is-an-alias",
        cause: Cause::WrongExchanger,
        weight: 20,
        source: "RFC 2181, 10.3: an exchanger must not be an alias",
        holds: |e| dns(e, |finding| matches!(finding, Dns::MxIsCname { .. })),
    },
    Rule {
        name: "our-address-is-listed",
        cause: Cause::AddressBlocked,
        weight: 30,
        source: "RFC 5782: receivers that ask this list refuse the address",
        holds: |e| {
            let refuses = e.subject.mostly(|ending| resets_like(ending) || by_icmp(ending) || before_banner(ending));
            refuses.and_then(|_| dns(e, |finding| matches!(finding, Dns::Listed { .. })))
        },
    },
    Rule {
        name: "our-address-has-no-name",
        cause: Cause::AddressBlocked,
        weight: 10,
        source: "many receivers refuse an address whose reverse name does not lead back to it",
        holds: |e| {
            let is_ours = |address: &IpAddr| e.subject.sources.contains_key(address);
            dns(e, |finding| match finding {
                Dns::NoPtr { address } | Dns::NotForwardConfirmed { address, .. } => is_ours(address),
                _ => false,
            })
        },
    },
    Rule {
        name: "answer-names-a-block",
        cause: Cause::AddressBlocked,
        weight: 75,
        source: "the table of answers: what receivers publish of their own",
        holds: |e| answers(e, |of| of.is_sure() && of.cause() == Cause::AddressBlocked),
    },
    Rule {
        name: "answer-may-be-a-block",
        cause: Cause::AddressBlocked,
        weight: 40,
        source: "RFC 3463, 3.8 and RFC 5321, 3.1: a refusal by policy, or in the place of a greeting",
        holds: |e| {
            answers(e, |of| of.kind == AnswerKind::Policy || !of.is_sure() && of.cause() == Cause::AddressBlocked)
        },
    },
    Rule {
        name: "some-answers-name-a-block",
        cause: Cause::AddressBlocked,
        weight: 35,
        source: "the table of answers: what receivers publish of their own",
        holds: |e| some_answers(e, |of| of.is_sure() && of.cause() == Cause::AddressBlocked),
    },
    Rule {
        name: "answer-names-a-limit",
        cause: Cause::RateLimited,
        weight: 75,
        source: "the table of answers: what receivers publish of their own",
        holds: |e| answers(e, |of| of.is_sure() && of.cause() == Cause::RateLimited),
    },
    Rule {
        name: "answer-is-not-now",
        cause: Cause::RateLimited,
        weight: 40,
        source: "RFC 5321, 4.2.1 and RFC 3463, 3.4: the receiver has trouble of its own, or too much to do",
        holds: |e| answers(e, |of| !of.is_sure() && of.cause() == Cause::RateLimited),
    },
    Rule {
        name: "some-answers-name-a-limit",
        cause: Cause::RateLimited,
        weight: 35,
        source: "the table of answers: what receivers publish of their own",
        holds: |e| some_answers(e, |of| of.is_sure() && of.cause() == Cause::RateLimited),
    },
    Rule {
        name: "answer-greylists",
        cause: Cause::Greylisting,
        weight: 80,
        source: "RFC 6647: the first try of a new sender is put off",
        holds: |e| answers(e, |of| of.is_sure() && of.cause() == Cause::Greylisting),
    },
    Rule {
        name: "answer-may-greylist",
        cause: Cause::Greylisting,
        weight: 60,
        source: "RFC 6647: the same in words that others use too",
        holds: |e| answers(e, |of| !of.is_sure() && of.cause() == Cause::Greylisting),
    },
    Rule {
        name: "answer-says-only-later",
        cause: Cause::Greylisting,
        weight: 30,
        source: "RFC 6647: greylisting is a 4xx to MAIL, RCPT or DATA, and need not say so",
        holds: |e| answers(e, |of| of.kind == AnswerKind::Unclear && of.is_transient()),
    },
    Rule {
        name: "some-answers-greylist",
        cause: Cause::Greylisting,
        weight: 35,
        source: "RFC 6647: the first try of a new sender is put off",
        holds: |e| some_answers(e, |of| of.is_sure() && of.cause() == Cause::Greylisting),
    },
    Rule {
        name: "answer-is-about-the-message",
        cause: Cause::MessageRefused,
        weight: 75,
        source: "RFC 3463: addresses, mailboxes, sizes, contents and authentication are not the connection",
        holds: |e| {
            let refused = answers(e, |of| of.is_sure() && of.cause() == Cause::MessageRefused)?;
            // Connections that fail are something else, and worse.
            (e.mail.refusals() >= e.subject.all.failed()).then_some(refused)
        },
    },
    Rule {
        name: "answer-may-be-about-the-message",
        cause: Cause::MessageRefused,
        weight: 35,
        source: "RFC 5321, 4.2: a refusal that does not say what it is about",
        holds: |e| answers(e, |of| !of.is_sure() && of.cause() == Cause::MessageRefused),
    },
    Rule {
        name: "refused-after-volume",
        cause: Cause::AddressBlocked,
        weight: 20,
        source: "receivers block an address that connects often; RFC 5321, 7.8 lets them",
        holds: |e| {
            let share = e.subject.all;
            let refuses = e.subject.mostly(|ending| resets_like(ending) || by_icmp(ending)).is_some();
            let streak = share.streak >= SOME && share.connected + e.before.all.connected >= MANY;
            (refuses && streak && share.changes <= 2)
                .then(|| format!("the refusals began after {} connections", share.connected + e.before.all.connected))
        },
    },
    Rule {
        name: "comes-and-goes",
        cause: Cause::RateLimited,
        weight: 60,
        source: "a limit lets some through and refuses the rest",
        holds: |e| between_others(e).filter(|_| going(e).changes >= OFTEN),
    },
    Rule {
        name: "came-back-and-went",
        cause: Cause::RateLimited,
        weight: 40,
        source: "as above; two outages look the same",
        holds: |e| between_others(e).filter(|_| going(e).changes < OFTEN),
    },
    Rule {
        name: "dropped-before-the-banner-at-times",
        cause: Cause::RateLimited,
        weight: 15,
        source: "RFC 5321, 3.1: a server that does not want a connection should say 554; many just close",
        holds: |e| {
            let n = e.subject.count(before_banner);
            (n > 0 && comes_and_goes(e)).then(|| format!("{} before the banner", they(n, e, "come", "comes")))
        },
    },
    Rule {
        name: "comes-and-goes-so-it-is-up",
        cause: Cause::ServerDown,
        weight: -40,
        source: "a server that answers between refusals is up",
        holds: some_succeed,
    },
    Rule {
        name: "comes-and-goes-so-it-is-no-wall",
        cause: Cause::RemoteFirewallDrops,
        weight: -40,
        source: "a firewall that drops, and a host that is down, let none through",
        holds: some_succeed,
    },
    Rule {
        name: "comes-and-goes-so-it-is-a-limit",
        cause: Cause::RemoteFirewallRejects,
        weight: -50,
        source: "a firewall that rejects by rate lets the rest through",
        holds: some_succeed,
    },
    Rule {
        name: "accepted-and-not-served",
        cause: Cause::NotServed,
        weight: 75,
        source: "RFC 5321, 4.3.1: the server speaks first",
        holds: |e| {
            let n = e.subject.mostly(before_banner)?;
            (!comes_and_goes(e))
                .then(|| format!("{} after the handshake, before the banner", they(n, e, "end", "ends")))
        },
    },
    Rule {
        name: "not-served-may-be-a-block",
        cause: Cause::AddressBlocked,
        weight: 40,
        source: "servers drop addresses that they do not want before the banner",
        holds: |e| {
            let n = e.subject.mostly(|ending| before_banner(ending) && ending.0 != Label::Silent)?;
            (!comes_and_goes(e) && elsewhere_works(e)).then(|| {
                format!("{} dropped before the banner, and other destinations serve this host", they(n, e, "are", "is"))
            })
        },
    },
    Rule {
        name: "no-ipv6-anywhere",
        cause: Cause::Ipv6Broken,
        weight: 75,
        source: "RFC 8305: hosts with IPv6 that does not work fail by it and not by IPv4",
        holds: ipv6_alone_fails,
    },
    Rule {
        name: "no-way-by-ipv6",
        cause: Cause::Ipv6Broken,
        weight: 20,
        source: "ENETUNREACH of connect(2), ip(7): this host has no route, or no address, for IPv6",
        holds: |e| ipv6_alone_fails(e).and_then(|_| no_way_by_ipv6(e)).map(|n| format!("{} never left", of(n, e))),
    },
    Rule {
        name: "many-destinations-by-ipv6",
        cause: Cause::Ipv6Broken,
        weight: 15,
        source: "several destinations of different owners do not fail at once",
        holds: |e| {
            let failing = failing_by_ipv6(e);
            (failing >= MANY_DESTINATIONS && ipv6_alone_fails(e).is_some())
                .then(|| format!("{failing} destinations fail by IPv6"))
        },
    },
    Rule {
        name: "several-destinations-by-ipv6",
        cause: Cause::Ipv6Broken,
        weight: -60,
        source: "one destination whose IPv6 fails is that destination's",
        holds: |e| {
            let failing = failing_by_ipv6(e);
            (failing < SEVERAL && no_way_by_ipv6(e).is_none())
                .then(|| format!("no more than {failing} destinations fail by IPv6"))
        },
    },
    Rule {
        name: "all-of-ipv6-and-not-one-server",
        cause: Cause::ServerDown,
        weight: -35,
        source: "where several destinations fail by IPv6 alone, it is not one of them",
        holds: ipv6_fails_for_several,
    },
    Rule {
        name: "all-of-ipv6-and-not-one-rejecter",
        cause: Cause::RemoteFirewallRejects,
        weight: -35,
        source: "where several destinations fail by IPv6 alone, it is not one of them",
        holds: ipv6_fails_for_several,
    },
    Rule {
        name: "all-of-ipv6-and-not-one-dropper",
        cause: Cause::RemoteFirewallDrops,
        weight: -35,
        source: "where several destinations fail by IPv6 alone, it is not one of them",
        holds: ipv6_fails_for_several,
    },
    Rule {
        name: "no-route",
        cause: Cause::RouteFault,
        weight: 90,
        source: "ENETUNREACH and EHOSTUNREACH of connect(2): this host's routing table",
        holds: |e| mostly(e, Reason::NoRoute).map(|n| format!("{}: this host has no route there", of(n, e))),
    },
    Rule {
        name: "the-source-address-may-be-gone",
        cause: Cause::RouteFault,
        weight: -25,
        source: "an IPv4 source address that is no longer this host's gives the same error; this kernel does not show which",
        holds: no_route_or_no_source,
    },
    Rule {
        name: "the-bound-address-may-be-gone",
        cause: Cause::WrongSourceAddress,
        weight: 50,
        source: "as above",
        holds: no_route_or_no_source,
    },
    Rule {
        name: "route-prohibits",
        cause: Cause::RouteFault,
        weight: 65,
        source: "EACCES of connect(2): a route of type prohibit",
        holds: |e| {
            let n = no_route(e)?;
            mostly(e, Reason::NoRoute).is_none().then(|| format!("{}: a route of this host prohibits it", of(n, e)))
        },
    },
    Rule {
        name: "only-by-ipv6",
        cause: Cause::RouteFault,
        weight: -70,
        source: "a routing table that serves IPv4 and has nothing for IPv6 is IPv6 that was never set up",
        holds: ipv6_alone_fails,
    },
    Rule {
        name: "next-hop-is-mute",
        cause: Cause::RouteFault,
        weight: 85,
        source: "RFC 826 and RFC 4861, 7.3: the next hop answers neither ARP nor NDP",
        holds: |e| {
            let n = mostly(e, Reason::NoNeighbour).filter(|_| !is_next_hop(e))?;
            Some(format!("{}: the next hop answers neither ARP nor NDP", of(n, e)))
        },
    },
    Rule {
        name: "the-link-may-be-down",
        cause: Cause::RouteFault,
        weight: 55,
        source: "as above; where the destination is the next hop, it may be down itself",
        holds: |e| {
            let n = mostly(e, Reason::NoNeighbour).filter(|_| is_next_hop(e))?;
            Some(format!("{}: nobody answers on the link", of(n, e)))
        },
    },
    Rule {
        name: "network-says-no-way",
        cause: Cause::NetworkFault,
        weight: 80,
        source: "RFC 1812, 5.2.7.1: a router without a route says net unreachable",
        holds: |e| {
            let n = mostly(e, Reason::IcmpNetUnreachable)?;
            Some(format!("{} ICMP net unreachable{}", they(n, e, "are", "is"), senders(e)))
        },
    },
    Rule {
        name: "hop-limit-used-up",
        cause: Cause::NetworkFault,
        weight: 80,
        source: "RFC 1812, 5.3.1: a router that finds the TTL used up says time exceeded, as in a loop of routes",
        holds: |e| {
            let n = mostly(e, Reason::IcmpTimeExceeded)?;
            Some(format!("{} ICMP time exceeded{}", they(n, e, "are", "is"), senders(e)))
        },
    },
    Rule {
        name: "host-unreachable-for-all",
        cause: Cause::NetworkFault,
        weight: 70,
        source: "a router that reaches none of several hosts has lost its way",
        holds: |e| {
            let n = mostly(e, Reason::IcmpHostUnreachable)?;
            everything_fails(e).then(|| format!("{} ICMP host unreachable{}", they(n, e, "are", "is"), senders(e)))
        },
    },
    Rule {
        name: "nothing-left-to-connect-from",
        cause: Cause::LocalResource,
        weight: 95,
        source: "EADDRNOTAVAIL of connect(2) and bind(2), ip(7): ip_local_port_range",
        holds: |e| {
            let n = mostly(e, Reason::PortsExhausted)?;
            Some(format!("{}: no free local port", of(n, e)))
        },
    },
    Rule {
        name: "its-address-leads-nowhere",
        cause: Cause::WrongSourceAddress,
        weight: 90,
        source: "EINVAL and EADDRNOTAVAIL of connect(2) and bind(2), ip(7): the address that the socket is bound to",
        holds: |e| {
            let n = mostly(e, Reason::NoSourceAddress)?;
            let from: Vec<String> = e.subject.sources.keys().map(IpAddr::to_string).collect();
            let bound = if from.is_empty() { String::new() } else { format!(", bound to {}", from.join(", ")) };
            Some(format!("{}: no usable local address{bound}", of(n, e)))
        },
    },
    Rule {
        name: "log-says-no-address",
        cause: Cause::WrongSourceAddress,
        weight: 70,
        source: "bind(2), ip(7): the server stops before it connects, so that there is no attempt",
        holds: |e| log_says(e, &["assign requested address", "Address not available"]),
    },
    Rule {
        name: "log-says-no-port",
        cause: Cause::LocalResource,
        weight: 65,
        source: "bind(2), ip(7): the server stops before it connects, so that there is no attempt",
        holds: |e| log_says(e, &["Address already in use", "Address in use", "Resource temporarily unavailable"]),
    },
    Rule {
        name: "no-address-of-ipv6-at-all",
        cause: Cause::WrongSourceAddress,
        weight: -70,
        source: "a host that has no address of IPv6 is a host without IPv6",
        holds: |e| ipv6_alone_fails(e).filter(|_| e.subject.sources.is_empty()),
    },
    Rule {
        name: "forged",
        cause: Cause::MiddleboxForges,
        weight: 55,
        source: "a RST whose TTL or latency is not the destination's own; a load balancer's may be neither",
        holds: |e| {
            let n = e.subject.count(|(_, _, origin)| origin == Some(Origin::SuspectedMiddlebox));
            let is_most = n * 2 > e.subject.all.failed();
            is_most.then(|| {
                format!("{} a RST that comes from nearer than the destination{}", they(n, e, "are", "is"), after(e))
            })
        },
    },
    Rule {
        name: "cut",
        cause: Cause::SessionCut,
        weight: 80,
        source: "RFC 2923, 2.1: a black hole for large segments; RFC 9293, 3.5.3: a reset in session",
        holds: |e| {
            let n = e.subject.mostly(|(label, reason, _)| {
                reason == Some(Reason::Stalled) || (label == Label::Reset && reason == Some(Reason::MidSession))
            })?;
            Some(format!("{} after the banner", they(n, e, "come", "comes")))
        },
    },
    Rule {
        name: "full-segments-are-not-acknowledged",
        cause: Cause::SessionCut,
        weight: 10,
        source: "RFC 2923, 2.1: what is sent in full segments is never acknowledged",
        holds: |e| {
            let facts = &e.subject.facts;
            let count = facts.mostly(facts.unacked).filter(|_| mostly(e, Reason::Stalled).is_some())?;
            Some(format!("{count}: the peer stopped acknowledging what was sent"))
        },
    },
    Rule {
        name: "log-says-cut-while-sending",
        cause: Cause::SessionCut,
        weight: 65,
        source: "RFC 2923, 2.1: short commands get through, and the message, in full segments, does not",
        holds: |e| {
            let &Told { count, ref last } = e.mail.cut_while_sending.as_ref()?;
            // Connections that fail are something else, and worse.
            (count >= SOME && count >= e.subject.all.failed() && count > e.mail.answered_no())
                .then(|| format!("{count} deliveries were cut while the message was sent; the last: {}", excerpt(last)))
        },
    },
    Rule {
        name: "no-mail-server-answers-a-probe",
        cause: Cause::NotMailServer,
        weight: 85,
        source: "RFC 5321, 4.2: a reply begins with three digits",
        holds: |e| {
            let probe = e.probes.iter().find(|probe| is_no_mail_server(probe))?;
            Some(format!("probed now, {}: {}", probe.destination, excerpt(probe.banner.as_deref()?)))
        },
    },
    Rule {
        name: "something-else-answers",
        cause: Cause::NotServed,
        weight: -60,
        source: "what speaks serves, though not mail",
        holds: |e| e.probes.iter().find(|probe| is_no_mail_server(probe)).map(ToString::to_string),
    },
    Rule {
        name: "log-says-no-mail-server-answers",
        cause: Cause::NotMailServer,
        weight: 80,
        source: "RFC 5321, 4.2: a reply begins with three digits",
        holds: |e| {
            let Told { count, last } = e.mail.not_smtp.as_ref()?;
            Some(format!("{count} answers are no replies of SMTP; the last: {}", excerpt(last)))
        },
    },
];
