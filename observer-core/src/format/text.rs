//! One line an event, for a person:
//! `16:07:01.123Z refused     203.0.113.5:25        refused by the remote host: RST after 31 ms  smtp[1203] from 192.0.2.10`

use std::io::Write;
use std::net::IpAddr;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::alert::Alert;
use crate::event::{Endpoint, Event, Mta};
use crate::format::phrase::{phrase, task_name};
pub use crate::format::place::destination;
use crate::format::record::Record;
use crate::label::{Label, Origin, Reason};
use crate::record::joined::Joined;
use crate::sanitize::{excerpt, sanitize};
use crate::scope::{Change, EndCause, ScopeChange};

/// Width of the longest label.
const LABEL_WIDTH: usize = 11;
/// Width of the longest IPv4 destination at a mail port; IPv6 may be longer and
/// then moves the rest of its line.
const DESTINATION_WIDTH: usize = 19;

/// Appends the line, newline included. Times are UTC: a log crosses time zones.
pub fn append(event: &Event, is_coloured: bool, out: &mut Vec<u8>) {
    append_labelled(event, event.label.as_str(), &phrase(event), is_coloured, out);
}

/// An event's label, reason and origin as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Words {
    /// [`Event::label`].
    pub label: Option<String>,
    /// [`Event::reason`].
    pub reason: Option<String>,
    /// [`Event::origin`].
    pub origin: Option<String>,
}

impl Words {
    /// Of an event; none if there are none.
    pub fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}

/// As [`append`], of an event of another version, with that version's words for a label, a
/// reason or an origin that this one does not know.
pub fn append_in_words(event: &Event, words: &Words, is_coloured: bool, out: &mut Vec<u8>) {
    let label = if event.label == Label::Unknown { words.label.as_deref() } else { None };
    let label = sanitize(label.unwrap_or(event.label.as_str()));
    let unknown = [
        (event.reason == Some(Reason::Unknown)).then_some(&words.reason),
        (event.origin == Some(Origin::Unknown)).then_some(&words.origin),
    ];
    let unknown = unknown.into_iter().flatten().flatten().filter(|word| *word != "unknown");
    let unknown: Vec<_> = unknown.map(|word| sanitize(word)).collect();
    let phrase = if unknown.is_empty() { phrase(event) } else { format!("{} ({})", phrase(event), unknown.join(", ")) };
    append_labelled(event, &label, &phrase, is_coloured, out);
}

fn append_labelled(event: &Event, label: &str, phrase: &str, is_coloured: bool, out: &mut Vec<u8>) {
    let style = if is_coloured { label_style(event.label) } else { Style::new() };
    let dim = if is_coloured { Style::new().dimmed() } else { Style::new() };
    let time = event.time.strftime("%H:%M:%S.%3fZ");
    let destination = destination(&event.dst);
    // Writing to a Vec cannot fail.
    let _ = writeln!(
        out,
        "{time} {style}{label:<LABEL_WIDTH$}{style:#} {destination:<DESTINATION_WIDTH$} {phrase}{}  {dim}{}{}{}{dim:#}",
        streak(event),
        process(event),
        source(&event.src),
        delivery(event.mta.as_ref()),
    );
}

/// Appends what the mail server's log says of an attempt as a line, newline included.
pub fn append_delivery(delivery: &Joined, is_coloured: bool, out: &mut Vec<u8>) {
    let dim = if is_coloured { Style::new().dimmed() } else { Style::new() };
    let time = delivery.time.strftime("%H:%M:%S.%3fZ");
    let (mta, destination) = (&delivery.mta, destination(&delivery.dst));
    let host = mta.host.as_ref().map(|host| format!(" at {}", sanitize(host))).unwrap_or_default();
    let words = mta.words.as_ref().map(|words| format!(": {}", excerpt(words))).unwrap_or_default();
    let end = mta.status.map(|status| format!("; in the end {}", status.as_str())).unwrap_or_default();
    let unlogged = if mta.unlogged { ", without a line on this attempt" } else { "" };
    let _ = writeln!(
        out,
        "{time} {dim}{:<LABEL_WIDTH$} {destination:<DESTINATION_WIDTH$} {}{}{host}{unlogged}{words}{end}{dim:#}",
        "delivery",
        mta.kind.as_str(),
        message(mta),
    );
}

