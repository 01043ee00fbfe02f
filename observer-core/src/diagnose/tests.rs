use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::event::Endpoint;
use crate::event::Evidence as Facts;
use crate::evidence::dns::finding::Finding as Dns;
use crate::label::{Label, Origin, Reason};
use crate::record::entry::Entry;

mod calibration;
#[path = "../../../tests/field/diagnosis.rs"]
mod field;
mod looked_up;
mod walls;

const START: i64 = 1_795_000_000;

/// An attempt.
#[derive(Clone, Copy)]
struct AttemptKind {
    dst: &'static str,
    src: &'static str,
    label: Label,
    reason: Option<Reason>,
    origin: Option<Origin>,
    elapsed_ms: u64,
    icmp_from: Option<&'static str>,
}

const CONNECTED: AttemptKind = AttemptKind {
    dst: "203.0.113.5",
    src: "192.0.2.10",
    label: Label::Connected,
    reason: None,
    origin: None,
    elapsed_ms: 30,
    icmp_from: None,
};

const fn failed(label: Label, reason: Reason, origin: Origin) -> AttemptKind {
    AttemptKind { label, reason: Some(reason), origin: Some(origin), ..CONNECTED }
}

const RST: AttemptKind = failed(Label::Refused, Reason::Rst, Origin::Remote);
const SILENCE: AttemptKind =
    AttemptKind { elapsed_ms: 30_000, ..failed(Label::Timeout, Reason::Abandoned, Origin::None) };
const PROHIBITED: AttemptKind = AttemptKind {
    icmp_from: Some("198.51.100.1"),
    ..failed(Label::Refused, Reason::IcmpAdminProhibited, Origin::Network)
};
const OWN_FIREWALL: AttemptKind = failed(Label::Blocked, Reason::LocalFirewall, Origin::Local);
const V6: AttemptKind = AttemptKind { dst: "2001:db8::5", src: "2001:db8:1::10", ..CONNECTED };

fn seen(kinds: &[(usize, AttemptKind)]) -> Seen {
    let mut seen = Seen::default();
    let each = kinds.iter().flat_map(|&(count, kind)| std::iter::repeat_n(kind, count));
    for (kind, second) in each.zip(0..) {
        seen.add(&entry(kind, second));
    }
    seen
}

fn entry(kind: AttemptKind, second: i64) -> Entry {
    let address = |text: &str| Endpoint { ip: text.parse().ok(), port: Some(25) };
    let elapsed = Duration::from_millis(kind.elapsed_ms);
    let is_icmp = kind.icmp_from.is_some();
    Entry {
        id: second.to_string(),
        time: Timestamp::from_second(START).unwrap() + SignedDuration::from_secs(second),
        label: kind.label,
        reason: kind.reason,
        origin: kind.origin,
        active_refusal: None,
        errno: None,
        src: address(kind.src),
        dst: address(kind.dst),
        elapsed: Some(elapsed),
        handshake: (kind.label == Label::Connected).then_some(elapsed),
        syn_retransmits: 0,
        process: None,
        evidence: Facts {
            icmp_from: kind.icmp_from.and_then(|from| from.parse().ok()),
            icmp_type: is_icmp.then_some(3),
            icmp_code: is_icmp.then_some(13),
            ..Facts::default()
        },
    }
}

/// Other destinations, `n` each.
fn others(n: usize, kind: AttemptKind) -> Seen {
    let to = |dst| (n, AttemptKind { dst, ..kind });
    match kind.dst.contains(':') {
        true => seen(&["2001:db8:a::1", "2001:db8:b::1", "2001:db8:c::1"].map(to)),
        false => seen(&["198.51.100.11", "198.51.100.22", "198.51.100.33"].map(to)),
    }
}

fn evidence(subject: &[(usize, AttemptKind)], elsewhere: Seen) -> Evidence {
    Evidence { asked: "mx.example.net".to_owned(), port: 25, subject: seen(subject), elsewhere, ..Evidence::default() }
}

fn works() -> Seen {
    others(5, CONNECTED)
}

/// From one address and from another in turn.
fn beside(kind: AttemptKind) -> Vec<(usize, AttemptKind)> {
    [(3, kind), (3, AttemptKind { src: "192.0.2.20", ..CONNECTED })].repeat(3)
}

