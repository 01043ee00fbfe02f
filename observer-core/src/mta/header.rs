//! What syslog and the journal put before a message.

use std::time::Duration;

use jiff::Timestamp;

use super::stamp::{self, Clock, Seen, Stamped};

/// When, where and by whom a message was logged, and the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// When, as far as the stamp tells.
    pub time: Timestamp,
    /// The message was logged within this time after `time`.
    pub precision: Duration,
    /// Host of the writer.
    pub host: Option<&'a str>,
    /// What the writer calls itself: `postfix/smtp`.
    pub tag: &'a str,
    /// Its process id.
    pub pid: Option<u32>,
    /// The message.
    pub text: &'a str,
}

impl Header<'_> {
    /// True where the tag is the short id of a container, as Docker's `syslog` driver has it by default.
    pub(super) fn is_of_container(&self) -> bool {
        self.tag.len() == 12 && self.tag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// When a line that is the message was passed on.
    pub fn seen(&self) -> Seen {
        Seen { time: self.time, precision: self.precision }
    }
}

/// Host, tag, process id and message.
type Body<'a> = (Option<&'a str>, &'a str, Option<u32>, &'a str);

/// So many relays can have put a header before a line.
const HEADERS_MAX: usize = 3;

/// `STAMP HOST TAG[PID]: MESSAGE` and its kin, as syslog daemons, journalctl and Postfix's
/// `maillog_file` write it, and RFC 5424. A line that was passed on with a time, `seen`, needs no
/// stamp.
pub fn syslog<'a>(line: &'a str, seen: Option<Seen>, clock: &Clock) -> Option<Header<'a>> {
    within(line, seen, clock, HEADERS_MAX)
}

/// As [`syslog`], of a line that can have so many headers of relays before its own.
fn within<'a>(line: &'a str, seen: Option<Seen>, clock: &Clock, headers: usize) -> Option<Header<'a>> {
    let line = bare(line);
    let (has_priority, line) = match priority(line) {
        Some(rest) => (true, rest.trim_start_matches(' ')),
        None => (false, line),
    };
    if let Some(header) = version(line).and_then(|rest| rfc5424(rest, seen, clock)) {
        return Some(header);
    }
    let Some(stamped) = stamp::syslog(line, clock) else {
        // To read it as the message of an unknown time would be a guess.
        let seen = seen?;
        let (host, tag, pid, text) = body(line).or_else(|| fields(line).filter(|_| !has_priority))?;
        return Some(Header { time: seen.time, precision: seen.precision, host, tag, pid, text: message(text) });
    };
    let stamped = stamp::without_zone(stamped, body(stamped.rest).is_none(), clock).unwrap_or(stamped);
    let (time, precision, rest) = timed(&stamped, seen);
    let relayed = || within(behind_host(rest, clock)?, Some(Seen { time, precision }), clock, headers.checked_sub(1)?);
    if let Some(header) = relayed() {
        return Some(header);
    }
    let (host, tag, pid, text) = body(rest).or_else(|| fields(rest).filter(|_| !has_priority))?;
    Some(Header { time, precision, host, tag, pid, text: message(text) })
}

/// The line that is the message of another, as the `syslog` driver of a container engine and relays make
/// it. `None` if the message is no line.
pub fn inner<'a>(header: &Header<'a>, clock: &Clock) -> Option<Header<'a>> {
    let is_line = header.text.starts_with('<')
        || stamp::syslog(header.text, clock).is_some()
        || tagged(header.text).is_some_and(|(_, pid, _)| pid.is_some());
    is_line.then(|| syslog(header.text, Some(header.seen()), clock)).flatten()
}

/// True for what a logging daemon, or journalctl, writes of its own without a tag: how often the line
/// before it was repeated, that it lives, where the journal begins.
pub(super) fn is_of_daemon(line: &str, clock: &Clock) -> bool {
    const NOTES: [&str; 6] = [
        "last message repeated ",
        "above message repeats ",
        "message repeated ",
        "--- last message repeated ",
        "last message '",
        "-- mark --",
    ];
    let line = bare(line);
    let text = priority(line).unwrap_or(line);
    if text.starts_with("-- ") {
        return true;
    }
    let Some(stamped) = stamp::syslog(text, clock) else { return false };
    let (_, after_host) = stamped.rest.split_once(' ').unwrap_or_default();
    let begins = |text: &str, note: &str| text.get(..note.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(note));
    NOTES.iter().any(|note| begins(stamped.rest, note) || begins(after_host.trim_start_matches(' '), note))
}

