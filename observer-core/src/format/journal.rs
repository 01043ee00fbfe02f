//! An entry of the journal: fields, `NAME=value` a line, or `NAME`, the length in
//! eight bytes of little endian, and the value, where it has a line's end in it.

use std::io;

use serde_json::Value;

use super::Entry;
use super::phrase::phrase;
use super::severity::Severity;
use super::text::destination;

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

/// Appends a record's entry.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append(entry: Entry<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let headline = headline(entry);
    let record = match entry {
        Entry::Event(event) => serde_json::to_value(event)?,
        Entry::Alert(alert) => serde_json::to_value(alert)?,
        Entry::Minute(minute) => serde_json::to_value(minute)?,
        Entry::Notice(notice) => serde_json::to_value(notice)?,
    };
    field("MESSAGE", &headline.message, out);
    field("MESSAGE_ID", headline.message_id, out);
    field("PRIORITY", &headline.severity.syslog().to_string(), out);
    field("SYSLOG_IDENTIFIER", "observer", out);
    field("SYSLOG_FACILITY", DAEMON, out);
    flatten("OBSERVER", &record, out);
    Ok(())
}

fn headline(entry: Entry<'_>) -> Headline {
    match entry {
        Entry::Event(event) => Headline {
            message_id: "5f0d0a7bb7d74d0c9b6d1b8f6a1e4c21",
            severity: Severity::of_event(event),
            message: format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(event)),
        },
        Entry::Alert(alert) => Headline {
            message_id: "c2a3f5f49d0b4c7f8e55b0a9d6c37e02",
            severity: Severity::of_alert(alert),
            message: alert.text.clone(),
        },
        Entry::Minute(minute) => Headline {
            message_id: "0b8e6d35a1c84f29a7f4e2d95c6b7183",
            severity: Severity::Informational,
            message: format!(
                "{} {} within a minute: {}",
                minute.label.as_str(),
                destination(&minute.dst),
                minute.count
            ),
        },
        Entry::Notice(notice) => Headline {
            message_id: "e91d7c64f2b04a5d8c3a6f17b0d2954e",
            severity: Severity::Medium,
            message: notice.text.clone(),
        },
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::label::{Label, Reason};
    use crate::sample::{any_event, event};

    /// Reads an entry as journald does.
    fn parse(mut entry: &[u8]) -> Vec<(String, String)> {
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

    fn fields(entry: Entry<'_>) -> Vec<(String, String)> {
        let mut out = Vec::new();
        append(entry, &mut out).unwrap();
        parse(&out)
    }

    fn get<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
        fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn an_event_becomes_fields() {
        let fields = fields(Entry::Event(&event(Label::Refused, Some(Reason::Rst))));
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
            let fields = fields(Entry::Alert(&alert));
            assert_eq!(get(&fields, "MESSAGE"), [alert.text.as_str()]);
            assert_eq!(get(&fields, "OBSERVER_ID"), [alert.id.as_str()]);
        }
    }

    proptest! {
        #[test]
        fn every_event_parses_back_with_valid_names(event in any_event()) {
            let fields = fields(Entry::Event(&event));
            for (name, _) in &fields {
                prop_assert!(name.len() <= NAME_LEN && name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
                prop_assert!(name.chars().all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit()), "{name}");
            }
            prop_assert_eq!(get(&fields, "OBSERVER_ID"), [event.id.as_str()]);
            prop_assert_eq!(get(&fields, "OBSERVER_HOST"), [event.host.as_str()]);
        }
    }
}
