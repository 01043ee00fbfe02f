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

/// A stamp at the beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped<'a> {
    /// What it says.
    pub time: Timestamp,
    /// The line was written within this time after `time`.
    pub precision: Duration,
    /// It tells its zone; else `time` is a guess by this host's.
    pub has_zone: bool,
    /// What is after it.
    pub rest: &'a str,
}

/// When whatever passed a line on got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The time.
    pub time: Timestamp,
    /// How exact that is.
    pub precision: Duration,
}

/// A line is passed on within this time.
const PASSED_ON: SignedDuration = SignedDuration::from_secs(2);
/// A stamp without a fraction, or hardly any.
const COARSE: Duration = Duration::from_millis(100);
/// All zones differ by a multiple of this.
const ZONE_STEP: i64 = 15 * 60;

impl Stamped<'_> {
    /// When the line was written, and how exact that is. A stamp without a zone can be by another
    /// zone than this host's, such as a container's, and a time with it tells by how much.
    pub fn written(&self, seen: Option<Seen>) -> (Timestamp, Duration) {
        let Some(seen) = seen else { return (self.time, self.precision) };
        let ahead = seen.time.duration_since(self.time).as_secs();
        let steps = (ahead + ZONE_STEP / 2).div_euclid(ZONE_STEP);
        let shift = if self.has_zone { 0 } else { steps * ZONE_STEP };
        let time = self.time.checked_add(SignedDuration::from_secs(shift)).unwrap_or(self.time);
        let after = seen.time.duration_since(time);
        let latest = PASSED_ON + SignedDuration::try_from(self.precision).unwrap_or_default();
        let is_near = !after.is_negative() && after <= latest;
        // A fraction of its own tells better when it was written than what passed it on.
        let is_coarse = self.precision >= COARSE && seen.precision < self.precision;
        if is_near && is_coarse { (seen.time, seen.precision) } else { (time, self.precision) }
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Any stamp that syslog daemons and journalctl write: that of RFC 3164, `Nov 26 16:07:01`, with
/// any padding, a fraction, a zone or a year at any place, that of RFC 3339 with a `T` or a blank, and
/// seconds since 1970.
pub fn syslog<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let weekday = WEEKDAYS.iter().find_map(|day| line.strip_prefix(day)).and_then(|rest| {
        let rest = rest.strip_prefix(',').unwrap_or(rest);
        rest.starts_with(' ').then(|| rest.trim_start_matches(' '))
    });
    let text = weekday.unwrap_or(line);
    let stamped = match text.as_bytes().first()? {
        b'0'..=b'9' => dated(text, &['T', 't', ' '], clock).or_else(|| seconds(text)).or_else(|| numbered(text, clock)),
        _ => classic(text, clock),
    }?;
    // journalctl names the zone behind the weekday.
    let stamped = if weekday.is_some() { named_zone(stamped, clock)? } else { stamped };
    let rest = stamped.rest.strip_prefix(' ')?.trim_start_matches(' ');
    Some(Stamped { rest, ..stamped })
}

/// `Nov 26 16:07:01`.
fn classic<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let (month, rest) = month(line)?;
    let (day, rest) = number(blanks(rest)?, 1, 2)?;
    let rest = blanks(rest)?;
    let (year, rest) = match number(rest, 4, 4).and_then(|(year, rest)| Some((year, blanks(rest)?))) {
        Some((year, rest)) => (Some(year), rest),
        None => (None, rest),
    };
    at_time(year, month, day, rest, clock)
}

/// `2026 Nov 26 16:07:01`, `26 Nov 2026 16:07:01` or `26-Nov-2026 16:07:01`.
fn numbered<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    if let Some((year, rest)) = number(line, 4, 4) {
        let (month, rest) = month(blanks(rest)?)?;
        let (day, rest) = number(blanks(rest)?, 1, 2)?;
        return at_time(Some(year), month, day, blanks(rest)?, clock);
    }
    let (day, rest) = number(line, 1, 2)?;
    let (month, rest) = month(rest.strip_prefix([' ', '-'])?)?;
    let (year, rest) = number(rest.strip_prefix([' ', '-'])?, 4, 4)?;
    at_time(Some(year), month, day, blanks(rest)?, clock)
}

/// The number of a month from its name, and what is after it.
fn month(text: &str) -> Option<(i8, &str)> {
    MONTHS.iter().zip(1..).find_map(|(name, month)| Some((month, text.strip_prefix(name)?)))
}

