//! Every format of a SIEM's: what it looks like, and that a reader of it gets back
//! what was written, whatever strings others chose.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::Value;

use super::{Entry, Format};
use crate::choice::Choice as _;
use crate::event::{Endpoint, Event};
use crate::label::{Label, Reason};
use crate::minute::Minute;
use crate::notice::{Finding, Notice, NoticeKind};
use crate::sample::{self, alerts, any_event};
use crate::sanitize::{is_visible, sanitize};

const JSON: [Format; 6] = [Format::Json, Format::Ecs, Format::Ocsf, Format::Gelf, Format::SplunkHec, Format::Otlp];

fn line(format: Format, event: &Event) -> String {
    let mut out = Vec::new();
    format.append(Entry::Event(event), false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(format: Format, event: &Event) -> Value {
    serde_json::from_str(&line(format, event)).unwrap()
}

#[test]
fn a_refusal_in_every_format() {
    let event = sample::event(Label::Refused, Some(Reason::Rst));
    let lines: Vec<_> = Format::ALL.iter().map(|&format| format!("{format:?}: {}", line(format, &event))).collect();
    assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn an_alert_in_every_format() {
    let alert = &alerts()[7];
    let line = |&format: &Format| {
        let mut out = Vec::new();
        format.append(Entry::Alert(alert), false, &mut out).unwrap();
        format!("{format:?}: {}", String::from_utf8(out).unwrap())
    };
    let lines: Vec<_> = Format::ALL.iter().map(line).collect();
    assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

/// A minute, and a notice with hostile words of a receiver's.
fn records() -> (Minute, Notice) {
    let minute = Minute {
        schema: crate::minute::SCHEMA,
        id: "mx1-6f0c2d9e-1b2.m3".to_owned(),
        host: "mx1".to_owned(),
        time: "2026-11-23T16:07:00Z".parse().unwrap(),
        end: "2026-11-23T16:08:00Z".parse().unwrap(),
        src_ip: Some(sample::ip("2001:db8::10")),
        dst: Endpoint { ip: Some(sample::ip("203.0.113.5")), port: Some(25) },
        label: Label::Refused,
        reason: Some(Reason::Rst),
        redirected: false,
        count: 40,
    };
    let finding = Finding {
        kind: NoticeKind::MessagesRefused,
        count: 3,
        since: None,
        cause: "400: no|such=\"index\" ]\\\n\u{1b}[2J\u{202e}".to_owned(),
    };
    (minute, Notice::of_sink("siem", finding, &sample::host(), 1, sample::time()))
}

#[test]
fn a_minute_and_a_notice_in_every_format() {
    let (minute, notice) = records();
    let line = |format: Format, entry| {
        let mut out = Vec::new();
        format.append(entry, false, &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line.matches('\n').count(), 1, "{format:?}");
        let is_tab = |c| c == '\t' && format == Format::Leef;
        assert!(line.trim_end().chars().all(|c| is_visible(c) || is_tab(c)), "{format:?} {line:?}");
        line
    };
    let entries = |format| [line(format, Entry::Minute(&minute)), line(format, Entry::Notice(&notice))].concat();
    let lines: Vec<_> = Format::ALL.iter().map(|&format| format!("{format:?}: {}", entries(format))).collect();
    assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    let (header, pairs) = cef(&line(Format::Cef, Entry::Notice(&notice)));
    assert_eq!((header[4].as_str(), pairs["externalId"].as_str()), ("notice.messages-refused", notice.id.as_str()));
    assert_eq!(pairs["msg"], sanitize(&notice.text).replace('|', "¦").replace('"', "'"));
    let (_, parameters, text) = syslog(&line(Format::Rfc5424, Entry::Notice(&notice)));
    assert_eq!(parameters["cause"], sanitize(&notice.cause));
    assert_eq!(text.trim_start(), sanitize(&notice.text));
    assert!(entries(Format::Json).lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn as_syslog_every_format_has_a_header_and_no_newline() {
    let (minute, notice) = records();
    let (event, alert) = (sample::event(Label::Refused, Some(Reason::Rst)), &alerts()[7]);
    for entry in [Entry::Event(&event), Entry::Alert(alert), Entry::Minute(&minute), Entry::Notice(&notice)] {
        for &format in Format::ALL {
            let (mut message, mut line) = (Vec::new(), Vec::new());
            format.append_syslog(entry, 99, &mut message).unwrap();
            format.append(entry, false, &mut line).unwrap();
            let (message, line) = (String::from_utf8(message).unwrap(), String::from_utf8(line).unwrap());
            assert!(message.starts_with('<') && !message.contains('\n'), "{message}");
            assert_eq!(message.split(' ').nth(3), Some("observer"), "{message}");
            if format == Format::Rfc5424 {
                assert_eq!(message.replace("observer@99", "observer@32473") + "\n", line);
            } else {
                let is_json = line.starts_with('{');
                let body = message.split_once(if is_json { " - @cee: " } else { " - " }).unwrap().1;
                assert!(body.ends_with(line.trim_end_matches('\n')), "{message}");
            }
        }
    }
}

/// Key and value of a CEF extension, unescaped.
fn cef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut header = Vec::from([String::new()]);
    let mut chars = line.trim_end_matches('\n').chars();
    while header.len() < 8 {
        match chars.next().unwrap() {
            '|' => header.push(String::new()),
            '\\' => header.last_mut().unwrap().push(chars.next().unwrap()),
            c => header.last_mut().unwrap().push(c),
        }
    }
    // A key is the word before an `=` that is not escaped.
    let (mut pairs, mut key, mut value) = (BTreeMap::new(), String::new(), String::new());
    while let Some(c) = chars.next() {
        match c {
            '\\' => value.push(match chars.next().unwrap() {
                'n' => '\n',
                c => c,
            }),
            '=' => {
                let at = value.rfind(' ').map_or(0, |at| at + 1);
                let next = value.split_off(at);
                if !key.is_empty() {
                    assert!(pairs.insert(key, value.trim_end_matches(' ').to_owned()).is_none());
                }
                (key, value) = (next, String::new());
            }
            c => value.push(c),
        }
    }
    pairs.insert(key, value);
    (header, pairs)
}

/// The structured data of a syslog message, unescaped.
fn syslog(line: &str) -> (Vec<&str>, BTreeMap<String, String>, String) {
    let (head, rest) = line.trim_end_matches('\n').split_once(" [observer@32473").unwrap();
    let mut chars = rest.chars();
    let mut parameters = BTreeMap::new();
    while chars.next().unwrap() == ' ' {
        let name: String = chars.by_ref().take_while(|&c| c != '=').collect();
        assert_eq!(chars.next(), Some('"'));
        let mut value = String::new();
        loop {
            match chars.next().unwrap() {
                '"' => break,
                '\\' => value.push(chars.next().unwrap()),
                c => value.push(c),
            }
        }
        assert!(parameters.insert(name, value).is_none());
    }
    (head.split(' ').collect(), parameters, chars.collect())
}

/// JSON in which no object has two members of one name.
struct Unique;

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> serde::de::Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON without members of the same name")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = std::collections::BTreeSet::new();
        while let Some((name, Self)) = members.next_entry::<String, Self>()? {
            if !names.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("{name} comes twice")));
            }
        }
        Ok(self)
    }
}

