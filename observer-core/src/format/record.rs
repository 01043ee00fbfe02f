//! Minutes and notices as formats see them, which treat both alike: few fields of
//! their own beside a name, a time and a sentence.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::place::destination;
use super::severity::Severity;
use crate::label::{Label, Reason};
use crate::minute::Minute;
use crate::notice::{Notice, NoticeKind};

/// A minute or a notice.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its id.
    pub id: &'a str,
    /// `tcp.minute.refused`, `notice.sink-down`.
    pub name: String,
    /// For a person, in a few words.
    pub title: &'static str,
    /// This host's name.
    pub host: &'a str,
    /// When: the end of a minute.
    pub time: Timestamp,
    /// Since when.
    pub start: Option<Timestamp>,
    /// How much attention it asks for.
    pub severity: Severity,
    /// All of it in a sentence.
    pub text: String,
    /// What only a minute has.
    pub count: Option<Count>,
    /// All that it has beside id, host, times and text, by the names of its JSON form.
    pub fields: Map<String, Value>,
}

/// Attempts of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// How they ended.
    pub label: Label,
    /// The mechanism.
    pub reason: Option<Reason>,
    /// Source address.
    pub src_ip: Option<IpAddr>,
    /// Destination address.
    pub dst_ip: Option<IpAddr>,
    /// Destination port.
    pub dst_port: Option<u16>,
}

impl<'a> Record<'a> {
    /// Of a minute.
    ///
    /// # Errors
    /// Those of serialisation, which plain values do not have.
    pub fn of_minute(minute: &'a Minute) -> serde_json::Result<Self> {
        let Minute { label, reason, count, .. } = *minute;
        let label_text = label.as_str();
        let reason_text = reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
        let attempts = if count == 1 { "attempt" } else { "attempts" };
        Ok(Self {
            id: &minute.id,
            name: format!("tcp.minute.{label_text}"),
            title: "SMTP connections of a minute",
            host: &minute.host,
            time: minute.end,
            start: Some(minute.time),
            severity: Severity::Informational,
            text: format!("{}: {count} {attempts} {label_text}{reason_text}", destination(&minute.dst)),
            count: Some(Count {
                count,
                label,
                reason,
                src_ip: minute.src_ip,
                dst_ip: minute.dst.ip,
                dst_port: minute.dst.port,
            }),
            fields: fields(minute)?,
        })
    }

    /// Of a notice.
    ///
    /// # Errors
    /// As [`Self::of_minute`].
    pub fn of_notice(notice: &'a Notice) -> serde_json::Result<Self> {
        let severity = match notice.kind {
            NoticeKind::SinkUp => Severity::Informational,
            NoticeKind::SinkDown => Severity::Medium,
            NoticeKind::EventsDropped | NoticeKind::MessagesRefused | NoticeKind::SpoolCorrupt => Severity::High,
        };
        Ok(Self {
            id: &notice.id,
            name: format!("notice.{}", notice.kind.as_str()),
            title: "Delivery by observer",
            host: &notice.host,
            time: notice.time,
            start: notice.since,
            severity,
            text: notice.text.clone(),
            count: None,
            fields: fields(notice)?,
        })
    }

    /// The fields as words, `sink: siem`, for formats that have no place for them.
    pub(super) fn words(&self) -> impl Iterator<Item = (String, String)> {
        let flat = self.fields.iter().flat_map(|(name, value)| match value {
            Value::Object(members) => {
                members.iter().map(|(inner, value)| (format!("{name}_{inner}"), plain(value))).collect()
            }
            value => vec![(name.clone(), plain(value))],
        });
        flat.collect::<Vec<_>>().into_iter()
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn fields(value: &impl serde::Serialize) -> serde_json::Result<Map<String, Value>> {
    const COMMON: [&str; 7] = ["schema", "id", "time", "host", "text", "since", "end"];
    match serde_json::to_value(value)? {
        Value::Object(mut members) => {
            members.retain(|name, _| !COMMON.contains(&name.as_str()));
            Ok(members)
        }
        _ => Ok(Map::new()),
    }
}
