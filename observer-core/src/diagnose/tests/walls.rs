//! Cases of this host's own firewall: what its rules say, beside what attempts showed.

use super::{AttemptKind, CONNECTED, Case, OWN_FIREWALL, RST, SILENCE, entry, evidence, failed, now, others, works};
use crate::diagnose::{Cause, Confidence, Evidence, Firewall, Sender, diagnose};
use crate::event::Process;
use crate::evidence::conntrack::Conntrack;
use crate::evidence::firewall::{Answer, Condition, Finding, Flow, Walked, Way};
use crate::label::{Label, Origin, Reason};

fn found(verdict: &str, is_certain: bool) -> Finding {
    Finding {
        tool: "nft",
        chain: "inet filter output".to_owned(),
        rule: format!("tcp dport 25 {verdict}"),
        verdict: verdict.to_owned(),
        is_certain,
        conditions: if is_certain { Vec::new() } else { vec![Condition::Group] },
        owner: None,
    }
}

fn walked(walked: Walked) -> Firewall {
    let flow = Flow {
        src: "192.0.2.10".parse().ok(),
        dst: "203.0.113.5".parse().unwrap(),
        port: 25,
        interface: Some("eth0".to_owned()),
        uid: Some(33),
        gid: None,
        way: Way::Out,
    };
    Firewall { flow, walked }
}

/// A rule stops it, or may.
pub(super) fn stops(is_certain: bool) -> Firewall {
    let answer = if is_certain { Answer::Stopped } else { Answer::Unknown };
    walked(Walked { answer, findings: vec![found("drop", is_certain)], ..Walked::default() })
}

/// A rule of this verdict stops it.
pub(super) fn stops_by(verdict: &str) -> Firewall {
    walked(Walked { answer: Answer::Stopped, findings: vec![found(verdict, true)], ..Walked::default() })
}

/// A rule sends it elsewhere, or may.
pub(super) fn redirects(is_certain: bool) -> Firewall {
    let redirects = vec![found("redirect", is_certain)];
    walked(Walked { answer: Answer::Passes, redirects, ..Walked::default() })
}

pub(super) fn passes() -> Firewall {
    walked(Walked { answer: Answer::Passes, ..Walked::default() })
}

pub(super) const FULL: Conntrack = Conntrack { count: 65_530, max: 65_536 };

fn with(firewall: Firewall, evidence: Evidence) -> Evidence {
    Evidence { firewall: Some(firewall), ..evidence }
}

pub(super) const AT_ONCE: AttemptKind = AttemptKind { elapsed_ms: 0, ..RST };

pub(super) fn cases() -> Vec<Case> {
    const EITHER: [Cause; 2] = [Cause::ServerDown, Cause::RemoteFirewallRejects];
    let closes = failed(Label::Closed, Reason::BeforeBanner, Origin::Remote);
    vec![
        (
            "the destination answers, whatever a rule says",
            with(stops(true), evidence(&[(9, RST)], works())),
            EITHER.to_vec(),
        ),
        (
            "it connected, whatever a rule says",
            with(stops(true), evidence(&[(9, CONNECTED), (9, SILENCE)], works())),
            vec![Cause::RemoteFirewallDrops],
        ),
        (
            "no room in connection tracking",
            Evidence { conntrack: Some(FULL), ..with(passes(), evidence(&[(9, OWN_FIREWALL)], works())) },
            vec![Cause::ConntrackFull],
        ),
        (
            "no room in connection tracking, and a rule",
            Evidence { conntrack: Some(FULL), ..with(stops(true), evidence(&[(9, OWN_FIREWALL)], works())) },
            vec![Cause::LocalFirewall],
        ),
        (
            "no room in connection tracking, and silence",
            Evidence { conntrack: Some(FULL), ..with(passes(), evidence(&[(9, SILENCE)], works())) },
            vec![Cause::RemoteFirewallDrops],
        ),
        (
            "redirected, and nobody listens",
            with(redirects(true), evidence(&[(9, AT_ONCE)], works())),
            vec![Cause::LocalRedirect],
        ),
        (
            "redirected everywhere",
            with(redirects(true), evidence(&[(9, AT_ONCE)], others(5, AT_ONCE))),
            vec![Cause::LocalRedirect],
        ),
        (
            "redirected, and not served",
            with(redirects(true), evidence(&[(9, closes)], works())),
            vec![Cause::LocalRedirect],
        ),
        (
            "perhaps redirected, and answered at once",
            with(redirects(false), evidence(&[(9, AT_ONCE)], works())),
            vec![Cause::LocalRedirect],
        ),
        (
            "redirected, and stopped before",
            with(redirects(true), evidence(&[(9, OWN_FIREWALL)], works())),
            vec![Cause::LocalFirewall],
        ),
        // Behind a redirect somebody else would answer.
        (
            "redirected, and nobody answers",
            with(redirects(true), evidence(&[(9, SILENCE)], works())),
            vec![Cause::RemoteFirewallDrops],
        ),
    ]
}

/// However sure the listing is, what attempts showed outranks it.
#[test]
fn a_listing_alone_is_never_certain() {
    for (name, evidence, _) in cases() {
        let is_observed = evidence.subject.count(|ending| ending.1 == Some(Reason::LocalFirewall)) > 0;
        let is_observed = is_observed && !name.ends_with("tracking");
        let diagnosis = diagnose(&evidence, now());
        let local =
            diagnosis.causes.iter().find(|likely| matches!(likely.cause, Cause::LocalFirewall | Cause::LocalRedirect));
        let is_certain = local.is_some_and(|likely| likely.confidence == Confidence::Certain);
        assert_eq!(is_certain, is_observed, "{name}: {local:#?}");
    }
    let silent = with(stops(true), evidence(&[(9, SILENCE)], works()));
    let diagnosis = diagnose(&silent, now());
    assert!(diagnosis.causes.iter().all(|likely| likely.confidence != Confidence::Certain), "{diagnosis:#?}");
}

#[test]
fn rules_say_on_what_they_depend() {
    let diagnosis = diagnose(&with(stops(false), evidence(&[(5, OWN_FIREWALL), (5, SILENCE)], works())), now());
    let lines: Vec<&str> = diagnosis.causes[0].evidence.iter().map(|line| line.text.as_str()).collect();
    assert!(
        lines.iter().any(|line| line.contains("perhaps by nft") && line.contains("depends on the group")),
        "{lines:?}"
    );
}

#[test]
fn the_firewall_is_asked_about_attempts_that_it_stopped() {
    let by = |kind: AttemptKind, uid, second| {
        let process = Process { pid: 4_000 + uid, uid, comm: "smtp".to_owned(), cgroup: None, netns: 7 };
        crate::record::entry::Entry { process: Some(process), ..entry(kind, second) }
    };
    let mut entries: Vec<_> = (0..9).map(|second| by(SILENCE, 108, second)).collect();
    entries.push(by(CONNECTED, 1, 9));
    let (sender, pid) = Sender::of(entries.iter()).unwrap();
    assert_eq!((sender.uid, sender.netns, pid), (Some(108), Some(7), Some(4_108)));
    entries.push(by(OWN_FIREWALL, 33, 10));
    let (sender, _) = Sender::of(entries.iter()).unwrap();
    assert_eq!((sender.uid, sender.dst), (Some(33), "203.0.113.5".parse().unwrap()));
    assert_eq!(Sender::of([by(CONNECTED, 1, 0)].iter()), None);
}
