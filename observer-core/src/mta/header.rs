//! What syslog and the journal put before a message.

use std::time::Duration;

use jiff::Timestamp;

use super::stamp::{self, Clock};

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

/// `STAMP HOST TAG[PID]: MESSAGE`, as syslog daemons and Postfix's `maillog_file`
/// write it.
pub fn syslog<'a>(line: &'a str, clock: &Clock) -> Option<Header<'a>> {
    let (time, precision, rest) = stamp::syslog(line, clock)?;
    let (host, rest) = rest.split_once(' ')?;
    let (tag, text) = rest.split_once(": ")?;
    let (tag, pid) = match tag.split_once('[') {
        Some((tag, pid)) => (tag, Some(pid.strip_suffix(']')?.parse().ok()?)),
        None => (tag, None),
    };
    if tag.is_empty() || tag.contains(' ') {
        return None;
    }
    Some(Header { time, precision, host: Some(host), tag, pid, text })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::{Clock, syslog};

    #[test]
    fn a_tag_may_have_a_process_id() {
        let clock = Clock { now: "2026-11-26T16:10:00Z".parse().unwrap(), zone: TimeZone::UTC };
        for (line, expected) in [
            ("Nov 26 16:07:01 mx1 postfix/smtp[1203]: a: b", Some(("postfix/smtp", Some(1203), "a: b"))),
            ("Nov 26 16:07:01 mx1 smtpd: x", Some(("smtpd", None, "x"))),
            ("Nov 26 16:07:01 mx1 smtpd[1: x", None),
            ("Nov 26 16:07:01 mx1 smtpd[99999999999]: x", None),
            ("Nov 26 16:07:01 mx1 last message repeated 2 times: x", None),
            ("Nov 26 16:07:01 mx1 : x", None),
            ("Nov 26 16:07:01 mx1", None),
        ] {
            let read = syslog(line, &clock).map(|header| (header.tag, header.pid, header.text));
            assert_eq!(read, expected, "{line}");
        }
    }
}
