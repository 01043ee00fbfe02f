//! The thread that owns the kernel's counters: it drains them, adds them up, and
//! lets everybody have the sums. Nobody else reads them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::maps::MapError;
use observer_common::stat::{self, Stats};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::CounterMaps;
use crate::count::{Destinations, Drain, Totals};

/// Between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two drains where each may keep the state hook from running, unless the map fills up.
const DRAIN_SPARINGLY: Duration = Duration::from_secs(10);
/// Between two looks when their map fills up fast.
const LOOK_SOON: Duration = Duration::from_millis(20);
/// Between two looks at how many destinations the kernel remembers.
const DESTINATIONS_EVERY: Duration = Duration::from_secs(10);
/// Counters that wait to be compared with events. Beyond them nothing is drained,
/// and the kernel's maps fill up: some 15 MB.
const WAITING_MAX: usize = 262_144;
/// Epochs that wait likewise. Beyond them the one that counts now goes on.
const EPOCHS_MAX: usize = 64;
/// Destinations of which totals are kept, for summaries that show ten.
const DESTINATIONS: usize = 8_192;

/// Why the counters cannot be read.
#[derive(Debug)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl From<MapError> for Unreadable {
    fn from(error: MapError) -> Self {
        Self(super::one_line(&super::chain(&error)))
    }
}

enum Ask {
    /// Totals as they are now.
    Now(oneshot::Sender<Totals>),
    /// The same, for the last time: no program counts any more.
    Last(oneshot::Sender<Totals>),
}

/// The sums, for whoever shows them. Cheap to clone.
#[derive(Clone)]
pub struct Counts {
    latest: Arc<Mutex<Totals>>,
    asks: Sender<Ask>,
}

impl Counts {
    /// Totals as they were at the last look, without destinations.
    pub fn latest(&self) -> Totals {
        // Held only while it is copied.
        lock(&self.latest).clone()
    }

    /// Totals as they are now, with destinations; as they last were, without them, if
    /// the counters are no longer read.
    pub async fn now(&self) -> Totals {
        match self.try_now().await {
            Some(totals) => totals,
            None => self.latest(),
        }
    }

    /// The same; `None` if the counters are no longer read.
    pub async fn try_now(&self) -> Option<Totals> {
        self.ask(Ask::Now).await
    }

    /// As [`Self::now`], when no program counts any more: all that was counted.
    pub async fn last(&self) -> Option<Totals> {
        self.ask(Ask::Last).await
    }

    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<Totals>) -> Ask) -> Option<Totals> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).ok()?;
        answer.await.ok()
    }
}

fn lock(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was drained and has not been compared with events.
#[derive(Debug, Default)]
struct Waiting {
    /// Drains that nobody has received, and their keys.
    sent: AtomicUsize,
    sent_keys: AtomicUsize,
    /// The same of those that were received, as far as whoever compares has told.
    held: AtomicUsize,
    held_keys: AtomicUsize,
}

impl Waiting {
    fn has_room(&self) -> bool {
        let sum = |one: &AtomicUsize, other: &AtomicUsize| one.load(Ordering::Relaxed) + other.load(Ordering::Relaxed);
        sum(&self.sent, &self.held) < EPOCHS_MAX && sum(&self.sent_keys, &self.held_keys) < WAITING_MAX
    }
}

/// The thread's handle. It ends with it, and with every [`Counts`].
pub struct Counting {
    counts: Counts,
    drains: UnboundedReceiver<Result<Drain, Unreadable>>,
    waiting: Arc<Waiting>,
    _thread: JoinHandle<()>,
}

impl Counting {
    /// Starts it. `max_outcomes` is the size of the kernel's tables of outcomes.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(maps: CounterMaps, max_outcomes: u32) -> io::Result<Self> {
        let (asks, asked) = channel();
        let (sender, drains) = unbounded_channel();
        let latest = Arc::new(Mutex::new(Totals::default()));
        let waiting = Arc::new(Waiting::default());
        let mut owner = Owner {
            maps,
            max_outcomes: max_outcomes as usize,
            totals: Totals::default(),
            destinations: Destinations::new(DESTINATIONS),
            scanned: None,
            found: 0,
            destinations_at: Instant::now(),
            drain_at: Instant::now(),
            latest: Arc::clone(&latest),
            sender,
            waiting: Arc::clone(&waiting),
        };
        let thread = thread::Builder::new().name("counts".to_owned()).spawn(move || owner.run(&asked))?;
        Ok(Self { counts: Counts { latest, asks }, drains, waiting, _thread: thread })
    }

    /// The sums.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next drain; `None` after the last.
    ///
    /// # Errors
    /// If the counters cannot be read; there is no other drain then.
    pub async fn next(&mut self) -> Option<Result<Drain, Unreadable>> {
        let drain = self.drains.recv().await;
        self.took(drain.as_ref());
        drain
    }

    /// A drain that is there already.
    pub fn try_next(&mut self) -> Option<Result<Drain, Unreadable>> {
        let drain = self.drains.try_recv().ok();
        self.took(drain.as_ref());
        drain
    }

    fn took(&self, drain: Option<&Result<Drain, Unreadable>>) {
        if let Some(Ok(drain)) = drain {
            self.waiting.sent.fetch_sub(1, Ordering::Relaxed);
            self.waiting.sent_keys.fetch_sub(drain.outcomes.len(), Ordering::Relaxed);
        }
    }

    /// Tells how many drains that were received still wait for events, and their keys.
    pub fn holds(&self, (drains, keys): (usize, usize)) {
        self.waiting.held.store(drains, Ordering::Relaxed);
        self.waiting.held_keys.store(keys, Ordering::Relaxed);
    }
}

