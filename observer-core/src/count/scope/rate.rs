//! Rate limits: a destination that takes so many connections in a period.

use super::MIN_ATTEMPTS;
use crate::label::Label;
use crate::tally::{Tally, Tick, Window};

/// A limit, as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// Connections that succeed in a period, about.
    pub(super) connections: u64,
    /// The period, in seconds.
    pub(super) period_s: u64,
}

/// Attempts and failures of a period.
type Period = (u64, u64);

/// Periods in which the limit must have been reached: twice is chance.
const MIN_REACHED: usize = 3;
/// How far the successes of those periods may be from their median. A limit
/// holds whatever the load; our periods and the limiter's are not aligned.
const SPREAD: f64 = 0.25;
/// Without a period below the limit, load must have varied by this factor while
/// successes did not: failures at random leave a share of successes instead.
const LOAD_VARIED: f64 = 1.5;

/// Periods that a window is cut into: minutes of ten minutes, and of an hour six
/// times ten minutes.
const fn periods(window: Window) -> usize {
    match window {
        Window::Minute | Window::Hour => 6,
        Window::TenMinutes => 10,
        Window::Day => 24,
    }
}

/// The limit that a destination keeps, if its counts look like one: whenever it
/// failed, about the same number of connections had succeeded in that period,
/// and it never failed below that.
pub(super) fn limit(tally: &Tally, window: Window, now: Tick) -> Option<Limit> {
    // What was cancelled is neither, and what this host answered itself says nothing of the
    // destination; one with such is left alone.
    if tally.window(window, now).of(Label::Cancelled) > 0 || tally.redirected(window, now).attempts() > 0 {
        return None;
    }
    let series = tally.series(window, periods(window), now);
    let connections = connections(&series)?;
    Some(Limit { connections, period_s: window.length().as_secs() / series.len() as u64 })
}

fn connections(series: &[Period]) -> Option<u64> {
    // The last period has not ended.
    let (_, whole) = series.split_last()?;
    let begun = whole.iter().filter(|period| period.0 > 0);
    let (reached, below): (Vec<&Period>, Vec<&Period>) = begun.partition(|&&(_, failures)| failures > 0);
    if reached.len() < MIN_REACHED || reached.iter().map(|period| period.1).sum::<u64>() < MIN_ATTEMPTS {
        return None;
    }
    let mut successes: Vec<u64> = reached.iter().map(|(attempts, failures)| attempts - failures).collect();
    successes.sort_unstable();
    let median = successes[successes.len() / 2];
    let spread = (median as f64 * SPREAD).max(1.0);
    let is_near = |count: u64| count > 0 && count.abs_diff(median) as f64 <= spread;
    let is_under = |attempts: u64| attempts as f64 <= median as f64 + spread;
    let fits = successes.iter().all(|&count| is_near(count)) && below.iter().all(|&&(attempts, _)| is_under(attempts));
    (fits && (is_below(&below, median) || has_varied(&reached))).then_some(median)
}

/// A period without a failure that came near the limit; of a few attempts, all
/// may succeed by chance.
fn is_below(below: &[&Period], median: u64) -> bool {
    below.iter().any(|&&(attempts, _)| attempts >= 2 && attempts * 2 >= median)
}

fn has_varied(reached: &[&Period]) -> bool {
    let attempts = || reached.iter().map(|period| period.0);
    let (least, most) = (attempts().min().unwrap_or(0), attempts().max().unwrap_or(0));
    most as f64 >= least as f64 * LOAD_VARIED
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::connections;

    #[test]
    fn tells_a_limit_from_chance() {
        let limited = [(5, 0), (40, 20), (8, 0), (35, 15), (60, 41), (18, 0), (30, 10), (1, 0)];
        let busy = [(40, 20), (40, 20), (80, 60), (50, 30), (60, 39), (40, 20)];
        let at_random = [(40, 20), (40, 19), (40, 22), (40, 20), (40, 18), (40, 20)];
        let with_the_load = [(40, 20), (80, 40), (20, 10), (60, 30), (10, 5), (80, 40)];
        let down_for_a_while = [(20, 0), (20, 0), (20, 20), (20, 20), (20, 20), (20, 0)];
        let twice_is_chance = [(9, 0), (40, 20), (8, 0), (35, 15), (9, 0), (9, 0)];
        let failed_below = [(40, 20), (40, 20), (30, 29), (40, 20), (18, 0), (40, 20)];
        let more_got_through = [(40, 20), (40, 20), (39, 19), (40, 20), (38, 0), (40, 20)];
        for (series, expected) in [
            (&limited[..], Some(20)),
            (&busy, Some(20)),
            (&at_random, None),
            (&with_the_load, None),
            (&down_for_a_while, None),
            (&twice_is_chance, None),
            (&failed_below, None),
            (&more_got_through, None),
            (&[], None),
            (&[(1, 1)], None),
        ] {
            assert_eq!(connections(series), expected, "{series:?}");
        }
    }

    proptest! {
        #[test]
        fn a_limit_is_found_whatever_the_load(
            limit in 2u64..50,
            loads in prop::collection::vec(0u64..150, 8..20),
        ) {
            let series: Vec<_> = loads.iter().map(|&load| (load, load.saturating_sub(limit))).collect();
            let whole = &series[..series.len() - 1];
            let over: Vec<_> = whole.iter().filter(|period| period.1 > 0).collect();
            let has_near = whole.iter().any(|&(load, failures)| failures == 0 && load >= 2 && load * 2 >= limit);
            let enough = over.len() >= 3 && over.iter().map(|period| period.1).sum::<u64>() >= 5;
            prop_assume!(enough && has_near);
            prop_assert_eq!(connections(&series), Some(limit));
        }
    }
}
