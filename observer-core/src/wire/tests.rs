use std::borrow::Cow;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::format::text::Words;
use crate::sample::{alerts, any_event, event};
use crate::tally::{Limit, Tallies};

/// What `observer run` 0.1.0 wrote, and what its readers asked for.
const DAEMON: &str = include_str!("../../../tests/fixtures/wire-v0/daemon.jsonl");
const ENDED_DAEMON: &str = include_str!("../../../tests/fixtures/wire-v0/ended-daemon.jsonl");
const REFUSAL: &str = include_str!("../../../tests/fixtures/wire-v0/refusal.jsonl");
const REQUESTS: &str = include_str!("../../../tests/fixtures/wire-v0/requests.jsonl");

fn read(lines: &str) -> Vec<Line> {
    lines.lines().map(|line| Line::from_json(line.as_bytes()).unwrap().unwrap()).collect()
}

#[test]
fn what_protocol_0_wrote_is_read() {
    let lines = read(DAEMON);
    let count = |is_it: fn(&Line) -> bool| lines.iter().filter(|line| is_it(line)).count();
    assert!(matches!(&lines[0], Line::Hello(Hello { protocol: 0, since: None, version, .. }) if version == "0.1.0"));
    assert_eq!(count(|line| matches!(line, Line::Event(_))), 26);
    assert_eq!(count(|line| matches!(line, Line::Delivery(_))), 2);
    assert_eq!(count(|line| matches!(line, Line::Account(_))), 2);
    assert_eq!(count(|line| matches!(line, Line::Alert(_))), 1);
    let Some(Line::Summary(summary)) = lines.last() else { panic!("no summary") };
    assert_eq!((summary.account.attempts, summary.account.imbalance(), summary.events), (26, 0, 26));
    let labels: BTreeSet<_> =
        lines.iter().filter_map(|line| if let Line::Event(event) = line { Some(event.label) } else { None }).collect();
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), Label::ALL);
    assert!(matches!(&read(ENDED_DAEMON)[..], [Line::Hello(_), Line::End, Line::Summary(_)]));
    assert!(matches!(&read(REFUSAL)[..], [Line::Refusal(Refusal { protocol: 0, .. })]));
}

#[test]
fn what_protocol_0_asks_is_understood_and_asked_in_the_same_words() {
    for line in REQUESTS.lines() {
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!((request.protocol, request.known), (0, None));
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
    }
    let request: Request = serde_json::from_str(r#"{"protocol":9,"weather":true}"#).unwrap();
    assert_eq!(request, Request { protocol: 9, ..Request::default() });
}

/// The values that readers of protocol 0 know; they end at any other.
const VALUES: [(&str, &str); 7] = [
    ("label", "refused timeout unreachable blocked reset closed silent cancelled connected"),
    (
        "reason",
        "rst icmp-port-unreachable icmp-admin-prohibited icmp-protocol-unreachable syn-timeout abandoned stalled \
         icmp-net-unreachable icmp-host-unreachable no-neighbour no-route route-prohibited local-firewall \
         permission-denied ports-exhausted no-source-address before-banner mid-session no-banner early process-exit \
         unknown",
    ),
    ("origin", "local remote network suspected-middlebox none unknown"),
    ("kind", "postfix exim opensmtpd kumomta"),
    ("status", "trying failed sent deferred bounced"),
    (
        "said",
        "nothing refused timed-out network-unreachable no-route not-permitted lost-before-greeting no-greeting \
         lost-in-session answered suspended other",
    ),
    ("schema", "observer.event.v1 observer.alert.v1"),
];

/// Fails at a value that a reader of protocol 0 would end at.
fn ensure_v0(value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, values) in VALUES {
                if let Some(serde_json::Value::String(word)) = object.get(name) {
                    assert!(values.split_whitespace().any(|value| value == word), "{name} {word}");
                }
            }
            object.values().for_each(ensure_v0);
        }
        serde_json::Value::Array(values) => values.iter().for_each(ensure_v0),
        _ => {}
    }
}