/// The line of another host that a relay put its own stamp before, or its stamp and the host.
fn behind_host<'a>(rest: &'a str, clock: &Clock) -> Option<&'a str> {
    if stamp::syslog(rest, clock).is_some() {
        return Some(rest);
    }
    let (_, after) = rest.split_once(' ').filter(|_| tagged(rest).is_none())?;
    let after = after.trim_start_matches(' ');
    stamp::syslog(after, clock).is_some().then_some(after)
}

/// When it was written, how exact that is, and the rest.
fn timed<'a>(stamped: &Stamped<'a>, seen: Option<Seen>) -> (Timestamp, Duration, &'a str) {
    let (time, precision) = stamped.written(seen);
    (time, precision, stamped.rest)
}

/// Without blanks and a byte order mark before it.
fn bare(text: &str) -> &str {
    text.trim_start_matches(['\u{feff}', ' ', '\t'])
}

/// What is after `<22>`.
fn priority(line: &str) -> Option<&str> {
    let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
    is_digits(digits, 3).then_some(rest)
}

fn is_digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is after the version of RFC 5424, `1 `.
fn version(line: &str) -> Option<&str> {
    let (version, rest) = line.split_once(' ')?;
    (is_digits(version, 2) && !version.starts_with('0')).then_some(rest)
}

/// `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG` of RFC 5424, section 6; a `-` is a
/// field without a value.
fn rfc5424<'a>(text: &'a str, seen: Option<Seen>, clock: &Clock) -> Option<Header<'a>> {
    let (time, precision, rest) = match (text.strip_prefix("- "), seen) {
        (Some(rest), Some(seen)) => (seen.time, seen.precision, rest),
        _ => timed(&stamp::syslog(text, clock)?, seen),
    };
    let (host, tag, pid, text) = fields(rest)?;
    Some(Header { time, precision, host, tag, pid, text: message(text) })
}

/// The fields after the timestamp.
fn fields(text: &str) -> Option<Body<'_>> {
    let (host, rest) = text.split_once(' ')?;
    let (app, rest) = rest.split_once(' ')?;
    let (process, rest) = rest.split_once(' ')?;
    let (_, rest) = rest.split_once(' ')?;
    let text = bare(after_structured_data(rest)?);
    let host = Some(host).filter(|host| *host != "-");
    if app == "-" {
        let (tag, pid, text) = tagged(text)?;
        return Some((host, tag, pid, text));
    }
    let (tag, pid) = tag(app)?;
    Some((host, tag, process.parse().ok().or(pid), text))
}

/// `-`, or elements such as `[id name="value"]`, in whose values `"`, `\` and `]` are escaped.
fn after_structured_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return (rest.is_empty() || rest.starts_with(' ')).then_some(rest);
    }
    let mut rest = text;
    while rest.starts_with('[') {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = rest.bytes().position(|byte| {
            let is_end = byte == b']' && !is_quoted;
            is_quoted ^= byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        rest = &rest[end + 1..];
    }
    (rest.len() < text.len() && (rest.is_empty() || rest.starts_with(' '))).then_some(rest)
}

/// `HOST TAG[PID]: MESSAGE`, where the host can be absent, and a facility and a severity beside it:
/// `mail.info` of BusyBox and OpenWrt, `mail:info` of AIX, `<mail.info>` of FreeBSD, `mail info`, `info`.
fn body(text: &str) -> Option<Body<'_>> {
    let (mut host, mut rest) = (None, text);
    loop {
        if let Some((tag, pid, text)) = tagged(rest) {
            return Some((host.filter(|host| *host != "-"), tag, pid, text));
        }
        let (word, after) = rest.split_once(' ')?;
        if !is_priority(word) && !is_pair(word, after) {
            if host.is_some() {
                return None;
            }
            host = Some(word);
        }
        rest = after.trim_start_matches(' ');
    }
}

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "security", "ftp",
    "ntp", "audit", "console", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 12] =
    ["emerg", "panic", "alert", "crit", "err", "error", "warn", "warning", "notice", "info", "debug", "none"];

