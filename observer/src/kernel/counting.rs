//! The thread that owns the kernel's counters: it drains them, and lets everybody have the
//! sums of what they and the events tell. Nobody else reads them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::maps::MapError;
use observer_common::record::OutcomeKey;
use observer_common::stat::{self, Stats};
use observer_core::count::{DestinationSum, Known, KnownEnds, Missing, Totals, missing};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::CounterMaps;

/// Between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two drains where each may keep the state hook from running, unless the map fills up.
const DRAIN_SPARINGLY: Duration = Duration::from_secs(10);
/// Between two looks when their map fills up fast.
const LOOK_SOON: Duration = Duration::from_millis(20);
/// Between two scans of the attempts in flight, and of the destinations that the kernel
/// remembers, unless somebody asks.
const SCAN_EVERY: Duration = Duration::from_secs(10);
/// The same where each may keep the state hook from running.
const SCAN_SPARINGLY: Duration = Duration::from_secs(60);
/// Drained counters that nobody has taken. Beyond them nothing is drained, and the kernel's
/// maps fill up: some 13 MB.
const WAITING_MAX: usize = 262_144;
/// Destinations of which totals are kept, for summaries that show ten.
const DESTINATIONS: usize = 8_192;
/// Ends that are added at once, so that whoever adds events never waits for long.
const ADD: usize = 512;
/// Keys that are handed on at once, so that whoever takes them does other things in between.
const HAND_ON: usize = 1_024;

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
    ends: Arc<Mutex<KnownEnds>>,
    asks: Sender<Ask>,
}

impl Counts {
    /// Counts attempts that ended, by their events, and records that could not be decoded.
    pub fn add(&self, ends: &[(OutcomeKey, u64)], undecodable: u64) {
        lock(&self.ends).add(ends, undecodable);
    }

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

/// Whoever holds it only adds or copies.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's handle. It ends with it, and with every [`Counts`].
pub struct Counting {
    counts: Counts,
    drains: UnboundedReceiver<Result<Missing, Unreadable>>,
    /// Keys that nobody has taken.
    waiting: Arc<AtomicUsize>,
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
        let ends = Arc::new(Mutex::new(KnownEnds::new(DESTINATIONS)));
        let waiting = Arc::new(AtomicUsize::default());
        let now = Instant::now();
        let mut owner = Owner {
            maps,
            max_outcomes: max_outcomes as usize,
            drained: 0,
            vanished: 0,
            kernel_forgotten: 0,
            scan_at: now,
            drain_at: now,
            latest: Arc::clone(&latest),
            ends: Arc::clone(&ends),
            sender,
            waiting: Arc::clone(&waiting),
        };
        let thread = thread::Builder::new().name("counts".to_owned()).spawn(move || owner.run(&asked))?;
        Ok(Self { counts: Counts { latest, ends, asks }, drains, waiting, _thread: thread })
    }

    /// The sums.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Attempts that the kernel counted because it sent no event of them; `None` after the last.
    ///
    /// # Errors
    /// If the counters cannot be read; there are no others then.
    pub async fn next(&mut self) -> Option<Result<Missing, Unreadable>> {
        let drain = self.drains.recv().await;
        self.took(drain.as_ref());
        drain
    }

    /// Those that are there already.
    pub fn try_next(&mut self) -> Option<Result<Missing, Unreadable>> {
        let drain = self.drains.try_recv().ok();
        self.took(drain.as_ref());
        drain
    }

    fn took(&self, drain: Option<&Result<Missing, Unreadable>>) {
        if let Some(Ok(missing)) = drain {
            self.waiting.fetch_sub(missing.len(), Ordering::Relaxed);
        }
    }
}

