//! What was counted before a reader came, for stderr.

use jiff::Timestamp;
use observer_core::tally::{Tallies, Tally, Window};

/// Destinations shown.
pub const SHOWN: usize = 5;

/// `407 attempts before, 300 failed, since 2026-11-28 16:00:12Z`
pub fn total(tallies: &Tallies, since: Option<Timestamp>) -> String {
    let since = since.map(|since| format!(", since {}", since.strftime("%Y-%m-%d %H:%M:%SZ"))).unwrap_or_default();
    let total = tallies.total();
    format!("{} attempts before, {} failed{since}", total.attempts(), total.failures())
}

/// `; last 10m 30, 12 failed; last 1h 120, 80 failed`, of the windows in which there is any.
pub fn windows(tallies: &Tallies, now: Timestamp) -> String {
    let tick = tallies.tick(now);
    let windows = [Window::TenMinutes, Window::Hour, Window::Day].into_iter().filter_map(|window| {
        let counts = tallies.total().window(window, tick);
        let (attempts, failures) = (counts.attempts(), counts.failures());
        (attempts > 0).then(|| format!("; last {} {attempts}, {failures} failed", window.as_str()))
    });
    windows.collect()
}

/// The destinations that have failed in a row, most recently failed first:
/// `203.0.113.5:25: 25 failures in a row, first failed 15:02:11Z, mostly refused/rst`
pub fn failing(tallies: &Tallies) -> Vec<String> {
    let failing = tallies.destinations().filter(|(_, tally)| tally.streak() > 1).take(SHOWN);
    failing.map(|((ip, port), tally)| destination(&std::net::SocketAddr::new(ip, port).to_string(), tally)).collect()
}

fn destination(name: &str, tally: &Tally) -> String {
    let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%SZ");
    let first = tally.first_failed().map(|first| format!(", first failed {}", time(first))).unwrap_or_default();
    let mostly = tally.dominant().map(|((label, reason), _)| {
        let reason = reason.map(|reason| format!("/{}", reason.as_str())).unwrap_or_default();
        format!(", mostly {}{reason}", label.as_str())
    });
    let streak = tally.streak();
    format!("{name}: {streak} failures in a row{first}{}", mostly.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use observer_core::label::{Label, Reason};
    use observer_core::sample;
    use observer_core::tally::Seen;

    #[test]
    fn says_what_was_counted_and_what_fails() {
        let now = sample::time();
        let mut tallies = Tallies::default();
        let mut add = |ip, label, reason, minutes: i64| {
            let (at, saddr, daddr) = (now - minutes.minutes(), None, sample::ip(ip));
            let (outcome, handshake, elapsed) = ((label, reason), None, None);
            let (dport, count, redirected) = (25, 3, false);
            tallies.add(&Seen { at, saddr, daddr, dport, outcome, handshake, elapsed, count, redirected }, at);
        };
        add("203.0.113.5", Label::Refused, Some(Reason::Rst), 120);
        add("203.0.113.6", Label::Connected, None, 30);
        add("203.0.113.5", Label::Refused, Some(Reason::Rst), 1);
        add("203.0.113.7", Label::Timeout, Some(Reason::SynTimeout), 1);
        add("203.0.113.7", Label::Connected, None, 0);
        assert_eq!(total(&tallies, None), "15 attempts before, 9 failed");
        assert!(total(&tallies, Some(now)).starts_with("15 attempts before, 9 failed, since 20"));
        let windows = windows(&tallies, now);
        assert_eq!(windows, "; last 10m 9, 6 failed; last 1h 12, 6 failed; last 24h 15, 9 failed");
        let failing = failing(&tallies);
        assert_eq!(failing.len(), 1, "{failing:?}");
        assert!(failing[0].starts_with("203.0.113.5:25: 6 failures in a row, first failed "), "{failing:?}");
        assert!(failing[0].ends_with(", mostly refused/rst"), "{failing:?}");
    }

    #[test]
    fn says_little_of_nothing() {
        let tallies = Tallies::default();
        assert_eq!(total(&tallies, None), "0 attempts before, 0 failed");
        assert_eq!(windows(&tallies, sample::time()), "");
        assert!(failing(&tallies).is_empty());
    }
}
