//! Events, attempts and alerts for tests, complete and plausible.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use observer_common::record::{EndCode, FAMILY_V4, FAMILY_V6, end, fact, phase};
use proptest::prelude::*;

use crate::alert::Alert;
use crate::attempt::{Attempt, Task};
use crate::event::{Capabilities, Destination, Event, Host, Mta, Surroundings};
use crate::label::{Label, Origin, Reason, Verdict, label};
use crate::mta::{DeliveryStatus, MtaKind, Said};
use crate::pipeline::Judged;
use crate::scope::{Change, EndCause, Numbers, Scope, ScopeChange, Verdict as ScopeVerdict};
use crate::tally::Window;

/// The port of every sample.
pub const PORT: u16 = 25;

/// When every sample ended.
pub fn time() -> Timestamp {
    "2026-11-23T16:07:01.123456789Z".parse().expect("a sample")
}

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("a sample")
}

/// A refused attempt: a RST after 31.402 ms.
pub fn attempt() -> Attempt {
    let elapsed = Duration::from_micros(31_402);
    Attempt {
        started_ns: 4_500_000_000,
        cpu: 1,
        started: Some(time() - elapsed),
        ended: time(),
        elapsed: Some(elapsed),
        handshake: None,
        saddr: Some(ip("192.0.2.10")),
        sport: Some(45890),
        daddr: ip("203.0.113.5"),
        dport: PORT,
        syn_retransmits: 0,
        syn_drops: 0,
        answer_drops: 0,
        unacked_bytes: 0,
        bytes_received: 0,
        code: refused(),
        rst_ttl: Some(57),
        icmp_ttl: None,
        icmp_from: None,
        iif: Some(2),
        oif: Some(2),
        process: Some(Task { pid: 1203, uid: 89, comm: "smtp".to_owned(), cgroup: 4242 }),
        netns: 4_026_531_840,
    }
}

/// How [`attempt`] ended.
pub fn refused() -> EndCode {
    EndCode {
        facts: fact::RST,
        sk_err: libc::ECONNREFUSED as u16,
        phase: phase::SYN_SENT,
        end: end::CLOSE,
        family: FAMILY_V4,
        ..EndCode::default()
    }
}

/// The host of every sample.
pub fn host() -> Host {
    Host { name: "mx1".to_owned(), boot: "6f0c2d9e".to_owned() }
}

/// The names that belong to [`attempt`].
pub fn surroundings() -> Surroundings {
    Surroundings {
        iface: Some("eth0".to_owned()),
        route_iface: Some("eth0".to_owned()),
        cgroup: Some("/system.slice/postfix.service".to_owned()),
        destination: None,
        missing: Vec::new(),
    }
}

/// An attempt that lacks its names.
pub fn nameless(attempt: Attempt) -> Judged {
    Judged { verdict: label(&attempt.code), destination: None, attempt }
}

/// Everything attached.
pub fn able() -> Capabilities {
    Capabilities { rst_origin: true, icmp_v4: true, icmp_v6: true, syn_drops: true }
}

/// The event that an attempt becomes, judged as given.
pub fn judged(attempt: &Attempt, verdict: Verdict) -> Event {
    Event::new(attempt, verdict, &host(), able(), surroundings())
}

/// An event of [`attempt`] whose label and reason are set by hand.
pub fn event(label: Label, reason: Option<Reason>) -> Event {
    let origin = (label != Label::Connected).then_some(Origin::Remote);
    let active_refusal = matches!(label, Label::Refused | Label::Reset);
    judged(&attempt(), Verdict { label, reason, origin, active_refusal })
}

/// Errnos that attempts end with, and one that they do not.
const ERRNOS: [i32; 15] = [
    0,
    libc::EPERM,
    libc::EINTR,
    libc::EACCES,
    libc::EINVAL,
    libc::EPIPE,
    libc::ENOPROTOOPT,
    libc::EADDRNOTAVAIL,
    libc::ENETUNREACH,
    libc::ECONNABORTED,
    libc::ECONNRESET,
    libc::ETIMEDOUT,
    libc::ECONNREFUSED,
    libc::EHOSTUNREACH,
    255,
];

