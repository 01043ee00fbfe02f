//! What rules ask of the evidence: counts and shares in words, and what can be claimed of
//! every destination or of none.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use super::evidence::Evidence;
use super::mail::Answers;
pub(super) use super::seen::is_stopped_here as local_firewall;
use super::seen::{Ending, Followed, Seen, Share, Sign};
use crate::answer::{self, AnswerKind, Reply};
use crate::evidence::dns::finding::Finding as Dns;
use crate::evidence::firewall::Answer;
use crate::evidence::probe::Probe;
use crate::evidence::probe::compare::Born;
use crate::evidence::route::Route;
use crate::format::span::span;
use crate::label::{Label, Origin, Reason};
use crate::mta::Said;
use crate::sanitize::{excerpt, sanitize};
use crate::tally::Prefixes;

/// Fewer attempts say nothing of a share.
pub(super) const SOME: u64 = 3;
/// Fewer destinations are a coincidence.
pub(super) const SEVERAL: usize = 3;

/// `12 of 13 failures`.
pub(super) fn of(count: u64, e: &Evidence) -> String {
    let failed = e.subject.all.failed();
    match count == failed {
        true if failed == 1 => "the only failure".to_owned(),
        true => format!("all {failed} failures"),
        false => format!("{count} of {failed} failures"),
    }
}

/// The same, and what they do: "are", or "is" of one.
pub(super) fn they(count: u64, e: &Evidence, many: &str, one: &str) -> String {
    format!("{} {}", of(count, e), if count == 1 { one } else { many })
}

/// `3 attempts`, `1 attempt`.
fn counted(count: u64, many: &str) -> String {
    let one = if count == 1 { many.trim_end_matches('s') } else { many };
    format!("{count} {one}")
}

pub(super) fn dns(e: &Evidence, is_meant: impl Fn(&Dns) -> bool) -> Option<String> {
    e.dns.iter().find(|finding| is_meant(finding)).map(|finding| sanitize(&finding.to_string()).into_owned())
}

/// Where the answer to a SYN is born, if it is there.
pub(super) fn traced(e: &Evidence, is_meant: impl Fn(&Born) -> bool) -> Option<String> {
    let traced = e.traced.iter().find(|traced| is_meant(&traced.born))?;
    Some(format!("traced now, {}: {}", traced.trace.destination, traced.born))
}

pub(super) fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// What the other side answered, if at least half of its answers are meant.
pub(super) fn answers(e: &Evidence, is_meant: impl Fn(&Answers) -> bool) -> Option<String> {
    let (count, line) = answered(e, is_meant)?;
    (count * 2 >= all_answers(e)).then_some(line)
}

