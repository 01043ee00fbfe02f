//! Mentions and attempts of one address.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::delivery::{Found, Place};
use super::{Attempt, Settings, add, subtract};

/// Of an attempt that more mentions fit, only so many are named.
const EDGES_MAX: usize = 64;

/// When a line is written, as seen from the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Just before the connect.
    Start,
    /// Between start and end.
    Within,
    /// Just after the end.
    End,
}

/// What a line says of one host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mention {
    /// Where the result goes.
    pub place: Place,
    /// Order in the log.
    pub serial: u64,
    /// Process that connected.
    pub pid: Option<u32>,
    /// That process makes one connection after the other, and mentions each.
    pub is_serial: bool,
    /// One process makes the connections of its delivery, and they are mentioned in that order.
    pub is_in_order: bool,
    /// The attempt can have other mentions.
    pub is_shared: bool,
    /// Port of the host.
    pub port: Option<u16>,
    /// Local end of the connection.
    pub source: Option<SocketAddr>,
    /// When the line was written,
    pub time: Timestamp,
    /// within this time after it.
    pub precision: Duration,
    /// The handshake was completed; `None`: the line doesn't tell.
    pub is_accepted: Option<bool>,
    /// When that is, as seen from the attempt.
    pub at: At,
    /// The line came so long after the attempt that its event may have gone on.
    pub is_late: bool,
    /// So many attempts fitted it, and it was not clear whose it is; it may be of one
    /// that is still to come.
    pub doubt: usize,
}

impl Mention {
    fn fits(&self, attempt: &Attempt, settings: &Settings) -> bool {
        let is_same = |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
        is_same(self.pid, attempt.pid)
            && self.port.is_none_or(|port| port == attempt.port)
            && self.is_accepted.is_none_or(|is_accepted| is_accepted == attempt.is_accepted)
            && (self.source.is_none() || attempt.source.is_none() || self.source == attempt.source)
            && self.fits_time(attempt, settings)
    }

    fn fits_time(&self, attempt: &Attempt, settings: &Settings) -> bool {
        let (first, last) = match self.at {
            At::End => (subtract(attempt.ended, settings.early), add(attempt.ended, settings.late)),
            At::Within => (subtract(attempt.started, settings.early), add(attempt.ended, settings.late)),
            At::Start => (subtract(attempt.started, settings.late), add(attempt.started, settings.early)),
        };
        self.time <= last && add(self.time, self.precision) >= first
    }

    /// When no attempt that it could be of is still to come.
    fn ripe_at(&self, settings: &Settings) -> Timestamp {
        match self.at {
            At::End => add(self.time, self.precision + settings.early),
            At::Start | At::Within => add(self.time, settings.longest_session),
        }
    }
}

/// The mentions that an attempt was found to be of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Match {
    /// None.
    #[default]
    None,
    /// This one.
    One(Place),
    /// Any of these.
    Many {
        /// Those that fit.
        places: Vec<Place>,
        /// There is one for each attempt that they fit: if not, it may be none of them.
        are_enough: bool,
    },
}

impl Match {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

#[derive(Debug)]
struct Held {
    attempt: Attempt,
    /// `None`: mentions may come yet.
    found: Option<Match>,
}

/// Attempts and mentions of one address that wait.
#[derive(Debug, Default)]
pub(super) struct Lane {
    attempts: Vec<Held>,
    mentions: Vec<Mention>,
    /// Mentions that fitted nothing, and would have fitted an attempt of another process.
    other_pids: u64,
}

impl Lane {
    pub(super) fn add_attempt(&mut self, attempt: Attempt) {
        self.attempts.push(Held { attempt, found: None });
    }

    pub(super) fn add_mention(&mut self, mention: Mention) {
        self.mentions.push(mention);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.mentions.is_empty()
    }

    /// Finds who belongs to whom, of all that can be told by now.
    pub(super) fn settle(&mut self, until: Timestamp, settings: &Settings, mut tell: impl FnMut(&Mention, Found)) {
        let is_ripe = |attempt: &Attempt| add(attempt.ended, settings.late) <= until;
        if self.attempts.iter().any(|held| held.found.is_none() && is_ripe(&held.attempt)) {
            self.attempts.sort_by(|a, b| (a.attempt.started, &a.attempt.id).cmp(&(b.attempt.started, &b.attempt.id)));
            let mut told = vec![false; self.mentions.len()];
            for group in groups(&self.attempts, &self.mentions, settings) {
                let is_complete = group.attempts.iter().all(|&nth| is_ripe(&self.attempts[nth].attempt));
                if is_complete {
                    self.resolve(&group, until, settings, &mut |nth, mention, found| {
                        told[nth] = true;
                        tell(mention, found);
                    });
                }
            }
            let mut told = told.into_iter();
            self.mentions.retain(|_| !told.next().unwrap_or_default());
        }
        let open: Vec<_> = self.attempts.iter().filter(|held| held.found.is_none()).map(|held| &held.attempt).collect();
        let unmatched: Vec<_> =
            self.attempts.iter().filter(|held| held.found.as_ref().is_none_or(Match::is_none)).collect();
        let other_pids = &mut self.other_pids;
        self.mentions.retain(|mention| {
            let is_waiting =
                mention.ripe_at(settings) > until || open.iter().any(|attempt| mention.fits(attempt, settings));
            if !is_waiting {
                let is_gone = mention.is_late && mention.doubt == 0;
                let of_another = Mention { pid: None, ..mention.clone() };
                let is_but_for_pid = mention.pid.is_some() && mention.doubt == 0;
                *other_pids +=
                    u64::from(is_but_for_pid && unmatched.iter().any(|held| of_another.fits(&held.attempt, settings)));
                tell(mention, if is_gone { Found::Unsought } else { many(mention.doubt) });
            }
            is_waiting
        });
    }

