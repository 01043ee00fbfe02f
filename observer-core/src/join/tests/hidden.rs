//! With a key no name of the log is in anything that leaves the join.

use crate::choice::Choice as _;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;

use crate::event::Event;
use crate::format::{Entry, Format};
use crate::join::Settings;
use crate::join::attach::Attacher;
use crate::join::hash::DomainKey;
use crate::label::{Label, Reason};
use crate::mta::stamp::Clock;
use crate::mta::{MtaKind, parse};
use crate::sample;

/// In every label of every name, and in nothing else: not in a hash either.
const MARK: &str = "qz";

fn name(labels: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let label = ("[a-w0-9]{0,4}", select(vec!["qz", "QZ", "Qz"]), "(-?[a-w0-9]{1,9})?");
    let label = label.prop_map(|(before, mark, after)| format!("{before}{mark}{after}"));
    prop::collection::vec(label, labels).prop_map(|labels| labels.join("."))
}

/// Names of a delivery: the recipients' domains, the host, and any other.
#[derive(Clone, Debug)]
struct Names {
    domains: [String; 2],
    host: String,
    other: String,
}

fn names() -> impl Strategy<Value = Names> {
    ([name(1..4), name(2..3)], name(1..5), name(2..4)).prop_map(|(domains, host, other)| Names { domains, host, other })
}

/// What a server may answer; the last is cut somewhere.
fn words(names: &Names, nth: usize, padding: usize) -> String {
    let Names { domains: [domain, _], host, other } = names;
    match nth {
        0 => "Connection refused".to_owned(),
        1 => format!(
            "host {host}[203.0.113.5] said: 450 4.2.0 <john@{domain}>: see https://{other}/?d={other} for j@{domain}."
        ),
        2 => format!("450 4.7.1 {} {other} <john@{domain}>", "x".repeat(padding)),
        _ => format!("{}{other}[203.0.113.9] {other}", "y ".repeat(padding / 2)),
    }
}

/// Lines on two recipients, of which `nth` says what the server answered.
fn lines(kind: MtaKind, names: &Names, nth: usize, padding: usize) -> Vec<String> {
    let words = words(names, nth, padding);
    let Names { domains, host, .. } = names;
    let syslog = |tag: &str, text: String| format!("2026-11-23T16:07:01.124Z mx1 {tag}: {text}");
    match kind {
        MtaKind::Postfix => {
            let last = |domain: &String| {
                format!(
                    "AAAAAA: to=<john@{domain}>, relay=none, delay=1, delays=0/0/0.1/0, dsn=4.4.1, status=deferred \
                     (connect to {host}[203.0.113.5]:25: {words})"
                )
            };
            let step = format!("connect to {host}[203.0.113.5]:25: Connection refused");
            [step].into_iter().chain(domains.iter().map(last)).map(|text| syslog("postfix/smtp[1203]", text)).collect()
        }
        MtaKind::Exim => {
            let stamped = |text: String| format!("2026-11-23 16:07:01.124 +0000 [1203] 1vN3Xa-000000001Ab-1cDe {text}");
            let last = |domain: &String| {
                stamped(format!(
                    "== john@{domain} R=dnslookup T=remote_smtp defer (111): {host} [203.0.113.5]: {words}"
                ))
            };
            let step = stamped(format!("H={host} [203.0.113.5] Connection refused"));
            [step].into_iter().chain(domains.iter().map(last)).collect()
        }
        MtaKind::OpenSmtpd => {
            let of_session = |text: String| syslog("smtpd[1203]", format!("5bd4e1f2a3b4c5d6 mta {text}"));
            let last = |domain: &String| {
                of_session(format!(
                    "delivery evpid=0123456789abcdef from=<> to=<john@{domain}> rcpt=<-> source=\"-\" \
                     relay=\"203.0.113.5 ({host})\" delay=9s result=\"TempFail\" stat=\"{words}\""
                ))
            };
            let step = of_session(format!("connecting address=smtp://203.0.113.5:25 host={host}"));
            [step, of_session(format!("error reason={words}"))].into_iter().chain(domains.iter().map(last)).collect()
        }
        MtaKind::KumoMta => {
            let record = |domain: &String| {
                serde_json::json!({
                    "type": "TransientFailure", "id": "a1", "recipient": format!("john@{domain}"),
                    "timestamp": 1_795_450_021, "response": {"code": 450, "content": words},
                    "peer_address": {"name": host, "addr": "203.0.113.5"},
                    "source_address": {"address": "192.0.2.10:45890"},
                })
                .to_string()
            };
            domains.iter().map(record).collect()
        }
    }
}

fn event(id: usize, after_ms: i64, is_elsewhere: bool) -> Event {
    let mut event = sample::event(Label::Refused, Some(Reason::Rst));
    event.id = format!("e{id}");
    let after = SignedDuration::from_millis(after_ms);
    (event.time, event.started) = (event.time + after, event.started.map(|started| started + after));
    if is_elsewhere {
        event.dst.ip = Some(sample::ip("203.0.113.77"));
    }
    event
}

proptest! {
    /// Joined, ambiguous and unlogged attempts, and deliveries, whichever of the lines came.
    #[test]
    fn no_name_of_the_log_is_in_any_output(
        kind in select(vec![MtaKind::Postfix, MtaKind::Exim, MtaKind::OpenSmtpd, MtaKind::KumoMta]),
        deliveries in prop::collection::vec((names(), 0usize..4, 200usize..320, any::<u8>()), 1..4),
        events in prop::collection::vec((-20i64..20, any::<bool>()), 0..5),
    ) {
        let clock = Clock { now: sample::time(), zone: TimeZone::UTC };
        let mut attacher = Attacher::new(Settings::default()).hiding(Some(DomainKey::new(b"0123456789abcdef")));
        for (id, (after_ms, is_elsewhere)) in events.into_iter().enumerate() {
            attacher.event(event(id, after_ms, is_elsewhere));
        }
        for (names, nth, padding, kept) in &deliveries {
            for (number, text) in lines(kind, names, *nth, *padding).iter().enumerate() {
                let line = parse(kind, text.as_bytes(), &clock);
                prop_assert!(line.is_some(), "not understood: {}", text);
                if kept & (1 << number) != 0 {
                    attacher.line(line.unwrap());
                }
            }
        }
        let ready = attacher.finish();
        let mut out = format!("{:?}", ready.deliveries).into_bytes();
        for event in &ready.events {
            for format in Format::ALL {
                format.append(Entry::Event(event), false, &mut out).unwrap();
            }
        }
        let out = String::from_utf8(out).unwrap().to_lowercase();
        let at = out.find(MARK).map(|at| out.floor_char_boundary(at.saturating_sub(80)));
        prop_assert!(at.is_none(), "{}", &out[at.unwrap_or_default()..]);
    }
}
