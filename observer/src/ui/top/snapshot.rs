//! What the screen shows: numbers taken from the tallies at one time.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use super::columns::{Column, GRAPH_MAX};
use super::filter::Needle;

pub(super) use super::subject::Subject;
pub(super) use super::subject::View;
use observer_core::event::Event;
use observer_core::label::Label;
use observer_core::tally::{Family, Latency, Outcome, SourceCounts, Tallies, Tally, Tick, Window};
use observer_core::wire::Account;

/// Rows that can be scrolled through; the filter reaches the others.
const MAX_ROWS: usize = 1_000;
/// Columns of the longest series.
pub(super) const MAX_SERIES: usize = GRAPH_MAX;

/// The time that counts are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// A sliding window.
    Last(Window),
    /// Since observer was started.
    All,
}

impl Stretch {
    /// Every stretch, shortest first.
    pub const ALL: [Self; 5] = [
        Self::Last(Window::Minute),
        Self::Last(Window::TenMinutes),
        Self::Last(Window::Hour),
        Self::Last(Window::Day),
        Self::All,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Last(window) => window.as_str(),
            Self::All => "all",
        }
    }

    /// The window of the sparklines. A minute has six buckets only: too few.
    pub(super) const fn series(self) -> Window {
        match self {
            Self::Last(Window::Minute | Window::TenMinutes) => Window::TenMinutes,
            Self::Last(window) => window,
            Self::All => Window::Hour,
        }
    }
}

/// Counts of attempts by label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ShownCounts {
    labels: [u64; Label::COUNT],
    pub(super) established: u64,
}

impl ShownCounts {
    pub(super) fn new(tally: &Tally, stretch: Stretch, now: Tick) -> Self {
        match stretch {
            Stretch::Last(window) => {
                let counts = tally.window(window, now);
                Self { labels: Label::READ.map(|label| counts.of(label)), established: counts.established }
            }
            Stretch::All => {
                let mut labels = [0; Label::COUNT];
                tally.outcomes().for_each(|((label, _), count)| labels[label as usize] += count);
                Self { labels, established: tally.established() }
            }
        }
    }

    pub(super) fn of(&self, label: Label) -> u64 {
        self.labels[label as usize]
    }

    pub(super) fn attempts(&self) -> u64 {
        self.labels.iter().sum()
    }

    pub(super) fn failures(&self) -> u64 {
        self.attempts() - self.of(Label::Connected)
    }

    /// Share of failures, 0 to 1.
    pub(super) fn ratio(&self) -> Option<f64> {
        let attempts = self.attempts();
        (attempts > 0).then(|| self.failures() as f64 / attempts as f64)
    }
}

/// One line of a list.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) subject: Subject,
    pub(super) name: String,
    pub(super) counts: ShownCounts,
    pub(super) streak: u64,
    pub(super) last_failed: Option<Timestamp>,
    pub(super) p50: Option<Duration>,
    pub(super) p95: Option<Duration>,
    pub(super) dominant: Option<Outcome>,
    /// As [`Tally::series`].
    pub(super) series: Vec<(u64, u64)>,
}

impl Row {
    fn new(subject: Subject, tally: &Tally, asked: &Asked, now: Tick) -> Self {
        Self {
            subject,
            name: subject.to_string(),
            counts: ShownCounts::new(tally, asked.stretch, now),
            streak: tally.streak(),
            last_failed: tally.last_failed(),
            p50: tally.latencies().quantile(Latency::Refusal, 0.5),
            p95: tally.latencies().quantile(Latency::Refusal, 0.95),
            dominant: tally.dominant().map(|(outcome, _)| outcome),
            series: tally.series(asked.stretch.series(), MAX_SERIES, now),
        }
    }
}

/// Everything about one subject.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) subject: Subject,
    /// `None` if it was not seen yet, or is not remembered any more.
    pub(super) tally: Option<Tally>,
    pub(super) prefix: Option<IpNet>,
    pub(super) stretches: [ShownCounts; Stretch::ALL.len()],
    pub(super) series: Vec<(u64, u64)>,
    pub(super) sources: Vec<SourceCounts>,
    /// The latest first.
    pub(super) attempts: Vec<Arc<Event>>,
}

impl Detail {
    pub(super) fn new(tallies: &Tallies, subject: Subject, stretch: Stretch, now: Tick) -> Self {
        let tally = subject.tally(tallies);
        let prefix = match subject {
            Subject::Destination((ip, _)) => Some(tallies.prefix_of(ip)),
            Subject::Prefix(_) | Subject::Source(_) => None,
        };
        let of = |stretch| tally.map(|tally| ShownCounts::new(tally, stretch, now)).unwrap_or_default();
        Self {
            subject,
            prefix,
            stretches: Stretch::ALL.map(of),
            series: tally.map(|tally| tally.series(stretch.series(), MAX_SERIES, now)).unwrap_or_default(),
            sources: match subject {
                Subject::Destination(_) => tally.map(|tally| tallies.split(tally)).unwrap_or_default(),
                Subject::Prefix(_) | Subject::Source(_) => Vec::new(),
            },
            tally: tally.cloned(),
            attempts: Vec::new(),
        }
    }
}