    fn resolve(
        &mut self,
        group: &Group,
        until: Timestamp,
        settings: &Settings,
        tell: &mut impl FnMut(usize, &Mention, Found),
    ) {
        let pairs = group.certain(&self.attempts, &self.mentions, settings);
        let are_enough = !group.is_crowded && group.attempts.len() <= group.mentions.len();
        // Where several share an attempt, it was made for the first.
        let of_attempt: HashMap<usize, usize> = pairs.iter().rev().copied().collect();
        let of_mention: HashMap<usize, usize> = pairs.iter().map(|&(attempt, mention)| (mention, attempt)).collect();
        for &nth in &group.attempts {
            let found = match of_attempt.get(&nth) {
                Some(&mention) => Match::One(self.mentions[mention].place),
                None => {
                    let free = group.fitting(nth).filter(|mention| !of_mention.contains_key(mention));
                    let places: Vec<_> = free.map(|mention| self.mentions[mention].place).collect();
                    if places.is_empty() { Match::None } else { Match::Many { places, are_enough } }
                }
            };
            self.attempts[nth].found = Some(found);
        }
        let fitted = group.fitted();
        for &nth in &group.mentions {
            let count = fitted.get(&nth).copied().unwrap_or(1);
            match of_mention.get(&nth) {
                Some(&attempt) => tell(nth, &self.mentions[nth], Found::One(self.attempts[attempt].attempt.id.clone())),
                None if self.mentions[nth].ripe_at(settings) <= until => tell(nth, &self.mentions[nth], many(count)),
                None => self.mentions[nth].doubt = count,
            }
        }
    }

    /// How many more mentions would have fitted an attempt of another process.
    pub(super) fn take_other_pids(&mut self) -> u64 {
        std::mem::take(&mut self.other_pids)
    }

    /// Takes the attempts of whose deliveries all is known, by `is_known`, and those that have waited enough.
    pub(super) fn take_attempts(
        &mut self,
        until: Timestamp,
        settings: &Settings,
        is_known: impl Fn(Place) -> bool,
    ) -> Vec<(Attempt, Match)> {
        let is_done = |held: &mut Held| {
            let is_all_known = match &held.found {
                None => return false,
                Some(Match::None) => false,
                Some(Match::One(place)) => is_known(*place),
                Some(Match::Many { places, .. }) => places.iter().all(|place| is_known(*place)),
            };
            is_all_known || add(held.attempt.ended, settings.patience.max(settings.late)) <= until
        };
        let taken = self.attempts.extract_if(.., is_done);
        taken.map(|held| (held.attempt, held.found.unwrap_or_default())).collect()
    }
}

/// One of so many attempts.
fn many(count: usize) -> Found {
    if count == 0 { Found::Nothing } else { Found::Many(u32::try_from(count).unwrap_or(u32::MAX)) }
}

/// Attempts and mentions that could be each other's, directly or through others.
#[derive(Debug, Default)]
struct Group {
    /// In the order of their starts.
    attempts: Vec<usize>,
    /// In the order of the log.
    mentions: Vec<usize>,
    /// Each attempt with each mention that fits it.
    edges: Vec<(usize, usize)>,
    /// Not all edges are there.
    is_crowded: bool,
}

impl Group {
    /// The mentions that fit an attempt.
    fn fitting(&self, attempt: usize) -> impl Iterator<Item = usize> {
        // The edges are in the order of the attempts.
        let first = self.edges.partition_point(|edge| edge.0 < attempt);
        self.edges[first..].iter().take_while(move |edge| edge.0 == attempt).map(|edge| edge.1)
    }

    /// How many attempts each mention fits.
    fn fitted(&self) -> HashMap<usize, usize> {
        let mut fitted = HashMap::new();
        self.edges.iter().for_each(|edge| *fitted.entry(edge.1).or_default() += 1);
        fitted
    }

    /// True if one process made all connections, for one delivery: without TLS, for example, after that
    /// had failed.
    fn is_of_one(&self, attempts: &[Held], mentions: &[Mention]) -> bool {
        let delivery = |nth: usize| mentions[nth].place.delivery;
        let pid = |nth: usize| attempts[nth].attempt.pid;
        let (Some(&first), Some(&any)) = (self.attempts.first(), self.mentions.first()) else { return false };
        pid(first).is_some()
            && self.attempts.iter().all(|&nth| pid(nth) == pid(first))
            && self.mentions.iter().all(|&nth| mentions[nth].is_in_order && delivery(nth) == delivery(any))
    }

