//! From attempts, one after the other, to a [`Report`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{
    Account, Bin, Destination, LabelCounts, Local, Meaning, NameBook, Omitted, OutcomeCount, Outside, Overview, Period,
    Process, Quantiles, Report, SCHEMA, Selection, Source, SourceAddress, Timeline,
};
use crate::choice::Choice as _;
use crate::count::Ended;
use crate::event::milliseconds;
use crate::fact::own::OwnAddresses;
use crate::label::Label;
use crate::ledger::Outcome;
use crate::scope::{Reach, Scope, assess};
use crate::tally::{Key, Latencies, Latency, Seen, Tallies, Tally, Window};

/// Process names told apart: an attacker can invent as many as they like.
const MAX_NAMES: usize = 1_024;
/// Characters kept of a process name; the kernel keeps 15 bytes.
const MAX_NAME: usize = 45;

/// Scopes listed; one for each of a thousand dead hosts says
/// less than ten.
const MAX_VERDICTS: usize = 10;

/// What a report covers, and how finely.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it covers.
    pub period: Period,
    /// Which attempts it covers.
    pub selection: Selection,
    /// Entries listed of destinations and processes.
    pub top: usize,
    /// Shortest bucket of the timeline: how exactly times are known, in seconds.
    pub finest_s: i64,
    /// The clock that days begin by.
    pub tz: TimeZone,
}

/// What a report says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// When it was made.
    pub generated: Timestamp,
    /// The host that it is about.
    pub host: String,
    /// Where the numbers come from.
    pub source: Source,
}

/// Counts attempts. Memory is bounded: that of [`Tallies`], and some 200 kB.
#[derive(Debug)]
pub struct Builder {
    frame: Frame,
    tallies: Tallies,
    timeline: Timeline,
    processes: HashMap<String, LabelCounts>,
    nameless: LabelCounts,
    names: NameBook,
    redirected: Local,
}

impl Builder {
    /// Nothing counted yet.
    pub fn new(frame: Frame) -> Self {
        Self {
            tallies: Tallies::default(),
            timeline: Timeline::new(frame.period, frame.finest_s, &frame.tz),
            processes: HashMap::new(),
            nameless: LabelCounts::default(),
            names: NameBook::default(),
            redirected: Local::default(),
            frame,
        }
    }

    /// With this host's own addresses, as they are now.
    #[must_use]
    pub fn with_own(mut self, own: OwnAddresses) -> Self {
        self.tallies.set_own(own);
        self
    }

    /// With what a mail server's log calls the destinations.
    #[must_use]
    pub fn with_names(mut self, names: NameBook) -> Self {
        self.names = names;
        self
    }

    /// Counts attempts that the selection admits, oldest first; `comm` is the
    /// name of their process, where known. True if they were counted.
    pub fn add(&mut self, seen: &Seen, comm: Option<&str>) -> bool {
        if !self.frame.selection.admits(seen) {
            return false;
        }
        self.tallies.add(seen, seen.at);
        self.timeline.add(seen.at, seen.outcome.0, seen.count);
        self.add_redirected(seen);
        if let Some(comm) = comm {
            self.add_process(comm, seen.outcome.0, seen.count);
        }
        true
    }

    fn add_redirected(&mut self, seen: &Seen) {
        if seen.redirected {
            self.redirected.attempts += seen.count;
            self.redirected.failures += if seen.outcome.0 == Label::Connected { 0 } else { seen.count };
        }
    }

    fn add_process(&mut self, comm: &str, label: Label, count: u64) {
        let name: String = comm.chars().take(MAX_NAME).collect();
        if let Some(counts) = self.processes.get_mut(&name) {
            counts.add(label, count);
        } else if self.processes.len() < MAX_NAMES {
            self.processes.entry(name).or_default().add(label, count);
        } else {
            self.nameless.add(label, count);
        }
    }

    /// Counts attempts that the selection admits and of which no event came, as if
    /// they had ended at `at`.
    pub fn make_up(&mut self, missing: &[(Ended, u64)], at: Timestamp) {
        let admits = |(ended, count): &&(Ended, u64)| self.frame.selection.admits(&Seen::from_ended(ended, *count, at));
        let admitted: Vec<_> = missing.iter().filter(admits).copied().collect();
        self.tallies.make_up(&admitted, at);
        for (ended, count) in admitted {
            self.timeline.add(at, ended.label, count);
            self.add_redirected(&Seen::from_ended(&ended, count, at));
        }
    }

    /// Ends the period at `until`, if that is earlier than it was to end.
    pub fn end(&mut self, until: Timestamp) {
        if until < self.frame.period.until {
            self.frame.period.until = until;
            self.timeline.end(until);
        }
    }