/// All that GELF is to have of an event beside its own five fields.
fn flat(name: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(inner, value)| flat(&format!("{name}_{inner}"), value, into));
        }
        Value::Array(words) => {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            drop(into.insert(name.to_owned(), words.join(",").into()));
        }
        Value::Bool(value) => drop(into.insert(name.to_owned(), value.to_string().into())),
        // The name is the sender's own.
        value if name == "_id" => drop(into.insert("_event_id".to_owned(), value.clone())),
        value => drop(into.insert(name.to_owned(), value.clone())),
    }
}

proptest! {
    #[test]
    fn no_member_comes_twice(event in any_event(), number in 0..8_usize) {
        let (minute, notice) = records();
        let alerts = alerts();
        let alert = &alerts[number % alerts.len()];
        for entry in [Entry::Event(&event), Entry::Alert(alert), Entry::Minute(&minute), Entry::Notice(&notice)] {
            for format in JSON {
                let mut out = Vec::new();
                format.append(entry, false, &mut out).unwrap();
                let parsed = serde_json::from_slice::<Unique>(&out);
                prop_assert!(parsed.is_ok(), "{:?}: {:?} {}", format, parsed.err(), String::from_utf8_lossy(&out));
            }
        }
    }

    #[test]
    fn nothing_of_an_event_is_left_out(event in any_event()) {
        let whole = serde_json::to_value(&event).unwrap();
        let mut expected = BTreeMap::new();
        flat("", &whole, &mut expected);
        expected.remove("_host");
        let gelf = json(Format::Gelf, &event);
        let own = gelf.as_object().unwrap().iter().filter(|(name, _)| name.starts_with('_'));
        prop_assert_eq!(own.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>(), expected);
        let mut own = json(Format::Ecs, &event)["tcp_observer"].take();
        for (name, value) in whole.as_object().unwrap() {
            let is_elsewhere = ["schema", "id", "time", "host", "errno", "src", "dst", "started", "elapsed_ms"];
            if name == "process" {
                let (own, process) = (&own["process"], value);
                prop_assert_eq!((&own["cgroup"], &own["netns"]), (&process["cgroup"], &process["netns"]));
            } else if !is_elsewhere.contains(&name.as_str()) {
                prop_assert_eq!(&own[name].take(), value, "{}", name);
            }
        }
    }

    #[test]
    fn an_event_is_one_line_and_plain_to_see(event in any_event()) {
        for &format in Format::ALL {
            let line = line(format, &event);
            prop_assert_eq!(line.matches('\n').count(), 1, "{:?}", format);
            let is_tab = |c| c == '\t' && format == Format::Leef;
            prop_assert!(line.trim_end_matches('\n').chars().all(|c| is_visible(c) || is_tab(c)), "{:?} {:?}", format, line);
        }
    }

    #[test]
    fn json_formats_parse_back(event in any_event()) {
        for format in JSON {
            prop_assert!(json(format, &event).is_object());
        }
        let ecs = json(Format::Ecs, &event);
        prop_assert_eq!(ecs.pointer("/event/id"), Some(&Value::from(event.id.as_str())));
        let comm = event.process.as_ref().map(|process| Value::from(process.comm.as_str()));
        prop_assert_eq!(ecs.pointer("/process/name"), comm.as_ref());
        let ocsf = json(Format::Ocsf, &event);
        prop_assert_eq!(ocsf.pointer("/actor/process/name"), comm.as_ref());
        let class = ocsf["class_uid"].as_u64().unwrap();
        prop_assert_eq!(ocsf["type_uid"].as_u64().unwrap(), class * 100 + ocsf["activity_id"].as_u64().unwrap());
        let hec = json(Format::SplunkHec, &event);
        prop_assert_eq!(hec.pointer("/event/id"), Some(&Value::from(event.id.as_str())));
    }

    #[test]
    fn gelf_has_text_and_numbers_alone(event in any_event()) {
        let message = json(Format::Gelf, &event);
        for (name, value) in message.as_object().unwrap() {
            prop_assert!(value.is_string() || value.is_number(), "{} {}", name, value);
            let is_own = name.strip_prefix('_').is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)));
            let is_standard = ["version", "host", "short_message", "timestamp", "level"].contains(&name.as_str());
            prop_assert!(is_own || is_standard, "{}", name);
        }
        prop_assert!(message.get("_id").is_none() && !message["host"].as_str().unwrap().is_empty());
    }

    #[test]
    fn cef_parses_back_within_its_limits(event in any_event()) {
        let line = line(Format::Cef, &event);
        let (header, pairs) = cef(&line);
        prop_assert_eq!(&header[..4], ["CEF:0", "observer", "observer", env!("CARGO_PKG_VERSION")]);
        prop_assert!(header[6].parse::<u8>().unwrap() <= 10);
        let value = |text: &str| sanitize(text).replace('|', "¦").replace('"', "'").trim_end_matches(' ').to_owned();
        prop_assert_eq!(pairs.get("sproc").cloned(), event.process.as_ref().map(|process| value(&process.comm)));
        prop_assert_eq!(&pairs["act"], event.label.as_str());
        prop_assert!(pairs["msg"].chars().count() <= 1_023 && pairs["externalId"].chars().count() <= 4 * 40);
        let v4 = |key: &str| pairs.get(key).is_none_or(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok());
        let v6 = |key: &str| pairs.get(key).is_none_or(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
        prop_assert!(v4("src") && v4("dst") && v6("c6a2") && v6("c6a3"));
        let extension = line.splitn(8, '|').last().unwrap();
        prop_assert!(!extension.contains('|'), "a receiver would drop {}", line);
        prop_assert!(!extension.contains('"'), "a receiver would take too much for a value in {}", line);
    }

    #[test]
    fn leef_parses_back(event in any_event()) {
        let line = line(Format::Leef, &event);
        let (header, body) = line.trim_end_matches('\n').split_once("|x09|").unwrap();
        prop_assert_eq!(header.split('|').count(), 5);
        let pairs: BTreeMap<_, _> = body.split('\t').map(|pair| pair.split_once('=').unwrap()).collect();
        prop_assert_eq!(pairs["devTime"].len(), 13);
        prop_assert!((1..=10).contains(&pairs["sev"].parse::<u8>().unwrap()));
        let comm = event.process.as_ref().map(|process| sanitize(&process.comm).replace('"', "'"));
        prop_assert!(!body.contains('"'), "a receiver would take too much for a value in {}", line);
        prop_assert_eq!(pairs.get("process").map(|&name| name.to_owned()), comm);
    }

    #[test]
    fn syslog_parses_back_within_its_limits(event in any_event()) {
        let line = line(Format::Rfc5424, &event);
        let (head, parameters, text) = syslog(&line);
        prop_assert_eq!(head.len(), 6, "{:?}", head);
        prop_assert!(["<28>1", "<30>1"].contains(&head[0]), "{}", head[0]);
        prop_assert!(head[1].len() == "2026-11-23T16:07:01.123456Z".len() && head[5].len() <= 32);
        prop_assert!(!head[2].is_empty() && head[2].len() <= 255 && head[2].chars().all(|c| c.is_ascii_graphic()));
        let comm = event.process.as_ref().map(|process| sanitize(&process.comm).into_owned());
        prop_assert_eq!(parameters.get("comm").cloned(), comm);
        prop_assert!(parameters.keys().all(|name| name.len() <= 32 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        prop_assert!(text.starts_with(' ') && text.len() > 1);
    }
}
