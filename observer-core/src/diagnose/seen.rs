//! Attempts, counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::label::{Label, Origin, Reason};
use crate::ledger::Outcome;
use crate::record::entry::{Brief, DestinationTotals, Entry, Tally, whole_minute};

/// Addresses, sources and senders that are told apart; what comes after the first so
/// many is counted in the sums alone.
const KEPT: usize = 256;
/// Durations that are kept of a kind, for a median: so many of the first, and of the last.
const DURATIONS: usize = 512;
/// Destinations of which it is known what last came back. When anything last did is known of all.
const FOLLOWED: usize = 4_096;

/// How an attempt ended.
pub type Ending = (Label, Option<Reason>, Option<Origin>);

/// What came back of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A handshake, whatever came then.
    Answered,
    /// A RST.
    Refused,
    /// An ICMP error.
    Rejected,
    /// Nothing.
    Silent,
}

impl Sign {
    /// `None`: the SYN never left this host, or this host answered it itself.
    pub(super) fn of((label, reason, origin): Ending) -> Option<Self> {
        match (label, reason) {
            _ if label.is_answered(reason) => Some(Self::Answered),
            _ if origin == Some(Origin::Local) => None,
            (Label::Refused, Some(Reason::Rst)) => Some(Self::Refused),
            (Label::Refused, _) => Some(Self::Rejected),
            (
                Label::Unreachable,
                Some(Reason::IcmpNetUnreachable | Reason::IcmpHostUnreachable | Reason::IcmpTimeExceeded),
            ) => Some(Self::Rejected),
            (Label::Timeout, _) => Some(Self::Silent),
            _ => None,
        }
    }
}

/// Attempts, counted. Those that were cancelled say nothing and are left out.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All of them.
    pub all: Share,
    /// By their ending.
    pub endings: BTreeMap<Ending, u64>,
    /// By destination address.
    pub destinations: BTreeMap<IpAddr, Share>,
    /// By local address.
    pub sources: BTreeMap<IpAddr, Share>,
    /// Failures that this host's own firewall made, by local address.
    pub stopped: BTreeMap<IpAddr, u64>,
    /// Of IPv4.
    pub v4: Share,
    /// Of IPv6.
    pub v6: Share,
    /// Sender, type and code of ICMP errors that ended an attempt.
    pub icmp: BTreeMap<(IpAddr, u8, u8), u64>,
    /// What last came back of destinations.
    pub followed: BTreeMap<IpAddr, Followed>,
    /// What last came back of any: of IPv4, and of IPv6.
    pub followed_all: [Followed; 2],
    /// How local addresses fared beside each other.
    pub beside: BTreeMap<IpAddr, Beside>,
    /// Sessions that went well with this host itself, which redirects them: left out of all others.
    pub redirected: u64,
    /// Sessions that went well, with the destination or with this host itself: an older version counted
    /// them, and not which.
    pub by_whom_not_known: u64,
    /// Attempts that are known by their count alone: neither order nor origin is.
    pub counted_only: u64,
    /// What the kernel showed of failures, as far as details of them were looked at.
    pub facts: Facts,
    /// From SYN to the active refusal.
    pub refused_after: Durations,
    /// From SYN to the completed handshake.
    pub handshakes: Durations,
    /// How long those waited whom nobody answered.
    pub waited: Durations,
    /// First and last attempt, and the last of each kind.
    pub times: Times,
}

/// What the kernel showed of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Failures that were looked at.
    pub seen: u64,
    /// This host answered in the destination's name.
    pub redirected: u64,
    /// An answer came, and this host dropped it.
    pub answer_dropped: u64,
    /// What was sent in the session was not acknowledged any more.
    pub unacked: u64,
    /// It is not known whether the source address is still this host's.
    pub unsure_source: u64,
    /// connect() was denied, and it is not known whether that was before or after the look for
    /// a route.
    pub unsure_denial: u64,
}

impl Facts {
    fn add(&mut self, entry: &Entry) {
        let evidence = &entry.evidence;
        self.seen += 1;
        self.redirected += u64::from(evidence.redirected);
        self.answer_dropped += u64::from(evidence.answer_drops.is_some_and(|drops| drops > 0));
        self.unacked += u64::from(evidence.unacked_bytes.is_some_and(|bytes| bytes > 0));
        let lacks = |name: &str| u64::from(evidence.missing.iter().any(|missing| missing == name));
        self.unsure_source += lacks("src_is_local");
        self.unsure_denial += lacks("connect_order");
    }

