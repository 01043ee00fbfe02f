//! The counts of a window, and what can be concluded from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{BEGIN, MIN_ATTEMPTS, MIN_DESTINATIONS, MIN_HOSTS, Numbers, Scope, Thresholds, Verdict, rate};
use crate::label::{Label, Origin, Reason};
use crate::steady::Now;
use crate::tally::{Family, Key, Source, Tallies, Tally, Tick, Window};

/// Attempts by label, without those that were cancelled, and without those that went well because
/// this host redirected them to itself.
#[derive(Clone, Copy, Debug, Default)]
struct ScopeCounts {
    labels: [u64; Label::COUNT],
    /// Those among them that this host redirected to itself: they fail all the same, and say
    /// nothing of what others do.
    redirected: [u64; Label::COUNT],
}

impl ScopeCounts {
    fn new(tally: &Tally, window: Window, tick: Tick) -> Self {
        let (all, redirected) = (tally.window(window, tick), tally.redirected(window, tick));
        let count = |label| match label {
            Label::Cancelled => (0, 0),
            Label::Connected => (all.of(label).saturating_sub(redirected.of(label)), 0),
            _ => (all.of(label), redirected.of(label)),
        };
        Self { labels: Label::READ.map(|label| count(label).0), redirected: Label::READ.map(|label| count(label).1) }
    }

    fn add(&mut self, other: Self) {
        for (count, other) in self.each_with(other) {
            *count += other;
        }
    }

    fn without(mut self, other: Self) -> Self {
        for (count, other) in self.each_with(other) {
            *count = count.saturating_sub(other);
        }
        self
    }

    /// Without what this host redirected to itself.
    fn outside(self) -> Self {
        self.without(Self { labels: self.redirected, redirected: self.redirected })
    }

    fn each_with(&mut self, other: Self) -> impl Iterator<Item = (&mut u64, u64)> {
        let own = self.labels.iter_mut().chain(&mut self.redirected);
        own.zip(other.labels.into_iter().chain(other.redirected))
    }

    fn attempts(self) -> u64 {
        self.labels.iter().sum()
    }

    fn successes(self) -> u64 {
        self.labels[Label::Connected as usize]
    }

    fn failures(self) -> u64 {
        self.attempts() - self.successes()
    }

    fn share(self) -> f64 {
        share(self.failures(), self.attempts())
    }

    /// Of two failures as frequent, the first in the order of labels.
    fn dominant(self) -> Option<Label> {
        let failures = Label::READ.into_iter().filter(|&label| label != Label::Connected);
        let dominant = failures.rev().max_by_key(|&label| self.labels[label as usize]);
        dominant.filter(|_| self.failures() > 0)
    }

    /// One that gets through by chance clears no destination of few attempts.
    fn fails_mostly(self) -> bool {
        self.share() > 0.5
    }

    fn is_failing(self, than: Thresholds) -> bool {
        self.attempts() >= MIN_ATTEMPTS && self.share() >= than.failing
    }

    fn is_working(self, than: Thresholds) -> bool {
        self.attempts() >= MIN_ATTEMPTS && self.share() <= than.elsewhere
    }
}

/// True for reasons of `unreachable` that are this host's own finding.
fn is_given_here(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::NoRoute | Reason::RouteProhibited | Reason::NoNeighbour))
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// Several destinations together.
#[derive(Default)]
struct Group {
    counts: ScopeCounts,
    destinations: u64,
    failing: u64,
    nets: BTreeSet<IpNet>,
}

impl Group {
    /// Several destinations fail, with few exceptions.
    fn is_failing(&self, than: Thresholds, min_destinations: u64) -> bool {
        self.counts.is_failing(than)
            && self.failing >= min_destinations
            && share(self.failing, self.destinations) >= than.failing
    }

    /// As [`Self::is_failing`], and not within one prefix.
    fn is_failing_widely(&self, than: Thresholds) -> bool {
        self.is_failing(than, MIN_DESTINATIONS) && self.nets.len() > 1
    }
}

type Destinations = BTreeMap<IpAddr, ScopeCounts>;

/// The counts of a window, by what verdicts are about.
pub(super) struct View<'a> {
    tallies: &'a Tallies,
    window: Window,
    tick: Tick,
    /// Of the outside.
    ports: BTreeMap<u16, (Destinations, ScopeCounts)>,
    /// Destinations that are this host itself: nothing else is concluded from them.
    local: BTreeMap<Key, ScopeCounts>,
    sources: BTreeMap<IpAddr, ScopeCounts>,
}