    /// Pairs that leave no doubt.
    fn certain(&self, attempts: &[Held], mentions: &[Mention], settings: &Settings) -> Vec<(usize, usize)> {
        if self.attempts.len() == 1 && self.mentions.iter().all(|&nth| mentions[nth].is_shared) {
            return self.mentions.iter().map(|&mention| (self.attempts[0], mention)).collect();
        }
        if let ([attempt], [mention]) = (self.attempts.as_slice(), self.mentions.as_slice()) {
            return vec![(*attempt, *mention)];
        }
        if !self.mentions.iter().all(|&nth| mentions[nth].is_serial) && !self.is_of_one(attempts, mentions) {
            return Vec::new();
        }
        // One process, one connection after the other. As many pairs as possible, in
        // order: those that are the same from either end are beyond doubt.
        let fits = |attempt: usize, mention: usize| mentions[mention].fits(&attempts[attempt].attempt, settings);
        let forward = in_order(self.attempts.iter().copied(), self.mentions.iter().copied(), fits);
        let backward = in_order(self.attempts.iter().rev().copied(), self.mentions.iter().rev().copied(), fits);
        if forward.len() != backward.len() {
            return Vec::new();
        }
        forward.into_iter().filter(|pair| backward.contains(pair)).collect()
    }
}

/// Gives each mention the first attempt after the last one given that fits.
fn in_order(
    attempts: impl Iterator<Item = usize> + Clone,
    mentions: impl Iterator<Item = usize>,
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let (mut pairs, mut left) = (Vec::new(), attempts);
    for mention in mentions {
        let mut ahead = left.clone();
        if let Some(attempt) = ahead.find(|&attempt| fits(attempt, mention)) {
            pairs.push((attempt, mention));
            left = ahead;
        }
    }
    pairs
}

/// Mentions by process: most are of another one, and a relay that all mail goes to has
/// one lane.
struct ByPid {
    by_pid: HashMap<Option<u32>, Vec<usize>>,
    all: Vec<usize>,
}

impl ByPid {
    fn new(mentions: &[Mention]) -> Self {
        let mut by_pid: HashMap<_, Vec<_>> = HashMap::new();
        mentions.iter().enumerate().for_each(|(nth, mention)| by_pid.entry(mention.pid).or_default().push(nth));
        Self { by_pid, all: (0..mentions.len()).collect() }
    }

    /// Those that may be of a process, or of anybody if it is not known.
    fn near(&self, pid: Option<u32>) -> impl Iterator<Item = usize> {
        let of = |pid| self.by_pid.get(&pid).map_or(&[][..], Vec::as_slice);
        let (own, anybodys) = match pid {
            Some(_) => (of(pid), of(None)),
            None => (self.all.as_slice(), &[][..]),
        };
        own.iter().chain(anybodys).copied()
    }
}

/// The groups, each with one attempt at least, of what has not been settled.
fn groups(attempts: &[Held], mentions: &[Mention], settings: &Settings) -> Vec<Group> {
    // Union-find over the attempts; a mention remembers one attempt that it fits.
    let mut root: Vec<usize> = (0..attempts.len()).collect();
    let mut of_mention: Vec<Option<usize>> = vec![None; mentions.len()];
    let (mut edges, mut crowded) = (Vec::new(), Vec::new());
    let by_pid = ByPid::new(mentions);
    for (nth, held) in attempts.iter().enumerate().filter(|(_, held)| held.found.is_none()) {
        for (count, mention) in
            by_pid.near(held.attempt.pid).filter(|&nth| mentions[nth].fits(&held.attempt, settings)).enumerate()
        {
            match count.cmp(&EDGES_MAX) {
                Ordering::Less => edges.push((nth, mention)),
                Ordering::Equal => crowded.push(nth),
                Ordering::Greater => {}
            }
            match of_mention[mention] {
                None => of_mention[mention] = Some(nth),
                Some(other) => unite(&mut root, nth, other),
            }
        }
    }
    let mut groups: Vec<Group> = (0..attempts.len()).map(|_| Group::default()).collect();
    let mut of = |nth| find(&mut root, nth);
    for (nth, _) in attempts.iter().enumerate().filter(|(_, held)| held.found.is_none()) {
        groups[of(nth)].attempts.push(nth);
    }
    for (mention, attempt) in of_mention.iter().enumerate() {
        attempt.iter().for_each(|&nth| groups[of(nth)].mentions.push(mention));
    }
    edges.into_iter().for_each(|edge| groups[of(edge.0)].edges.push(edge));
    crowded.into_iter().for_each(|nth| groups[of(nth)].is_crowded = true);
    groups.retain(|group| !group.attempts.is_empty());
    groups
}

fn find(root: &mut [usize], mut nth: usize) -> usize {
    while root[nth] != nth {
        root[nth] = root[root[nth]];
        nth = root[nth];
    }
    nth
}

fn unite(root: &mut [usize], one: usize, other: usize) {
    let (one, other) = (find(root, one), find(root, other));
    root[one.max(other)] = one.min(other);
}
