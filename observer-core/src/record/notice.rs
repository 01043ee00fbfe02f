//! The notice, version 1: something about observer itself that its receivers
//! should know, such as a sink that was away. It goes the way of alerts, and its
//! JSON form is documented by `schema/observer.notice.v1.json`.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::event::Host;
use crate::schema::{self, Name};

/// Value of [`Notice::schema`].
pub const SCHEMA: &str = "observer.notice.v1";

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A receiver cannot be reached.
    SinkDown,
    /// It can be again.
    SinkUp,
    /// Messages to a sink were lost on the way to it.
    EventsDropped,
    /// A receiver will never take some messages; they are in the dead-letter file.
    MessagesRefused,
    /// A part of a spool was damaged on disk.
    SpoolCorrupt,
}

impl NoticeKind {
    /// The kind as notices write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SinkDown => "sink-down",
            Self::SinkUp => "sink-up",
            Self::EventsDropped => "events-dropped",
            Self::MessagesRefused => "messages-refused",
            Self::SpoolCorrupt => "spool-corrupt",
        }
    }
}

/// Something to tell of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: NoticeKind,
    /// Messages concerned since the last finding of this kind.
    pub count: u64,
    /// When it began, where that is known.
    pub since: Option<Timestamp>,
    /// Why, in words; a receiver's own may be among them.
    pub cause: String,
}

/// Something about observer itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "schema_name")]
    pub schema: Name,
    /// Stable and unique: host, boot, time, and which of this process it is.
    pub id: String,
    /// When it was found.
    pub time: Timestamp,
    /// This host's name.
    pub host: String,
    /// What it is.
    pub kind: NoticeKind,
    /// Name of the sink.
    pub sink: String,
    /// Messages concerned since the last notice of this kind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u64,
    /// When it began, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why, in words; a receiver's own may be among them.
    pub cause: String,
    /// All of it in a sentence, without a full stop.
    pub text: String,
}

impl Notice {
    /// The `nth` notice of this process.
    pub fn of_sink(sink: &str, finding: Finding, host: &Host, nth: u64, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            id: format!("{}-{}-{:x}.n{nth}", host.name, host.boot, now.as_nanosecond()),
            time: now,
            host: host.name.clone(),
            kind: finding.kind,
            sink: sink.to_owned(),
            count: finding.count,
            since: finding.since,
            text: sentence(sink, &finding),
            cause: finding.cause,
        }
    }
}

fn sentence(sink: &str, finding: &Finding) -> String {
    let Finding { kind, count, cause, .. } = finding;
    let since = finding.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    match kind {
        NoticeKind::SinkDown => format!("sink {sink} cannot deliver{since}: {cause}; new messages wait"),
        NoticeKind::SinkUp => format!("sink {sink} is delivering again, was down{since}: {cause}"),
        NoticeKind::EventsDropped => format!("sink {sink} has lost {count} messages: {cause}"),
        NoticeKind::MessagesRefused => {
            format!("the receiver of sink {sink} refused {count} messages: {cause}")
        }
        NoticeKind::SpoolCorrupt => format!("sink {sink}: {count} damaged records were left out: {cause}"),
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Reads [`SCHEMA`], and no other version.
fn schema_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    schema::expect(SCHEMA, deserializer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sample::{against_schema, host, time};

    /// One of each kind.
    pub(crate) fn notices() -> Vec<Notice> {
        let kinds = [
            NoticeKind::SinkDown,
            NoticeKind::SinkUp,
            NoticeKind::EventsDropped,
            NoticeKind::MessagesRefused,
            NoticeKind::SpoolCorrupt,
        ]
        .into_iter();
        let finding = |(nth, kind): (usize, NoticeKind)| {
            let since = (nth < 2).then(|| time() - jiff::SignedDuration::from_mins(5));
            Finding { kind, count: 3 * u64::from(nth > 1), since, cause: "spool full 3".to_owned() }
        };
        let findings = kinds.enumerate().map(finding);
        findings.zip(1..).map(|(finding, nth)| Notice::of_sink("siem", finding, &host(), nth, time())).collect()
    }

    #[test]
    fn each_kind_in_a_sentence() {
        let text: Vec<_> = notices().into_iter().map(|notice| notice.text).collect();
        insta::assert_snapshot!(text.join("\n"), @"
        sink siem cannot deliver since 2026-11-23T16:02:01Z: spool full 3; new messages wait
        sink siem is delivering again, was down since 2026-11-23T16:02:01Z: spool full 3
        sink siem has lost 3 messages: spool full 3
        the receiver of sink siem refused 3 messages: spool full 3
        sink siem: 3 damaged records were left out: spool full 3
        ");
    }

    #[test]
    fn the_schema_describes_every_notice_and_it_reads_back() {
        for notice in notices() {
            let json = serde_json::to_value(&notice).unwrap();
            assert_eq!(against_schema(SCHEMA, &json), [""; 0], "{json}");
            assert_eq!(serde_json::from_value::<Notice>(json).unwrap(), notice);
        }
    }
}