    /// Attempts counted.
    pub fn attempts(&self) -> u64 {
        self.tallies.total().attempts()
    }

    /// The report.
    pub fn finish(self, about: About, ledger: Account) -> Report {
        let (destinations, destinations_omitted) = self.destinations();
        let (processes, processes_omitted) = self.processes();
        let (scopes, scopes_omitted) = self.scopes();
        let local = self.local();
        Report {
            schema: SCHEMA,
            generated: about.generated,
            host: about.host,
            source: about.source,
            period: self.frame.period,
            local: Some(local).filter(|local| local.attempts > 0),
            outside: self.outside(local),
            meanings: self.meanings(),
            redirected: Some(self.redirected).filter(|redirected| redirected.attempts > 0),
            overview: self.overview(),
            destinations,
            destinations_omitted,
            sources: self.sources(),
            refusal_times: bins(self.tallies.total().latencies().distribution(Latency::Refusal)),
            processes,
            processes_omitted,
            scopes,
            scopes_omitted,
            ledger,
            timeline: self.timeline,
            selection: self.frame.selection,
        }
    }

    fn overview(&self) -> Overview {
        let total = self.tallies.total();
        Overview {
            attempts: total.attempts(),
            failures: total.failures(),
            established: total.established(),
            destinations: self.tallies.len() as u64,
            first_failed: total.first_failed(),
            last_failed: total.last_failed(),
            last_succeeded: total.last_succeeded(),
            connect_ms: quantiles(total.latencies(), Latency::Connect),
            refusal_ms: quantiles(total.latencies(), Latency::Refusal),
            outcomes: total.outcomes().map(outcome_count).collect(),
        }
    }

    fn outside(&self, local: Local) -> Outside {
        let total = self.tallies.total();
        let others =
            || self.tallies.destinations().filter(|((ip, _), _)| !self.tallies.is_own(*ip)).map(|(_, tally)| tally);
        let count = |is_it: fn(&Tally) -> bool| others().filter(|tally| is_it(tally)).count() as u64;
        Outside {
            attempts: total.attempts().saturating_sub(local.attempts + self.redirected.attempts),
            failures: total.failures().saturating_sub(local.failures + self.redirected.failures),
            destinations: count(|_| true),
            destinations_failing: count(|tally| tally.failures() > 0),
            destinations_always_failing: count(|tally| tally.attempts() > 0 && tally.failures() == tally.attempts()),
            attempts_forgotten: self.tallies.forgotten().attempts(),
        }
    }

    fn meanings(&self) -> Vec<Meaning> {
        let counts = labels(self.tallies.total());
        let meaning = |(label, _): (Label, u64)| label.help().map(|meaning| Meaning { label, meaning });
        counts.iter().filter_map(meaning).collect()
    }

    fn local(&self) -> Local {
        let own = self.tallies.destinations().filter(|((ip, _), _)| self.tallies.is_own(*ip));
        own.fold(Local::default(), |local, (_, tally)| Local {
            attempts: local.attempts + tally.attempts(),
            failures: local.failures + tally.failures(),
        })
    }

    fn destinations(&self) -> (Vec<Destination>, Omitted) {
        let mut all: Vec<(Key, &Tally)> = self.tallies.destinations().collect();
        // By address at last, so that the order is the same every time.
        all.sort_unstable_by_key(|&(key, tally)| (Reverse(tally.failures()), Reverse(tally.attempts()), key));
        let total = self.tallies.total();
        let remembered = all.len();
        all.truncate(self.frame.top);
        let listed = |of: fn(&Tally) -> u64| all.iter().map(|(_, tally)| of(tally)).sum::<u64>();
        let omitted = Omitted {
            entries: (remembered - all.len()) as u64,
            attempts: total.attempts() - listed(Tally::attempts),
            failures: total.failures() - listed(Tally::failures),
        };
        let listed =
            all.into_iter().map(|(key, tally)| Destination { names: self.names.of(key.0), ..destination(key, tally) });
        (listed.collect(), omitted)
    }

    fn sources(&self) -> Vec<SourceAddress> {
        let address = |(ip, tally): (Option<IpAddr>, &Tally)| SourceAddress {
            ip,
            attempts: tally.attempts(),
            failures: tally.failures(),
            labels: labels(tally),
        };
        let mut all: Vec<_> = self.tallies.sources().map(address).collect();
        all.sort_unstable_by_key(|source| (Reverse(source.attempts), source.ip));
        all
    }