/// The order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: Column,
    pub(super) is_descending: bool,
}

impl Sort {
    /// By a column, in the direction that shows what matters first.
    pub(super) fn by(column: Column) -> Self {
        Self { column, is_descending: column != Column::Name }
    }
}

/// What is to be listed, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) view: View,
    pub(super) stretch: Stretch,
    pub(super) sort: Sort,
    pub(super) filter: &'a str,
}

/// What the screen shows.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When the numbers were taken.
    pub(super) at: Timestamp,
    /// The first rows in order, at most [`MAX_ROWS`].
    pub(super) rows: Vec<Row>,
    /// Rows that the filter admits, also those beyond the limit.
    pub(super) matching: usize,
    /// Rows with attempts in the stretch.
    pub(super) active: usize,
    pub(super) total: ShownCounts,
    pub(super) families: [ShownCounts; 2],
    pub(super) series: Vec<(u64, u64)>,
    /// Destinations that the daemon knows, and that are in the totals only.
    pub(super) in_total_only: u64,
    /// Destinations, prefixes and sources that had to go.
    pub(super) evicted: [u64; 3],
    /// Attempts known from the kernel's counters alone.
    pub(super) made_up: u64,
    pub(super) detail: Option<Detail>,
    pub(super) account: Account,
    /// Off by this much, and not only while the counters were read.
    pub(super) imbalance: i128,
}

impl Snapshot {
    pub(super) fn empty(at: Timestamp) -> Self {
        Self {
            at,
            rows: Vec::new(),
            matching: 0,
            active: 0,
            total: ShownCounts::default(),
            families: Default::default(),
            series: Vec::new(),
            in_total_only: 0,
            evicted: [0; 3],
            made_up: 0,
            detail: None,
            account: Account::default(),
            imbalance: 0,
        }
    }

    pub(super) fn new(tallies: &Tallies, asked: &Asked, at: Timestamp) -> Self {
        let now = tallies.tick(at);
        let needle = Needle::new(asked.filter);
        let mut active = 0;
        let mut keyed: Vec<_> = asked
            .view
            .subjects(tallies)
            .filter_map(|(subject, tally)| {
                let counts = ShownCounts::new(tally, asked.stretch, now);
                if counts.attempts() == 0 {
                    return None;
                }
                active += 1;
                let rank = rank(asked.sort.column, &counts, tally);
                needle.matches(subject, tally).then_some((rank, counts.failures(), subject, tally))
            })
            .collect();
        let matching = keyed.len();
        let order = |a: &(u64, u64, Subject, &Tally), b: &(u64, u64, Subject, &Tally)| compare(asked.sort, a, b);
        if matching > MAX_ROWS {
            keyed.select_nth_unstable_by(MAX_ROWS, order);
            keyed.truncate(MAX_ROWS);
        }
        keyed.sort_unstable_by(order);
        Self {
            rows: keyed.into_iter().map(|(_, _, subject, tally)| Row::new(subject, tally, asked, now)).collect(),
            matching,
            active,
            total: ShownCounts::new(tallies.total(), asked.stretch, now),
            families: Family::ALL.map(|family| ShownCounts::new(tallies.family(family), asked.stretch, now)),
            series: tallies.total().series(asked.stretch.series(), MAX_SERIES, now),
            in_total_only: tallies.in_total_only(),
            evicted: tallies.evicted(),
            made_up: tallies.made_up(),
            ..Self::empty(at)
        }
    }
}

/// A number that grows with what the column shows; 0 where it shows nothing.
fn rank(column: Column, counts: &ShownCounts, tally: &Tally) -> u64 {
    let quantile =
        |q| tally.latencies().quantile(Latency::Refusal, q).map_or(0, |latency| latency.as_micros() as u64 + 1);
    match column {
        Column::Name => 0,
        Column::Attempts => counts.attempts(),
        Column::Established => counts.established,
        Column::Failures | Column::Graph => counts.failures(),
        Column::Ratio => counts.ratio().map_or(0, |ratio| (ratio * 1e9) as u64),
        Column::Of(label) => counts.of(label),
        Column::Streak => tally.streak(),
        Column::LastFailed => tally.last_failed().map_or(0, |at| at.as_microsecond().max(0) as u64 + 1),
        Column::P50 => quantile(0.5),
        Column::P95 => quantile(0.95),
        Column::Mostly => tally.dominant().map_or(0, |((label, reason), _)| {
            // In the order of labels, which begins with `refused`.
            let reason = reason.map_or(0, |reason| reason as u64);
            u64::MAX - ((label as u64) << 8) - reason
        }),
    }
}

/// Of equals, first the one with more failures, then by name.
fn compare(sort: Sort, a: &(u64, u64, Subject, &Tally), b: &(u64, u64, Subject, &Tally)) -> Ordering {
    let by_name = a.2.cmp(&b.2);
    if sort.column == Column::Name {
        return if sort.is_descending { by_name.reverse() } else { by_name };
    }
    let by_rank = if sort.is_descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
    by_rank.then(b.1.cmp(&a.1)).then(by_name)
}