impl<'a> View<'a> {
    pub(super) fn new(tallies: &'a Tallies, window: Window, now: Now) -> Self {
        let tick = tallies.tick(now);
        let mut ports: BTreeMap<_, (Destinations, ScopeCounts)> = BTreeMap::new();
        let mut local = BTreeMap::new();
        for ((ip, port), tally) in tallies.destinations() {
            let counts = ScopeCounts::new(tally, window, tick);
            if counts.attempts() > 0 && tallies.is_own(ip) {
                local.insert((ip, port), counts);
            } else if counts.attempts() > 0 {
                let (destinations, total) = ports.entry(port).or_default();
                destinations.insert(ip, counts);
                total.add(counts);
            }
        }
        let sources = tallies.sources().filter_map(|(ip, tally)| Some((ip?, ScopeCounts::new(tally, window, tick))));
        Self { tallies, window, tick, ports, local, sources: sources.collect() }
    }

    /// True if there are enough attempts within a scope to say that it fails no
    /// more.
    pub(super) fn has_data(&self, scope: &Scope) -> bool {
        let attempts = match *scope {
            Scope::OnlySource { ip } => self.sources.get(&ip).map_or(0, |counts| counts.attempts()),
            Scope::Prefix { prefix, port } => self.group_within(prefix, port).counts.attempts(),
            Scope::Destination { ip, port } | Scope::Intermittent { ip, port, .. } => {
                self.destination(ip, port).attempts()
            }
            Scope::OnlyIpv4 { port } => self.group(port, |ip| ip.is_ipv4()).counts.attempts(),
            Scope::OnlyIpv6 { port } => self.group(port, |ip| ip.is_ipv6()).counts.attempts(),
            Scope::Everything { port } | Scope::TooLittleData { port } => self.total(port).attempts(),
        };
        attempts >= MIN_ATTEMPTS
    }

    /// The verdict on a scope, whatever else fails.
    pub(super) fn holds(&self, scope: &Scope, than: Thresholds) -> Option<Verdict> {
        match *scope {
            Scope::Everything { port } => self.everything(port, than),
            Scope::OnlyIpv4 { port } => self.family(Family::Ipv4, port, than),
            Scope::OnlyIpv6 { port } => self.family(Family::Ipv6, port, than),
            Scope::OnlySource { ip } => self.source(ip, than),
            Scope::Prefix { prefix, port } => self.prefix(prefix, port, than),
            Scope::Destination { ip, port } => self.one(ip, port, than),
            Scope::Intermittent { ip, port, .. } => {
                self.intermittent(ip, port).or_else(|| self.still_intermittent(scope, ip, port, than))
            }
            Scope::TooLittleData { .. } => None,
        }
    }

