//! Follows how far failures reach while events come in.

mod reach;

use std::mem::take;
use std::time::{Duration, Instant};

use observer_core::alert::Alert;
use observer_core::count::Ended;
use observer_core::event::{Event, Host};
use observer_core::scope::{Change, OpenScope, Scope, ScopeChange};
use observer_core::steady::{Now, Steady};
use observer_core::tally::Seen;

use super::Failure;
use super::clock;
use super::open_alerts::OpenAlerts;
use crate::config::Config;
use reach::{Looked, Reach};

/// Between two looks at the windows, which move in steps of ten seconds.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Alerts wait so long for the list of open ones to be on disk.
const WAIT_FOR_LIST: Duration = Duration::from_secs(2);
/// As long as the list takes at the end.
const LAST_LIST_WITHIN: Duration = Duration::from_millis(200);

/// Counts every event, and says when a scope begins, widens or ends.
pub(super) struct Alerts {
    reach: Reach,
    /// What failed at the last look, and what it let go.
    open: Vec<OpenScope>,
    let_go: [u64; 4],
    is_looking: bool,
    look_at: Instant,
    clock: Steady,
    now: Now,
    list: Option<OpenAlerts>,
    /// What the list holds.
    listed: Vec<Scope>,
    /// Changes that wait for it, and until when at most.
    held: Vec<ScopeChange>,
    hold_until: Instant,
}

impl Alerts {
    pub(super) fn new() -> Result<Self, Failure> {
        let clock = clock::steady();
        Ok(Self {
            reach: Reach::start().map_err(|error| Failure::new("cannot start a thread", error))?,
            open: Vec::new(),
            let_go: [0; 4],
            is_looking: false,
            look_at: Instant::now() + LOOK_EVERY,
            now: clock.now(),
            clock,
            list: None,
            listed: Vec::new(),
            held: Vec::new(),
            hold_until: Instant::now(),
        })
    }

    /// As [`Self::new`], with a list of open alerts on disk, where this configuration has a
    /// place for it. Those that the last run left open are ended first.
    pub(super) fn listed(config: &Config) -> Result<Self, Failure> {
        let mut alerts = Self::new()?;
        if let Some((list, open)) = OpenAlerts::start(config)? {
            alerts.list = Some(list);
            alerts.enlist(open.clone());
            let now = alerts.now.wall;
            alerts.hold(open.into_iter().map(|open| open.stopped(now)).collect());
        }
        Ok(alerts)
    }

    /// Counts an event; all are wanted, those of successes too.
    pub(super) fn add(&mut self, event: &Event) {
        if let Some(seen) = Seen::from_event(event) {
            self.now = clock::read(&mut self.clock);
            self.reach.add(seen, self.now);
        }
    }

    /// Counts attempts of which no event came.
    pub(super) fn missing(&mut self, missing: &[(Ended, u64)]) {
        self.now = clock::read(&mut self.clock);
        self.reach.make_up(missing, self.now);
    }

    /// What has changed; to be called at every tick.
    pub(super) fn tick(&mut self, host: &Host) -> Vec<Alert> {
        self.now = clock::read(&mut self.clock);
        if Instant::now() >= self.look_at && !self.is_looking {
            self.look_at = Instant::now() + LOOK_EVERY;
            self.is_looking = true;
            self.reach.look(self.now);
        }
        if let Some(looked) = self.reach.looked() {
            self.is_looking = false;
            self.take(looked);
        }
        self.release(host)
    }

    fn take(&mut self, looked: Looked) {
        let Looked { changes, open, let_go } = looked;
        (self.open, self.let_go) = (open, let_go);
        // Those that end now stay in the list until the next look: their end may get lost yet.
        let ended = changes.iter().filter(|change| change.kind == Change::Ended);
        let ended = ended.map(|change| OpenScope { since: change.since, verdict: change.verdict.clone() });
        let open = ended.chain(self.open.iter().cloned()).collect();
        self.enlist(open);
        self.hold(changes);
    }

    fn enlist(&mut self, open: Vec<OpenScope>) {
        let scopes: Vec<_> = open.iter().map(|open| open.verdict.scope.clone()).collect();
        if let Some(list) = self.list.as_mut().filter(|_| scopes != self.listed) {
            list.note(open);
            self.listed = scopes;
        }
    }

    fn hold(&mut self, changes: Vec<ScopeChange>) {
        if self.held.is_empty() {
            self.hold_until = Instant::now() + WAIT_FOR_LIST;
        }
        self.held.extend(changes);
    }

    /// The alerts that can go on their way.
    fn release(&mut self, host: &Host) -> Vec<Alert> {
        let is_listed = self.list.as_mut().is_none_or(OpenAlerts::is_noted);
        if is_listed || Instant::now() >= self.hold_until {
            Alert::of_changes(take(&mut self.held), host)
        } else {
            Vec::new()
        }
    }

    /// What was let go, or not followed, for want of room.
    pub(super) fn limits(&self) -> [(&'static str, u64); 5] {
        let [destinations, prefixes, sources, open] = self.let_go;
        [
            ("destinations of alerts", destinations),
            ("prefixes of alerts", prefixes),
            ("local addresses of alerts", sources),
            ("open alerts", open),
            ("attempts that alerts do not count", self.reach.not_counted()),
        ]
    }

    /// Ends all alerts that are open.
    pub(super) fn stop(&mut self, host: &Host) -> Vec<Alert> {
        self.now = clock::read(&mut self.clock);
        let mut changes = take(&mut self.held);
        let now = self.now.wall;
        changes.extend(take(&mut self.open).into_iter().map(|open| open.stopped(now)));
        Alert::of_changes(changes, host)
    }

    /// Empties the list, when what [`Self::stop`] gave has gone its way.
    pub(super) fn finish(mut self) {
        self.enlist(Vec::new());
        if let Some(list) = self.list {
            list.finish(LAST_LIST_WITHIN);
        }
    }
}
