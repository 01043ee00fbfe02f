use jiff::ZonedDateTime;
use proptest::prelude::*;

use super::{Moment, Period, PeriodError};

/// A Wednesday, in summer time.
fn now() -> ZonedDateTime {
    "2026-07-15T16:07:30.5+02:00[Europe/Berlin]".parse().unwrap()
}

fn moment(text: &str) -> String {
    let moment: Moment = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    moment.resolve(&now()).unwrap().to_zoned_datetime(now().time_zone().clone()).strftime("%a %F %T%.f %:z").to_string()
}

#[test]
fn human_words_are_understood() {
    for (typed, meant) in [
        ("now", "Wed 2026-07-15 16:07:30.5 +02:00"),
        ("1h", "Wed 2026-07-15 15:07:30.5 +02:00"),
        ("30 min ago", "Wed 2026-07-15 15:37:30.5 +02:00"),
        ("90s", "Wed 2026-07-15 16:06:00.5 +02:00"),
        ("2 hours 5 minutes ago", "Wed 2026-07-15 14:02:30.5 +02:00"),
        ("an hour ago", "Wed 2026-07-15 15:07:30.5 +02:00"),
        ("last week", "Wed 2026-07-08 16:07:30.5 +02:00"),
        ("the last 3 days", "Sun 2026-07-12 16:07:30.5 +02:00"),
        ("PT15M", "Wed 2026-07-15 15:52:30.5 +02:00"),
        ("6mo", "Thu 2026-01-15 16:07:30.5 +01:00"),
        ("today", "Wed 2026-07-15 00:00:00 +02:00"),
        ("Yesterday", "Tue 2026-07-14 00:00:00 +02:00"),
        ("yesterday 14:00", "Tue 2026-07-14 14:00:00 +02:00"),
        ("today at 9:30", "Wed 2026-07-15 09:30:00 +02:00"),
        ("14:00", "Wed 2026-07-15 14:00:00 +02:00"),
        ("monday", "Mon 2026-07-13 00:00:00 +02:00"),
        ("wed", "Wed 2026-07-15 00:00:00 +02:00"),
        ("thursday  23:59:59", "Thu 2026-07-09 23:59:59 +02:00"),
        ("2026-01-02", "Fri 2026-01-02 00:00:00 +01:00"),
        ("2026-01-02 03:04", "Fri 2026-01-02 03:04:00 +01:00"),
        (" 2026-07-15T14:00:00Z ", "Wed 2026-07-15 16:00:00 +02:00"),
        ("2026-07-15T14:00:00-05:00", "Wed 2026-07-15 21:00:00 +02:00"),
    ] {
        assert_eq!(moment(typed), meant, "{typed}");
    }
}

#[test]
fn what_is_not_understood_says_what_is() {
    for typed in ["", "soon", "monday of old", "yesterday 25:00", "3", "14", "1 parsec", "2026-02-30", "12:60"] {
        let error = typed.parse::<Moment>().unwrap_err();
        assert!(error.contains("30 min ago") && error.contains("RFC 3339"), "{typed}: {error}");
    }
}

fn period(since: Option<&str>, until: Option<&str>) -> Result<Period, PeriodError> {
    let parse = |text: &str| text.parse::<Moment>().unwrap();
    Period::resolve(since.map(parse).as_ref(), until.map(parse).as_ref(), &now())
}

#[test]
fn a_day_by_default() {
    let default = period(None, None).unwrap();
    assert_eq!((default.until, default.seconds()), (now().timestamp(), 86_400));
    let before = period(None, Some("yesterday")).unwrap();
    assert_eq!(before.since.to_string(), "2026-07-12T22:00:00Z");
    // It cannot end after now.
    assert_eq!(period(Some("1h"), Some("2027-01-01")).unwrap().until, now().timestamp());
}

#[test]
fn no_period_is_said_with_the_cure() {
    let said = |since, until| period(since, until).unwrap_err().to_string();
    insta::assert_snapshot!(said(Some("1h"), Some("2h")), @"--since (2026-07-15T13:07:30Z) is not before --until (2026-07-15T12:07:30Z): swap them, or leave one out");
    insta::assert_snapshot!(said(Some("today"), Some("today")), @"--since (2026-07-14T22:00:00Z) is not before --until (2026-07-14T22:00:00Z): swap them, or leave one out");
    insta::assert_snapshot!(said(Some("2026-12-24"), None), @"--since (2026-12-23T23:00:00Z) is not in the past: name an earlier time, such as 1h");
    insta::assert_snapshot!(said(Some("15000 years"), None), @"a time beyond the calendar: give one between the years 1 and 9999");
}

proptest! {
    #[test]
    fn whole_minutes_hold_the_period(since in -1i64 << 50..1 << 50, length in 1i64..1 << 40) {
        let at = |us| jiff::Timestamp::from_microsecond(us).unwrap();
        let period = Period { since: at(since), until: at(since + length) };
        let whole = period.whole_minutes();
        prop_assert!(whole.since <= period.since && period.until <= whole.until);
        prop_assert!(whole.seconds() < period.seconds() + 120);
        for end in [whole.since, whole.until] {
            prop_assert_eq!(end.as_nanosecond().rem_euclid(60_000_000_000), 0);
        }
        prop_assert_eq!(whole.whole_minutes(), whole);
    }

    #[test]
    fn anything_typed_is_a_time_or_an_error(text in "\\PC{0,20}|[0-9a-z :-]{0,16}") {
        if let Ok(moment) = text.parse::<Moment>() {
            let _ = moment.resolve(&now());
        }
    }
}