/// What the thread works on.
struct Owner {
    maps: CounterMaps,
    max_outcomes: usize,
    /// Attempts that were drained.
    drained: u64,
    /// Attempts that the counters have in flight, and the last scan did not find.
    vanished: i64,
    kernel_forgotten: u64,
    scan_at: Instant,
    /// Where drains are to be few.
    drain_at: Instant,
    latest: Arc<Mutex<Totals>>,
    ends: Arc<Mutex<KnownEnds>>,
    sender: UnboundedSender<Result<Missing, Unreadable>>,
    waiting: Arc<AtomicUsize>,
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
                None => self.look(),
                Some(Ask::Now(reply)) => self.drain_if_due(true).and_then(|pause| self.answer(reply).map(|()| pause)),
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

    /// Drains what there is, and publishes the sums. Gives the time until the next look.
    fn look(&mut self) -> Result<Duration, Unreadable> {
        let pause = self.drain_if_due(false)?;
        let known = lock(&self.ends).known();
        let first = self.maps.stats();
        let is_due = Instant::now() >= self.scan_at;
        let found = is_due.then(|| self.maps.count_in_flight()).transpose()?;
        self.publish(known, &first, found)?;
        Ok(pause)
    }

    /// Drains what there is, if there is anything; where that may keep the state hook from
    /// running, only if somebody asks, it is time, or the map fills up. Gives the time until the
    /// next look.
    fn drain_if_due(&mut self, is_asked: bool) -> Result<Duration, Unreadable> {
        let counted = self.maps.stats()[stat::UNTOLD as usize].saturating_sub(self.drained);
        // Of the map, that may be taken before the next look.
        let share = self.max_outcomes.max(1) / 8;
        let is_spared = self.maps.is_to_be_spared() && !is_asked && counted <= share as u64;
        let is_early = is_spared && Instant::now() < self.drain_at;
        let has_room = self.waiting.load(Ordering::Relaxed) < WAITING_MAX;
        if counted == 0 || is_early || !has_room {
            return Ok(LOOK_EVERY);
        }
        self.drain_at = Instant::now() + DRAIN_SPARINGLY;
        let keys = self.drain()?;
        // So often that the map is never half full, as far as this drain tells.
        let pause = if keys > share { LOOK_EVERY.mul_f64(share as f64 / keys as f64) } else { LOOK_EVERY };
        Ok(pause.max(LOOK_SOON))
    }

    /// All that is left, in both maps.
    fn last(&mut self) -> Result<(), Unreadable> {
        self.drain()?;
        self.drain()?;
        Ok(())
    }

    /// Hands on what was counted. Gives the number of keys.
    fn drain(&mut self) -> Result<usize, Unreadable> {
        let outcomes = self.maps.drain()?;
        self.drained += outcomes.iter().map(|(_, count)| count).sum::<u64>();
        outcomes.chunks(ADD).for_each(|some| lock(&self.ends).add(some, 0));
        for some in missing(&outcomes).chunks(HAND_ON) {
            self.waiting.fetch_add(some.len(), Ordering::Relaxed);
            // Nobody may want them any more.
            let _ = self.sender.send(Ok(some.to_vec()));
        }
        Ok(outcomes.len())
    }

    /// The sums, of what was `known` before the kernel's counters were read for the first time;
    /// between that and now, a scan may have `found` so many attempts in flight.
    fn publish(&mut self, known: Known, first: &Stats, found: Option<u64>) -> Result<Totals, Unreadable> {
        let second = self.maps.stats();
        if let Some(found) = found {
            self.vanished = vanished(first, found, &second);
            self.scan_at = Instant::now() + if self.maps.is_to_be_spared() { SCAN_SPARINGLY } else { SCAN_EVERY };
            let ever = second[stat::DESTINATIONS as usize];
            if ever > 0 {
                self.kernel_forgotten = ever.saturating_sub(self.maps.destinations()?);
            }
        }
        let totals = Totals::new(known, first, &second);
        let in_flight = totals.in_flight.saturating_add_signed(-self.vanished);
        let totals = Totals { in_flight, kernel_forgotten: self.kernel_forgotten, ..totals };
        *lock(&self.latest) = totals.clone();
        Ok(totals)
    }