/// What details of the attempts show.
fn shown_by_the_kernel() -> Vec<(&'static str, AttemptKind, Facts, Vec<Cause>)> {
    let facts = Facts::default;
    let own_reset = failed(Label::Refused, Reason::Rst, Origin::Local);
    let time_exceeded = failed(Label::Unreachable, Reason::IcmpTimeExceeded, Origin::Network);
    let no_route = failed(Label::Unreachable, Reason::NoRoute, Origin::Local);
    vec![
        ("this host answers", own_reset, Facts { redirected: true, ..facts() }, vec![Cause::LocalRedirect]),
        ("this host drops the answer", SILENCE, Facts { answer_drops: Some(3), ..facts() }, vec![Cause::LocalFirewall]),
        (
            "full segments are not acknowledged",
            failed(Label::Timeout, Reason::Stalled, Origin::None),
            Facts { unacked_bytes: Some(14_480), ..facts() },
            vec![Cause::SessionCut],
        ),
        ("a loop of routes", time_exceeded, facts(), vec![Cause::NetworkFault]),
        (
            "a security module refuses",
            failed(Label::Blocked, Reason::SecurityPolicy, Origin::Local),
            facts(),
            vec![Cause::SecurityPolicy],
        ),
        (
            "no route, or the address is gone",
            no_route,
            Facts { missing: vec!["src_is_local".into()], ..facts() },
            vec![Cause::RouteFault, Cause::WrongSourceAddress],
        ),
    ]
}

/// Others that answered, and a minute later do not.
fn stopped() -> Seen {
    let to = |kind: AttemptKind| {
        ["198.51.100.11", "198.51.100.22", "198.51.100.33"].map(|dst| (25, AttemptKind { dst, ..kind }))
    };
    seen(&[to(CONNECTED), to(SILENCE)].concat())
}

const MANY_V6: [&str; 8] = [
    "2001:db8:a::1",
    "2001:db8:b::1",
    "2001:db8:c::1",
    "2001:db8:d::1",
    "2001:db8:e::1",
    "2001:db8:f::1",
    "2001:db8:10::1",
    "2001:db8:11::1",
];

