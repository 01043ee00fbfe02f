//! Times of log lines.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// What a stamp without a year or a zone is to be read by.
#[derive(Clone, Debug)]
pub struct Clock {
    /// When the line is read: a stamp without a year is of the last year in which
    /// it is not in the future.
    pub now: Timestamp,
    /// Of stamps that tell none: this host's.
    pub zone: TimeZone,
}

/// A stamp may be ahead of `now` by this: clocks differ, and a zone may be told wrongly.
const AHEAD: SignedDuration = SignedDuration::from_hours(26);
/// Between two leap days lie at most eight years.
const YEARS_BACK: i16 = 8;

/// A time, how exact it is, and the text after it.
pub type Stamped<'a> = (Timestamp, Duration, &'a str);

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The stamp of RFC 3164, section 4.1.2, `Nov 26 16:07:01`, or of RFC 3339,
/// `2026-11-26T16:07:01.123456+01:00`, at the beginning of a line.
pub fn syslog<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    match line.as_bytes().first()? {
        b'0'..=b'9' => rfc3339(line, clock),
        _ => classic(line, clock),
    }
}

fn classic<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let bytes = line.as_bytes();
    let month = MONTHS.iter().position(|name| bytes.starts_with(*name))?;
    let month = i8::try_from(month + 1).ok()?;
    // The day is padded with a space, by some with a zero.
    let day = match (bytes.get(4)?, bytes.get(5)?) {
        (b' ', ones) => digit(*ones)?,
        (tens, ones) => digit(*tens)? * 10 + digit(*ones)?,
    };
    let (hour, minute, second) = time_of_day(bytes.get(7..)?)?;
    let rest = line.get(15..)?.strip_prefix(' ')?;
    (bytes[3] == b' ' && bytes[6] == b' ').then_some(())?;
    let this_year = clock.zone.to_datetime(clock.now + AHEAD).year();
    (0..=YEARS_BACK).find_map(|back| {
        let date = Date::new(this_year.checked_sub(back)?, month, day).ok()?;
        let time = absolute(date.at(hour, minute, second, 0), &clock.zone)?;
        (time <= clock.now + AHEAD).then_some((time, Duration::from_secs(1), rest))
    })
}

fn rfc3339<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let (stamp, rest) = line.split_once(' ')?;
    dated(stamp, b'T', clock).and_then(|(time, precision, left)| left.is_empty().then_some((time, precision, rest)))
}

/// Exim's stamp, `2026-11-26 16:07:01`, with `.123` by the log selector `millisec`
/// and ` +0100` by the option `log_timezone`.
pub fn exim<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let (time, precision, rest) = dated(line, b' ', clock)?;
    Some((time, precision, rest.strip_prefix(' ')?))
}

/// `YYYY-MM-DD`, a separator, `HH:MM:SS`, a fraction, a zone.
fn dated<'a>(text: &'a str, separator: u8, clock: &Clock) -> Option<Stamped<'a>> {
    let bytes = text.as_bytes();
    let year = bytes.get(..4)?.iter().try_fold(0, |year: i16, &byte| Some(year * 10 + i16::from(digit(byte)?)))?;
    let two = |at: usize| Some(digit(*bytes.get(at)?)? * 10 + digit(*bytes.get(at + 1)?)?);
    let is_shaped = bytes.get(4)? == &b'-' && bytes.get(7)? == &b'-' && bytes.get(10)? == &separator;
    let date = Date::new(year, two(5)?, two(8)?).ok().filter(|_| is_shaped)?;
    let (hour, minute, second) = time_of_day(bytes.get(11..)?)?;
    let (nanosecond, precision, rest) = fraction(text.get(19..)?)?;
    let (offset, rest) = zone(rest)?;
    let zone = offset.map(TimeZone::fixed);
    let time = absolute(date.at(hour, minute, second, nanosecond), zone.as_ref().unwrap_or(&clock.zone))?;
    Some((time, precision, rest))
}

fn time_of_day(bytes: &[u8]) -> Option<(i8, i8, i8)> {
    let two = |at: usize| Some(digit(*bytes.get(at)?)? * 10 + digit(*bytes.get(at + 1)?)?);
    let (hour, minute, second) = (two(0)?, two(3)?, two(6)?);
    let is_time = bytes.get(2)? == &b':' && bytes.get(5)? == &b':' && hour < 24 && minute < 60 && second <= 60;
    // A leap second is the last one said twice.
    is_time.then_some((hour, minute, second.min(59)))
}

/// Nanoseconds of a fraction, its precision, and what is after it.
fn fraction(text: &str) -> Option<(i32, Duration, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, Duration::from_secs(1), text)) };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    let read = digits.get(..count.min(9)).filter(|read| !read.is_empty())?;
    let scale = 10_i32.pow(9 - u32::try_from(read.len()).ok()?);
    let nanoseconds = read.parse::<i32>().ok()? * scale;
    Some((nanoseconds, Duration::from_nanos(u64::from(scale.unsigned_abs())), &digits[count..]))
}

