//! What container engines and collectors put around a line.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::stamp::{self, Clock, Seen};

/// So many wrappers can be around each other.
const LAYERS_MAX: usize = 4;
/// Names of containers and pods are shorter.
const NAME_MAX: usize = 256;

/// A line without its wrappers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwrapped<'a> {
    /// What the writer wrote.
    pub text: Cow<'a, str>,
    /// When the innermost wrapper that tells it got it.
    pub seen: Option<Seen>,
}

/// What is inside of one wrapper.
enum Layer {
    /// What begins there.
    From(usize),
    Text(String),
}

/// Takes off docker's json-file, CRI of Kubernetes and podman, the prefixes of `docker compose logs`,
/// `docker logs --timestamps` and `kubectl logs --prefix`, and colours.
pub(super) fn unwrap<'a>(line: &'a str, clock: &Clock) -> Unwrapped<'a> {
    let mut unwrapped = Unwrapped { text: Cow::Borrowed(line), seen: None };
    for _ in 0..LAYERS_MAX {
        let Some((layer, seen)) = layer(&unwrapped.text, clock) else { break };
        let text = match (layer, unwrapped.text) {
            (Layer::Text(text), _) => Cow::Owned(text),
            (Layer::From(at), Cow::Borrowed(text)) => Cow::Borrowed(&text[at..]),
            (Layer::From(at), Cow::Owned(mut text)) => Cow::Owned(text.split_off(at)),
        };
        unwrapped = Unwrapped { text, seen: seen.or(unwrapped.seen) };
    }
    unwrapped
}

fn layer(text: &str, clock: &Clock) -> Option<(Layer, Option<Seen>)> {
    let from = |rest: &str| Layer::From(text.len() - rest.len());
    if let Some(rest) = colour(text).or_else(|| compose(text)).or_else(|| pod(text)) {
        return Some((from(rest), None));
    }
    if text.starts_with('{') {
        return json(text).map(|(text, seen)| (Layer::Text(text), seen));
    }
    let (stamp, _) = text.split_once(' ').filter(|(stamp, _)| stamp.contains('T'))?;
    let stamped = stamp::syslog(text, clock).filter(|stamped| stamped.has_zone)?;
    let seen = Seen { time: stamped.time, precision: stamped.precision };
    let rest = text[stamp.len()..].trim_start_matches(' ');
    if let Some(rest) = cri(rest) {
        return Some((from(rest), Some(seen)));
    }
    let is_whole = rest.starts_with(['{', '<']) || stamp::syslog(rest, clock).is_some();
    is_whole.then(|| (from(rest), Some(seen)))
}

/// What is after a sequence of ECMA-48 that sets a colour.
fn colour(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("\x1b[")?;
    rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('m')
}

/// What is after `mail-1  | ` of docker compose, and after `mail.1.x2y3@node    | ` of a service.
fn compose(text: &str) -> Option<&str> {
    let at = text.bytes().take(NAME_MAX).position(|byte| byte == b'|')?;
    let (name, rest) = (text[..at].strip_suffix(' ')?.trim_end_matches(' '), &text[at + 1..]);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    let rest = colour(rest).unwrap_or(rest).strip_prefix(' ')?;
    (!name.is_empty() && name.bytes().all(is_name)).then_some(rest)
}

/// What is after `[pod/mail-0/postfix] `.
fn pod(text: &str) -> Option<&str> {
    text.strip_prefix("[pod/")?.split_once("] ").map(|(_, rest)| rest)
}

/// What is after `stdout F `: the stream, and tags of which the first says whether the line is whole.
fn cri(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("stdout ").or_else(|| text.strip_prefix("stderr "))?;
    let (tags, rest) = rest.split_once(' ')?;
    matches!(tags.split(':').next(), Some("F" | "P")).then_some(rest)
}

/// An entry of docker's json-file, and of collectors that write alike.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "message", alias = "msg")]
    log: String,
    #[serde(default, alias = "timestamp", alias = "@timestamp")]
    time: Option<String>,
}

fn json(text: &str) -> Option<(String, Option<Seen>)> {
    let mut entry: Entry = serde_json::from_str(text).ok()?;
    entry.log.truncate(entry.log.trim_end_matches(['\n', '\r']).len());
    let time = entry.time.and_then(|time| time.parse::<Timestamp>().ok());
    Some((entry.log, time.map(|time| Seen { time, precision: Duration::from_micros(1) })))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::{Clock, unwrap};

    fn clock() -> Clock {
        Clock { now: "2026-11-26T16:10:00Z".parse().unwrap(), zone: TimeZone::UTC }
    }

    #[test]
    fn a_line_comes_out_of_its_wrappers() {
        const TEXT: &str = "Nov 26 16:07:01 mx1 postfix/smtp[12]: to=<a@b>, x | y";
        const AT: &str = "2026-11-26T16:07:01.123456789Z";
        let json = format!("{{\"log\":\"{TEXT}\\n\",\"stream\":\"stdout\",\"time\":\"{AT}\"}}");
        for (line, is_timed) in [
            (TEXT.to_owned(), false),
            (json.replace('<', "\\u003c"), true),
            (
                format!(
                    "{{\"log\":\"{TEXT}\\r\\n\",\"stream\":\"stderr\",\"attrs\":{{\"tag\":\"x\"}},\"time\":\"{AT}\"}}"
                ),
                true,
            ),
            (format!("{{\"@timestamp\":\"{AT}\",\"message\":\"{TEXT}\"}}"), true),
            (format!("mail-1  | {TEXT}"), false),
            (format!("mail_postfix.1.x2y3@node    | {TEXT}"), false),
            (format!("\x1b[36mmail-1  | \x1b[0m{TEXT}"), false),
            (format!("\x1b[33;1mmail-1  |\x1b[0m {TEXT}"), false),
            (format!("mail-1  | {AT} {TEXT}"), true),
            (format!("{AT} {TEXT}"), true),
            (format!("{AT} stdout F {TEXT}"), true),
            (format!("2026-11-26T16:07:01.123456789+00:00 stderr P {TEXT}"), true),
            (format!("{AT} stdout F:x {TEXT}"), true),
            (format!("[pod/mail-0/postfix] {AT} {TEXT}"), true),
            (format!("mail-1  | {json}"), true),
        ] {
            let unwrapped = unwrap(&line, &clock());
            let seen = unwrapped.seen.map(|seen| seen.time.as_microsecond() % 1_000_000);
            assert_eq!((&*unwrapped.text, seen), (TEXT, is_timed.then_some(123_456)), "{line}");
        }
    }

    #[test]
    fn what_is_no_wrapper_stays() {
        for line in [
            "2026-11-26T16:07:01Z mx1 postfix/smtp[12]: a",
            "2026-11-26T16:07:01Z stdout postfix/smtp[12]: a",
            "{\"log\":",
            "{\"type\":\"Delivery\"}",
            "a b | c",
            " | c",
            "é | c",
            "\x1b[2J",
            "",
        ] {
            assert_eq!(unwrap(line, &clock()).text, line);
        }
    }

    proptest! {
        #[test]
        fn anything_comes_out(
            pieces in prop::collection::vec(
                prop::sample::select(&[
                    "{\"log\":\"", "\"}", "é", "mail-1  | ", "\x1b[0m", "2026-11-26T16:07:01Z", " ", "stdout F ", "[pod/", "] ", "|",
                    "Nov 26 16:07:01", "a",
                ][..]),
                0..16,
            ),
        ) {
            unwrap(&pieces.concat(), &clock());
        }
    }
}