/// Appends an alert as a line, newline included.
pub fn append_alert(alert: &Alert, is_coloured: bool, out: &mut Vec<u8>) {
    let style = if is_coloured { alert_style(&alert.change) } else { Style::new() };
    let time = alert.change.time.strftime("%H:%M:%S.%3fZ");
    let _ = writeln!(out, "{time} {style}{:<LABEL_WIDTH$}{style:#} {}", "alert", alert.text);
}

/// Appends the sentence of an alert as a line, newline included.
pub fn append_sentence(time: Timestamp, sentence: &str, is_coloured: bool, out: &mut Vec<u8>) {
    let style = if is_coloured { Style::new().bold() } else { Style::new() };
    let time = time.strftime("%H:%M:%S.%3fZ");
    let _ = writeln!(out, "{time} {style}{:<LABEL_WIDTH$}{style:#} {}", "alert", sanitize(sentence));
}

/// Appends a minute or a notice as a line, newline included.
pub fn append_record(record: &Record<'_>, is_coloured: bool, out: &mut Vec<u8>) {
    let dim = if is_coloured { Style::new().dimmed() } else { Style::new() };
    let time = record.time.strftime("%H:%M:%S.%3fZ");
    let kind = if record.count.is_some() { "minute" } else { "notice" };
    let _ = writeln!(out, "{time} {dim}{kind:<LABEL_WIDTH$}{dim:#} {}", sanitize(&record.text));
}

/// The colour of an alert: inverse, green when it is over, yellow when nobody looks any more.
fn alert_style(change: &ScopeChange) -> Style {
    let colour = match (change.kind, change.cause) {
        (Change::Ended, Some(EndCause::ObserverStopped)) => AnsiColor::Yellow,
        (Change::Ended, _) => AnsiColor::Green,
        _ => AnsiColor::Red,
    };
    colour.on_default().bold().invert()
}

/// The colour of a label: red for a no, yellow for silence, magenta for what
/// lies on our side or on the way.
pub fn label_style(label: Label) -> Style {
    let colour = match label {
        Label::Refused | Label::Reset => AnsiColor::Red,
        Label::Timeout | Label::Silent | Label::Closed => AnsiColor::Yellow,
        Label::Unreachable | Label::Blocked => AnsiColor::Magenta,
        Label::Cancelled | Label::Unknown => return Style::new().dimmed(),
        Label::Connected => AnsiColor::Green,
    };
    colour.on_default().bold()
}

fn streak(event: &Event) -> String {
    let streak = event.destination.as_ref().map(|destination| destination.streak).filter(|&streak| streak > 1);
    streak.map(|streak| format!("; {streak} failures in a row")).unwrap_or_default()
}

fn process(event: &Event) -> String {
    match &event.process {
        Some(process) => format!("{}[{}]", task_name(&process.comm), process.pid),
        None => "process not seen".to_owned(),
    }
}

fn source(end: &Endpoint) -> String {
    end.ip.map(|ip: IpAddr| format!(" from {ip}")).unwrap_or_default()
}

/// `, 4Wxyz for example.net deferred`.
fn delivery(mta: Option<&Mta>) -> String {
    let Some(mta) = mta else { return String::new() };
    let mut text = message(mta);
    if let Some(status) = mta.status {
        text.push_str(&format!(" {}", status.as_str()));
    }
    if text.is_empty() { text } else { format!(",{text}") }
}

/// ` 4Wxyz for example.net`, as far as it is known.
fn message(mta: &Mta) -> String {
    let mut text = String::new();
    if let Some(queue_id) = &mta.queue_id {
        text.push_str(&format!(" {}", sanitize(queue_id)));
    }
    if let Some(domain) = &mta.recipient_domain {
        text.push_str(&format!(" for {}", sanitize(domain)));
    }
    text
}

#[cfg(test)]
mod tests;