fn ensure_v0_line(line: &Line) {
    let told = v0::line(line).expect("it is not told");
    ensure_v0(&serde_json::from_str(&told.to_json().unwrap()).unwrap());
}

proptest! {
    #[test]
    fn readers_of_protocol_0_are_told_what_they_can_read(event in any_event(), label in 0..Label::COUNT) {
        let (mta, reason) = (event.mta.clone(), event.reason);
        let line = Line::Event(Box::new(Event { label: Label::READ[label], ..event }));
        ensure_v0_line(&line);
        let is_read = |reason: Reason| VALUES[1].1.split_whitespace().any(|value| value == reason.as_str());
        if label < Label::ALL.len() && reason.is_none_or(is_read) {
            prop_assert_eq!(&*v0::line(&line).unwrap(), &line);
        }
        if let Some(mta) = mta {
            let (id, time, dst) = (String::new(), Timestamp::UNIX_EPOCH, Endpoint::default());
            ensure_v0_line(&Line::Delivery(Box::new(Joined { id, time, dst, mta })));
        }
    }
}

#[test]
fn readers_of_protocol_0_are_not_told_what_a_mail_server_said_in_a_later_word() {
    use crate::event::Mta;
    use crate::label::{Label, Reason};
    use crate::mta::{DeliveryStatus, MtaKind, Said};
    let mta = Mta {
        kind: MtaKind::Postfix,
        queue_id: None,
        recipient_domain: None,
        host: None,
        status: Some(DeliveryStatus::Deferred),
        said: Some(Said::TlsFailed),
        words: None,
        unlogged: false,
        candidates: None,
    };
    let event = Event { mta: Some(mta), ..event(Label::Refused, Some(Reason::Rst)) };
    let line = Line::Event(Box::new(event));
    ensure_v0_line(&line);
    let Some(Line::Event(told)) = v0::line(&line).map(Cow::into_owned) else { panic!("it is not told") };
    let told = told.mta.unwrap();
    assert_eq!((told.said, told.status), (None, Some(DeliveryStatus::Deferred)));
}

#[test]
fn readers_of_protocol_0_are_told_of_alerts_that_they_can_read() {
    for alert in alerts() {
        ensure_v0_line(&Line::Alert(Box::new(alert.clone())));
        let mut later = alert;
        later.change.verdict.numbers.label = Some(Label::Unknown);
        assert_eq!(v0::line(&Line::Alert(Box::new(later))), None);
    }
    assert_eq!(v0::line(&Line::Known(Known::End)), None);
}

/// An event as a later version may write it.
const LATER: &str = concat!(
    r#"{"event":{"schema":"observer.event.v1","id":"a","time":"2030-01-01T00:00:00Z","host":"mx1","#,
    r#""label":"greylisted","reason":"greeting-transient","origin":"neighbour","src":{"ip":"192.0.2.1","zone":3},"#,
    r#""dst":{"ip":"203.0.113.5","port":25,"name":"mx.example.net"},"syn_retransmits":0,"#,
    r#""smtp":{"greeting":{"code":450}},"mta":{"kind":"sendmail","status":"frozen"}}}"#,
    "\n"
);

#[test]
fn an_event_of_a_later_version_is_read_and_kept_as_it_came() {
    let Some(Line::Event(event)) = Line::from_json(LATER.as_bytes()).unwrap() else { panic!("no event") };
    assert_eq!((event.label, event.reason), (Label::Unknown, Some(Reason::Unknown)));
    assert_eq!((event.dst.port, event.mta), (Some(25), None));
    let json = event_as_it_came(LATER.as_bytes()).unwrap();
    assert!(json.starts_with("{\"schema\"") && json.ends_with("\"frozen\"}}"), "{json}");
    let words = Words::read(json);
    let all = [words.label, words.reason, words.origin].map(Option::unwrap);
    assert_eq!(all, ["greylisted", "greeting-transient", "neighbour"]);
    let known = LATER.replace("sendmail", "postfix");
    let Some(Line::Event(event)) = Line::from_json(known.as_bytes()).unwrap() else { panic!("no event") };
    assert_eq!(event.mta.unwrap().status, None);
}