/// True for a facility that the severity follows as a word.
fn is_pair(word: &str, after: &str) -> bool {
    let next = after.trim_start_matches(' ').split(' ').next().unwrap_or_default();
    is_in(&FACILITIES, word) && is_in(&SEVERITIES, next)
}

fn is_in(list: &[&str], word: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// True for the words that daemons write for a facility and a severity. A facility alone can be
/// the name of a host, `mail`.
fn is_priority(word: &str) -> bool {
    let bare = word.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    if bare.is_some_and(|bare| bare.split('.').all(|part| is_digits(part, 3))) {
        return true;
    }
    match bare.unwrap_or(word).split_once(['.', ':']) {
        Some((facility, severity)) => is_in(&FACILITIES, facility) && is_in(&SEVERITIES, severity),
        None => is_in(&SEVERITIES, bare.unwrap_or(word)),
    }
}

/// `TAG[PID]: MESSAGE` or `TAG: MESSAGE`; without the colon, as some write it, only with a process id.
fn tagged(text: &str) -> Option<(&str, Option<u32>, &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (word, rest) = match word.split_once("]:") {
        // Without a blank.
        Some((before, after)) if !after.is_empty() => (&word[..before.len() + 2], &text[before.len() + 2..]),
        _ => (word, rest),
    };
    let (name, pid) = match word.strip_suffix(':') {
        Some(word) => tag(word)?,
        None => tag(word).filter(|(_, pid)| pid.is_some())?,
    };
    // `mail:info` is none.
    (!is_priority(word)).then_some((name, pid, rest))
}

/// `TAG[PID]` or `TAG`.
fn tag(word: &str) -> Option<(&str, Option<u32>)> {
    let (name, pid) = match word.split_once('[') {
        Some((name, pid)) => (name, Some(pid.strip_suffix(']')?.parse().ok()?)),
        None => (word, None),
    };
    (!name.is_empty() && !name.contains(' ')).then_some((name, pid))
}

/// The message without what daemons put before it or around it.
fn message(text: &str) -> &str {
    let text = bare(text);
    // syslogd of Solaris: `[ID 197553 mail.info] `.
    let text = text.strip_prefix("[ID ").and_then(|rest| rest.split_once("] ")).map_or(text, |(_, rest)| rest);
    repeated(text).unwrap_or(text)
}

/// `message repeated 2 times: [ MESSAGE]`: rsyslog stamps it by the last one.
fn repeated(text: &str) -> Option<&str> {
    let (count, rest) = text.strip_prefix("message repeated ")?.split_once(" times: [")?;
    let message = is_digits(count, 10).then(|| bare(rest))?;
    // It is cut at 800 bytes, its end included.
    Some(message.strip_suffix(']').unwrap_or(message))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::{Clock, Header, Seen, inner, is_of_daemon, syslog};

    fn clock() -> Clock {
        Clock { now: "2026-11-26T16:10:00Z".parse().unwrap(), zone: TimeZone::UTC }
    }

    /// `HOST|TAG|PID|TEXT`.
    fn brief(header: &Header<'_>) -> String {
        let pid = header.pid.map_or(String::new(), |pid| pid.to_string());
        format!("{}|{}|{pid}|{}", header.host.unwrap_or_default(), header.tag, header.text)
    }

    #[test]
    fn a_tag_may_have_a_process_id() {
        for (line, expected) in [
            ("Nov 26 16:07:01 mx1 postfix/smtp[1203]: a: b", Some(("postfix/smtp", Some(1203), "a: b"))),
            ("Nov 26 16:07:01 mx1 smtpd: x", Some(("smtpd", None, "x"))),
            ("Nov 26 16:07:01 mx1 smtpd[1: x", None),
            ("Nov 26 16:07:01 mx1 smtpd[99999999999]: x", None),
            ("Nov 26 16:07:01 mx1 last message repeated 2 times: x", None),
            ("Nov 26 16:07:01 mx1 : x", None),
            ("Nov 26 16:07:01 mx1", None),
        ] {
            let read = syslog(line, None, &clock()).map(|header| (header.tag, header.pid, header.text));
            assert_eq!(read, expected, "{line}");
        }
    }

    #[test]
    fn every_daemon_has_its_own_header() {
        for (line, expected) in [
            ("Nov 26 16:07:01 postfix/smtp[12]: a b", "|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 backup mail.info postfix/smtp[12]: a b", "backup|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 backup mail.warn postfix/smtp: a b", "backup|postfix/smtp||a b"),
            ("Nov 26 16:07:01 mail postfix/smtp[12]: a b", "mail|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 <22> mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Thu Nov 26 16:07:01 2026 mail.info postfix/smtp[12]: a b", "|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 mx1 mail:info postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 <mail.info> mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 <2.6> mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("<22>Nov 26 16:07:01 mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("<22> 2026-11-26T16:07:01+01:00 mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("2026-11-26 16:07:01 info exim[12]: [12] a", "|exim|12|[12] a"),
            ("2026-11-26 16:07:01 mx1 exim[12]: a", "mx1|exim|12|a"),
            ("Nov 26 16:07:01 mx1 exim[12] a b", "mx1|exim|12|a b"),
            ("Nov 26 16:07:01 mx1 exim[12]:a b", "mx1|exim|12|a b"),
            ("Nov 26 16:07:01  mx1  postfix/smtp[12]:  a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 2001:db8::1 postfix/smtp[12]: a b", "2001:db8::1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 - postfix/smtp[12]: a b", "|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 mx1 postfix/smtp[12]: [ID 197553 mail.info] a b", "mx1|postfix/smtp|12|a b"),
            ("\u{feff}Nov 26 16:07:01 mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("<22>1 2026-11-26T16:07:01.123456+01:00 mx1 postfix/smtp 12 - - a b", "mx1|postfix/smtp|12|a b"),
            ("<22>1 2026-11-26T16:07:01Z mx1 postfix/smtp 12 - -  \u{feff}a b", "mx1|postfix/smtp|12|a b"),
            ("<22>1 2026-11-26T16:07:01Z - postfix/smtp - ID47 [a@1 b=\"\\]\\\"] x\"][c] a b", "|postfix/smtp||a b"),
            ("1 2026-11-26T16:07:01Z mx1 postfix/smtp[12] - - - a b", "mx1|postfix/smtp|12|a b"),
            ("<22>1 2026-11-26T16:07:01Z mx1 - - - - postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("2026-11-26T16:07:01.123456+01:00 mx1 postfix/smtp 12 - - a b", "mx1|postfix/smtp|12|a b"),
            ("2026-11-26T16:07:01+01:00 mx1 mail info postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 mail info postfix/smtp[12]: a b", "|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 CET mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 MX postfix/smtp[12]: a b", "MX|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 UTC postfix/smtp[12]: a b", "|postfix/smtp|12|a b"),
            ("2026 Nov 26 16:07:01 mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:02 192.0.2.9 Nov 26 16:07:01 mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:02 Nov 26 16:07:01 mx1 postfix/smtp[12]: a b", "mx1|postfix/smtp|12|a b"),
            ("2026-11-26T16:07:01Z relay 2026-11-26T16:07:01Z mx1 postfix/smtp 12 - - a b", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 mx1 postfix/smtp[12]: message repeated 2 times: [ a b]", "mx1|postfix/smtp|12|a b"),
            ("Nov 26 16:07:01 mx1 postfix/smtp[12]: message repeated 12 times: [a b", "mx1|postfix/smtp|12|a b"),
            ("Thu 2026-11-26 16:07:01 CET mx1 postfix@-.service[12]: a", "mx1|postfix@-.service|12|a"),
        ] {
            assert_eq!(syslog(line, None, &clock()).as_ref().map(brief).as_deref(), Some(expected), "{line}");
        }
        for line in [
            "<22>1 - mx1 postfix/smtp 12 - - a b",
            "<22>1 2026-11-26T16:07:01Z mx1 postfix/smtp 12 - [a b",
            "<22222>Nov 26 16:07:01 mx1 postfix/smtp[12]: a b",
            "postfix/smtp[12]: a b",
            "[   12.345678] mx1 postfix/smtp[12]: a b",
            "a b c d e f g",
        ] {
            assert_eq!(syslog(line, None, &clock()), None, "{line}");
        }
    }

    #[test]
    fn what_was_passed_on_with_a_time_needs_no_stamp() {
        let time = "2026-11-26T16:07:01.5Z".parse().unwrap();
        let seen = Some(Seen { time, precision: Duration::from_nanos(1) });
        for line in ["postfix/smtp[12]: a b", "mail.info postfix/smtp[12]: a b", "<22>1 - - postfix/smtp 12 - - a b"] {
            let header = syslog(line, seen, &clock()).unwrap();
            assert_eq!((header.time, brief(&header).as_str()), (time, "|postfix/smtp|12|a b"), "{line}");
        }
    }

    #[test]
    fn a_zone_that_is_named_behind_the_stamp_counts() {
        let clock = Clock { zone: TimeZone::fixed(jiff::tz::offset(1)), ..clock() };
        for (line, expected) in [
            ("Nov 26 16:07:01 UTC mx1 postfix/smtp[12]: a", "2026-11-26T16:07:01Z"),
            ("Nov 26 16:07:01 CET mx1 postfix/smtp[12]: a", "2026-11-26T15:07:01Z"),
            ("Nov 26 16:07:01 UTCH postfix/smtp[12]: a", "2026-11-26T15:07:01Z"),
        ] {
            assert_eq!(syslog(line, None, &clock).unwrap().time.to_string(), expected, "{line}");
        }
    }

    #[test]
    fn a_line_can_be_the_message_of_another() {
        for (line, expected) in [
            (
                "Nov 26 16:07:02 box mail[812]: Nov 26 16:07:01 mx1 postfix/smtp[12]: a b",
                Some("mx1|postfix/smtp|12|a b"),
            ),
            (
                "Nov 26 16:07:02 box mail[812]: <22>Nov 26 16:07:01 mx1 postfix/smtp[12]: a",
                Some("mx1|postfix/smtp|12|a"),
            ),
            ("Nov 26 16:07:02 box mail[812]: postfix/smtp[12]: a b", Some("|postfix/smtp|12|a b")),
            ("Nov 26 16:07:02 box mail[812]: see postfix/smtp[12]: a b", None),
            ("Nov 26 16:07:02 box mail[812]: imap-login: a b", None),
        ] {
            let outer = syslog(line, None, &clock()).unwrap();
            assert_eq!((outer.tag, outer.pid), ("mail", Some(812)), "{line}");
            let found = inner(&outer, &clock());
            assert_eq!(found.as_ref().map(brief).as_deref(), expected, "{line}");
            assert!(found.is_none_or(|found| found.time <= outer.time), "{line}");
        }
    }

    #[test]
    fn notes_of_a_daemon_are_its_own() {
        for (line, expected) in [
            ("Nov 26 16:07:01 mx1 last message repeated 2 times", true),
            ("Nov 26 16:07:01 last message repeated 1 time", true),
            (
                "<46>Nov 26 16:07:01 mx1 Last message 'connect to mx' repeated 3 times, suppressed by syslog-ng on mx1",
                true,
            ),
            ("Nov 26 16:07:01 mx1 above message repeats 3 times", true),
            ("Nov 26 16:07:01 --- last message repeated 1 time ---", true),
            ("Nov 26 16:07:01 mx1 -- MARK --", true),
            ("-- Boot 0123456789abcdef --", true),
            ("-- No entries --", true),
            ("last message repeated 2 times", false),
            ("Nov 26 16:07:01 mx1 what is this", false),
            ("Nov 26 16:07:01 é", false),
            ("", false),
        ] {
            assert_eq!(is_of_daemon(line, &clock()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_a_header_or_none(
            pieces in prop::collection::vec(
                prop::sample::select(&[
                    "<22>", "1 ", "Nov 26 16:07:01", "2026-11-26T16:07:01Z", " ", "-", "[", "]", "\"", "\\", "é", "mx1", ":",
                    "postfix/smtp", "[12]", "mail.info", "message repeated 2 times: [", "mail", "info", "UTC", "2026 ", " PM", "last message ",
                ][..]),
                0..16,
            ),
        ) {
            let seen = Seen { time: clock().now, precision: Duration::from_secs(1) };
            let line = pieces.concat();
            if let Some(header) = syslog(&line, None, &clock()) {
                inner(&header, &clock());
            }
            syslog(&line, Some(seen), &clock());
            is_of_daemon(&line, &clock());
        }
    }
}