    fn processes(&self) -> (Vec<Process>, Omitted) {
        let process = |(comm, &labels): (&String, &LabelCounts)| Process {
            comm: comm.clone(),
            attempts: labels.attempts(),
            failures: labels.failures(),
            labels,
        };
        let mut all: Vec<_> = self.processes.iter().map(process).collect();
        all.sort_unstable_by(|a, b| (b.failures, b.attempts, &a.comm).cmp(&(a.failures, a.attempts, &b.comm)));
        let rest = all.split_off(self.frame.top.min(all.len()));
        let omitted = Omitted {
            entries: rest.len() as u64,
            attempts: rest.iter().map(|process| process.attempts).sum::<u64>() + self.nameless.attempts(),
            failures: rest.iter().map(|process| process.failures).sum::<u64>() + self.nameless.failures(),
        };
        (all, omitted)
    }

    /// Each scope once: those of the shortest window first, of these the widest, then those
    /// with most failures.
    fn scopes(&self) -> (Vec<Reach>, u64) {
        if !is_comparable(&self.frame.selection) {
            return (Vec::new(), 0);
        }
        let last = Timestamp::from_nanosecond(self.frame.period.until.as_nanosecond() - 1);
        let now = last.unwrap_or(self.frame.period.until);
        let windows = windows(self.frame.period);
        let mut all = Reach::merged(windows.into_iter().flat_map(|window| assess(&self.tallies, window, now)));
        let is_one = |reach: &Reach| matches!(reach.verdict.scope, Scope::Destination { .. });
        all.sort_by_key(|reach| {
            let numbers = &reach.verdict.numbers;
            (is_one(reach), numbers.window, Reverse(numbers.failures))
        });
        let omitted = all.len().saturating_sub(MAX_VERDICTS) as u64;
        all.truncate(MAX_VERDICTS);
        (all, omitted)
    }
}

/// How far failures reach can be told only beside what does not fail.
pub(super) fn is_comparable(selection: &Selection) -> bool {
    selection.labels.is_empty() && selection.destinations.is_empty()
}

/// The last hour of a longer period, and the shortest window that holds it all.
pub(super) fn windows(period: Period) -> Vec<Window> {
    let length = Duration::from_secs(period.seconds().unsigned_abs());
    let whole = Window::ALL.into_iter().find(|window| window.length() >= length).unwrap_or(Window::Day);
    if whole == Window::Day { vec![Window::Hour, Window::Day] } else { vec![whole] }
}

fn labels(tally: &Tally) -> LabelCounts {
    tally.outcomes().map(|((label, _), count)| (label, count)).collect()
}

fn outcome_count(((label, reason), count): (Outcome, u64)) -> OutcomeCount {
    OutcomeCount { label, reason, count }
}

fn quantiles(latencies: &Latencies, what: Latency) -> Option<Quantiles> {
    let at = |q| latencies.quantile(what, q).map(milliseconds);
    Some(Quantiles { count: latencies.count(what), p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
}

fn destination((ip, port): Key, tally: &Tally) -> Destination {
    Destination {
        ip,
        port,
        names: None,
        attempts: tally.attempts(),
        failures: tally.failures(),
        established: tally.established(),
        labels: labels(tally),
        mostly: tally.dominant().map(outcome_count),
        streak: tally.streak(),
        first_failed: tally.first_failed(),
        last_failed: tally.last_failed(),
        last_succeeded: tally.last_succeeded(),
        connect_ms: quantiles(tally.latencies(), Latency::Connect),
        refusal_ms: quantiles(tally.latencies(), Latency::Refusal),
    }
}

/// Bars at 1, 2 and 5 times the powers of ten, from the first that is not empty
/// to the last.
fn bins(distribution: impl Iterator<Item = (Duration, u64)>) -> Vec<Bin> {
    // 1 microsecond to 100,000 seconds: more than latencies tell apart.
    let edges: Vec<f64> =
        (-3..=8).flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit: f64| digit * 10f64.powi(exponent))).collect();
    let mut bins: Vec<Bin> = edges.windows(2).map(|edge| Bin { from_ms: edge[0], to_ms: edge[1], count: 0 }).collect();
    for (latency, count) in distribution {
        let ms = latency.as_secs_f64() * 1_000.0;
        let at = bins.iter().position(|bin| ms < bin.to_ms).unwrap_or(bins.len() - 1);
        bins[at].count += count;
    }
    let first = bins.iter().position(|bin| bin.count > 0).unwrap_or(bins.len());
    let last = bins.iter().rposition(|bin| bin.count > 0).map_or(0, |at| at + 1);
    bins.get(first..last).map(<[Bin]>::to_vec).unwrap_or_default()
}
