//! `_bulk` of Elasticsearch and OpenSearch: an action before each document, and a
//! status for each in the answer.
//!
//! The action is `create` with the record's own id: what is there already is not
//! written twice, and answered with a conflict.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::StatusCode;

use super::{Judgement, words};
use crate::deliver::message::Message;

#[derive(Deserialize)]
struct Answer {
    /// Whether any of them failed.
    errors: Option<bool>,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: ItemResult,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(default)]
    error: Value,
}

pub(super) fn body(messages: &[&Message], index: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(messages.iter().map(|message| message.body.len() + 96).sum());
    for message in messages {
        let action = json!({ "create": { "_index": index, "_id": message.id } });
        out.extend_from_slice(action.to_string().as_bytes());
        out.push(b'\n');
        out.extend_from_slice(message.body.strip_suffix(b"\n").unwrap_or(&message.body));
        out.push(b'\n');
    }
    out
}

/// `None`: the status says it all.
pub(super) fn judge(status: StatusCode, answer: &[u8], count: usize) -> Option<Judgement> {
    if !status.is_success() {
        return None;
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(answer) else {
        return Some(Judgement::TurnedAway(format!("not an answer of _bulk: {}", words(answer))));
    };
    if answer.items.len() != count {
        // Tenzir answers with one item for all of a batch.
        if answer.errors == Some(false) && answer.items.iter().all(|item| matches!(item.create.status, 200..=299)) {
            return Some(Judgement::Taken(Vec::new()));
        }
        return Some(Judgement::Busy(format!("an answer about {} of {count} messages", answer.items.len())));
    }
    let mut refused = Vec::new();
    for (nth, Item { create }) in answer.items.into_iter().enumerate() {
        let cause = || format!("{}: {}", create.status, reason(&create.error));
        match create.status {
            200..=299 | 409 => {}
            // One that cannot now is enough: the others answer 409 next time.
            429 | 500..=599 => return Some(Judgement::Busy(cause())),
            // The index or the rights to it are missing.
            401 | 403 | 404 => return Some(Judgement::TurnedAway(cause())),
            _ => refused.push((nth, cause())),
        }
    }
    Some(Judgement::Taken(refused))
}

/// `type: reason`, of an error as both servers write it.
fn reason(error: &Value) -> String {
    let part = |name: &str| error.get(name).and_then(Value::as_str);
    let text = match (part("type"), part("reason")) {
        (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => error.to_string(),
    };
    words(text.as_bytes())
}