/// The same, if it is less than half of them.
pub(super) fn some_answers(e: &Evidence, is_meant: impl Fn(&Answers) -> bool) -> Option<String> {
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
pub(super) fn greeted(e: &Evidence, is_meant: impl Fn(u16, AnswerKind) -> bool) -> Option<String> {
    e.probes.iter().find_map(|probe| {
        let reply = Reply::of_greeting(probe.banner.as_deref()?)?;
        let meaning = answer::meaning(&reply).filter(|meaning| is_meant(reply.code, meaning.kind))?;
        Some(format!("probed now, {probe}: {}", meaning.meaning))
    })
}

/// What the log says of this host's own doing, where no attempt explains it.
pub(super) fn log_says(e: &Evidence, phrases: &[&str]) -> Option<String> {
    let count = e.mail.said.get(&Said::NotPermitted).copied().filter(|count| *count >= SOME)?;
    let words = e.mail.words.get(&Said::NotPermitted)?;
    let is_meant = phrases.iter().any(|phrase| words.contains(phrase));
    (is_meant && e.subject.all.failed() == 0)
        .then(|| format!("{count} deliveries were not permitted to connect; the last: {}", excerpt(words)))
}

/// What it says is no reply.
pub(super) fn is_no_mail_server(probe: &Probe) -> bool {
    probe.banner.as_deref().is_some_and(|banner| !banner.trim().is_empty()) && probe.reply.is_none()
}

pub(super) fn served_now(e: &Evidence) -> Option<String> {
    let served = e.probes.iter().find(|probe| probe.is_welcome() && !is_no_mail_server(probe))?;
    Some(format!("probed now, it greets: {served}"))
}

/// Whether new connections find no room, where this host stopped some.
pub(super) fn conntrack_is_full(e: &Evidence) -> Option<String> {
    let table = e.conntrack.filter(|table| table.is_full() && e.subject.count(local_firewall) > 0)?;
    Some(format!("{} of {} tracked connections are in use", table.count, table.max))
}

/// Whether the rules let it pass.
pub(super) fn passes(e: &Evidence) -> bool {
    e.firewall.as_ref().is_some_and(|asked| asked.walked.answer == Answer::Passes)
}

/// Whether something outside this host answered: then no rule here stops the SYN.
pub(super) fn is_answered(e: &Evidence) -> bool {
    let by_others =
        |(_, _, origin): Ending| matches!(origin, Some(Origin::Remote | Origin::Network | Origin::SuspectedMiddlebox));
    e.subject.all.answered > 0 || e.subject.count(by_others) > 0
}

/// The rule that sends it elsewhere, or may, and whether it does for certain. What nobody
/// answers, or never leaves, says nothing of one.
pub(super) fn redirect(e: &Evidence) -> Option<(bool, String)> {
    let walked = &e.firewall.as_ref()?.walked;
    let first =
        walked.redirects.first().filter(|_| silent(e).is_none() && e.subject.mostly(local_firewall).is_none())?;
    Some((first.is_certain, first.to_string()))
}

/// A redirect that is certain, or that an answer at once bears out.
pub(super) fn redirected(e: &Evidence) -> Option<String> {
    let by_rule = redirect(e).filter(|(is_certain, _)| *is_certain || at_once(e).is_some()).map(|(_, rule)| rule);
    answered_by_this_host(e).or(by_rule)
}

/// The kernel saw that the answers came from this host.
pub(super) fn answered_by_this_host(e: &Evidence) -> Option<String> {
    let facts = &e.subject.facts;
    let count = facts.mostly(facts.redirected)?;
    Some(format!("{count}: this host itself answered in the destination's name"))
}

/// The kernel saw that answers came, and that this host dropped them.
pub(super) fn answer_dropped(e: &Evidence) -> Option<String> {
    let facts = &e.subject.facts;
    let count = facts.mostly(facts.answer_dropped).filter(|_| silent(e).is_some())?;
    let were = if facts.answer_dropped == 1 { "was" } else { "were" };
    Some(format!("{count} {were} answered, and this host dropped the answer"))
}

/// The same of all that failed.
pub(super) fn every_answer_dropped(e: &Evidence) -> Option<String> {
    let is_all = e.subject.facts.answer_dropped == e.subject.facts.seen && e.subject.all_of(unanswered).is_some();
    answer_dropped(e).filter(|_| is_all)
}

/// The same of a part of it.
pub(super) fn some_answers_dropped(e: &Evidence) -> Option<String> {
    let facts = &e.subject.facts;
    (facts.answer_dropped > 0 && every_answer_dropped(e).is_none())
        .then(|| format!("{}: an answer came, and this host dropped it", facts.of(facts.answer_dropped)))
}

/// How long answers take, if that is less than any wire.
pub(super) fn at_once(e: &Evidence) -> Option<Duration> {
    const AT_ONCE: Duration = Duration::from_micros(250);
    let took = e.subject.refused_after.median().or_else(|| e.subject.handshakes.median())?;
    (took < AT_ONCE).then_some(took)
}

pub(super) fn after(e: &Evidence) -> String {
    e.subject.refused_after.median().map(|median| format!(", after {}", span(median))).unwrap_or_default()
}

pub(super) fn senders(e: &Evidence) -> String {
    let mut senders: Vec<_> = e.subject.icmp.keys().map(|(from, ..)| from.to_string()).collect();
    senders.dedup();
    match senders.len() {
        0 => String::new(),
        1..=3 => format!(" from {}", senders.join(", ")),
        many => format!(" from {many} addresses"),
    }
}

pub(super) fn others(e: &Evidence) -> String {
    let share = e.elsewhere.all;
    let destinations = counted(e.elsewhere.destinations.len() as u64, "other destinations");
    let attempts = counted(share.attempts, "attempts");
    format!("of {attempts} to {destinations} {} are answered", share.answered)
}

pub(super) fn others_fail_too(e: &Evidence) -> Option<String> {
    nothing_works(e).map(|nothing| nothing.to_string())
}

pub(super) fn some_succeed(e: &Evidence) -> Option<String> {
    comes_and_goes(e).then(|| "some attempts in between succeed".to_owned())
}

/// Failures of this mechanism, if they are most.
pub(super) fn mostly(e: &Evidence, meant: Reason) -> Option<u64> {
    e.subject.mostly(|(_, reason, _)| reason == Some(meant))
}

pub(super) fn one_source(e: &Evidence) -> String {
    match e.subject.sources.keys().next() {
        Some(source) => format!("only {source} tried: whether it refuses others is not known"),
        None => "whether it refuses other addresses is not known".to_owned(),
    }
}

pub(super) fn worked_before(e: &Evidence) -> Option<String> {
    let (connected, times) = (e.subject.all.connected + e.before.all.connected, e.subject.times);
    let since = times.failing_since?;
    let last = times.connected.map(|last| format!(", the last at {last:.0}")).unwrap_or_default();
    // Of what is known by its count alone, it is not known when it was.
    let is_known = !e
        .subject
        .endings
        .keys()
        .any(|(label, _, origin)| *label == Label::Connected && origin.is_none() && e.subject.counted_only > 0);
    (connected > 0 && e.subject.all.streak >= SOME && is_known)
        .then(|| format!("{} went well{last}, and none since {since:.0}", counted(connected, "connections")))
}

pub(super) fn resets_like((label, reason, origin): Ending) -> bool {
    label == Label::Refused && reason == Some(Reason::Rst) && origin != Some(Origin::SuspectedMiddlebox)
}

pub(super) fn resets(e: &Evidence) -> Option<u64> {
    e.subject.mostly(resets_like)
}

pub(super) fn by_icmp((label, reason, _): Ending) -> bool {
    label == Label::Refused && reason != Some(Reason::Rst)
}

/// Rejections by ICMP among silence, and nothing else: as many as come at once are limited.
pub(super) fn some_are_rejected(e: &Evidence) -> Option<String> {
    const FEW: u64 = 3;
    let (rejected, all) = (e.subject.count(by_icmp), e.subject.all);
    let is_part = rejected >= FEW && e.subject.mostly(by_icmp).is_none();
    let is_all = e.subject.mostly(|ending| by_icmp(ending) || unanswered(ending)).is_some();
    // Where some succeed, it is not a firewall that rejects all.
    let is_it = is_part && is_all && all.attempts == all.failed();
    is_it.then(|| format!("{rejected} of {} failures are an ICMP reject", all.failed()))
}

fn unanswered((label, reason, _): Ending) -> bool {
    label == Label::Timeout && reason != Some(Reason::Stalled)
}

pub(super) fn silent(e: &Evidence) -> Option<u64> {
    e.subject.mostly(unanswered)
}

/// Failures of which it is known by their reason that this host's own firewall made them.
pub(super) fn dropped_here((_, reason, _): Ending) -> bool {
    reason == Some(Reason::LocalFirewall)
}

/// The failures that this host's own firewall made, where there are others: how many, and from
/// where if that tells them apart.
pub(super) fn stopped_in_part(e: &Evidence) -> Option<String> {
    let seen = &e.subject;
    let count = seen.count(local_firewall);
    let is_part = count > 0 && seen.all_of(local_firewall).is_none();
    let from: Vec<IpAddr> = seen.stopped.keys().copied().collect();
    let is_told_apart = seen.stopped.values().sum::<u64>() == count
        && seen.sources.iter().any(|(source, share)| share.failed() > 0 && !seen.stopped.contains_key(source));
    let from = if is_told_apart { format!(", all from {}", list(&from)) } else { String::new() };
    is_part.then(|| format!("{}{from}", of(count, e)))
}

/// The rule that stops it now, and for which source where it is not all that fails.
pub(super) fn rule_that_stops(e: &Evidence) -> Option<String> {
    let asked = e.firewall.as_ref().filter(|asked| asked.walked.answer == Answer::Stopped)?;
    let is_contradicted = is_answered(e) && e.subject.count(local_firewall) == 0;
    let rule = asked.walked.findings.first().filter(|_| !is_contradicted)?;
    let is_all = e.subject.all_of(local_firewall).is_some();
    Some(match asked.flow.src.filter(|_| !is_all) {
        Some(src) => format!("from {src}: {rule}"),
        None => rule.to_string(),
    })
}

pub(super) fn no_route(e: &Evidence) -> Option<u64> {
    e.subject.mostly(|(_, reason, _)| matches!(reason, Some(Reason::NoRoute | Reason::RouteProhibited)))
}

/// An ICMP error of which the kernel kept the errno alone.
pub(super) fn by_errno_alone(e: &Evidence) -> Option<u64> {
    e.subject
        .mostly(|(_, reason, origin)| reason == Some(Reason::IcmpHostUnreachable) && origin == Some(Origin::Unknown))
}

/// EACCES that the kernel could not tell to be a route's. Where no details were looked at, it is
/// not known whether it could.
pub(super) fn eacces(e: &Evidence) -> Option<u64> {
    let facts = &e.subject.facts;
    let is_unsure = facts.seen == 0 || facts.mostly(facts.unsure_denial).is_some();
    mostly(e, Reason::RouteProhibited).filter(|_| is_unsure && !matches!(e.route, Some(Route::Refused { .. })))
}

/// EACCES, and the routing table has a way there now.
pub(super) fn eacces_despite_a_route(e: &Evidence) -> Option<String> {
    let has_route = matches!(e.route, Some(Route::Goes { .. }));
    eacces(e).filter(|_| has_route).map(|_| "the routing table has a way there now".to_owned())
}

/// No route, and it is not known whether the source address is still this host's.
pub(super) fn no_route_or_no_source(e: &Evidence) -> Option<String> {
    let facts = &e.subject.facts;
    mostly(e, Reason::NoRoute).and_then(|_| facts.mostly(facts.unsure_source))
}

pub(super) fn before_banner((label, reason, _): Ending) -> bool {
    matches!(label, Label::Closed | Label::Silent) || (label == Label::Reset && reason == Some(Reason::BeforeBanner))
}

/// Nothing by IPv6 is answered, to whatever destination, and IPv4 works.
pub(super) fn ipv6_alone_fails(e: &Evidence) -> Option<String> {
    let (v6, v4) = (e.subject.v6.and(e.elsewhere.v6), e.subject.v4.and(e.elsewhere.v4));
    let is_own_firewall = e.subject.mostly(local_firewall).is_some();
    (!is_own_firewall && v6.fails(SOME) && v6.answered == 0 && v4.works(SOME)).then(|| {
        let (failed, tried) = (v6.failed(), v6.attempts);
        format!("{failed} of {tried} attempts by IPv6 fail, {} of {} by IPv4 are answered", v4.answered, v4.attempts)
    })
}

pub(super) fn ipv6_fails_for_several(e: &Evidence) -> Option<String> {
    ipv6_alone_fails(e).filter(|_| failing_by_ipv6(e) >= SEVERAL)
}

pub(super) fn failing_by_ipv6(e: &Evidence) -> usize {
    let all = e.subject.destinations.iter().chain(&e.elsewhere.destinations);
    all.filter(|(address, share)| address.is_ipv6() && share.fails(1)).count()
}

/// No route, or no address, for the IPv6 of this host.
pub(super) fn no_way_by_ipv6(e: &Evidence) -> Option<u64> {
    let is_v6 = e.subject.destinations.keys().all(IpAddr::is_ipv6);
    let is_meant = |reason| matches!(reason, Some(Reason::NoRoute | Reason::NoSourceAddress));
    e.subject.mostly(|(_, reason, _)| is_meant(reason)).filter(|_| is_v6)
}

/// The routing table names no next hop but the destination itself.
pub(super) fn is_next_hop(e: &Evidence) -> bool {
    matches!(e.route, Some(Route::Goes { gateway: None, .. }))
}

/// The attempts from the local address of which success and failure follow each other most
/// often: where one is served and another is not, neither comes and goes. All of them, if it is
/// not known from where they came.
pub(super) fn going(e: &Evidence) -> Share {
    let known: u64 = e.subject.sources.values().map(|share| share.attempts).sum();
    let most = e.subject.sources.values().max_by_key(|share| share.changes);
    most.copied().filter(|_| known * 2 >= e.subject.all.attempts).unwrap_or(e.subject.all)
}

/// Success and failure in turn, more often than one beginning and one end. However few
/// succeed: a server that is down lets none through.
pub(super) fn comes_and_goes(e: &Evidence) -> bool {
    let share = going(e);
    share.changes >= 4 && share.failed() * 20 >= share.attempts
}

pub(super) fn between_others(e: &Evidence) -> Option<String> {
    let Share { attempts, changes, .. } = going(e);
    let failed = going(e).failed();
    comes_and_goes(e)
        .then(|| format!("{failed} of {attempts} attempts fail, between others that succeed ({changes} changes)"))
}

pub(super) fn elsewhere_works(e: &Evidence) -> bool {
    e.elsewhere.all.works(SOME)
}

/// Since some time, all destinations of a family failed in the same way, of several to which a
/// SYN left this host.
pub(super) struct Nothing {
    is_ipv6: bool,
    how: Sign,
    /// The last minute in which anything else came back; `None`: nothing did.
    since: Option<Timestamp>,
    destinations: usize,
    pub(super) networks: usize,
    /// Destinations that had answered before.
    pub(super) worked: usize,
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_ipv6 { "IPv6" } else { "IPv4" };
        let (by, and_none) = match self.how {
            Sign::Refused => ("RST", "was reached"),
            Sign::Rejected => ("ICMP", "was reached"),
            Sign::Silent | Sign::Answered => ("", "did"),
        };
        match by {
            "" => write!(f, "none of {} destinations by {family} answers", self.destinations)?,
            by => write!(f, "all {} destinations by {family} are refused by {by}", self.destinations)?,
        }
        match self.since {
            Some(since) => write!(f, ", since {since:.0}"),
            None => write!(f, ", and none {and_none} in this period"),
        }
    }
}

