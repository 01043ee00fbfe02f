//! When: `--since` and `--until` as people say them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::{Span, Timestamp, ZonedDateTime};
use serde::Serialize;

/// What [`Moment`] understands, for its errors and the help.
const UNDERSTOOD: &str = "expected a time ago (1h, 30 min ago), a day (today, yesterday, monday, 2026-11-23), a day with a \
                          time (yesterday 14:00), or RFC 3339 (2026-11-23T14:00:00Z)";

/// Without `--since`.
const DEFAULT_HOURS: i64 = 24;

/// A time as typed, before it is known what time it is.
#[derive(Clone, Debug)]
pub enum Moment {
    /// Exactly then.
    At(Timestamp),
    /// So long ago.
    Ago(Span),
    /// Then by the local clock.
    Local(DateTime),
    /// A day named from today, at a time by the local clock.
    Day(Day, Time),
}

/// A day named from today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// Today.
    Today,
    /// The day before.
    Yesterday,
    /// The last day of this name, today included.
    Last(Weekday),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let exact = || text.parse().map(Self::At).ok();
        let local = || text.parse().map(Self::Local).ok();
        let moment = exact().or_else(local).or_else(|| named(&lower)).or_else(|| ago(&lower));
        moment.ok_or_else(|| UNDERSTOOD.to_owned())
    }
}

/// `today`, `yesterday 14:00`, `monday at 9:30`, `14:00`.
fn named(text: &str) -> Option<Moment> {
    let (day, time) = match text.split_once(char::is_whitespace) {
        Some((day, time)) => (day, Some(time.trim_start())),
        None => (text, None),
    };
    if let (None, Some(time)) = (time, clock(day)) {
        return Some(Moment::Day(Day::Today, time));
    }
    let time = time.map_or(Some(Time::midnight()), |time| clock(time.strip_prefix("at ").unwrap_or(time)))?;
    Some(Moment::Day(day_named(day)?, time))
}

fn day_named(word: &str) -> Option<Day> {
    Some(match word {
        "today" => Day::Today,
        "yesterday" => Day::Yesterday,
        "monday" | "mon" => Day::Last(Weekday::Monday),
        "tuesday" | "tue" => Day::Last(Weekday::Tuesday),
        "wednesday" | "wed" => Day::Last(Weekday::Wednesday),
        "thursday" | "thu" => Day::Last(Weekday::Thursday),
        "friday" | "fri" => Day::Last(Weekday::Friday),
        "saturday" | "sat" => Day::Last(Weekday::Saturday),
        "sunday" | "sun" => Day::Last(Weekday::Sunday),
        _ => return None,
    })
}

/// `14:00`, `9:30`, `14:00:05`.
fn clock(text: &str) -> Option<Time> {
    let text = text.trim();
    let (hour, _) = text.split_once(':')?;
    if hour.len() == 1 { format!("0{text}").parse().ok() } else { text.parse().ok() }
}

/// `1h`, `30 min ago`, `an hour ago`, `last week`, `now`.
fn ago(text: &str) -> Option<Moment> {
    if text == "now" {
        return Some(Moment::Ago(Span::new()));
    }
    let words = ["an ", "a ", "last ", "the last "].into_iter().find_map(|word| text.strip_prefix(word));
    let spelled = words
        .map(str::trim_start)
        .map(|rest| if rest.starts_with(|c: char| c.is_ascii_digit()) { rest.to_owned() } else { format!("1 {rest}") });
    let span: Span = spelled.as_deref().unwrap_or(text).parse().ok()?;
    Some(Moment::Ago(span.abs()))
}

impl Moment {
    /// The time meant, when it is `now`.
    ///
    /// # Errors
    /// A time that the calendar does not reach.
    pub fn resolve(&self, now: &ZonedDateTime) -> Result<Timestamp, PeriodError> {
        let resolved = match self {
            Self::At(time) => Ok(*time),
            Self::Ago(span) => now.checked_sub(*span).map(|zoned| zoned.timestamp()),
            Self::Local(local) => now.time_zone().to_timestamp(*local),
            Self::Day(day, time) => {
                day.date(now).and_then(|date| now.time_zone().to_timestamp(date.to_datetime(*time)))
            }
        };
        resolved.map_err(|_| PeriodError::OutOfRange)
    }
}

impl Day {
    fn date(self, now: &ZonedDateTime) -> Result<jiff::civil::Date, jiff::Error> {
        let today = now.date();
        match self {
            Self::Today => Ok(today),
            Self::Yesterday => today.yesterday(),
            Self::Last(weekday) => {
                let back = today.weekday().since(weekday);
                today.checked_sub(Span::new().days(back))
            }
        }
    }
}

/// A stretch of time, `until` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its beginning.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// Why two times make no period; each names the cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodError {
    /// `--since` is not before `--until`.
    Backwards(Period),
    /// `--since` lies in the future.
    Future(Timestamp),
    /// Beyond the calendar.
    OutOfRange,
}

impl fmt::Display for PeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backwards(Period { since, until }) => {
                write!(f, "--since ({since:.0}) is not before --until ({until:.0}): swap them, or leave one out")
            }
            Self::Future(since) => {
                write!(f, "--since ({since:.0}) is not in the past: name an earlier time, such as 1h")
            }
            Self::OutOfRange => f.write_str("a time beyond the calendar: give one between the years 1 and 9999"),
        }
    }
}

impl Period {
    /// The period typed, at `now`: the 24 hours before `until` without `since`,
    /// until `now` without `until`. It ends now at the latest.
    ///
    /// # Errors
    /// A period that is empty or lies in the future.
    pub fn resolve(since: Option<&Moment>, until: Option<&Moment>, now: &ZonedDateTime) -> Result<Self, PeriodError> {
        let until = until.map(|until| until.resolve(now)).transpose()?.unwrap_or(now.timestamp());
        let by_default = || until.checked_sub(Span::new().hours(DEFAULT_HOURS)).map_err(|_| PeriodError::OutOfRange);
        let since = since.map_or_else(by_default, |since| since.resolve(now))?;
        let typed = Self { since, until };
        if since >= now.timestamp() {
            return Err(PeriodError::Future(since));
        }
        if since >= until {
            return Err(PeriodError::Backwards(typed));
        }
        Ok(Self { until: until.min(now.timestamp()), ..typed })
    }

    /// Its length in seconds, rounded up; at least 1.
    pub fn seconds(&self) -> i64 {
        let ns = self.until.as_nanosecond() - self.since.as_nanosecond();
        let seconds = (ns + 999_999_999) / 1_000_000_000;
        i64::try_from(seconds).unwrap_or(i64::MAX).max(1)
    }

    /// The period with its ends moved outwards to whole minutes.
    #[must_use]
    pub fn whole_minutes(&self) -> Self {
        const MINUTE_NS: i128 = 60_000_000_000;
        let at = |ns: i128, otherwise| Timestamp::from_nanosecond(ns).unwrap_or(otherwise);
        let (since, until) = (self.since.as_nanosecond(), self.until.as_nanosecond());
        Self {
            since: at(since - since.rem_euclid(MINUTE_NS), self.since),
            until: at(until + (-until).rem_euclid(MINUTE_NS), self.until),
        }
    }
}

#[cfg(test)]
mod tests;