    /// So many of those that were looked at.
    pub(super) fn of(&self, count: u64) -> String {
        match self.seen {
            1 if count == 1 => "the only failure that was looked at".to_owned(),
            seen if seen == count => format!("all {seen} failures that were looked at"),
            seen => format!("{count} of {seen} failures that were looked at"),
        }
    }

    /// If it is most of those that were looked at: so many of how many.
    pub(super) fn mostly(&self, count: u64) -> Option<String> {
        (count > 0 && count * 10 >= self.seen * 9).then(|| self.of(count))
    }
}

/// When each sign last came back of a SYN that left this host: to the minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    last: [Option<Timestamp>; 4],
}

impl Followed {
    fn add(&mut self, sign: Sign, time: Timestamp) {
        let last = &mut self.last[sign as usize];
        *last = (*last).max(Some(time));
    }

    /// When this came back.
    pub fn last(&self, sign: Sign) -> Option<Timestamp> {
        self.last[sign as usize]
    }

    /// When anything else did.
    pub fn last_but(&self, sign: Sign) -> Option<Timestamp> {
        let others = self.last.iter().enumerate().filter(|(nth, _)| *nth != sign as usize);
        others.filter_map(|(_, last)| *last).max()
    }

    /// Whether the destination itself answered, by a handshake or a RST.
    pub fn is_answered(&self) -> bool {
        self.last(Sign::Answered).or(self.last(Sign::Refused)).is_some()
    }
}

/// What others did while one local address failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Failures since its last success.
    streak: u64,
    /// Another address of the family succeeded meanwhile.
    is_passed: bool,
    /// Failures after that.
    pub failures_after: u64,
}

/// When attempts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// The first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The first failure since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The last session that went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<Timestamp>,
}

impl Times {
    /// Of two destinations together. Since when both fail is known where both do.
    pub(super) fn and(self, other: Self) -> Self {
        let both = |one: Option<Timestamp>, other: Option<Timestamp>| one.zip(other);
        Self {
            first: both(self.first, other.first).map(|(a, b)| a.min(b)).or(self.first).or(other.first),
            last: self.last.max(other.last),
            failing_since: both(self.failing_since, other.failing_since).map(|(a, b)| a.min(b)),
            connected: self.connected.max(other.connected),
        }
    }
}

/// A part of the attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// All of them.
    pub attempts: u64,
    /// Whose handshake was completed, whatever came then.
    pub answered: u64,
    /// That ended well.
    pub connected: u64,
    /// How often success and failure followed each other.
    pub changes: u64,
    /// Failures since the last success.
    pub streak: u64,
}

impl Share {
    fn add(&mut self, ending: Ending) {
        let is_connected = ending.0 == Label::Connected;
        let was_connected = self.streak == 0;
        self.changes += u64::from(self.attempts > 0 && is_connected != was_connected);
        self.attempts += 1;
        self.answered += u64::from(is_answered(ending));
        self.connected += u64::from(is_connected);
        self.streak = if is_connected { 0 } else { self.streak + 1 };
    }

    /// Adds a count whose order is not known.
    pub(super) fn add_many(&mut self, ending: Ending, count: u64) {
        self.attempts += count;
        self.answered += if is_answered(ending) { count } else { 0 };
        self.connected += if ending.0 == Label::Connected { count } else { 0 };
    }

    /// Of two parts together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            answered: self.answered + other.answered,
            connected: self.connected + other.connected,
            changes: self.changes + other.changes,
            streak: self.streak + other.streak,
        }
    }

    /// Attempts that did not end well.
    pub fn failed(&self) -> u64 {
        self.attempts - self.connected
    }

    /// True if at least `least` attempts were made and nine in ten failed.
    pub fn fails(&self, least: u64) -> bool {
        self.attempts >= least && self.failed() * 10 >= self.attempts * 9
    }

    /// True if at least `least` attempts were made and nine in ten were answered.
    pub fn works(&self, least: u64) -> bool {
        self.attempts >= least && self.answered * 10 >= self.attempts * 9
    }
}

/// Whether this host's own firewall stopped it.
pub(super) fn is_stopped_here((label, reason, _): Ending) -> bool {
    label == Label::Blocked && matches!(reason, Some(Reason::LocalFirewall | Reason::PermissionDenied))
}

/// Whether the destination completed the handshake.
fn is_answered((label, reason, _): Ending) -> bool {
    label.is_answered(reason)
}

/// So many of the first of something, and so many of the last.
#[derive(Clone, Debug, Default)]
pub struct FirstAndLast<T> {
    first: Vec<T>,
    last: VecDeque<T>,
}