fn is_ipv6(e: &Evidence) -> bool {
    e.subject.destinations.keys().next().is_some_and(IpAddr::is_ipv6)
}

/// Destinations of the family of the one in question, and what last came back of each.
fn tried(e: &Evidence) -> impl Iterator<Item = (&IpAddr, &Followed)> {
    let is_ipv6 = is_ipv6(e);
    e.subject.followed.iter().chain(&e.elsewhere.followed).filter(move |(address, _)| address.is_ipv6() == is_ipv6)
}

/// In how many networks destinations are.
fn networks(of: &[(&IpAddr, &Followed)]) -> usize {
    of.iter().map(|(address, _)| Prefixes::default().of(**address)).collect::<BTreeSet<IpNet>>().len()
}

/// Whether the claim holds of the family of the destination in question. On this host's own link
/// it says nothing: nobody is on the way.
fn nothing_works(e: &Evidence) -> Option<Nothing> {
    let ways = [Sign::Silent, Sign::Refused, Sign::Rejected];
    ways.into_iter().filter(|_| !e.is_on_link).find_map(|how| all_fail_by(e, how))
}

/// Where anything else came back in the period, some that fail now must have answered before:
/// that a few dead destinations were tried last is chance.
fn all_fail_by(e: &Evidence, how: Sign) -> Option<Nothing> {
    let is_ipv6 = is_ipv6(e);
    let family = usize::from(is_ipv6);
    let since = e.subject.followed_all[family].last_but(how).max(e.elsewhere.followed_all[family].last_but(how));
    let fails = |followed: &Followed| followed.last(how) > since;
    let failing: Vec<_> = tried(e).filter(|(_, followed)| fails(followed)).collect();
    let worked = failing.iter().filter(|(_, followed)| followed.last(Sign::Answered).is_some()).count();
    let is_subject = e.subject.followed.values().any(fails);
    (is_subject && failing.len() >= SEVERAL && (since.is_none() || worked >= SEVERAL - 1)).then_some(Nothing {
        is_ipv6,
        how,
        since,
        destinations: failing.len(),
        networks: networks(&failing),
        worked,
    })
}

