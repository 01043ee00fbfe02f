//! What container engines and collectors put around a line.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::stamp::{self, Clock, Seen};

/// So many wrappers can be around each other.
const LAYERS_MAX: usize = 4;
/// Names of containers and pods are shorter.
const NAME_MAX: usize = 256;
/// A namespace, a pod and a container.
const NAMES_MAX: usize = 3;

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
        return json(text, clock).map(|(text, seen)| (Layer::Text(text), seen));
    }
    if let Some(rest) = named(text, clock) {
        return Some((from(rest), None));
    }
    let (stamp, _) = text.split_once(' ').filter(|(stamp, _)| stamp.contains('T'))?;
    let stamped = stamp::syslog(text, clock).filter(|stamped| stamped.has_zone)?;
    let seen = Seen { time: stamped.time, precision: stamped.precision };
    let rest = text[stamp.len()..].trim_start_matches(' ');
    if let Some(rest) = cri(rest) {
        return Some((from(rest), Some(seen)));
    }
    let is_whole = rest.starts_with(['{', '<']) || stamp::syslog(rest, clock).is_some() || compose(rest).is_some();
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

/// What is after the names that stern, kail, `podman logs --names` and `docker logs` in a script write:
/// `mail-0 postfix `, `mail/mail-0[postfix]: `. They are names only where a stamp or a record follows.
fn named<'a>(text: &'a str, clock: &Clock) -> Option<&'a str> {
    let is_begin = |text: &str| text.starts_with('{') || stamp::syslog(text, clock).is_some();
    let of_name = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'-' | b'.' | b'_' | b'/' | b'[' | b']' | b':')
    };
    if is_begin(text) {
        return None;
    }
    let mut rest = text;
    for _ in 0..NAMES_MAX {
        let (name, after) = rest.split_once(' ')?;
        let is_name =
            name.len() <= NAME_MAX && name.bytes().all(of_name) && name.bytes().any(|byte| byte.is_ascii_lowercase());
        if !is_name {
            return None;
        }
        rest = after.trim_start_matches(' ');
        if is_begin(rest) {
            return Some(rest);
        }
    }
    None
}

/// What is after `stdout F `: the stream, and tags of which the first says whether the line is whole.
fn cri(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("stdout ").or_else(|| text.strip_prefix("stderr "))?;
    let (tags, rest) = rest.split_once(' ')?;
    matches!(tags.split(':').next(), Some("F" | "P")).then_some(rest)
}

/// Where collectors put what docker's json-file calls `log`: rsyslog, syslog-ng, Fluentd, Fluent Bit, Vector,
/// Logstash, Beats (ECS). Case does not matter, a dot leads into an object.
const TEXTS: [&str; 3] = ["log", "message", "msg"];
const TIMES: [&str; 9] =
    ["time", "timestamp", "@timestamp", "isodate", "timereported", "timegenerated", "date", "event_time", "eventtime"];
const TAGS: [&str; 12] = [
    "syslogtag",
    "program",
    "app-name",
    "appname",
    "app_name",
    "ident",
    "syslog_identifier",
    "log.syslog.appname",
    "process.name",
    "identifier",
    "tag",
    "programname",
];
const PIDS: [&str; 7] = ["pid", "procid", "proc_id", "syslog_pid", "_pid", "log.syslog.procid", "process.pid"];
const HOSTS: [&str; 6] = ["host", "hostname", "host.hostname", "host.name", "logsource", "_hostname"];

/// An entry of docker's json-file, and of collectors that write alike. A time in a form of syslog, and the tag
/// in a field of its own, go back to where a line has them.
fn json(text: &str, clock: &Clock) -> Option<(String, Option<Seen>)> {
    let entry: Map<String, Value> = serde_json::from_str(text).ok()?;
    let first = |names: &[&str]| names.iter().filter_map(|name| field(&entry, name)).find_map(text_of);
    let message = first(&TEXTS)?;
    let message = message.trim_end_matches(['\n', '\r']).trim_start_matches([' ', '\t']);
    let time = first(&TIMES);
    let seen = time.as_deref().and_then(seen_at);
    if stamp::syslog(message, clock).is_some() || message.starts_with(['{', '<']) || has_tag(message) {
        return Some((message.to_owned(), seen));
    }
    let is_word = |word: &String| !word.is_empty() && word != "-" && !word.contains(char::is_whitespace);
    let Some(tag) = first(&TAGS).map(|tag| tag.trim_end_matches(':').to_owned()).filter(is_word) else {
        return Some((message.to_owned(), seen));
    };
    let stamp = time.filter(|_| seen.is_none()).map_or_else(String::new, |time| format!("{time} "));
    let host = first(&HOSTS).filter(is_word).map_or_else(String::new, |host| format!("{host} "));
    let pid = first(&PIDS).filter(|pid| is_word(pid) && !tag.contains('['));
    let pid = pid.map_or_else(String::new, |pid| format!("[{pid}]"));
    Some((format!("{stamp}{host}{tag}{pid}: {message}"), seen))
}

/// True for what begins with `TAG[PID]:`.
fn has_tag(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    word.strip_suffix("]:").and_then(|word| word.split_once('[')).is_some_and(|(_, pid)| pid.parse::<u32>().is_ok())
}