/// What a cause looks like, and what must come of it: the first cause, or the first
/// two where they cannot be told apart.
type Case = (&'static str, Evidence, Vec<Cause>);

fn cases() -> Vec<Case> {
    let from_other = |kind| AttemptKind { src: "192.0.2.20", ..kind };
    let alternate = |kind: AttemptKind| [(1, CONNECTED), (2, kind)].repeat(10);
    let case = |name, subject: &[(usize, AttemptKind)], elsewhere, causes: &[Cause]| {
        (name, evidence(subject, elsewhere), causes.to_vec())
    };
    let mut cases = vec![
        case("stopped listening", &[(20, CONNECTED), (9, RST)], works(), &[Cause::ServerDown]),
        case("refuses all sources", &[(5, RST), (5, from_other(RST))], works(), &[Cause::ServerDown]),
        case("never listened", &[(9, RST)], works(), &[Cause::ServerDown, Cause::RemoteFirewallRejects]),
        case(
            "its router cannot reach it",
            &[(
                9,
                AttemptKind {
                    icmp_from: Some("203.0.113.1"),
                    ..failed(Label::Unreachable, Reason::IcmpHostUnreachable, Origin::Network)
                },
            )],
            works(),
            &[Cause::ServerDown],
        ),
        case(
            "perhaps its router cannot reach it",
            &[(9, failed(Label::Unreachable, Reason::IcmpHostUnreachable, Origin::Unknown))],
            works(),
            &[Cause::ServerDown, Cause::NetworkFault],
        ),
        case("a router rejects", &[(9, PROHIBITED)], works(), &[Cause::RemoteFirewallRejects]),
        case(
            "its host rejects",
            &[(
                9,
                AttemptKind {
                    icmp_from: Some("203.0.113.5"),
                    ..failed(Label::Refused, Reason::IcmpPortUnreachable, Origin::Remote)
                },
            )],
            works(),
            &[Cause::RemoteFirewallRejects],
        ),
        case("silence", &[(9, SILENCE)], works(), &[Cause::RemoteFirewallDrops]),
        case("own firewall", &[(9, OWN_FIREWALL)], others(5, OWN_FIREWALL), &[Cause::LocalFirewall]),
        case("own firewall for one", &[(9, OWN_FIREWALL)], works(), &[Cause::LocalFirewall]),
        case("own firewall at times", &[(5, OWN_FIREWALL), (5, SILENCE)], works(), &[Cause::LocalFirewall]),
        case(
            "not permitted",
            &[(9, failed(Label::Blocked, Reason::PermissionDenied, Origin::Local))],
            works(),
            &[Cause::LocalFirewall],
        ),
        case("nothing gets out", &[(9, SILENCE)], others(5, SILENCE), &[Cause::PortBlockedOutbound]),
        case("nothing gets out, by RST", &[(9, RST)], others(5, RST), &[Cause::PortBlockedOutbound]),
        case("nothing gets out, by ICMP", &[(9, PROHIBITED)], others(5, PROHIBITED), &[Cause::PortBlockedOutbound]),
        case("one source by RST", &beside(RST), works(), &[Cause::AddressBlocked]),
        case("one source in silence", &beside(SILENCE), works(), &[Cause::AddressBlocked]),
        case("one source by ICMP", &beside(PROHIBITED), works(), &[Cause::AddressBlocked]),
        // An outage that is over looks the same.
        case(
            "one source, and later another",
            &[(9, RST), (9, from_other(CONNECTED))],
            works(),
            &[Cause::ServerDown, Cause::AddressBlocked],
        ),
        case(
            "nothing gets out to one network",
            &[(9, AttemptKind { dst: "198.51.100.5", ..SILENCE })],
            others(5, SILENCE),
            &[Cause::PortBlockedOutbound],
        ),
        case(
            "little gets out",
            &[(9, SILENCE)],
            seen(
                &["198.51.100.1", "198.51.101.1", "198.51.102.1", "198.51.103.1"]
                    .map(|dst| (5, AttemptKind { dst, ..SILENCE }))
                    .into_iter()
                    .chain([(9, AttemptKind { dst: "198.51.104.1", ..CONNECTED })])
                    .collect::<Vec<_>>(),
            ),
            &[Cause::RemoteFirewallDrops, Cause::PortBlockedOutbound],
        ),
        case("all stopped at once", &[(70, CONNECTED), (70, SILENCE)], stopped(), &[Cause::PortBlockedOutbound]),
        case("two outages", &[(3, CONNECTED), (3, RST)].repeat(3)[..5], works(), &[Cause::RateLimited]),
        case(
            "a router rejects, and nothing else was tried",
            &[(9, PROHIBITED)],
            Seen::default(),
            &[Cause::RemoteFirewallRejects],
        ),
        case(
            "a router rejects as often as it may",
            &[(82, PROHIBITED), (30, SILENCE)],
            works(),
            &[Cause::RemoteFirewallRejects],
        ),
        case("a router seldom rejects", &[(5, PROHIBITED), (95, SILENCE)], works(), &[Cause::RemoteFirewallRejects]),
        case("one in three", &alternate(RST), works(), &[Cause::RateLimited]),
        case(
            "closes at times",
            &alternate(failed(Label::Closed, Reason::BeforeBanner, Origin::Remote)),
            works(),
            &[Cause::RateLimited],
        ),
        case("rejects at times", &alternate(PROHIBITED), works(), &[Cause::RateLimited]),
        case("times out at times", &alternate(SILENCE), works(), &[Cause::RateLimited]),
        case("tarpit", &[(9, failed(Label::Silent, Reason::NoBanner, Origin::None))], works(), &[Cause::NotServed]),
        case(
            "closes",
            &[(9, failed(Label::Closed, Reason::BeforeBanner, Origin::Remote))],
            works(),
            &[Cause::NotServed],
        ),
        case(
            "resets",
            &[(9, failed(Label::Reset, Reason::BeforeBanner, Origin::Remote))],
            works(),
            &[Cause::NotServed],
        ),
        case(
            "no route",
            &[(9, failed(Label::Unreachable, Reason::NoRoute, Origin::Local))],
            works(),
            &[Cause::RouteFault],
        ),
        case(
            "mute next hop",
            &[(9, failed(Label::Unreachable, Reason::NoNeighbour, Origin::Local))],
            works(),
            &[Cause::RouteFault],
        ),
        case(
            "net unreachable",
            &[(9, failed(Label::Unreachable, Reason::IcmpNetUnreachable, Origin::Network))],
            works(),
            &[Cause::NetworkFault],
        ),
        case(
            "a router lost its way",
            &[(9, failed(Label::Unreachable, Reason::IcmpHostUnreachable, Origin::Network))],
            others(5, failed(Label::Unreachable, Reason::IcmpHostUnreachable, Origin::Network)),
            &[Cause::NetworkFault],
        ),
        case(
            "no ports",
            &[(9, failed(Label::Blocked, Reason::PortsExhausted, Origin::Local))],
            works(),
            &[Cause::LocalResource],
        ),
        case(
            "no address",
            &[(9, failed(Label::Blocked, Reason::NoSourceAddress, Origin::Local))],
            works(),
            &[Cause::WrongSourceAddress],
        ),
        case(
            "forged",
            &[(20, CONNECTED), (9, failed(Label::Refused, Reason::Rst, Origin::SuspectedMiddlebox))],
            works(),
            &[Cause::MiddleboxForges],
        ),
        case("stalls", &[(9, failed(Label::Timeout, Reason::Stalled, Origin::None))], works(), &[Cause::SessionCut]),
        case(
            "reset in session",
            &[(9, failed(Label::Reset, Reason::MidSession, Origin::Remote))],
            works(),
            &[Cause::SessionCut],
        ),
    ];
    for (name, kind) in [
        ("IPv6 without route", failed(Label::Unreachable, Reason::NoRoute, Origin::Local)),
        ("IPv6 in silence", SILENCE),
        ("IPv6 rejected", PROHIBITED),
    ] {
        let v6 = AttemptKind { dst: V6.dst, src: V6.src, ..kind };
        let mut elsewhere = others(5, v6);
        add_counts(&mut elsewhere, "198.51.100.11", 9);
        let mut broken = evidence(&[(9, v6)], elsewhere);
        if kind.reason == Some(Reason::NoRoute) {
            broken.route = Some(crate::evidence::route::Route::Refused { why: "Network is unreachable".to_owned() });
        }
        cases.push((name, broken, vec![Cause::Ipv6Broken]));
    }
    let mut many = evidence(
        &[(9, AttemptKind { dst: V6.dst, src: V6.src, ..SILENCE })],
        seen(&MANY_V6.map(|dst| (1, AttemptKind { dst, src: V6.src, ..SILENCE }))),
    );
    add_counts(&mut many.elsewhere, "198.51.100.11", 9);
    cases.push(("IPv6 to many destinations", many, vec![Cause::Ipv6Broken]));
    let no_address =
        AttemptKind { dst: V6.dst, src: "", ..failed(Label::Blocked, Reason::NoSourceAddress, Origin::Local) };
    let mut no_v6 = evidence(&[(9, no_address)], Seen::default());
    add_counts(&mut no_v6.elsewhere, "198.51.100.11", 9);
    cases.push(("no address of IPv6", no_v6, vec![Cause::Ipv6Broken]));
    let mut on_link = evidence(&[(9, failed(Label::Unreachable, Reason::NoNeighbour, Origin::Local))], works());
    on_link.route =
        Some(crate::evidence::route::Route::Goes { interface: "eth0".to_owned(), gateway: None, source: None });
    cases.push(("mute on its own link", on_link, vec![Cause::ServerDown, Cause::RouteFault]));
    for (name, kind, facts, causes) in shown_by_the_kernel() {
        let mut shown = evidence(&[], works());
        (0..9).for_each(|second| shown.subject.add(&Entry { evidence: facts.clone(), ..entry(kind, second) }));
        cases.push((name, shown, causes));
    }
    for (route, causes) in [
        (None, vec![Cause::RouteFault, Cause::SecurityPolicy]),
        (
            Some(crate::evidence::route::Route::Goes { interface: "eth0".to_owned(), gateway: None, source: None }),
            vec![Cause::SecurityPolicy],
        ),
        (Some(crate::evidence::route::Route::Refused { why: "Permission denied".to_owned() }), vec![Cause::RouteFault]),
    ] {
        let mut eacces = Evidence { route, ..evidence(&[], works()) };
        let kind = failed(Label::Unreachable, Reason::RouteProhibited, Origin::Local);
        let unsure = Facts { missing: vec!["connect_order".into()], ..Facts::default() };
        (0..9).for_each(|second| eacces.subject.add(&Entry { evidence: unsure.clone(), ..entry(kind, second) }));
        cases.push(("EACCES", eacces, causes));
    }
    let mut some_dropped = evidence(&[(4, SILENCE)], works());
    let facts = Facts { answer_drops: Some(3), ..Facts::default() };
    (4..9).for_each(|second| some_dropped.subject.add(&Entry { evidence: facts.clone(), ..entry(SILENCE, second) }));
    let either = vec![Cause::RemoteFirewallDrops, Cause::LocalFirewall];
    cases.push(("this host drops some of the answers", some_dropped, either));
    let mut both = evidence(&[(9, SILENCE)], works());
    both.dns = vec![Dns::NullMxAmongOthers { domain: "example.net".to_owned() }];
    cases.push(("null MX among others", both, vec![Cause::RemoteFirewallDrops]));
    let mut uplinks = evidence(&beside(SILENCE), others(5, from_other(CONNECTED)));
    (0..4).for_each(|second| uplinks.add_other_facts(&entry(AttemptKind { dst: "198.51.100.11", ..SILENCE }, second)));
    cases.push(("one of two uplinks is blocked", uplinks, vec![Cause::PortBlockedOutbound]));
    let mut after_volume = evidence(&[(60, CONNECTED), (9, RST)], works());
    add_counts(&mut after_volume.before, "203.0.113.5", 100);
    cases.push(("refused after volume", after_volume, vec![Cause::ServerDown]));
    let mut submission = evidence(&[(9, SILENCE)], others(5, SILENCE));
    add_counts(&mut submission.other_ports, "198.51.100.11", 9);
    let probe = |source: &str, label| crate::evidence::probe::Probe {
        source: source.parse().ok(),
        destination: "203.0.113.5:25".parse().unwrap(),
        label,
        reason: None,
        origin: None,
        active_refusal: label == Label::Refused,
        connect_ms: 30.0,
        banner_ms: None,
        banner: (label == Label::Connected).then(|| "220 mx.example.net".to_owned()),
        reply: (label == Label::Connected).then_some(220),
        icmp: None,
    };
    let mut one_blocked = evidence(&[(9, RST)], works());
    one_blocked.probes = vec![probe("192.0.2.10", Label::Refused), probe("192.0.2.20", Label::Connected)];
    cases.push(("a probe from another source works", one_blocked, vec![Cause::AddressBlocked]));
    let mut all_refused = evidence(&[(9, RST)], works());
    all_refused.probes = vec![probe("192.0.2.10", Label::Refused), probe("192.0.2.20", Label::Refused)];
    cases.push(("probes from all sources are refused", all_refused, vec![Cause::ServerDown]));
    let mut served_again = evidence(&[(9, RST)], works());
    served_again.probes = vec![probe("192.0.2.10", Label::Connected)];
    cases.push(("a closed port that is served again", served_again, vec![]));
    let domain = || "example.net".to_owned();
    let destination: IpAddr = "203.0.113.5".parse().unwrap();
    for (name, finding) in [
        ("null MX", Dns::NullMx { domain: domain() }),
        ("no such domain", Dns::NoSuchDomain { domain: domain() }),
        ("stale MX", Dns::NotAnMxOfDomain { domain: domain(), destination }),
        ("MX without address", Dns::MxHasNoAddress { exchanger: domain() }),
    ] {
        let mut wrong = evidence(&[(9, SILENCE)], works());
        wrong.dns = vec![finding, Dns::MxIsCname { exchanger: domain(), target: domain() }];
        // Silence alone is a firewall's; a wrong exchanger explains it as well.
        cases.push((name, wrong, vec![Cause::WrongExchanger]));
    }
    let mut listed = evidence(&[(9, RST), (9, from_other(CONNECTED))], works());
    let (address, zone): (IpAddr, _) = ("192.0.2.10".parse().unwrap(), "bl.example.org".to_owned());
    listed.dns = vec![
        Dns::Listed { address, zone, codes: Vec::new(), text: vec!["see https://example.org".to_owned()] },
        Dns::NoPtr { address },
    ];
    cases.push(("listed, and one source is refused", listed, vec![Cause::AddressBlocked]));
    let mut named = evidence(&[(5, OWN_FIREWALL), (5, SILENCE)], works());
    named.firewall = Some(walls::stops(true));
    cases.push(("own firewall, whose rule is there", named, vec![Cause::LocalFirewall]));
    let mut perhaps = evidence(&[(5, OWN_FIREWALL), (5, SILENCE)], works());
    perhaps.firewall = Some(walls::stops(false));
    cases.push(("own firewall, perhaps by a rule", perhaps, vec![Cause::LocalFirewall]));
    let mut no_route = evidence(&[(9, failed(Label::Unreachable, Reason::NoRoute, Origin::Local))], works());
    no_route.route = Some(crate::evidence::route::Route::Refused { why: "Network is unreachable".to_owned() });
    cases.push(("no route, still", no_route, vec![Cause::RouteFault]));
    cases.push(("submission works", submission, vec![Cause::PortBlockedOutbound]));
    cases.extend(looked_up::cases());
    cases.extend(walls::cases());
    cases
}

fn add_counts(seen: &mut Seen, dst: &str, count: u64) {
    seen.add_count(dst.parse::<IpAddr>().unwrap(), Label::Connected, None, count);
}

fn now() -> Timestamp {
    Timestamp::from_second(START + 3_600).unwrap()
}

#[test]
fn every_cause_comes_first_where_it_is_the_cause() {
    let mut named = BTreeSet::new();
    for (name, evidence, expected) in cases() {
        let diagnosis = diagnose(&evidence, now());
        let found: Vec<Cause> =
            diagnosis.causes.iter().map(|finding| finding.cause).take(expected.len().max(1)).collect();
        assert_eq!(found, expected, "{name}: {:#?}", diagnosis.causes);
        assert_eq!(diagnosis.is_open, expected.len() > 1, "{name}: {:#?}", diagnosis.causes);
        named.extend(expected);
    }
    assert_eq!(named, BTreeSet::from(Cause::ALL), "a cause without a case");
}

#[test]
fn every_rule_holds_somewhere_and_not_everywhere() {
    let cases = cases();
    for rule in RULES {
        let holds = cases.iter().filter(|(_, evidence, _)| (rule.holds)(evidence).is_some()).count();
        assert!(holds > 0, "{} holds nowhere", rule.name);
        assert!(holds < cases.len(), "{} holds everywhere", rule.name);
        assert!(!rule.source.is_empty() && rule.weight != 0 && rule.weight.abs() <= 100, "{}", rule.name);
    }
    let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len(), "two rules of one name");
}