/// Several destinations were tried, and none answered by any family or port.
pub(super) fn nobody_is_reached(e: &Evidence) -> bool {
    let has_answered = |seen: &Seen| seen.followed_all.iter().any(Followed::is_answered);
    let is_reached = [&e.subject, &e.elsewhere, &e.other_ports].into_iter().any(has_answered);
    // An ICMP error of the destination's own address is an answer, too.
    let by_itself = |ending: Ending| ending.2 == Some(Origin::Remote) && Sign::of(ending).is_some();
    let tried = e.subject.destinations.len() + e.elsewhere.destinations.len();
    tried >= SEVERAL && !is_reached && e.subject.count(by_itself) == 0
}

pub(super) fn everything_fails(e: &Evidence) -> bool {
    nothing_works(e).is_some()
}

/// The same, by what a block looks like: what a router says of its own routes is none.
pub(super) fn nothing_gets_out(e: &Evidence) -> Option<Nothing> {
    // One family that fails beside another that works is told by itself.
    nothing_works(e).filter(|nothing| is_like_a_block(e) && (!nothing.is_ipv6 || ipv6_alone_fails(e).is_none()))
}

pub(super) fn is_like_a_block(e: &Evidence) -> bool {
    e.subject.mostly(|(label, ..)| matches!(label, Label::Refused | Label::Timeout)).is_some()
}

