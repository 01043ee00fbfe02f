//! Graylog Extended Log Format 1.1: one JSON object a line; a sink that frames
//! with NUL does so itself. Additional fields hold text or numbers, and `_id` is
//! not allowed.

use serde_json::{Map, Value, json};

use super::json::append;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::Event;

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut message = Map::new();
    flatten("", serde_json::to_value(event)?, &mut message);
    message.remove("_host");
    let text = format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(event));
    message.extend(common(&event.host, &text, event.time, Severity::of_event(event)));
    append(&message, out)
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut message = Map::new();
    flatten("", serde_json::to_value(alert)?, &mut message);
    message.remove("_host");
    message.remove("_text");
    message.extend(common(&alert.host, &alert.text, alert.change.time, Severity::of_alert(alert)));
    append(&message, out)
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut message = Map::new();
    flatten("", Value::Object(record.fields.clone()), &mut message);
    message.insert("_event_id".to_owned(), record.id.into());
    message.insert("_name".to_owned(), record.name.as_str().into());
    if let Some(start) = record.start {
        message.insert("_since".to_owned(), start.to_string().into());
    }
    message.extend(common(record.host, &record.text, record.time, record.severity));
    append(&message, out)
}

fn common(host: &str, text: &str, time: jiff::Timestamp, severity: Severity) -> Map<String, Value> {
    let fields = json!({
        "version": "1.1",
        "host": if host.is_empty() { "-" } else { host },
        "short_message": text,
        "timestamp": time.as_microsecond() as f64 / 1e6,
        "level": severity.syslog(),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// `{"src": {"ip": x}}` becomes `_src_ip: x`; lists become comma-separated text.
fn flatten(name: &str, value: Value, into: &mut Map<String, Value>) {
    let inner = |key: &str| format!("{name}_{key}");
    match value {
        Value::Object(members) => members.into_iter().for_each(|(key, value)| flatten(&inner(&key), value, into)),
        Value::Null => {}
        // The name is the sender's own.
        value if name == "_id" => drop(into.insert("_event_id".to_owned(), value)),
        Value::Bool(value) => drop(into.insert(name.to_owned(), Value::String(value.to_string()))),
        Value::Array(values) => {
            let words = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            into.insert(name.to_owned(), Value::String(words.collect::<Vec<_>>().join(",")));
        }
        value => drop(into.insert(name.to_owned(), value)),
    }
}
