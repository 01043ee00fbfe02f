//! When scopes begin, widen and end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::view::View;
use super::{STAY, Scope, Verdict};
use crate::steady::Now;
use crate::tally::{Tallies, Window};

/// What became of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It fails now.
    Began,
    /// It fails now, and with it what had been failing within it.
    Widened,
    /// It fails no more, or nobody looks any more: see [`EndCause`].
    Ended,
}

/// Why a scope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndCause {
    /// It fails no more.
    Recovered,
    /// observer stopped, in order or not: it may fail still. If it does, it begins
    /// again after the next start.
    ObserverStopped,
}

impl EndCause {
    /// The cause as alerts write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::ObserverStopped => "observer-stopped",
        }
    }
}

impl Change {
    /// The change as alerts write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Widened => "widened",
            Self::Ended => "ended",
        }
    }
}

/// A change to tell of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeChange {
    /// What became of it.
    #[serde(rename = "change")]
    pub kind: Change,
    /// When that was found.
    pub time: Timestamp,
    /// When the failure was first found, in whatever scope.
    pub since: Timestamp,
    /// The scope, and the numbers that it rests on; of one that ended, the last
    /// ones by which it failed.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What it was before it widened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Scope>,
    /// Why it ended; `None` unless it did, and from versions that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EndCause>,
}

/// A scope that was told of as failing, and not as ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenScope {
    /// As [`ScopeChange::since`].
    pub since: Timestamp,
    /// As [`ScopeChange::verdict`].
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl OpenScope {
    /// Its end, because observer stopped.
    pub fn stopped(self, time: Timestamp) -> ScopeChange {
        let Self { since, verdict } = self;
        let cause = Some(EndCause::ObserverStopped);
        ScopeChange { kind: Change::Ended, time, since, verdict, from: Vec::new(), cause }
    }
}

/// Scopes followed at a time. There is no more to learn from more of them.
pub const MAX_ACTIVE: usize = 256;
/// A scope that does not hold for so long has ended: longer than a pause between
/// two runs of a mail queue that a share may turn on.
const END_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// Its times are steady ones.
#[derive(Clone, Debug)]
struct Active {
    verdict: Verdict,
    since: Timestamp,
    held: Timestamp,
}

/// The scopes that fail now. None is within another.
///
/// A scope begins at once when its verdict holds. It stays while a weaker
/// verdict does, and ends two minutes after that. Where the last ten minutes
/// have too few attempts to say, the last hour counts.
#[derive(Clone, Debug, Default)]
pub struct ScopeTracker {
    active: BTreeMap<Scope, Active>,
    untracked: u64,
}

impl ScopeTracker {
    /// What changed since the last call, ends first. Call it every ten
    /// seconds; more often, the windows are the same.
    pub fn update(&mut self, tallies: &Tallies, now: impl Into<Now>) -> Vec<ScopeChange> {
        let now = now.into();
        let [short, long] = [Window::TenMinutes, Window::Hour].map(|window| View::new(tallies, window, now));
        let mut changes = self.end(&short, &long, now);
        let long = long.verdicts().into_iter().filter(|verdict| !short.has_data(&verdict.scope));
        let short = short.verdicts();
        let mut verdicts: Vec<_> = short.into_iter().chain(long).collect();
        // Wider ones first, whatever window they come from.
        verdicts.sort_by(|a, b| a.scope.cmp(&b.scope));
        for verdict in verdicts {
            changes.extend(self.begin(verdict, now));
        }
        changes
    }

    /// What fails now, in the order of scopes.
    pub fn active(&self, now: impl Into<Now>) -> impl Iterator<Item = OpenScope> {
        let now = now.into();
        let open =
            move |active: &Active| OpenScope { since: now.wall_of(active.since), verdict: active.verdict.clone() };
        self.active.values().map(open)
    }

    /// How often a verdict was not followed for want of room.
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    fn end(&mut self, short: &View<'_>, long: &View<'_>, now: Now) -> Vec<ScopeChange> {
        let mut ended = Vec::new();
        self.active.retain(|scope, active| {
            let view = if short.has_data(scope) { short } else { long };
            if let Some(verdict) = view.holds(&active.verdict.scope, STAY) {
                (active.verdict, active.held) = (verdict, now.steady);
            }
            let is_over = now.steady.duration_since(active.held) >= END_AFTER;
            if is_over {
                let (verdict, since) = (active.verdict.clone(), now.wall_of(active.since));
                let cause = Some(EndCause::Recovered);
                ended.push(ScopeChange {
                    kind: Change::Ended,
                    time: now.wall,
                    since,
                    verdict,
                    from: Vec::new(),
                    cause,
                });
            }
            !is_over
        });
        ended
    }

    fn begin(&mut self, verdict: Verdict, now: Now) -> Option<ScopeChange> {
        let identity = verdict.scope.identity();
        let is_known = self.active.keys().any(|active| *active == identity || active.covers(&identity));
        if is_known || matches!(identity, Scope::TooLittleData { .. }) {
            return None;
        }
        let within: Vec<_> = self.active.keys().filter(|active| identity.covers(active)).cloned().collect();
        if within.is_empty() && self.active.len() >= MAX_ACTIVE {
            self.untracked += 1;
            return None;
        }
        let from: Vec<_> = within.iter().filter_map(|scope| self.active.remove(scope)).collect();
        let since = from.iter().map(|active| active.since).fold(now.steady, Timestamp::min);
        let kind = if from.is_empty() { Change::Began } else { Change::Widened };
        self.active.insert(identity, Active { verdict: verdict.clone(), since, held: now.steady });
        let from = from.into_iter().map(|active| active.verdict.scope).collect();
        Some(ScopeChange { kind, time: now.wall, since: now.wall_of(since), verdict, from, cause: None })
    }
}