/// Most destinations to which a SYN left this host, of several networks, were silent all along,
/// and a few answer.
pub(super) fn little_gets_out(e: &Evidence) -> Option<String> {
    let (answering, others): (Vec<_>, Vec<_>) = tried(e).partition(|(_, followed)| followed.is_answered());
    // What a router rejects is not silent.
    let silent_all_along = |followed: &Followed| followed.last_but(Sign::Silent).is_none();
    let failing: Vec<_> = others.into_iter().filter(|(_, followed)| silent_all_along(followed)).collect();
    let networks = networks(&failing);
    let is_block = silent(e).is_some() && e.subject.followed.values().all(silent_all_along) && !e.is_on_link;
    let is_most = networks >= SEVERAL && failing.len() >= 4 * answering.len() && !answering.is_empty();
    let (most, all) = (failing.len(), failing.len() + answering.len());
    (is_block && is_most && nothing_works(e).is_none())
        .then(|| format!("{most} of {all} destinations in {networks} networks never answered"))
}

/// Attempts of the family of the destination in question.
pub(super) fn of_family(e: &Evidence, seen: &Seen) -> Share {
    if is_ipv6(e) { seen.v6 } else { seen.v4 }
}

/// An address that fails, and one of its family that works. That IPv6 fails is something else.
fn two_sources(e: &Evidence, is_meant: impl Fn(&IpAddr) -> bool) -> Option<String> {
    let failing = e.subject.sources.iter().find(|(source, share)| share.streak >= SOME && is_meant(source))?;
    let working = e.subject.sources.iter().find(|(source, share)| {
        share.streak == 0 && share.connected >= SOME && source.is_ipv4() == failing.0.is_ipv4()
    })?;
    Some(format!(
        "from {} the last {} attempts fail, from {} {} of {} connect",
        failing.0, failing.1.streak, working.0, working.1.connected, working.1.attempts
    ))
}