#[test]
fn json_is_as_its_schema_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/observer.diagnosis.v1.json");
    let schema = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator =
        jsonschema::draft202012::options().should_validate_formats(true).build(&crate::sample::closed(schema)).unwrap();
    let nothing = ("nothing", Evidence::default(), Vec::new());
    for (name, evidence, _) in cases().into_iter().chain([nothing]) {
        let mut value = serde_json::to_value(diagnose(&evidence, now())).unwrap();
        if name == "nothing" {
            assert_eq!(value["port"].take(), 0);
            value["port"] = 25.into();
        }
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({ "schema": "observer.diagnosis.v1" })));
}

#[test]
fn where_nothing_fails_there_is_no_cause() {
    let diagnosis = diagnose(&evidence(&[(9, CONNECTED)], Seen::default()), now());
    assert_eq!((diagnosis.causes.len(), diagnosis.is_open), (0, false));
    let diagnosis = diagnose(&Evidence::default(), now());
    assert_eq!(diagnosis.attempts.attempts, 0);
}

#[test]
fn two_failures_are_no_certainty() {
    let diagnosis = diagnose(&evidence(&[(2, OWN_FIREWALL)], Seen::default()), now());
    assert_eq!(diagnosis.causes[0].confidence, Confidence::Possible);
    let diagnosis = diagnose(&evidence(&[(3, OWN_FIREWALL)], Seen::default()), now());
    assert_eq!(diagnosis.causes[0].confidence, Confidence::Certain);
}

#[test]
fn what_was_cancelled_says_nothing() {
    let cancelled = failed(Label::Cancelled, Reason::Early, Origin::None);
    let diagnosis = diagnose(&evidence(&[(9, cancelled), (9, CONNECTED)], Seen::default()), now());
    assert_eq!(diagnosis.attempts, Share { attempts: 9, answered: 9, connected: 9, changes: 0, streak: 0 });
}

#[test]
fn memory_is_bounded() {
    let mut seen = Seen::default();
    for number in 0..5_000_u32 {
        let mut entry = entry(RST, i64::from(number));
        entry.dst.ip = Some(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
        entry.src.ip = entry.dst.ip;
        seen.add(&entry);
    }
    assert_eq!(seen.all.attempts, 5_000);
    assert!(seen.destinations.len() <= 256 && seen.sources.len() <= 256);
}