/// What begins with the time of the day.
fn at_time<'a>(year: Option<i16>, month: i8, day: i16, rest: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let (hour, minute, second) = time_of_day(rest.as_bytes())?;
    let (nanosecond, precision, rest) = fraction(rest.get(8..)?)?;
    let (hour, rest) = half_of_day(hour, rest);
    let (offset, rest) = zone(rest)?;
    let after = || {
        let (year, rest) = number(blanks(rest)?, 4, 4)?;
        ((1970..=2999).contains(&year) && rest.starts_with(' ')).then_some((year, rest))
    };
    let (year, rest) = match year {
        Some(year) => (Some(year), rest),
        None => after().map_or((None, rest), |(year, rest)| (Some(year), rest)),
    };
    let zone = offset.map_or_else(|| clock.zone.clone(), TimeZone::fixed);
    let at = |year: i16| {
        let date = Date::new(year, month, i8::try_from(day).ok()?).ok()?;
        absolute(date.at(hour, minute, second, nanosecond), &zone)
    };
    let time = if let Some(year) = year {
        at(year)?
    } else {
        let this_year = zone.to_datetime(clock.now + AHEAD).year();
        let ago = |back| at(this_year.checked_sub(back)?).filter(|time| *time <= clock.now + AHEAD);
        (0..=YEARS_BACK).find_map(ago)?
    };
    Some(Stamped { time, precision, has_zone: offset.is_some(), rest })
}

/// The hour of a day of 24 where ` AM` or ` PM` follows, and what is after that.
fn half_of_day(hour: i8, rest: &str) -> (i8, &str) {
    if !(1..=12).contains(&hour) {
        return (hour, rest);
    }
    match (rest.strip_prefix(" AM"), rest.strip_prefix(" PM")) {
        (Some(rest), _) if rest.starts_with(' ') => (hour % 12, rest),
        (_, Some(rest)) if rest.starts_with(' ') => (hour % 12 + 12, rest),
        _ => (hour, rest),
    }
}

/// `1764173221.440526`, as `journalctl -o short-unix` writes it.
fn seconds(text: &str) -> Option<Stamped<'_>> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let second: i64 = text.get(..count).filter(|_| (9..=11).contains(&count))?.parse().ok()?;
    let (nanosecond, precision, rest) = fraction(&text[count..])?;
    let time = Timestamp::new(second, nanosecond).ok()?;
    Some(Stamped { time, precision, has_zone: true, rest })
}

/// Exim's stamp, `2026-11-26 16:07:01`, with `.123` by the log selector `millisec`
/// and ` +0100` by the option `log_timezone`.
pub fn exim<'a>(line: &'a str, clock: &Clock) -> Option<Stamped<'a>> {
    let stamped = dated(line, &[' '], clock)?;
    Some(Stamped { rest: stamped.rest.strip_prefix(' ')?, ..stamped })
}

/// `YYYY-MM-DD`, a separator, `HH:MM:SS`, a fraction, a zone.
fn dated<'a>(text: &'a str, separators: &[char], clock: &Clock) -> Option<Stamped<'a>> {
    let bytes = text.as_bytes();
    let (year, _) = number(text, 4, 4)?;
    let two = |at: usize| Some(digit(*bytes.get(at)?)? * 10 + digit(*bytes.get(at + 1)?)?);
    let is_shaped = matches!((bytes.get(4)?, bytes.get(7)?), (b'-', b'-') | (b'/', b'/'))
        && separators.contains(&char::from(*bytes.get(10)?));
    let date = Date::new(year, two(5)?, two(8)?).ok().filter(|_| is_shaped)?;
    let (hour, minute, second) = time_of_day(bytes.get(11..)?)?;
    let (nanosecond, precision, rest) = fraction(text.get(19..)?)?;
    let (offset, rest) = zone(rest)?;
    let zone = offset.map(TimeZone::fixed);
    let time = absolute(date.at(hour, minute, second, nanosecond), zone.as_ref().unwrap_or(&clock.zone))?;
    Some(Stamped { time, precision, has_zone: offset.is_some(), rest })
}

/// A name of a zone: that of universal time tells it, any other is this host's.
fn named_zone<'a>(stamped: Stamped<'a>, clock: &Clock) -> Option<Stamped<'a>> {
    let rest = stamped.rest.trim_start_matches(' ');
    let Some((name, _)) = rest.split_once(' ') else { return Some(stamped) };
    let is_name = (1..=5).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase());
    if stamped.has_zone || !is_name {
        return Some(stamped);
    }
    let rest = &rest[name.len()..];
    if !is_universal(name) {
        return Some(Stamped { rest, ..stamped });
    }
    let time = absolute(clock.zone.to_datetime(stamped.time), &TimeZone::UTC)?;
    Some(Stamped { time, has_zone: true, rest, ..stamped })
}

