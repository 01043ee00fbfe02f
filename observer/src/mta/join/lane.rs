//! Mentions and attempts of one address.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::deliveries::Deliveries;
use super::delivery::{Found, Place};
use super::{Attempt, Settings, add, subtract};

/// An attempt that more mentions fit than this is ambiguous, without a look at the others.
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
        self.mentions.retain(|mention| {
            let is_waiting =
                mention.ripe_at(settings) > until || open.iter().any(|attempt| mention.fits(attempt, settings));
            if !is_waiting {
                tell(mention, many(mention.doubt));
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
        let pairs = if group.is_crowded { Vec::new() } else { group.certain(&self.attempts, &self.mentions, settings) };
        let are_enough = !group.is_crowded && group.attempts.len() <= group.mentions.len();
        for &nth in &group.attempts {
            let of_attempt: Vec<_> = pairs.iter().filter(|pair| pair.0 == nth).map(|pair| pair.1).collect();
            let found = match of_attempt.as_slice() {
                // Where several share it, it was made for the first.
                [first, ..] => Match::One(self.mentions[*first].place),
                [] => {
                    let is_free = |mention: &&usize| !pairs.iter().any(|pair| pair.1 == **mention);
                    let places: Vec<_> =
                        group.fitting(nth).filter(is_free).map(|&nth| self.mentions[nth].place).collect();
                    if places.is_empty() { Match::None } else { Match::Many { places, are_enough } }
                }
            };
            self.attempts[nth].found = Some(found);
        }
        for &nth in &group.mentions {
            let fitted = group.fitted(nth);
            match pairs.iter().find(|pair| pair.1 == nth) {
                Some(pair) => tell(nth, &self.mentions[nth], Found::One(self.attempts[pair.0].attempt.id.clone())),
                None if self.mentions[nth].ripe_at(settings) <= until => tell(nth, &self.mentions[nth], many(fitted)),
                None => self.mentions[nth].doubt = fitted,
            }
        }
    }

    /// Takes the attempts of which all is known, and those that have waited enough.
    pub(super) fn take_attempts(
        &mut self,
        until: Timestamp,
        settings: &Settings,
        deliveries: &Deliveries,
    ) -> Vec<(Attempt, Match)> {
        let is_done = |held: &mut Held| {
            let is_known = match &held.found {
                None => return false,
                Some(Match::None) => false,
                Some(Match::One(place)) => deliveries.is_known(*place),
                Some(Match::Many { places, .. }) => places.iter().all(|place| deliveries.is_known(*place)),
            };
            is_known || add(held.attempt.ended, settings.patience.max(settings.late)) <= until
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
    fn fitting(&self, attempt: usize) -> impl Iterator<Item = &usize> {
        self.edges.iter().filter(move |edge| edge.0 == attempt).map(|edge| &edge.1)
    }

    fn fitted(&self, mention: usize) -> usize {
        self.edges.iter().filter(|edge| edge.1 == mention).count()
    }

    /// Pairs that leave no doubt.
    fn certain(&self, attempts: &[Held], mentions: &[Mention], settings: &Settings) -> Vec<(usize, usize)> {
        if self.attempts.len() == 1 && self.mentions.iter().all(|&nth| mentions[nth].is_shared) {
            return self.edges.clone();
        }
        if let ([attempt], [mention]) = (self.attempts.as_slice(), self.mentions.as_slice()) {
            return vec![(*attempt, *mention)];
        }
        if !self.mentions.iter().all(|&nth| mentions[nth].is_serial) {
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

/// The groups, each with one attempt at least, of what has not been settled.
fn groups(attempts: &[Held], mentions: &[Mention], settings: &Settings) -> Vec<Group> {
    // Union-find over the attempts; a mention remembers one attempt that it fits.
    let mut root: Vec<usize> = (0..attempts.len()).collect();
    let mut of_mention: Vec<Option<usize>> = vec![None; mentions.len()];
    let (mut edges, mut crowded) = (Vec::new(), Vec::new());
    for (nth, held) in attempts.iter().enumerate().filter(|(_, held)| held.found.is_none()) {
        let fitting = mentions.iter().enumerate().filter(|(_, mention)| mention.fits(&held.attempt, settings));
        for (count, (mention, _)) in fitting.enumerate() {
            if count < EDGES_MAX {
                edges.push((nth, mention));
            } else {
                crowded.push(nth);
            }
            match of_mention[mention] {
                None => of_mention[mention] = Some(nth),
                Some(other) => unite(&mut root, nth, other),
            }
        }
    }
    let mut groups: Vec<Group> = (0..attempts.len()).map(|_| Group::default()).collect();
    for (nth, _) in attempts.iter().enumerate().filter(|(_, held)| held.found.is_none()) {
        groups[find(&mut root, nth)].attempts.push(nth);
    }
    for (mention, attempt) in of_mention.iter().enumerate() {
        if let Some(attempt) = attempt {
            groups[find(&mut root, *attempt)].mentions.push(mention);
        }
    }
    for edge in edges {
        groups[find(&mut root, edge.0)].edges.push(edge);
    }
    for nth in crowded {
        groups[find(&mut root, nth)].is_crowded = true;
    }
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
