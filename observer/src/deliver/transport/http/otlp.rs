//! OTLP logs over HTTP, as JSON (OpenTelemetry Protocol 1, "OTLP/HTTP"): one
//! request of all the records.

use serde::Deserialize;
use ureq::http::StatusCode;

use super::{Judgement, words};
use crate::deliver::message::Message;

/// Around the resources of a request, as [`observer_core::format::otlp`] writes it.
const OPEN: &[u8] = br#"{"resourceLogs":["#;
const CLOSE: &[u8] = b"]}";

/// 64-bit numbers are text in protobuf's JSON; some servers write numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "partialSuccess")]
    partial: Option<Partial>,
}

#[derive(Deserialize)]
struct Partial {
    #[serde(rename = "rejectedLogRecords")]
    rejected: Option<Count>,
    #[serde(rename = "errorMessage", default)]
    message: String,
}

/// Each message is a request of its own: their resources make one.
///
/// # Errors
/// If a message is not: its place, and why.
pub(super) fn body(messages: &[&Message]) -> Result<Vec<u8>, (usize, String)> {
    let mut out = Vec::with_capacity(messages.iter().map(|message| message.body.len()).sum());
    out.extend_from_slice(OPEN);
    for (nth, message) in messages.iter().enumerate() {
        let body = message.body.strip_suffix(b"\n").unwrap_or(&message.body);
        let inner = body.strip_prefix(OPEN).and_then(|body| body.strip_suffix(CLOSE)).filter(|inner| !inner.is_empty());
        let inner = inner.ok_or_else(|| (nth, "not a request of the format otlp".to_owned()))?;
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(inner);
    }
    out.extend_from_slice(CLOSE);
    Ok(out)
}

/// `None`: the status says it all.
pub(super) fn judge(status: StatusCode, answer: &[u8], count: usize) -> Option<Judgement> {
    if !status.is_success() {
        return None;
    }
    if answer.trim_ascii().is_empty() {
        return Some(Judgement::Taken(Vec::new()));
    }
    let Ok(Answer { partial }) = serde_json::from_slice(answer) else {
        return Some(Judgement::TurnedAway(format!("not an answer of OTLP: {}", words(answer))));
    };
    let Some(partial) = partial else { return Some(Judgement::Taken(Vec::new())) };
    let rejected = match partial.rejected {
        None => 0,
        Some(Count::Number(number)) => number,
        Some(Count::Text(text)) => text.parse().unwrap_or(u64::MAX),
    };
    let cause = format!("rejected: {}", words(partial.message.as_bytes()));
    Some(match rejected {
        // A warning, about records that it took.
        0 => Judgement::Taken(Vec::new()),
        all if all >= count as u64 => Judgement::Taken((0..count).map(|nth| (nth, cause.clone())).collect()),
        // Which ones it does not say. Those that it took come once more, with their
        // own ids: better than to lose any, or to give up all.
        _ => Judgement::Refused(cause),
    })
}
