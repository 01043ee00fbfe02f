//! What speaks for a cause, and what against: the table that a mail engineer reads,
//! and adds to. A rule looks at the evidence and, where it holds, says so in a line with
//! its numbers. Weights are points out of a hundred: ninety alone are proof, thirty a
//! hint; those of a cause are added up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::cause::Cause;
use super::evidence::{Ending, Evidence, Share};
use super::mail::Answers;
use crate::answer::{self, AnswerKind, Reply};
use crate::evidence::dns::finding::Finding as Dns;
use crate::evidence::firewall::Answer;
use crate::evidence::probe::compare::{Born, BySource, by_source};
use crate::evidence::route::Route;
use crate::format::span::span;
use crate::label::{Label, Origin, Reason};
use crate::sanitize::{excerpt, sanitize};

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

/// Fewer attempts say nothing of a share.
const SOME: u64 = 3;
/// Fewer destinations are a coincidence.
const SEVERAL: usize = 3;
/// Connections in a day that a receiver may take for much from one address.
const MANY: u64 = 50;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "reset-by-destination",
        cause: Cause::ServerDown,
        weight: 50,
        source: "RFC 9293, 3.5.2: a port on which nobody listens answers a SYN with RST",
        holds: |e| resets(e).map(|n| format!("{} are a TCP RST by the destination itself{}", of(n, e), after(e))),
    },
    Rule {
        name: "reset-may-be-a-firewall",
        cause: Cause::RemoteFirewallRejects,
        weight: 35,
        source: "nft(8), REJECT STATEMENT: a firewall can send the same RST",
        holds: |e| resets(e).map(|n| format!("{} are a RST, which a firewall there can send too", of(n, e))),
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
        weight: 15,
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
            (resets(e).is_some() && sources > 1 && sources == e.subject.sources.len())
                .then(|| format!("it refuses all {sources} local addresses that tried"))
        },
    },
    Rule {
        name: "worked-before-and-stopped",
        cause: Cause::ServerDown,
        weight: 15,
        source: "a server that answered this host and stopped for all",
        holds: |e| (resets(e).is_some() && one_source_works(e).is_none()).then(|| worked_before(e)).flatten(),
    },
    Rule {
        name: "its-router-cannot-reach-it",
        cause: Cause::ServerDown,
        weight: 70,
        source: "RFC 1812, 5.2.7.1: host unreachable is of the last router, whose ARP or NDP goes unanswered",
        holds: |e| {
            let n = mostly(e, Reason::IcmpHostUnreachable)?;
            (!everything_fails(e)).then(|| format!("{} are ICMP host unreachable{}", of(n, e), senders(e)))
        },
    },
    Rule {
        name: "silence-may-be-a-dead-host",
        cause: Cause::ServerDown,
        weight: 35,
        source: "a host that is down answers nothing",
        holds: |e| silent(e).filter(|_| !everything_fails(e)).map(|n| format!("{} got no answer at all", of(n, e))),
    },
    Rule {
        name: "rejected-by-icmp",
        cause: Cause::RemoteFirewallRejects,
        weight: 75,
        source: "RFC 1812, 5.2.7.1 and RFC 4443, 3.1: administratively prohibited; no TCP answers port unreachable of itself",
        holds: |e| {
            let n = e.subject.mostly(by_icmp)?;
            Some(format!("{} are ICMP rejects{}", of(n, e), senders(e)))
        },
    },
    Rule {
        name: "rejects-by-the-destination-itself",
        cause: Cause::RemoteFirewallRejects,
        weight: 10,
        source: "an ICMP error from the destination's own address is its host's firewall",
        holds: |e| {
            let n = e.subject.count(|ending| by_icmp(ending) && ending.2 == Some(Origin::Remote));
            (n > 0).then(|| format!("{n} of them come from the destination's own address"))
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
            let n = e.subject.mostly(local_firewall)?;
            Some(format!("{}: the SYN never left this host", of(n, e)))
        },
    },
    Rule {
        name: "stopped-by-this-host-at-times",
        cause: Cause::LocalFirewall,
        weight: 65,
        source: "as above: a rule with a limit, or for one user",
        holds: |e| {
            let n = e.subject.count(local_firewall);
            let is_all = e.subject.mostly(local_firewall).is_some();
            (n > 0 && !is_all).then(|| format!("{} never left this host", of(n, e)))
        },
    },
    Rule {
        name: "a-rule-here-stops-it",
        cause: Cause::LocalFirewall,
        weight: 40,
        source: "the rules of this host's firewall as they are now, with the verdict that comes first",
        holds: |e| {
            let walked = &e.firewall.as_ref()?.walked;
            let is_stopped =
                walked.answer == Answer::Stopped && !(is_answered(e) && e.subject.count(local_firewall) == 0);
            walked.findings.first().filter(|_| is_stopped).map(ToString::to_string)
        },
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
        holds: |e| {
            // What a router says of its own routes is no block.
            let is_block = e.subject.mostly(|(label, ..)| matches!(label, Label::Refused | Label::Timeout)).is_some();
            (everything_fails(e) && is_block).then(|| others(e))
        },
    },
    Rule {
        name: "other-ports-work",
        cause: Cause::PortBlockedOutbound,
        weight: 25,
        source: "RFC 6409: providers that block port 25 leave submission open",
        holds: |e| {
            (everything_fails(e) && e.other_ports.all.works(1)).then(|| {
                let share = e.other_ports.all;
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
            everything_fails(e).then(|| format!("{sender} rejects connections to other destinations too"))
        },
    },
    Rule {
        name: "another-source-works",
        cause: Cause::AddressBlocked,
        weight: 85,
        source: "the same destination answers another address of this host",
        holds: one_source_works,
    },
    Rule {
        name: "another-source-works-so-it-is-up",
        cause: Cause::ServerDown,
        weight: -70,
        source: "a server that answers one address is up",
        holds: one_source_works,
    },
    Rule {
        name: "another-source-works-so-no-general-drop",
        cause: Cause::RemoteFirewallDrops,
        weight: -25,
        source: "a firewall that lets one address through is about the other",
        holds: one_source_works,
    },
    Rule {
        name: "another-source-works-so-no-general-reject",
        cause: Cause::RemoteFirewallRejects,
        weight: -25,
        source: "a firewall that lets one address through is about the other",
        holds: one_source_works,
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
        holds: |e| {
            dns(e, |finding| {
                matches!(finding, Dns::NullMx { .. } | Dns::NullMxAmongOthers { .. } | Dns::NoSuchDomain { .. })
            })
        },
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
        holds: |e| {
            comes_and_goes(e.subject.all).then(|| {
                let share = e.subject.all;
                let changes = share.changes;
                format!(
                    "{} of {} attempts fail, between others that succeed ({changes} changes)",
                    share.failed(),
                    share.attempts
                )
            })
        },
    },
    Rule {
        name: "dropped-before-the-banner-at-times",
        cause: Cause::RateLimited,
        weight: 25,
        source: "RFC 5321, 3.1: a server that does not want a connection should say 554; many just close",
        holds: |e| {
            let n = e.subject.count(before_banner);
            (n > 0 && comes_and_goes(e.subject.all)).then(|| format!("{} come before the banner", of(n, e)))
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
            (!comes_and_goes(e.subject.all)).then(|| format!("{} end after the handshake, before the banner", of(n, e)))
        },
    },
    Rule {
        name: "not-served-may-be-a-block",
        cause: Cause::AddressBlocked,
        weight: 40,
        source: "servers drop addresses that they do not want before the banner",
        holds: |e| {
            let n = e.subject.mostly(|ending| before_banner(ending) && ending.0 != Label::Silent)?;
            (!comes_and_goes(e.subject.all) && elsewhere_works(e))
                .then(|| format!("{} are dropped before the banner, and other destinations serve this host", of(n, e)))
        },
    },
    Rule {
        name: "no-ipv6-anywhere",
        cause: Cause::Ipv6Broken,
        weight: 92,
        source: "RFC 8305: hosts with IPv6 that does not work fail by it and not by IPv4",
        holds: ipv6_alone_fails,
    },
    Rule {
        name: "several-destinations-by-ipv6",
        cause: Cause::Ipv6Broken,
        weight: -60,
        source: "one destination whose IPv6 fails is that destination's",
        holds: |e| {
            let failing = failing_by_ipv6(e);
            (failing < SEVERAL && no_route(e).is_none())
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
        holds: |e| no_route(e).map(|n| format!("{}: this host has no route there, or prohibits it", of(n, e))),
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
            let n = mostly(e, Reason::NoNeighbour)?;
            Some(format!("{}: the next hop answers neither ARP nor NDP", of(n, e)))
        },
    },
    Rule {
        name: "network-says-no-way",
        cause: Cause::NetworkFault,
        weight: 80,
        source: "RFC 1812, 5.2.7.1: a router without a route says net unreachable",
        holds: |e| {
            let n = mostly(e, Reason::IcmpNetUnreachable)?;
            Some(format!("{} are ICMP net unreachable{}", of(n, e), senders(e)))
        },
    },
    Rule {
        name: "host-unreachable-for-all",
        cause: Cause::NetworkFault,
        weight: 70,
        source: "a router that reaches none of several hosts has lost its way",
        holds: |e| {
            let n = mostly(e, Reason::IcmpHostUnreachable)?;
            everything_fails(e).then(|| format!("{} are ICMP host unreachable{}", of(n, e), senders(e)))
        },
    },
    Rule {
        name: "nothing-left-to-connect-from",
        cause: Cause::LocalResource,
        weight: 95,
        source: "EADDRNOTAVAIL of connect(2) and bind(2), ip(7): ip_local_port_range",
        holds: |e| {
            let n = e.subject.mostly(local_resource)?;
            Some(format!("{}: no free local port, or no usable local address", of(n, e)))
        },
    },
    Rule {
        name: "forged",
        cause: Cause::MiddleboxForges,
        weight: 90,
        source: "a RST whose TTL or latency is not the destination's own",
        holds: |e| {
            let n = e.subject.count(|(_, _, origin)| origin == Some(Origin::SuspectedMiddlebox));
            let is_most = n * 2 > e.subject.all.failed();
            is_most.then(|| format!("{} are RSTs that come from nearer than the destination{}", of(n, e), after(e)))
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
            Some(format!("{} come after the banner", of(n, e)))
        },
    },
];

/// `12 of 13 failures`.
fn of(count: u64, e: &Evidence) -> String {
    let failed = e.subject.all.failed();
    if count == failed { format!("all {failed} failures") } else { format!("{count} of {failed} failures") }
}

fn dns(e: &Evidence, is_meant: impl Fn(&Dns) -> bool) -> Option<String> {
    e.dns.iter().find(|finding| is_meant(finding)).map(|finding| sanitize(&finding.to_string()).into_owned())
}

/// Where the answer to a SYN is born, if it is there.
fn traced(e: &Evidence, is_meant: impl Fn(&Born) -> bool) -> Option<String> {
    let traced = e.traced.iter().find(|traced| is_meant(&traced.born))?;
    Some(format!("traced now, {}: {}", traced.trace.destination, traced.born))
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// What the other side answered, if at least half of its answers are meant.
fn answers(e: &Evidence, is_meant: impl Fn(&Answers) -> bool) -> Option<String> {
    let (count, line) = answered(e, is_meant)?;
    (count * 2 >= all_answers(e)).then_some(line)
}

/// The same, if it is less than half of them.
fn some_answers(e: &Evidence, is_meant: impl Fn(&Answers) -> bool) -> Option<String> {
    let (count, line) = answered(e, is_meant)?;
    (count * 2 < all_answers(e)).then_some(line)
}

fn all_answers(e: &Evidence) -> u64 {
    e.mail.answers.iter().map(|of| of.count).sum()
}

/// How many answers are meant, and the most frequent of them in words.
fn answered(e: &Evidence, is_meant: impl Fn(&Answers) -> bool) -> Option<(u64, String)> {
    let meant: Vec<&Answers> = e.mail.answers.iter().filter(|of| is_meant(of)).collect();
    let (count, of) = (meant.iter().map(|of| of.count).sum(), *meant.first()?);
    let provider = of.provider.map(|provider| format!(" ({provider})")).unwrap_or_default();
    let (all, words) = (all_answers(e), excerpt(&of.last));
    Some((count, format!("{count} of {all} answers{provider}: {}; the last: {} {words}", of.meaning, of.codes)))
}

/// A probe whose greeting is an answer of this reply code and kind, and what it means.
fn greeted(e: &Evidence, is_meant: impl Fn(u16, AnswerKind) -> bool) -> Option<String> {
    e.probes.iter().find_map(|probe| {
        let reply = Reply::of_greeting(probe.banner.as_deref()?)?;
        let meaning = answer::meaning(&reply).filter(|meaning| is_meant(reply.code, meaning.kind))?;
        Some(format!("probed now, {probe}: {}", meaning.meaning))
    })
}

fn served_now(e: &Evidence) -> Option<String> {
    let served = e.probes.iter().find(|probe| probe.is_welcome())?;
    Some(format!("probed now, it greets: {served}"))
}

/// Whether new connections find no room, where this host stopped some.
fn conntrack_is_full(e: &Evidence) -> Option<String> {
    let table = e.conntrack.filter(|table| table.is_full() && e.subject.count(local_firewall) > 0)?;
    Some(format!("{} of {} tracked connections are in use", table.count, table.max))
}

/// Whether the rules let it pass.
fn passes(e: &Evidence) -> bool {
    e.firewall.as_ref().is_some_and(|asked| asked.walked.answer == Answer::Passes)
}

/// Whether something outside this host answered: then no rule here stops the SYN.
fn is_answered(e: &Evidence) -> bool {
    let by_others =
        |(_, _, origin): Ending| matches!(origin, Some(Origin::Remote | Origin::Network | Origin::SuspectedMiddlebox));
    e.subject.all.answered > 0 || e.subject.count(by_others) > 0
}

/// The rule that sends it elsewhere, or may, and whether it does for certain. What nobody
/// answers, or never leaves, says nothing of one.
fn redirect(e: &Evidence) -> Option<(bool, String)> {
    let walked = &e.firewall.as_ref()?.walked;
    let first =
        walked.redirects.first().filter(|_| silent(e).is_none() && e.subject.mostly(local_firewall).is_none())?;
    Some((first.is_certain, first.to_string()))
}

/// A redirect that is certain, or that an answer at once bears out.
fn redirected(e: &Evidence) -> Option<String> {
    redirect(e).filter(|(is_certain, _)| *is_certain || at_once(e).is_some()).map(|(_, rule)| rule)
}

/// How long answers take, if that is less than any wire.
fn at_once(e: &Evidence) -> Option<Duration> {
    const AT_ONCE: Duration = Duration::from_micros(250);
    let took = e.subject.refused_after.median().or_else(|| e.subject.handshakes.median())?;
    (took < AT_ONCE).then_some(took)
}

fn after(e: &Evidence) -> String {
    e.subject.refused_after.median().map(|median| format!(", after {}", span(median))).unwrap_or_default()
}

fn senders(e: &Evidence) -> String {
    let mut senders: Vec<_> = e.subject.icmp.keys().map(|(from, ..)| from.to_string()).collect();
    senders.dedup();
    match senders.len() {
        0 => String::new(),
        1..=3 => format!(" from {}", senders.join(", ")),
        many => format!(" from {many} addresses"),
    }
}

fn others(e: &Evidence) -> String {
    let share = e.elsewhere.all;
    let (destinations, attempts) = (e.elsewhere.destinations.len(), share.attempts);
    format!("of {attempts} attempts to {destinations} other destinations {} are answered", share.answered)
}

fn others_fail_too(e: &Evidence) -> Option<String> {
    everything_fails(e).then(|| others(e))
}

fn some_succeed(e: &Evidence) -> Option<String> {
    comes_and_goes(e.subject.all).then(|| "some attempts in between succeed".to_owned())
}

/// Failures of this mechanism, if they are most.
fn mostly(e: &Evidence, meant: Reason) -> Option<u64> {
    e.subject.mostly(|(_, reason, _)| reason == Some(meant))
}

fn one_source(e: &Evidence) -> String {
    match e.subject.sources.keys().next() {
        Some(source) => format!("only {source} tried: whether it refuses others is not known"),
        None => "whether it refuses other addresses is not known".to_owned(),
    }
}

fn worked_before(e: &Evidence) -> Option<String> {
    let connected = e.subject.all.connected + e.before.all.connected;
    let since = e.subject.times.failing_since?;
    (connected > 0 && e.subject.all.streak >= SOME)
        .then(|| format!("{connected} connections went well until {since:.0}, and none since"))
}

fn together(one: Share, other: Share) -> Share {
    Share {
        attempts: one.attempts + other.attempts,
        answered: one.answered + other.answered,
        connected: one.connected + other.connected,
        ..Share::default()
    }
}

fn resets_like((label, reason, origin): Ending) -> bool {
    label == Label::Refused && reason == Some(Reason::Rst) && origin != Some(Origin::SuspectedMiddlebox)
}

fn resets(e: &Evidence) -> Option<u64> {
    e.subject.mostly(resets_like)
}

fn by_icmp((label, reason, _): Ending) -> bool {
    label == Label::Refused && reason != Some(Reason::Rst)
}

fn silent(e: &Evidence) -> Option<u64> {
    e.subject.mostly(|(label, reason, _)| label == Label::Timeout && reason != Some(Reason::Stalled))
}

fn local_firewall((label, reason, _): Ending) -> bool {
    label == Label::Blocked && matches!(reason, Some(Reason::LocalFirewall | Reason::PermissionDenied))
}

fn local_resource((_, reason, _): Ending) -> bool {
    matches!(reason, Some(Reason::PortsExhausted | Reason::NoSourceAddress))
}

fn no_route(e: &Evidence) -> Option<u64> {
    e.subject.mostly(|(_, reason, _)| matches!(reason, Some(Reason::NoRoute | Reason::RouteProhibited)))
}

fn before_banner((label, reason, _): Ending) -> bool {
    matches!(label, Label::Closed | Label::Silent) || (label == Label::Reset && reason == Some(Reason::BeforeBanner))
}

/// Nothing by IPv6 is answered, to whatever destination, and IPv4 works.
fn ipv6_alone_fails(e: &Evidence) -> Option<String> {
    let (v6, v4) = (together(e.subject.v6, e.elsewhere.v6), together(e.subject.v4, e.elsewhere.v4));
    let is_own_firewall = e.subject.mostly(local_firewall).is_some();
    (!is_own_firewall && v6.fails(SOME) && v6.answered == 0 && v4.works(SOME)).then(|| {
        let (failed, tried) = (v6.failed(), v6.attempts);
        format!("{failed} of {tried} attempts by IPv6 fail, {} of {} by IPv4 are answered", v4.answered, v4.attempts)
    })
}

fn ipv6_fails_for_several(e: &Evidence) -> Option<String> {
    ipv6_alone_fails(e).filter(|_| failing_by_ipv6(e) >= SEVERAL)
}

fn failing_by_ipv6(e: &Evidence) -> usize {
    let all = e.subject.destinations.iter().chain(&e.elsewhere.destinations);
    all.filter(|(address, share)| address.is_ipv6() && share.fails(1)).count()
}

/// Success and failure in turn, more often than one beginning and one end.
fn comes_and_goes(share: Share) -> bool {
    share.changes >= 4 && share.connected * 20 >= share.attempts && share.failed() * 20 >= share.attempts
}

fn elsewhere_works(e: &Evidence) -> bool {
    e.elsewhere.all.works(SOME)
}

/// All that was tried fails, here and elsewhere, and that is several destinations.
fn everything_fails(e: &Evidence) -> bool {
    let failing = e.subject.failing_destinations() + e.elsewhere.failing_destinations();
    let all = together(e.subject.all, e.elsewhere.all);
    failing >= SEVERAL && all.fails(SOME) && (e.elsewhere.all.attempts == 0 || e.elsewhere.all.fails(1))
}

fn one_source_works(e: &Evidence) -> Option<String> {
    let failing = e.subject.sources.iter().find(|(_, share)| share.streak >= SOME)?;
    // Of the same family: that IPv6 fails is something else.
    let working = e.subject.sources.iter().find(|(source, share)| {
        share.streak == 0 && share.connected >= SOME && source.is_ipv4() == failing.0.is_ipv4()
    })?;
    Some(format!(
        "from {} the last {} attempts fail, from {} {} of {} connect",
        failing.0, failing.1.streak, working.0, working.1.connected, working.1.attempts
    ))
}
