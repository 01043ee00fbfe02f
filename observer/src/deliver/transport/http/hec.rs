//! Splunk's HTTP Event Collector: envelopes one after the other, and an answer with
//! a code (Splunk's "Troubleshoot HTTP Event Collector", possible error codes).

use serde::Deserialize;
use ureq::http::StatusCode;

use super::{Judgement, words};
use crate::deliver::message::Message;

#[derive(Deserialize)]
struct Answer {
    code: u32,
    #[serde(default)]
    text: String,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
}

pub(super) fn body(messages: &[&Message]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.body.iter().copied()).collect()
}

/// `None`: the status says it all.
pub(super) fn judge(status: StatusCode, answer: &[u8]) -> Option<Judgement> {
    let Ok(parsed) = serde_json::from_slice::<Answer>(answer) else {
        // An answer that is not Splunk's own: a proxy's, or another server's.
        return status.is_success().then(|| Judgement::TurnedAway(format!("not an answer of HEC: {}", words(answer))));
    };
    let cause = format!("{status}: {} (HEC code {})", words(parsed.text.as_bytes()), parsed.code);
    Some(match parsed.code {
        0 if status.is_success() => Judgement::Taken(Vec::new()),
        // The token is disabled, missing, malformed or unknown, may not write to its
        // index, or wants a channel (10, 11), which only its settings can tell.
        1..=4 | 7 | 10 | 11 | 14 | 16 => Judgement::TurnedAway(cause),
        5 | 6 | 12 | 13 | 15 => match parsed.invalid {
            Some(nth) => Judgement::RefusedOne(nth, cause),
            None => Judgement::Refused(cause),
        },
        8 | 9 | 18..=20 | 23..=27 => Judgement::Busy(cause),
        _ => return (status.is_success()).then_some(Judgement::Busy(cause)),
    })
}