/// `Z`, `+01:00`, ` +0100`, or nothing.
fn zone(text: &str) -> Option<(Option<Offset>, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((Some(Offset::UTC), rest));
    }
    let bare = text.strip_prefix(' ').unwrap_or(text).as_bytes();
    let sign = match bare.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some((None, text)),
    };
    let colon = usize::from(bare.get(3) == Some(&b':'));
    let two = |at: usize| Some(i32::from(digit(*bare.get(at)?)?) * 10 + i32::from(digit(*bare.get(at + 1)?)?));
    let seconds = two(1)? * 3_600 + two(3 + colon)? * 60;
    let offset = Offset::from_seconds(sign * seconds).ok()?;
    let used = text.len() - bare.len() + 5 + colon;
    Some((Some(offset), text.get(used..)?))
}

fn absolute(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(time).compatible().ok()
}

fn digit(byte: u8) -> Option<i8> {
    char::from(byte).to_digit(10).and_then(|digit| i8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use jiff::tz::{self, TimeZone};

    use super::{Clock, exim, syslog};

    fn clock(now: &str, hours: i8) -> Clock {
        Clock { now: now.parse().unwrap(), zone: TimeZone::fixed(tz::offset(hours)) }
    }

    fn read(line: &str, clock: &Clock) -> Option<String> {
        syslog(line, clock).map(|(time, precision, rest)| format!("{time} {}ms {rest}", precision.as_millis()))
    }

    #[test]
    fn the_year_is_the_last_one_that_is_not_ahead() {
        let winter = clock("2026-11-26T16:00:00Z", 1);
        for (line, expected) in [
            ("Nov 26 16:07:01 mx1 x", Some("2026-11-26T15:07:01Z 1000ms mx1 x")),
            ("Nov 27 16:07:01 mx1 x", Some("2026-11-27T15:07:01Z 1000ms mx1 x")),
            ("Nov 28 16:07:01 mx1 x", Some("2025-11-28T15:07:01Z 1000ms mx1 x")),
            ("Nov  6 16:07:01 x", Some("2026-11-06T15:07:01Z 1000ms x")),
            ("Feb 29 00:00:00 x", Some("2024-02-28T23:00:00Z 1000ms x")),
            ("Dec 31 23:59:60 x", Some("2025-12-31T22:59:59Z 1000ms x")),
            ("Nov 31 16:07:01 x", None),
            ("Nov 26 24:07:01 x", None),
            ("Nov 26 16:07:01", None),
            ("nov 26 16:07:01 x", None),
            ("Größe 26 16:07:01 x", None),
            ("", None),
        ] {
            assert_eq!(read(line, &winter).as_deref(), expected, "{line}");
        }
        let new_year = clock("2026-01-01T00:00:05Z", 0);
        assert_eq!(read("Dec 31 23:59:59 x", &new_year).as_deref(), Some("2025-12-31T23:59:59Z 1000ms x"));
        let eve = clock("2025-12-31T23:59:59Z", 0);
        assert_eq!(read("Jan  1 00:00:01 x", &eve).as_deref(), Some("2026-01-01T00:00:01Z 1000ms x"));
    }

    #[test]
    fn rfc_3339_is_exact() {
        let clock = clock("2026-11-26T16:00:00Z", 1);
        for (line, expected) in [
            ("2026-11-26T16:07:01.123456+01:00 mx1 x", Some("2026-11-26T15:07:01.123456Z 0ms mx1 x")),
            ("2026-11-26T16:07:01Z mx1", Some("2026-11-26T16:07:01Z 1000ms mx1")),
            ("2026-11-26T16:07:01.5-0930 mx1", Some("2026-11-27T01:37:01.5Z 100ms mx1")),
            ("2026-11-26T16:07:01.1234567890123Z x", Some("2026-11-26T16:07:01.123456789Z 0ms x")),
            ("2026-11-26T16:07:01 mx1", Some("2026-11-26T15:07:01Z 1000ms mx1")),
            ("2026-11-26T16:07:01.Z x", None),
            ("2026-11-26T16:07:01+99:99 x", None),
            ("2026-13-26T16:07:01Z x", None),
            ("2026-11-26T16:07:01Zebra x", None),
            ("9999-12-31T23:59:59-20:00 x", None),
        ] {
            assert_eq!(read(line, &clock).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn exims_stamp_may_have_a_zone_and_milliseconds() {
        let clock = clock("2026-11-26T16:00:00Z", 1);
        for (line, expected) in [
            ("2026-11-26 16:07:01 1abc", Some(("2026-11-26T15:07:01Z", 1_000, "1abc"))),
            ("2026-11-26 16:07:01.123 1abc", Some(("2026-11-26T15:07:01.123Z", 1, "1abc"))),
            ("2026-11-26 16:07:01.123 +0000 [7] x", Some(("2026-11-26T16:07:01.123Z", 1, "[7] x"))),
            ("2026-11-26 16:07:01 -0500 x", Some(("2026-11-26T21:07:01Z", 1_000, "x"))),
            ("2026-11-26T16:07:01 x", None),
            ("2026-11-26 16:07:01", None),
        ] {
            let read =
                exim(line, &clock).map(|(time, precision, rest)| (time.to_string(), precision.as_millis(), rest));
            assert_eq!(read, expected.map(|(time, ms, rest)| (time.to_owned(), ms, rest)), "{line}");
        }
    }
}