    /// Publishes the sums, and gives them with destinations.
    fn answer(&mut self, reply: oneshot::Sender<Totals>) -> Result<(), Unreadable> {
        let (known, destinations) = {
            let ends = lock(&self.ends);
            (ends.known(), ends.destinations())
        };
        let first = self.maps.stats();
        let in_flight = self.maps.in_flight()?;
        let totals = self.publish(known, &first, Some(in_flight.len() as u64))?;
        let destinations = Arc::new(DestinationSum::with(destinations, &in_flight));
        // Whoever asked may have gone.
        let _ = reply.send(Totals { destinations, ..totals });
        Ok(())
    }
}

/// Attempts that are in flight by the counters, and that a scan between two readings of them did
/// not find; 0 unless there are more of these than began and ended meanwhile.
fn vanished(first: &Stats, found: u64, second: &Stats) -> i64 {
    let at = |stats: &Stats, index: u32| stats[index as usize];
    let gone = at(first, stat::OUTCOMES) + at(first, stat::LOST_ATTEMPTS_FULL);
    let moved = [stat::ATTEMPTS, stat::OUTCOMES].map(|index| at(second, index).saturating_sub(at(first, index)));
    let vanished = at(second, stat::ATTEMPTS).cast_signed() - gone.cast_signed() - found.cast_signed();
    if vanished.unsigned_abs() <= moved.iter().sum::<u64>() { 0 } else { vanished }
}

#[cfg(test)]
mod tests {
    use observer_common::address::Address;
    use observer_common::record::{DestinationKey, EndCode, FAMILY_V4, end};

    use super::*;

    fn stats(attempts: u64, outcomes: u64, lost: u64) -> Stats {
        let mut stats = [0; stat::COUNT];
        stats[stat::ATTEMPTS as usize] = attempts;
        stats[stat::OUTCOMES as usize] = outcomes;
        stats[stat::LOST_ATTEMPTS_FULL as usize] = lost;
        stats
    }

    #[test]
    fn an_attempt_that_vanished_shows_and_one_that_comes_or_goes_does_not() {
        let quiet = stats(10, 6, 1);
        assert_eq!(vanished(&quiet, 3, &quiet), 0);
        assert_eq!(vanished(&quiet, 2, &quiet), 1);
        assert_eq!(vanished(&quiet, 4, &quiet), -1);
        // The scan saw some of what came and went.
        assert_eq!(vanished(&quiet, 7, &stats(20, 14, 1)), 0);
        assert_eq!(vanished(&quiet, 40, &stats(20, 14, 1)), 13 - 40);
    }

    /// Prints for how long whoever adds an event may have to wait for this thread.
    #[test]
    #[ignore = "a measurement"]
    fn the_time_that_the_sums_are_held() {
        let code =
            EndCode { sk_err: libc::ECONNREFUSED as u16, end: end::CLOSE, family: FAMILY_V4, ..EndCode::default() };
        let key = |nth: u32| {
            let destination = DestinationKey { daddr: Address::mapped(nth), dport: 25, reserved: 0 };
            (OutcomeKey { saddr: Address::UNSPECIFIED, destination, code }, 1)
        };
        let all: Vec<_> = (0..4 * DESTINATIONS as u32).map(key).collect();
        let mut ends = KnownEnds::new(DESTINATIONS);
        let mut adding = Duration::ZERO;
        for some in all.chunks(ADD) {
            let begun = Instant::now();
            ends.add(some, 0);
            adding = adding.max(begun.elapsed());
        }
        let begun = Instant::now();
        let held = (ends.known(), ends.destinations());
        println!("to add {ADD}: {adding:?} at most; to copy {}: {:?}", held.1.len(), begun.elapsed());
        assert_eq!(held.0.total(), all.len() as u64);
    }
}
