//! An entry of the journal: fields, `NAME=value` a line, or `NAME`, the length in
//! eight bytes of little endian, and the value, where it has a line's end in it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::alert::{self, Alert};
use crate::event::{self, Event};
use crate::format::phrase::phrase;
use crate::format::severity::Severity;
use crate::format::text::destination;
use crate::minute::{self, Minute};
use crate::notice::{self, Notice};

/// Longest name of a field that journald takes.
const NAME_LEN: usize = 64;
/// Facility of system daemons (RFC 5424, section 6.2.1).
const DAEMON: &str = "3";

/// What the journal says of a record beside its own fields.
struct Headline {
    /// Catalogue id of this kind of record; random, and never to be changed.
    message_id: &'static str,
    severity: Severity,
    message: String,
}

#[derive(Deserialize)]
struct Kind {
    schema: String,
}

/// A record's entry, from its JSON.
///
/// # Errors
/// If it is not a record of this version.
pub(super) fn encode(json: &[u8]) -> Result<Vec<u8>, String> {
    let headline = headline(json)?;
    let record: Value = read(json)?;
    let mut out = Vec::with_capacity(2048);
    field("MESSAGE", &headline.message, &mut out);
    field("MESSAGE_ID", headline.message_id, &mut out);
    field("PRIORITY", &headline.severity.syslog().to_string(), &mut out);
    field("SYSLOG_IDENTIFIER", "observer", &mut out);
    field("SYSLOG_FACILITY", DAEMON, &mut out);
    flatten("OBSERVER", &record, &mut out);
    Ok(out)
}

fn headline(json: &[u8]) -> Result<Headline, String> {
    let kind: Kind = read(json)?;
    match kind.schema.as_str() {
        event::SCHEMA => read(json).map(|event: Event| Headline {
            message_id: "5f0d0a7bb7d74d0c9b6d1b8f6a1e4c21",
            severity: Severity::of_event(&event),
            message: format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(&event)),
        }),
        alert::SCHEMA => read(json).map(|alert: Alert| Headline {
            message_id: "c2a3f5f49d0b4c7f8e55b0a9d6c37e02",
            severity: Severity::of_alert(&alert),
            message: alert.text,
        }),
        minute::SCHEMA => read(json).map(|minute: Minute| Headline {
            message_id: "0b8e6d35a1c84f29a7f4e2d95c6b7183",
            severity: Severity::Informational,
            message: format!(
                "{} {} within a minute: {}",
                minute.label.as_str(),
                destination(&minute.dst),
                minute.count
            ),
        }),
        notice::SCHEMA => read(json).map(|notice: Notice| Headline {
            message_id: "e91d7c64f2b04a5d8c3a6f17b0d2954e",
            severity: Severity::Medium,
            message: notice.text,
        }),
        other => Err(format!("the journal takes records of observer, not {other:?}")),
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| format!("the journal takes the format json: {error}"))
}

/// Members become fields named after their path. A list of plain values becomes one
/// field each, all of one name, which the journal keeps.
fn flatten(name: &str, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(value) => field(name, if *value { "true" } else { "false" }, out),
        Value::Number(number) => field(name, &number.to_string(), out),
        Value::String(text) => field(name, text, out),
        Value::Array(values) => values.iter().for_each(|value| flatten(name, value, out)),
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}_{member}"), value, out);
            }
        }
    }
}

fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    let valid = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    out.extend(name.chars().map(valid).take(NAME_LEN).map(|c| c as u8));
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::label::{Label, Reason};
    use crate::sample::{any_event, event};

    /// Reads an entry as journald does.
    pub(in super::super) fn parse(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| b"=\n".contains(byte)).unwrap();
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let (value, rest) = if entry[end] == b'=' {
                let length = entry[end..].iter().position(|byte| *byte == b'\n').unwrap();
                (&entry[end + 1..end + length], &entry[end + length..])
            } else {
                let (length, rest) = entry[end + 1..].split_first_chunk::<8>().unwrap();
                rest.split_at(u64::from_le_bytes(*length) as usize)
            };
            assert_eq!(rest[0], b'\n');
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
            entry = &rest[1..];
        }
        fields
    }

    fn get<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
        fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn an_event_becomes_fields() {
        let json = serde_json::to_vec(&event(Label::Refused, Some(Reason::Rst))).unwrap();
        let fields = parse(&encode(&json).unwrap());
        assert_eq!(get(&fields, "PRIORITY"), ["4"]);
        assert_eq!(get(&fields, "SYSLOG_IDENTIFIER"), ["observer"]);
        assert_eq!(get(&fields, "OBSERVER_SCHEMA"), ["observer.event.v1"]);
        assert_eq!(get(&fields, "OBSERVER_DST_IP"), ["203.0.113.5"]);
        assert_eq!(get(&fields, "OBSERVER_ELAPSED_MS"), ["31.402"]);
        assert!(get(&fields, "MESSAGE")[0].starts_with("refused 203.0.113.5:25: "), "{fields:?}");
        assert_eq!(get(&fields, "MESSAGE_ID")[0].len(), 32);
    }

    #[test]
    fn alerts_become_entries() {
        for alert in crate::sample::alerts() {
            let fields = parse(&encode(&serde_json::to_vec(&alert).unwrap()).unwrap());
            assert_eq!(get(&fields, "MESSAGE"), [alert.text.as_str()]);
            assert_eq!(get(&fields, "OBSERVER_ID"), [alert.id.as_str()]);
        }
    }

    #[test]
    fn what_is_no_record_is_refused_in_words() {
        assert!(encode(b"<28>1 - - - - - -").unwrap_err().contains("format json"));
        assert!(encode(br#"{"schema":"observer.event.v9"}"#).unwrap_err().contains("observer.event.v9"));
    }

    proptest! {
        #[test]
        fn every_event_parses_back_with_valid_names(event in any_event()) {
            let fields = parse(&encode(&serde_json::to_vec(&event).unwrap()).unwrap());
            for (name, _) in &fields {
                prop_assert!(name.len() <= NAME_LEN && name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
                prop_assert!(name.chars().all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit()), "{name}");
            }
            prop_assert_eq!(get(&fields, "OBSERVER_ID"), [event.id.as_str()]);
            prop_assert_eq!(get(&fields, "OBSERVER_HOST"), [event.host.as_str()]);
        }
    }
}