/// Strings that try to break out of a line, a terminal or a JSON string.
pub fn hostile() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "\x1b]0;x\x07",
        "\n{\"label\":\"connected\"}",
        "\u{202e}",
        "\u{9b}31m",
        "\"",
        "\\",
        "\0",
        "\u{e0041}",
        "</script>",
    ]);
    (any::<String>(), nasty, any::<String>()).prop_map(|(before, nasty, after)| format!("{before}{nasty}{after}"))
}

/// Any deciding facts, bits spread so that each judgement comes up.
pub fn any_code() -> impl Strategy<Value = EndCode> {
    let bits = prop::collection::vec(0u32..24, 0..4);
    let errno = || prop::sample::select(ERRNOS.to_vec());
    (bits, errno(), errno(), 0u8..3, 0u8..6, 0u8..5, 0u8..16, any::<bool>()).prop_map(
        |(bits, sk_err, soft, phase, end, icmp_type, icmp_code, is_v6)| EndCode {
            facts: bits.into_iter().fold(0, |facts, bit| facts | 1 << bit),
            sk_err: sk_err as u16,
            phase,
            end,
            icmp_type,
            icmp_code,
            soft_err: soft as u8,
            family: if is_v6 { FAMILY_V6 } else { FAMILY_V4 },
        },
    )
}

fn suspicious(verdict: Verdict) -> Verdict {
    match (verdict.reason, verdict.origin) {
        (Some(Reason::Rst), Some(Origin::Remote)) => Verdict { origin: Some(Origin::SuspectedMiddlebox), ..verdict },
        _ => verdict,
    }
}

/// Any delivery, with hostile strings, of which none is empty.
pub fn any_mta() -> impl Strategy<Value = Mta> {
    let strings = (prop::option::of(hostile()), prop::option::of(hostile()), prop::option::of(hostile()));
    let status = prop::sample::select(vec![
        None,
        Some(DeliveryStatus::Sent),
        Some(DeliveryStatus::Deferred),
        Some(DeliveryStatus::Bounced),
    ]);
    let kind = prop::sample::select(vec![MtaKind::Postfix, MtaKind::Exim, MtaKind::OpenSmtpd, MtaKind::KumoMta]);
    let candidates = prop::option::of(1u32..);
    (kind, strings, prop::option::of(hostile()), status, any::<bool>(), candidates).prop_map(
        |(kind, (queue_id, recipient_domain, host), words, status, unlogged, candidates)| Mta {
            kind,
            queue_id,
            recipient_domain,
            host,
            status,
            said: words.is_some().then_some(Said::Refused),
            words,
            unlogged,
            candidates,
        },
    )
}

/// Any event, with hostile strings wherever a string comes from others.
pub fn any_event() -> impl Strategy<Value = Event> {
    let numbers = (any::<u64>(), any::<u32>(), any::<u16>(), any::<Option<u8>>(), any::<bool>());
    let times = (prop::option::of(0u64..1 << 40), prop::option::of(0u64..1 << 40));
    let addresses = (prop::option::of(any::<IpAddr>()), any::<IpAddr>(), prop::option::of(any::<IpAddr>()));
    let strings = (hostile(), hostile(), prop::option::of(hostile()));
    let rest = (strings, prop::option::of(any_mta()));
    (any_code(), numbers, times, addresses, rest).prop_map(|(code, numbers, times, addresses, (strings, mta))| {
        let (big, medium, small, ttl, flag) = numbers;
        let attempt = Attempt {
            started_ns: big,
            started: flag.then(time),
            elapsed: times.0.map(Duration::from_nanos),
            handshake: times.1.map(Duration::from_nanos),
            saddr: addresses.0,
            sport: Some(small),
            daddr: addresses.1,
            dport: small,
            syn_retransmits: small,
            syn_drops: small,
            answer_drops: small,
            bytes_received: big,
            unacked_bytes: medium,
            code,
            rst_ttl: ttl,
            icmp_ttl: ttl,
            icmp_from: addresses.2,
            process: flag.then_some(Task { pid: medium, uid: medium, comm: strings.1, cgroup: big }),
            ..attempt()
        };
        let destination = Destination {
            attempts: big,
            established: big,
            refused: 1,
            timeout: 2,
            first_failed: flag.then(time),
            streak: u64::from(small),
        };
        let around = Surroundings { cgroup: strings.2, destination: flag.then_some(destination), ..surroundings() };
        let verdict = if flag { suspicious(label(&code)) } else { label(&code) };
        let able = Capabilities { syn_drops: flag, ..able() };
        Event { mta, ..Event::new(&attempt, verdict, &Host { name: strings.0, ..host() }, able, around) }
    })
}