/// A stamp of syslog without the name of a zone behind it; `None` if none is there. Where the name could
/// be that of a host, only that of universal time is one.
pub fn without_zone<'a>(stamped: Stamped<'a>, is_host_elsewhere: bool, clock: &Clock) -> Option<Stamped<'a>> {
    let (name, _) = stamped.rest.split_once(' ')?;
    let is_named = is_universal(name) || is_host_elsewhere && (3..=5).contains(&name.len());
    let zoned = named_zone(stamped, clock).filter(|zoned| is_named && zoned.rest.len() < stamped.rest.len())?;
    Some(Stamped { rest: zoned.rest.trim_start_matches(' '), ..zoned })
}

fn is_universal(name: &str) -> bool {
    matches!(name, "UTC" | "GMT" | "Z")
}

/// What is after at least one blank.
fn blanks(text: &str) -> Option<&str> {
    text.strip_prefix(' ').map(|rest| rest.trim_start_matches(' '))
}

/// A number of so many digits, and what is after it.
fn number(text: &str, least: usize, most: usize) -> Option<(i16, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).take(most).count();
    let digits = text.get(..count).filter(|_| count >= least)?;
    Some((digits.parse().ok()?, &text[count..]))
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
    let Some(digits) = text.strip_prefix(['.', ',']) else { return Some((0, Duration::from_secs(1), text)) };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    let read = digits.get(..count.min(9)).filter(|read| !read.is_empty())?;
    let scale = 10_i32.pow(9 - u32::try_from(read.len()).ok()?);
    let nanoseconds = read.parse::<i32>().ok()? * scale;
    Some((nanoseconds, Duration::from_nanos(u64::from(scale.unsigned_abs())), &digits[count..]))
}

/// `Z`, `+01`, `+01:00`, ` +0100`, or nothing; `None` where it cannot be a zone.
fn zone(text: &str) -> Option<(Option<Offset>, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((Some(Offset::UTC), rest));
    }
    let bare = text.strip_prefix(' ').unwrap_or(text).as_bytes();
    let sign = match bare.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some((None, text)),
    };
    let two = |at: usize| Some(i32::from(digit(*bare.get(at)?)?) * 10 + i32::from(digit(*bare.get(at + 1)?)?));
    // A host without a name is a `-`.
    let Some(hours) = two(1) else { return Some((None, text)) };
    let colon = usize::from(bare.get(3) == Some(&b':'));
    let minutes = two(3 + colon);
    let seconds = hours * 3_600 + minutes.unwrap_or(0) * 60;
    let offset = Offset::from_seconds(sign * seconds).ok()?;
    let length = if minutes.is_some() { 5 + colon } else { 3 };
    let rest = text.get(text.len() - bare.len() + length..)?;
    Some((Some(offset), rest))
}

fn absolute(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(time).compatible().ok()
}