#[test]
fn of_an_alert_of_a_later_version_the_sentence_is_read() {
    let json = Line::Alert(Box::new(alerts().remove(0))).to_json().unwrap();
    let later = json.replace("\"change\":\"began\"", "\"change\":\"paused\"");
    assert_ne!(json, later);
    let line = Line::from_json(later.as_bytes()).unwrap();
    assert!(matches!(&line, Some(Line::LaterAlert(alert)) if alert.text == alerts()[0].text), "{line:?}");
    assert!(Line::from_json(br#"{"alert":{"text":"no time"}}"#).is_err());
}

#[test]
fn what_is_known_is_skipped_where_it_cannot_be_read() {
    let limit = Limit { destinations: 1, bytes: 1_000_000 };
    let line = Line::Known(Known::Head(Tallies::default().snapshot(limit).head().clone()));
    let json = line.to_json().unwrap();
    assert_eq!(Line::from_json(json.as_bytes()).unwrap(), Some(line));
    let later = json.replace("\"version\":1", "\"version\":\"one\"");
    assert_ne!(json, later);
    assert_eq!(Line::from_json(later.as_bytes()).unwrap(), None);
}

#[test]
fn an_event_of_this_version_is_the_same_either_way() {
    let event = event(Label::Refused, Some(Reason::Rst));
    let line = Line::Event(Box::new(event.clone())).to_json().unwrap();
    assert_eq!(event_as_it_came(line.as_bytes()).unwrap(), serde_json::to_string(&event).unwrap());
}

#[test]
fn kinds_of_later_versions_are_skipped_and_damage_is_not() {
    for later in [&br#"{"weather":{"sun":true}}"#[..], br#""pause""#] {
        assert_eq!(Line::from_json(later).unwrap(), None);
    }
    for damaged in [&b"{\"lost\":{}}"[..], b"\"hello\"", b"{", b"", b"[]", b"{\"a\":1,\"b\":2}"] {
        assert!(Line::from_json(damaged).is_err(), "{damaged:?}");
    }
}

#[test]
fn members_of_later_versions_are_skipped() {
    let line = Line::from_json(br#"{"lost":{"events":3,"why":"slow"}}"#).unwrap();
    assert_eq!(line, Some(Line::Lost(Lost { events: 3 })));
}

proptest! {
    #[test]
    fn whatever_comes_in_is_read_or_refused(bytes in any::<Vec<u8>>(), text in "[\\[{\"a-z:0-9,}\\]]{0,64}") {
        let _ = Line::from_json(&bytes);
        let _ = Line::from_json(text.as_bytes());
        let _ = serde_json::from_slice::<Request>(&bytes);
    }

    #[test]
    fn what_is_written_is_read(attempts: u64, outcomes: u64, events: u64, version: String, ports: Vec<u16>, unseen: Vec<String>) {
        let account = Account { attempts, outcomes, ..Account::default() };
        let summary = Summary { text: version.clone(), account, events, too_slow: events };
        let hello = Hello { version, ports, hooks: 3, protocol: PROTOCOL, since: Some(Timestamp::UNIX_EPOCH), unseen };
        let lines = [Line::Hello(hello), Line::Account(account), Line::Lost(Lost { events }), Line::End,
            Line::Summary(summary)];
        for line in lines {
            let json = line.to_json().unwrap();
            prop_assert_eq!(json.find('\n'), Some(json.len() - 1));
            prop_assert_eq!(Line::from_json(json.as_bytes()).unwrap(), Some(line));
        }
    }
}