fn field<'value>(entry: &'value Map<String, Value>, path: &str) -> Option<&'value Value> {
    let named = |name: &str| entry.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    named(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        field(named(first)?.as_object()?, rest)
    })
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A time of RFC 3339, or seconds, milliseconds or microseconds since 1970.
fn seen_at(text: &str) -> Option<Seen> {
    let precise = |time| Seen { time, precision: Duration::from_micros(1) };
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(precise(time));
    }
    let whole = text.split('.').next().filter(|whole| whole.bytes().all(|byte| byte.is_ascii_digit()))?;
    let time = match whole.len() {
        9..=11 => {
            let seconds = text.parse::<f64>().ok()?;
            let precision = if whole.len() < text.len() { Duration::from_millis(1) } else { Duration::from_secs(1) };
            let time = Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()?;
            return Some(Seen { time, precision });
        }
        12..=14 => Timestamp::from_millisecond(whole.parse().ok()?).ok()?,
        15..=17 => Timestamp::from_microsecond(whole.parse().ok()?).ok()?,
        _ => return None,
    };
    Some(precise(time))
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
            (format!("{AT} mail-1  | {TEXT}"), true),
            (format!("mail-0 postfix {TEXT}"), false),
            (format!("mail-0 postfix {AT} {TEXT}"), true),
            (format!("mail mail-0 postfix {TEXT}"), false),
            (format!("pod/mail-0 {AT} {TEXT}"), true),
            (format!("mail/mail-0[postfix]: {TEXT}"), false),
            (format!("mail-0 postfix {json}"), true),
            (format!("{{\"date\":1795709221.123456,\"log\":\"{TEXT}\"}}"), true),
            (format!("{{\"log\":{{\"file\":\"x\"}},\"message\":\"{TEXT}\",\"@timestamp\":\"{AT}\"}}"), true),
        ] {
            let unwrapped = unwrap(&line, &clock());
            let seen = unwrapped.seen.map(|seen| seen.time.as_microsecond() % 1_000_000);
            assert_eq!((&*unwrapped.text, seen), (TEXT, is_timed.then_some(123_456)), "{line}");
        }
    }

    #[test]
    fn a_tag_in_a_field_of_its_own_goes_back_to_its_place() {
        const AT: &str = "\"2026-11-26T16:07:01.5Z\"";
        for (fields, expected) in [
            (
                format!(r#""timestamp":{AT},"host":"mx1","program":"postfix/smtp","pid":"1","message":"A: to""#),
                "mx1 postfix/smtp[1]: A: to",
            ),
            (
                format!(r#""@timestamp":{AT},"host":"mx1","syslogtag":"postfix/smtp[1]:","msg":" A: to""#),
                "mx1 postfix/smtp[1]: A: to",
            ),
            (
                format!(r#""ISODATE":{AT},"HOST":"mx1","PROGRAM":"postfix/smtp","PID":1,"MESSAGE":"A: to""#),
                "mx1 postfix/smtp[1]: A: to",
            ),
            (
                format!(r#""timestamp":{AT},"hostname":"mx1","appname":"exim","procid":7,"message":"A: to""#),
                "mx1 exim[7]: A: to",
            ),
            (format!(r#""time":{AT},"ident":"postfix/smtp","message":"A: to""#), "postfix/smtp: A: to"),
            (
                format!(
                    r#""@timestamp":{AT},"host":{{"name":"mx1"}},"process":{{"name":"postfix/smtp","pid":1}},"message":"A: to""#
                ),
                "mx1 postfix/smtp[1]: A: to",
            ),
            (r#""date":1795709221.5,"ident":"smtpd","pid":"3","message":"A: to""#.to_owned(), "smtpd[3]: A: to"),
            (
                r#""DATE":"Nov 26 16:07:01","HOST":"mx1","PROGRAM":"smtpd","MESSAGE":"A: to""#.to_owned(),
                "Nov 26 16:07:01 mx1 smtpd: A: to",
            ),
            (format!(r#""time":{AT},"tag":"a b","message":"A: to""#), "A: to"),
            (format!(r#""time":{AT},"tag":"x","log":"postfix/smtp[1]: A: to""#), "postfix/smtp[1]: A: to"),
            (format!(r#""time":{AT},"host":"a b","program":"smtpd","message":"A: to""#), "smtpd: A: to"),
        ] {
            let line = format!("{{{fields}}}");
            assert_eq!(unwrap(&line, &clock()).text, expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_wrapper_stays() {
        for line in [
            "2026-11-26T16:07:01Z mx1 postfix/smtp[12]: a",
            "2026-11-26T16:07:01Z stdout postfix/smtp[12]: a",
            "{\"log\":",
            "{\"type\":\"Delivery\"}",
            "mail-0 postfix a b",
            "a b c d Nov 26 16:07:01 mx1 x",
            "1 2026-11-26T16:07:01Z mx1 postfix/smtp 12 - - a",
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
                    "Nov 26 16:07:01", "a", "\",\"program\":\"", "\",\"pid\":\"", "\",\"time\":\"", "99999999999", "mail-0 ",
                ][..]),
                0..16,
            ),
        ) {
            unwrap(&pieces.concat(), &clock());
        }
    }
}