fn scope_change(kind: Change, scope: Scope, from: Vec<Scope>) -> ScopeChange {
    let numbers = Numbers {
        window: Window::TenMinutes,
        attempts: 40,
        failures: 39,
        destinations: 4,
        label: Some(Label::Refused),
        origin: None,
        elsewhere_attempts: 200,
        elsewhere_successes: 198,
    };
    let at = |text: &str| text.parse().expect("a time");
    let (time, since) = (at("2026-11-23T16:07:01.123Z"), at("2026-11-23T15:58:41Z"));
    let cause = (kind == Change::Ended).then_some(EndCause::Recovered);
    ScopeChange { kind, time, since, verdict: ScopeVerdict { scope, numbers }, from, cause }
}

/// Every scope and every change.
pub fn alerts() -> Vec<Alert> {
    let (address, port) = (ip("203.0.113.5"), PORT);
    let destination = Scope::Destination { ip: address, port };
    let scopes = vec![
        Scope::Everything { port },
        Scope::OnlyIpv4 { port },
        Scope::OnlyIpv6 { port },
        Scope::OnlySource { ip: ip("192.0.2.10") },
        destination.clone(),
        Scope::Intermittent { ip: address, port, connections: 20, period_s: 60 },
        Scope::TooLittleData { port },
    ];
    let mut changes: Vec<_> = scopes.into_iter().map(|scope| scope_change(Change::Began, scope, Vec::new())).collect();
    let prefix = || Scope::Prefix { prefix: "203.0.113.0/24".parse().expect("a sample"), port };
    changes.push(scope_change(Change::Widened, prefix(), vec![destination]));
    changes.push(scope_change(Change::Ended, prefix(), Vec::new()));
    let stopped = scope_change(Change::Ended, prefix(), Vec::new());
    changes.push(ScopeChange { cause: Some(EndCause::ObserverStopped), ..stopped });
    let mut here = scope_change(Change::Began, Scope::Everything { port }, Vec::new());
    (here.verdict.numbers.label, here.verdict.numbers.origin) = (Some(Label::Blocked), Some(Origin::Local));
    changes.push(here);
    Alert::of_changes(changes, &host())
}

/// What a validator of one of the repository's schemas finds wrong, or nothing.
pub fn against_schema(name: &str, value: &serde_json::Value) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema").join(format!("{name}.json"));
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("a sample")).expect("a sample");
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("a sample");
    let undescribed = value.as_object().expect("a sample").keys().filter(|key| schema["properties"].get(key).is_none());
    let undescribed = undescribed.map(|key| format!("{key} is not described"));
    validator.iter_errors(value).map(|error| error.to_string()).chain(undescribed).collect()
}

/// Nothing that is not documented: the schema with every object closed.
pub fn closed(mut schema: serde_json::Value) -> serde_json::Value {
    fn close(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                if object.contains_key("properties") {
                    object.insert("additionalProperties".to_owned(), serde_json::Value::Bool(false));
                }
                object.values_mut().for_each(close);
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(close),
            _ => (),
        }
    }
    close(&mut schema);
    schema
}