    /// The widest scopes that hold, in order.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts: Vec<_> = self.ports.keys().filter_map(|&port| self.everything(port, BEGIN)).collect();
        if verdicts.is_empty() {
            verdicts.extend(self.sources.keys().filter_map(|&ip| self.source(ip, BEGIN)));
        }
        let blamed: Vec<_> = verdicts.iter().map(|verdict| verdict.scope.clone()).collect();
        for &port in self.ports.keys().filter(|&&port| !blamed.contains(&Scope::Everything { port })) {
            verdicts.extend(self.port(port, &blamed));
        }
        verdicts.extend(self.local.keys().filter_map(|&(ip, port)| self.one(ip, port, BEGIN)));
        verdicts.sort_by(|a, b| a.scope.cmp(&b.scope));
        verdicts
    }

    /// Verdicts on one port, of which not everything fails.
    fn port(&self, port: u16, blamed: &[Scope]) -> Vec<Verdict> {
        let Some((destinations, total)) = self.ports.get(&port) else { return Vec::new() };
        let families = Family::ALL.iter().filter_map(|&family| self.family(family, port, BEGIN));
        let mut verdicts: Vec<_> = families.collect();
        let of_family = |ip| verdicts.iter().any(|wider| wider.scope.covers(&Scope::Destination { ip, port }));
        let failed = destinations.iter().filter(|(_, counts)| counts.failures() > 0).map(|(&ip, _)| ip);
        let failed: Vec<_> = failed.filter(|&ip| !of_family(ip) && !self.is_blamed(ip, port, blamed)).collect();
        let nets: BTreeSet<_> = failed.iter().map(|&ip| self.tallies.prefix_of(ip)).collect();
        let prefixes: BTreeMap<_, _> =
            nets.into_iter().filter_map(|net| Some((net, self.prefix(net, port, BEGIN)?))).collect();
        let alone = failed.iter().filter(|&&ip| !prefixes.contains_key(&self.tallies.prefix_of(ip)));
        verdicts.extend(alone.filter_map(|&ip| self.one(ip, port, BEGIN).or_else(|| self.intermittent(ip, port))));
        verdicts.extend(prefixes.into_values());
        let is_short = total.attempts() < MIN_ATTEMPTS || failed.iter().any(|ip| destinations[ip].is_failing(BEGIN));
        if verdicts.is_empty() && !failed.is_empty() && is_short {
            let numbers = self.numbers(*total, destinations.len() as u64, ScopeCounts::default());
            verdicts.push(Verdict { scope: Scope::TooLittleData { port }, numbers });
        }
        verdicts
    }

    fn everything(&self, port: u16, than: Thresholds) -> Option<Verdict> {
        let group = self.group(port, |_| true);
        if !group.is_failing_widely(than) {
            return None;
        }
        let origin = self.is_stopped_here(port, group.counts).then_some(Origin::Local);
        let numbers = Numbers { origin, ..self.numbers(group.counts, group.destinations, ScopeCounts::default()) };
        Some(Verdict { scope: Scope::Everything { port }, numbers })
    }

    /// True if this host itself gave most of the most frequent failures. Windows tell no reasons:
    /// those of all time that others gave must be too few to be half of these.
    fn is_stopped_here(&self, port: u16, counts: ScopeCounts) -> bool {
        let is_redirected = |label: Label| 2 * counts.redirected[label as usize] > counts.labels[label as usize];
        match counts.dominant() {
            Some(Label::Blocked) => true,
            Some(label) if is_redirected(label) => true,
            Some(label @ Label::Unreachable) => {
                let of_port = self.ports.get(&port).into_iter().flat_map(|(destinations, _)| destinations.keys());
                let tallies = of_port.filter_map(|&ip| self.tallies.destination((ip, port)));
                let outcomes = tallies.flat_map(|tally| tally.outcomes());
                let by_others = outcomes.filter(|((of, reason), _)| *of == label && !is_given_here(*reason));
                2 * by_others.map(|(_, count)| count).sum::<u64>() < counts.labels[label as usize]
            }
            _ => false,
        }
    }

    fn family(&self, family: Family, port: u16, than: Thresholds) -> Option<Verdict> {
        let group = self.group(port, |ip| Family::of(ip) == family);
        let elsewhere = self.total(port).without(group.counts).outside();
        let numbers = self.numbers(group.counts, group.destinations, elsewhere);
        let holds = group.is_failing_widely(than) && elsewhere.is_working(than);
        holds.then(|| Verdict { scope: Scope::only(family, port), numbers })
    }

    fn source(&self, ip: IpAddr, than: Thresholds) -> Option<Verdict> {
        let counts = self.sources.get(&ip).copied().filter(|counts| counts.is_failing(than))?;
        let mut elsewhere = ScopeCounts::default();
        let family = Family::of(ip);
        let others = self.sources.iter().filter(|&(&other, _)| other != ip && Family::of(other) == family);
        others.for_each(|(_, counts)| elsewhere.add(*counts));
        let destinations = if elsewhere.is_working(than) { self.failed_from(ip) } else { 0 };
        let numbers = self.numbers(counts, destinations, elsewhere);
        (destinations >= MIN_DESTINATIONS).then_some(Verdict { scope: Scope::OnlySource { ip }, numbers })
    }

    fn prefix(&self, prefix: IpNet, port: u16, than: Thresholds) -> Option<Verdict> {
        let group = self.group_within(prefix, port);
        let elsewhere = self.total(port).without(group.counts).outside();
        let numbers = self.numbers(group.counts, group.destinations, elsewhere);
        let holds = group.is_failing(than, MIN_HOSTS) && elsewhere.successes() >= MIN_ATTEMPTS;
        holds.then_some(Verdict { scope: Scope::Prefix { prefix, port }, numbers })
    }

    fn one(&self, ip: IpAddr, port: u16, than: Thresholds) -> Option<Verdict> {
        let counts = self.destination(ip, port);
        let elsewhere = self.beside(ip, port);
        let holds = counts.is_failing(than) && elsewhere.successes() >= MIN_ATTEMPTS;
        let numbers = self.numbers(counts, 1, elsewhere);
        holds.then_some(Verdict { scope: Scope::Destination { ip, port }, numbers })
    }

    fn intermittent(&self, ip: IpAddr, port: u16) -> Option<Verdict> {
        let counts = self.destination(ip, port);
        // Most destinations need no closer look.
        if counts.failures() < MIN_ATTEMPTS || counts.successes() == 0 {
            return None;
        }
        let tally = self.tallies.destination((ip, port))?;
        let limit = rate::limit(tally, self.window, self.tick)?;
        let numbers = self.numbers(counts, 1, self.beside(ip, port));
        let rate::Limit { connections, period_s } = limit;
        Some(Verdict { scope: Scope::Intermittent { ip, port, connections, period_s }, numbers })
    }

    /// A limit does not show in every window; it goes on while there are
    /// failures at all.
    fn still_intermittent(&self, scope: &Scope, ip: IpAddr, port: u16, than: Thresholds) -> Option<Verdict> {
        let counts = self.destination(ip, port);
        let numbers = self.numbers(counts, 1, self.beside(ip, port));
        let holds = counts.failures() > 0 && than.any_failure_of_a_limit;
        holds.then(|| Verdict { scope: scope.clone(), numbers })
    }

    fn numbers(&self, counts: ScopeCounts, destinations: u64, elsewhere: ScopeCounts) -> Numbers {
        Numbers {
            window: self.window,
            attempts: counts.attempts(),
            failures: counts.failures(),
            destinations,
            label: counts.dominant(),
            origin: None,
            elsewhere_attempts: elsewhere.attempts(),
            elsewhere_successes: elsewhere.successes(),
        }
    }

    /// Other destinations on the port: of the outside, and of this host for one of its own.
    fn beside(&self, ip: IpAddr, port: u16) -> ScopeCounts {
        if !self.local.contains_key(&(ip, port)) {
            return self.total(port).without(self.destination(ip, port)).outside();
        }
        let mut beside = self.total(port).outside();
        let others = self.local.iter().filter(|((other, of), _)| *of == port && *other != ip);
        others.for_each(|(_, counts)| beside.add(*counts));
        beside
    }

    fn destination(&self, ip: IpAddr, port: u16) -> ScopeCounts {
        if let Some(counts) = self.local.get(&(ip, port)) {
            return *counts;
        }
        self.ports.get(&port).and_then(|(destinations, _)| destinations.get(&ip)).copied().unwrap_or_default()
    }

    fn total(&self, port: u16) -> ScopeCounts {
        self.ports.get(&port).map(|(_, total)| *total).unwrap_or_default()
    }

    fn group(&self, port: u16, is_in: impl Fn(IpAddr) -> bool) -> Group {
        let destinations = self.ports.get(&port).into_iter().flat_map(|(destinations, _)| destinations);
        self.collect(destinations.filter(|&(&ip, _)| is_in(ip)))
    }

    fn group_within(&self, net: IpNet, port: u16) -> Group {
        let range = net.network()..=net.broadcast();
        let destinations = self.ports.get(&port).map(|(destinations, _)| destinations.range(range));
        self.collect(destinations.into_iter().flatten())
    }

    fn collect<'b>(&self, destinations: impl Iterator<Item = (&'b IpAddr, &'b ScopeCounts)>) -> Group {
        let mut group = Group::default();
        for (&ip, &counts) in destinations {
            group.counts.add(counts);
            group.destinations += 1;
            group.failing += u64::from(counts.fails_mostly());
            // One more than one is enough to know.
            if group.nets.len() < 2 {
                group.nets.insert(self.tallies.prefix_of(ip));
            }
        }
        group
    }

    /// Destinations of this window that failed from a local address at any time.
    fn failed_from(&self, ip: IpAddr) -> u64 {
        let failed = |(daddr, port)| self.failing_sources(daddr, port).contains(&Source::Address(ip));
        self.destinations_failed().filter(|&key| failed(key)).count() as u64
    }

    fn destinations_failed(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        self.ports.iter().flat_map(|(&port, (destinations, _))| {
            destinations.iter().filter(|(_, counts)| counts.failures() > 0).map(move |(&ip, _)| (ip, port))
        })
    }

    /// True if a destination failed only from local addresses that have their
    /// own verdict.
    fn is_blamed(&self, ip: IpAddr, port: u16, blamed: &[Scope]) -> bool {
        let is_own = |source: &Source| {
            let Source::Address(ip) = *source else { return false };
            blamed.contains(&Scope::OnlySource { ip })
        };
        !blamed.is_empty() && self.failing_sources(ip, port).iter().all(is_own)
    }

    fn failing_sources(&self, ip: IpAddr, port: u16) -> Vec<Source> {
        let split = self.tallies.destination((ip, port)).map(|tally| self.tallies.split(tally)).unwrap_or_default();
        split.into_iter().filter(|counts| counts.failures() > 0).map(|counts| counts.source).collect()
    }
}