impl<T> FirstAndLast<T> {
    /// Adds the newest, where `first` of the first are kept, and `last` of the last.
    pub fn add(&mut self, newest: T, (first, last): (usize, usize)) {
        if self.first.len() < first {
            return self.first.push(newest);
        }
        if self.last.len() == last {
            self.last.pop_front();
        }
        self.last.push_back(newest);
    }

    /// What is kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.last)
    }
}

/// Durations of one kind: the first and the last so many.
#[derive(Clone, Debug, Default)]
pub struct Durations(FirstAndLast<Duration>);

impl Durations {
    fn add(&mut self, duration: Option<Duration>) {
        duration.into_iter().for_each(|duration| self.0.add(duration, (DURATIONS, DURATIONS)));
    }

    /// The one in the middle.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

impl Seen {
    /// Adds an attempt, to be called in the order of time.
    pub fn add(&mut self, entry: &Entry) {
        self.add_brief(&Brief::from(entry));
        self.add_facts(entry);
    }

    /// Adds an attempt without who rejected it, to be called in the order of time.
    pub fn add_brief(&mut self, brief: &Brief) {
        let (label, reason) = brief.outcome;
        if label == Label::Cancelled {
            return;
        }
        if label == Label::Connected && brief.redirected {
            self.redirected += 1;
            return;
        }
        let ending = (label, reason, brief.origin);
        *self.endings.entry(ending).or_default() += 1;
        self.all.add(ending);
        self.add_places(brief.src_ip, brief.dst_ip, |share| share.add(ending));
        self.add_times(brief.time, label);
        if let Some(dst) = brief.dst_ip {
            self.follow(dst, ending, Some(brief.time));
        }
        if let Some(src) = brief.src_ip {
            self.compare_sources(src, label);
            let stopped = is_stopped_here(ending).then(|| place(&mut self.stopped, src)).flatten();
            stopped.into_iter().for_each(|count| *count += 1);
        }
        match label {
            Label::Refused => self.refused_after.add(brief.elapsed),
            Label::Timeout if !is_answered(ending) => self.waited.add(brief.elapsed),
            _ => {}
        }
        self.handshakes.add(brief.handshake);
    }

    /// Adds what history counted of a destination; what went well with this host itself apart.
    pub fn add_totals(&mut self, totals: &DestinationTotals) {
        for (&(label, reason), tally) in &totals.outcomes {
            let (count, redirected) = told_apart(label, tally);
            self.redirected += redirected;
            self.add_not_known(label, tally);
            self.add_many(totals.destination.ip(), (label, reason), count, Some(tally.last));
        }
    }

    /// The same without what this host redirected to itself.
    pub(super) fn add_outside(&mut self, totals: &DestinationTotals) {
        for (&outcome, tally) in &totals.outcomes {
            self.add_many(totals.destination.ip(), outcome, tally.outside(), Some(tally.last));
            self.add_not_known(outcome.0, tally);
        }
    }

    /// Adds what history counted of the destination beyond the attempts that were added one by one.
    pub fn complete(&mut self, totals: &DestinationTotals) {
        for (&(label, reason), tally) in &totals.outcomes {
            let is_same = |(ending, _): &(&Ending, &u64)| (ending.0, ending.1) == (label, reason);
            let known: u64 = self.endings.iter().filter(is_same).map(|(_, count)| count).sum();
            let (count, redirected) = told_apart(label, tally);
            self.redirected = self.redirected.max(redirected);
            self.add_not_known(label, tally);
            let missing = count.saturating_sub(known);
            if missing > 0 && label != Label::Cancelled {
                self.counted_only += missing;
                self.add_many(totals.destination.ip(), (label, reason), missing, Some(tally.last));
            }
        }
    }

    fn add_not_known(&mut self, label: Label, tally: &Tally) {
        self.by_whom_not_known += if label == Label::Connected { tally.not_known } else { 0 };
    }

    /// Adds a count of which neither time nor order nor origin is known.
    pub fn add_count(&mut self, dst: IpAddr, label: Label, reason: Option<Reason>, count: u64) {
        self.add_many(dst, (label, reason), count, None);
    }

    fn add_many(&mut self, dst: IpAddr, (label, reason): Outcome, count: u64, last: Option<Timestamp>) {
        if label == Label::Cancelled || count == 0 {
            return;
        }
        let ending = (label, reason, None);
        *self.endings.entry(ending).or_default() += count;
        self.all.add_many(ending, count);
        self.add_places(None, Some(dst), |share| share.add_many(ending, count));
        self.follow(dst, ending, last);
    }

