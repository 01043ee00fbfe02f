//! A fixed report for tests: an hour with a refusing host, a silent one, a rate
//! limit and a healthy one, from two addresses.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{About, Account, Builder, Frame, Period, Report, Selection, Source};
use crate::label::{Label, Reason};
use crate::ledger::Outcome;
use crate::sample::ip;
use crate::tally::Seen;

pub(crate) fn since() -> Timestamp {
    "2026-11-23T16:00:00Z".parse().unwrap()
}

pub(crate) fn frame() -> Frame {
    let period = Period { since: since(), until: since() + SignedDuration::from_hours(1) };
    Frame { period, selection: Selection::default(), top: 10, finest_s: 60, tz: TimeZone::UTC }
}

pub(crate) fn about() -> About {
    let source = Source::History { path: "/var/lib/observer/history.sqlite".into(), holds: None };
    About { generated: since() + SignedDuration::from_hours(1), host: "mx1".to_owned(), source }
}

pub(crate) fn account(attempts: u64) -> Account {
    Account::History { attempts, events: attempts, counted_only: 0 }
}

pub(crate) fn seen(second: i64, from: &str, to: &str, outcome: Outcome, ms: u64) -> Seen {
    let is_accepted = matches!(outcome.0, Label::Connected | Label::Closed | Label::Silent | Label::Reset);
    Seen {
        at: since() + SignedDuration::from_secs(second),
        saddr: Some(ip(from)),
        daddr: ip(to),
        dport: 25,
        outcome,
        handshake: is_accepted.then_some(Duration::from_millis(21)),
        elapsed: Some(Duration::from_millis(ms)),
        count: 1,
        redirected: false,
    }
}

/// Attempts of the hour, oldest first, each with the name of its process.
pub(crate) fn attempts() -> Vec<(Seen, &'static str)> {
    const RST: Outcome = (Label::Refused, Some(Reason::Rst));
    const ADMIN: Outcome = (Label::Refused, Some(Reason::IcmpAdminProhibited));
    const ABANDONED: Outcome = (Label::Timeout, Some(Reason::Abandoned));
    const CLOSED: Outcome = (Label::Closed, Some(Reason::BeforeBanner));
    const NO_ROUTE: Outcome = (Label::Unreachable, Some(Reason::NoRoute));
    const CONNECTED: Outcome = (Label::Connected, None);
    let mut all = Vec::new();
    for second in (0..3_600).step_by(10) {
        let jitter = second as u64 * 7 % 23;
        let from = if second % 20 == 0 { "192.0.2.10" } else { "192.0.2.11" };
        all.push((seen(second, from, "198.51.100.7", CONNECTED, 900 + jitter), "smtp"));
        if second % 30 == 0 {
            all.push((seen(second + 1, from, "203.0.113.11", RST, 21 + jitter), "smtp"));
        }
        if second % 60 == 0 {
            let limited = if second % 120 == 0 { CLOSED } else { CONNECTED };
            all.push((seen(second + 2, from, "203.0.113.22", limited, 60 + jitter), "smtp"));
            all.push((seen(second + 3, "192.0.2.10", "203.0.113.17", ABANDONED, 30_000), "php"));
        }
        if second >= 1_800 && second % 90 == 0 {
            all.push((seen(second + 4, "192.0.2.11", "203.0.113.45", ADMIN, 3 + jitter), "kumod"));
            let unrouted = seen(second + 5, "192.0.2.11", "2001:db8:f::20", NO_ROUTE, 0);
            all.push((Seen { saddr: None, ..unrouted }, "smtp"));
        }
    }
    all
}

pub(crate) fn build(frame: Frame, attempts: &[(Seen, &str)]) -> Report {
    let mut builder = Builder::new(frame);
    attempts.iter().for_each(|(seen, comm)| _ = builder.add(seen, Some(comm)));
    let count = builder.attempts();
    builder.finish(about(), account(count))
}

pub(crate) fn report() -> Report {
    build(frame(), &attempts())
}