/// What the thread works on.
struct Owner {
    maps: CounterMaps,
    max_outcomes: usize,
    totals: Totals,
    destinations: Destinations,
    /// Attempts begun and ended at the last scan of those in flight.
    scanned: Option<[u64; 2]>,
    /// How many it found.
    found: u64,
    destinations_at: Instant,
    /// Where drains are to be few.
    drain_at: Instant,
    latest: Arc<Mutex<Totals>>,
    sender: UnboundedSender<Result<Drain, Unreadable>>,
    waiting: Arc<Waiting>,
}

impl Owner {
    fn run(&mut self, asks: &Receiver<Ask>) {
        let mut pause = LOOK_EVERY;
        loop {
            let ask = match asks.recv_timeout(pause) {
                Ok(ask) => Some(ask),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let done = match ask {
                None => self.look(false),
                Some(Ask::Now(reply)) => self.look(true).and_then(|pause| self.answer(reply).map(|()| pause)),
                Some(Ask::Last(reply)) => {
                    if let Err(error) = self.last().and_then(|()| self.answer(reply)) {
                        let _ = self.sender.send(Err(error));
                    }
                    // Those who asked meanwhile.
                    while let Ok(Ask::Now(reply) | Ask::Last(reply)) = asks.try_recv() {
                        let _ = self.answer(reply);
                    }
                    return;
                }
            };
            match done {
                Ok(next) => pause = next,
                Err(error) => {
                    let _ = self.sender.send(Err(error));
                    return;
                }
            }
        }
    }

    /// Drains what there is, counts what is in flight, and publishes the totals; where that
    /// may keep the state hook from running, only if somebody asks for them, it is time, or the
    /// map fills up. Gives the time until the next look.
    fn look(&mut self, is_asked: bool) -> Result<Duration, Unreadable> {
        let stats = self.maps.stats()?;
        let (mut keys, not_drained) = (0, self.not_drained(&stats));
        // Of the map, that may be taken before the next look.
        let share = self.max_outcomes.max(1) / 8;
        let is_filling = not_drained > share as u64;
        if self.maps.is_to_be_spared() && !is_asked && !is_filling && Instant::now() < self.drain_at {
            return Ok(LOOK_EVERY);
        }
        self.drain_at = Instant::now() + DRAIN_SPARINGLY;
        if not_drained > 0 && self.waiting.has_room() {
            keys = self.drain()?;
        }
        self.publish()?;
        // So often that the map is never half full, as far as the last epoch tells.
        let pause = if keys > share { LOOK_EVERY.mul_f64(share as f64 / keys as f64) } else { LOOK_EVERY };
        Ok(pause.max(LOOK_SOON))
    }

    /// Attempts that ended and were not drained.
    fn not_drained(&self, stats: &Stats) -> u64 {
        let counted = stats[stat::OUTCOMES as usize].saturating_sub(stats[stat::OUTCOMES_FULL as usize]);
        counted.saturating_sub(self.totals.outcomes.values().sum())
    }

    /// All that is left, in both maps.
    fn last(&mut self) -> Result<(), Unreadable> {
        self.drain()?;
        self.drain()?;
        self.publish()
    }

    /// Ends an epoch, and hands on what was counted in it. Gives the number of keys.
    fn drain(&mut self) -> Result<usize, Unreadable> {
        let drain = self.maps.drain()?;
        self.totals.add(&drain.outcomes);
        for (key, count) in &drain.outcomes {
            self.destinations.add(key, *count);
        }
        let keys = drain.outcomes.len();
        self.waiting.sent.fetch_add(1, Ordering::Relaxed);
        self.waiting.sent_keys.fetch_add(keys, Ordering::Relaxed);
        // Nobody may want them any more.
        let _ = self.sender.send(Ok(drain));
        Ok(keys)
    }

    fn publish(&mut self) -> Result<(), Unreadable> {
        let before = self.maps.stats()?;
        let moved = |stats: &Stats| [stats[stat::ATTEMPTS as usize], stats[stat::OUTCOMES as usize]];
        self.totals.stats = before;
        if self.scanned != Some(moved(&before)) {
            let scanned = self.maps.count_in_flight()?;
            let after = self.maps.stats()?;
            self.totals.stats = after;
            self.totals.in_flight = in_flight(&before, scanned, &after);
            self.scanned = (moved(&before) == moved(&after)).then(|| moved(&after));
            self.found = self.totals.in_flight;
        }
        // How these ended is not known yet: to whoever adds up they are in flight.
        let not_drained = self.not_drained(&self.totals.stats);
        self.totals.stats[stat::OUTCOMES as usize] -= not_drained;
        self.totals.in_flight = self.found + not_drained;
        if Instant::now() >= self.destinations_at {
            self.destinations_at = Instant::now() + DESTINATIONS_EVERY;
            self.count_forgotten()?;
        }
        self.totals.forgotten = self.destinations.forgotten();
        *lock(&self.latest) = self.totals.clone();
        Ok(())
    }

    fn count_forgotten(&mut self) -> Result<(), Unreadable> {
        let ever = self.totals.stat(stat::DESTINATIONS);
        if ever > 0 {
            self.totals.kernel_forgotten = ever.saturating_sub(self.maps.destinations()?);
        }
        Ok(())
    }

    /// With destinations.
    fn answer(&mut self, reply: oneshot::Sender<Totals>) -> Result<(), Unreadable> {
        self.count_forgotten()?;
        let destinations = Arc::new(self.destinations.with(&self.maps.in_flight()?));
        // Whoever asked may have gone.
        let _ = reply.send(Totals { destinations, ..self.totals.clone() });
        Ok(())
    }
}

/// How many attempts are in flight: as many as `scanned`, or, when attempts began and
/// ended during the scan, what their counters say; unless the scan says that these
/// are wrong.
fn in_flight(before: &Stats, scanned: u64, after: &Stats) -> u64 {
    let at = |stats: &Stats, index: u32| stats[index as usize];
    let rest = |stats: &Stats| {
        let gone = at(stats, stat::OUTCOMES) + at(stats, stat::LOST_ATTEMPTS_FULL);
        at(stats, stat::ATTEMPTS).saturating_sub(gone)
    };
    let begun = at(after, stat::ATTEMPTS).saturating_sub(at(before, stat::ATTEMPTS));
    let ended = at(after, stat::OUTCOMES).saturating_sub(at(before, stat::OUTCOMES));
    let counted = rest(after);
    if counted.abs_diff(scanned) <= begun + ended { counted } else { scanned }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(attempts: u64, outcomes: u64, lost: u64) -> Stats {
        let mut stats = [0; stat::COUNT];
        stats[stat::ATTEMPTS as usize] = attempts;
        stats[stat::OUTCOMES as usize] = outcomes;
        stats[stat::LOST_ATTEMPTS_FULL as usize] = lost;
        stats
    }

    #[test]
    fn attempts_in_flight_are_exact_while_they_come_and_go() {
        let quiet = stats(10, 6, 1);
        assert_eq!(in_flight(&quiet, 3, &quiet), 3);
        // One that vanished shows.
        assert_eq!(in_flight(&quiet, 2, &quiet), 2);
        // The scan saw some of what came and went.
        assert_eq!(in_flight(&quiet, 7, &stats(20, 14, 1)), 5);
        assert_eq!(in_flight(&quiet, 40, &stats(20, 14, 1)), 40);
    }
}