    /// A time that is not known may be the last.
    fn follow(&mut self, dst: IpAddr, ending: Ending, time: Option<Timestamp>) {
        let dst = dst.to_canonical();
        let time = time.map_or(Timestamp::MAX, whole_minute);
        let Some(sign) = Sign::of(ending) else { return };
        self.followed_all[usize::from(dst.is_ipv6())].add(sign, time);
        if self.followed.len() < FOLLOWED || self.followed.contains_key(&dst) {
            self.followed.entry(dst).or_default().add(sign, time);
        }
    }

    /// Adds from where an attempt came that left this host; totals do not tell. Who refuses it by
    /// RST has answered.
    pub(super) fn add_source(&mut self, entry: &Entry) {
        let ending = (entry.label, entry.reason, entry.origin);
        let src = entry.src.ip.filter(|src| entry.label != Label::Cancelled && !src.is_unspecified());
        let Some((src, sign)) = src.zip(Sign::of(ending)) else { return };
        if let Some(share) = place(&mut self.sources, src.to_canonical()) {
            share.add(ending);
            share.answered += u64::from(sign == Sign::Refused);
        }
    }

    fn compare_sources(&mut self, src: IpAddr, label: Label) {
        if label == Label::Connected {
            for (other, beside) in self.beside.iter_mut().filter(|(other, _)| other.is_ipv4() == src.is_ipv4()) {
                beside.is_passed |= *other != src && beside.streak > 0;
            }
        }
        let Some(beside) = place(&mut self.beside, src) else { return };
        if label == Label::Connected {
            *beside = Beside::default();
        } else {
            beside.streak += 1;
            beside.failures_after += u64::from(beside.is_passed);
        }
    }

    fn add_places(&mut self, src: Option<IpAddr>, dst: Option<IpAddr>, add: impl Fn(&mut Share)) {
        if let Some(dst) = dst {
            add(if dst.is_ipv4() { &mut self.v4 } else { &mut self.v6 });
            place(&mut self.destinations, dst).into_iter().for_each(&add);
        }
        if let Some(src) = src.filter(|src| !src.is_unspecified()) {
            place(&mut self.sources, src).into_iter().for_each(&add);
        }
    }

    fn add_times(&mut self, time: Timestamp, label: Label) {
        let times = &mut self.times;
        times.first = times.first.or(Some(time));
        times.last = Some(time);
        if label == Label::Connected {
            times.connected = Some(time);
            times.failing_since = None;
        } else {
            times.failing_since = times.failing_since.or(Some(time));
        }
    }

    /// Adds what the kernel showed of an attempt, and who rejected it; not the attempt itself.
    pub fn add_facts(&mut self, entry: &Entry) {
        if !matches!(entry.label, Label::Connected | Label::Cancelled) {
            self.facts.add(entry);
        }
        let facts = &entry.evidence;
        let by_icmp = matches!(entry.label, Label::Refused | Label::Unreachable);
        if let (Some(from), Some(kind), Some(code), true) = (facts.icmp_from, facts.icmp_type, facts.icmp_code, by_icmp)
        {
            place(&mut self.icmp, (from, kind, code)).into_iter().for_each(|count| *count += 1);
        }
    }

    /// Failures that ended so.
    pub fn count(&self, is_meant: impl Fn(Ending) -> bool) -> u64 {
        self.endings
            .iter()
            .filter(|(ending, _)| ending.0 != Label::Connected && is_meant(**ending))
            .map(|(_, n)| n)
            .sum()
    }

    /// [`Self::count`] if it is all failures.
    pub fn all_of(&self, is_meant: impl Fn(Ending) -> bool) -> Option<u64> {
        let count = self.count(is_meant);
        (count > 0 && count == self.all.failed()).then_some(count)
    }

    /// [`Self::count`] if it is most failures: nine in ten.
    pub fn mostly(&self, is_meant: impl Fn(Ending) -> bool) -> Option<u64> {
        let count = self.count(is_meant);
        (count > 0 && count * 10 >= self.all.failed() * 9).then_some(count)
    }

    /// Destinations of which nine attempts in ten fail.
    pub fn failing_destinations(&self) -> usize {
        self.destinations.values().filter(|share| share.fails(1)).count()
    }
}

/// How many say something of the destination, and how many went well with this host itself.
fn told_apart(label: Label, tally: &Tally) -> (u64, u64) {
    if label == Label::Connected { (tally.outside(), tally.here()) } else { (tally.count, 0) }
}

/// The value of a key, if there is room for it.
fn place<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K) -> Option<&mut V> {
    if map.len() >= KEPT && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}