fn digit(byte: u8) -> Option<i8> {
    char::from(byte).to_digit(10).and_then(|digit| i8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::{self, TimeZone};

    use super::{Clock, Seen, exim, syslog};

    fn clock(now: &str, hours: i8) -> Clock {
        Clock { now: now.parse().unwrap(), zone: TimeZone::fixed(tz::offset(hours)) }
    }

    fn read(line: &str, clock: &Clock) -> Option<String> {
        syslog(line, clock).map(|read| format!("{} {}ms {}", read.time, read.precision.as_millis(), read.rest))
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
            let read = exim(line, &clock).map(|read| (read.time.to_string(), read.precision.as_millis(), read.rest));
            assert_eq!(read, expected.map(|(time, ms, rest)| (time.to_owned(), ms, rest)), "{line}");
        }
    }

    #[test]
    fn every_daemon_has_its_own_stamp() {
        let clock = clock("2026-11-26T16:00:00Z", 1);
        for (line, expected) in [
            ("Nov 3 16:07:01 mx1 x", "2026-11-03T15:07:01Z 1000ms mx1 x"),
            ("Nov 03 16:07:01 mx1 x", "2026-11-03T15:07:01Z 1000ms mx1 x"),
            ("Nov  3  16:07:01   mx1 x", "2026-11-03T15:07:01Z 1000ms mx1 x"),
            ("Nov 26 16:07:01.123 mx1 x", "2026-11-26T15:07:01.123Z 1ms mx1 x"),
            ("Nov 26 16:07:01,5 mx1 x", "2026-11-26T15:07:01.5Z 100ms mx1 x"),
            ("Nov 26 16:07:01.123456+05:30 mx1 x", "2026-11-26T10:37:01.123456Z 0ms mx1 x"),
            ("Nov 26 16:07:01 +0000 mx1 x", "2026-11-26T16:07:01Z 1000ms mx1 x"),
            ("2026 Nov 26 16:07:01 mx1 x", "2026-11-26T15:07:01Z 1000ms mx1 x"),
            ("26 Nov 2026 16:07:01 mx1 x", "2026-11-26T15:07:01Z 1000ms mx1 x"),
            ("26-Nov-2026 16:07:01.123 mx1 x", "2026-11-26T15:07:01.123Z 1ms mx1 x"),
            ("Nov 26 04:07:01 PM mx1 x", "2026-11-26T15:07:01Z 1000ms mx1 x"),
            ("Nov 26 12:07:01 AM mx1 x", "2026-11-25T23:07:01Z 1000ms mx1 x"),
            ("Nov 26 16:07:01 PM mx1 x", "2026-11-26T15:07:01Z 1000ms PM mx1 x"),
            ("Nov 26 16:07:01 - x", "2026-11-26T15:07:01Z 1000ms - x"),
            ("Nov 26 16:07:01 -host x", "2026-11-26T15:07:01Z 1000ms -host x"),
            ("Nov 26 2025 16:07:01 mx1 x", "2025-11-26T15:07:01Z 1000ms mx1 x"),
            ("Nov 26 16:07:01 2025 mx1 x", "2025-11-26T15:07:01Z 1000ms mx1 x"),
            ("Wed Nov 26 16:07:01 2025 mail.info x", "2025-11-26T15:07:01Z 1000ms mail.info x"),
            ("Wed, Nov 26 16:07:01 mx1", "2026-11-26T15:07:01Z 1000ms mx1"),
            ("2026-11-26 16:07:01 mx1 x", "2026-11-26T15:07:01Z 1000ms mx1 x"),
            ("2026/11/26 16:07:01.25 mx1 x", "2026-11-26T15:07:01.25Z 10ms mx1 x"),
            ("2026-11-26 16:07:01 -0500 mx1", "2026-11-26T21:07:01Z 1000ms mx1"),
            ("2026-11-26T16:07:01,123+01 mx1", "2026-11-26T15:07:01.123Z 1ms mx1"),
            ("2026-11-26t16:07:01z mx1", "2026-11-26T16:07:01Z 1000ms mx1"),
            ("Thu 2026-11-26 16:07:01 CET MX postfix", "2026-11-26T15:07:01Z 1000ms MX postfix"),
            ("Thu 2026-11-26 16:07:01 UTC mx1 postfix", "2026-11-26T16:07:01Z 1000ms mx1 postfix"),
            ("1795705621.440526 mx1 x", "2026-11-26T15:07:01.440526Z 0ms mx1 x"),
        ] {
            assert_eq!(read(line, &clock).as_deref(), Some(expected), "{line}");
        }
        for line in
            ["4BF2A1C0D3: removed", "123 x", "Thursday 2026-11-26 16:07:01 x", "2026-11/26 16:07:01 x", "Nov", "é"]
        {
            assert_eq!(read(line, &clock), None, "{line}");
        }
    }

    #[test]
    fn a_container_may_have_another_zone() {
        let clock = clock("2026-11-26T18:00:00Z", 1);
        for (line, seen, expected) in [
            // Its zone is UTC.
            ("Nov 26 16:07:01 x", "2026-11-26T16:07:01.250Z", "2026-11-26T16:07:01.25Z 0"),
            // Written long before it was passed on.
            ("Nov 26 16:07:01 x", "2026-11-26T16:08:01.250Z", "2026-11-26T16:07:01Z 1000"),
            ("Nov 26 16:07:01.123456 x", "2026-11-26T16:07:01.250Z", "2026-11-26T16:07:01.123456Z 0"),
            ("2026-11-26T16:07:01Z x", "2026-11-26T17:07:01.250Z", "2026-11-26T16:07:01Z 1000"),
            ("Nov 26 16:07:01 x", "2026-11-26T10:37:02.250Z", "2026-11-26T10:37:02.25Z 0"),
        ] {
            let seen = Seen { time: seen.parse().unwrap(), precision: Duration::from_nanos(1) };
            let (time, precision) = syslog(line, &clock).unwrap().written(Some(seen));
            assert_eq!(format!("{time} {}", precision.as_millis()), expected, "{line}");
        }
    }
}