/// A local address that fails here, and to which no other destination answers, where another
/// address is answered.
pub(super) fn nothing_answers_one_source(e: &Evidence) -> Option<String> {
    let failing = e.subject.sources.iter().filter(|(_, share)| share.streak >= SOME && share.answered == 0);
    let (source, share) = failing.filter_map(|(source, _)| Some((source, e.elsewhere.sources.get(source)?))).next()?;
    let mut all = e.subject.sources.iter().chain(&e.elsewhere.sources);
    let is_another = all.any(|(other, share)| other.is_ipv4() == source.is_ipv4() && share.answered > 0);
    (is_another && share.attempts >= SOME && share.answered == 0).then(|| {
        let attempts = share.attempts;
        format!("from {source} no other destination answers either, in {attempts} attempts that were looked at")
    })
}

fn is_passed(e: &Evidence, source: &IpAddr) -> bool {
    e.subject.beside.get(source).is_some_and(|beside| beside.failures_after > 0)
}

pub(super) fn one_source_works_meanwhile(e: &Evidence) -> Option<String> {
    two_sources(e, |source| is_passed(e, source))
}

pub(super) fn one_source_works(e: &Evidence) -> Option<String> {
    two_sources(e, |source| !is_passed(e, source)).filter(|_| one_source_works_meanwhile(e).is_none())
}
