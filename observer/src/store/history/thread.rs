//! A thread that writes history, so that whoever reads the kernel never waits
//! for a disk. What does not fit its queue is dropped, counted and said.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use observer_core::alert::Alert;
use observer_core::event::Event;

use super::{DeliveryRow, Entry, MinuteKey, Recorder, Result, Retention};
use crate::queue::QueueLevel;

/// What the words and lists of an alert take, roughly: there are few.
const ALERT: usize = 2_048;
/// Entries of one transaction.
const BATCH: usize = 4_096;
/// How long an entry waits for company.
const LINGER: Duration = Duration::from_millis(250);
/// Between two looks at what is too old or too much.
const RETAIN_EVERY: Duration = Duration::from_secs(1);
/// Between a failed attempt to write and the next, doubling.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Between two lines about the same trouble.
const SAY_EVERY: Duration = Duration::from_secs(600);
/// Entries dropped while nothing failed: the disk is slower than the events.
const TOO_SLOW: &str = "disk too slow";
/// Entries that could not be written before the end.
const AT_THE_END: &str = "not written before the end";

/// What a [`Writer`] has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryStatus {
    /// Attempts written and committed.
    pub written: u64,
    /// Attempts whose id was there already.
    pub duplicates: u64,
    /// Attempts, alerts and deliveries that are not in history, by cause.
    pub dropped: BTreeMap<&'static str, u64>,
    /// The last error, and when it was; kept after recovery.
    pub last_error: Option<(Timestamp, String)>,
    /// True from an error until a batch is written again.
    pub is_failing: bool,
    /// Bytes of memory that wait.
    pub queue_bytes: u64,
    /// Bytes that may wait.
    pub queue_limit: u64,
}

impl HistoryStatus {
    /// Attempts, alerts and deliveries that are not in history.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// Something to write.
enum Item {
    Event(Arc<Event>),
    Uncounted(Vec<(MinuteKey, u64)>),
    Alert(Box<Alert>),
    Delivery(Box<DeliveryRow>),
}

impl Item {
    /// Bytes of memory that it takes.
    fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Event(event) => event.retained_bytes(),
            Self::Uncounted(counts) => counts.capacity() * size_of::<(MinuteKey, u64)>(),
            Self::Alert(_) => ALERT,
            Self::Delivery(delivery) => delivery.retained_bytes(),
        };
        (bytes + size_of::<Self>()) as u64
    }

    /// Attempts, alerts or deliveries that it tells of.
    fn count(&self) -> u64 {
        match self {
            Self::Uncounted(counts) => counts.iter().map(|(_, count)| count).sum(),
            _ => 1,
        }
    }
}

struct Shared {
    level: Arc<QueueLevel>,
    written: AtomicU64,
    duplicates: AtomicU64,
    /// Attempts, alerts and deliveries taken, and neither written nor dropped.
    pending: AtomicU64,
    is_closing: AtomicBool,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    dropped: BTreeMap<&'static str, u64>,
    last_error: Option<(Timestamp, String)>,
    /// The cause, while nothing can be written.
    failing: Option<&'static str>,
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        // A panic while counting leaves counts that are still worth reading.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> HistoryStatus {
        let trouble = self.trouble();
        HistoryStatus {
            written: self.written.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            dropped: trouble.dropped.clone(),
            last_error: trouble.last_error.clone(),
            is_failing: trouble.failing.is_some(),
            queue_bytes: self.level.bytes(),
            queue_limit: self.level.limit(),
        }
    }
}

/// The thread's handle. Dropping it flushes as [`Writer::finish`] does.
pub struct Writer {
    sender: Option<Sender<Item>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
}

impl Writer {
    /// Starts the thread, for which so many bytes may wait. `say` gets a line when
    /// something begins to go wrong and when it is well again, never more than a few
    /// an hour.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(recorder: Recorder, queue_bytes: u64, say: impl FnMut(&str) + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let (done_sender, done) = sync_channel(1);
        let shared = Arc::new(Shared {
            level: QueueLevel::new(queue_bytes),
            written: AtomicU64::default(),
            duplicates: AtomicU64::default(),
            pending: AtomicU64::default(),
            is_closing: AtomicBool::default(),
            trouble: Mutex::default(),
        });
        let mut worker = Worker::new(recorder, receiver, Arc::clone(&shared), Box::new(say));
        let thread = thread::Builder::new().name("history".to_owned()).spawn(move || {
            worker.run();
            drop(worker);
            let _ = done_sender.send(());
        })?;
        Ok(Self { sender: Some(sender), shared, thread: Some(thread), done })
    }

    /// Hands over an event, without waiting. False if it was dropped; it is
    /// counted then.
    pub fn offer(&self, event: Arc<Event>) -> bool {
        self.offer_item(Item::Event(event))
    }

    /// Hands over an alert, as [`Self::offer`] does an event.
    pub fn offer_alert(&self, alert: Alert) -> bool {
        self.offer_item(Item::Alert(Box::new(alert)))
    }

    /// Hands over what a log says, as [`Self::offer`] does an event: takes what fits.
    pub fn offer_deliveries(&self, deliveries: Vec<DeliveryRow>) {
        for delivery in deliveries {
            self.offer_item(Item::Delivery(Box::new(delivery)));
        }
    }

    fn offer_item(&self, item: Item) -> bool {
        if self.shared.level.reserve(item.bytes()) && self.send(item) {
            return true;
        }
        let mut trouble = self.shared.trouble();
        let cause = trouble.failing.unwrap_or(TOO_SLOW);
        *trouble.dropped.entry(cause).or_default() += 1;
        false
    }

    /// Hands over attempts that have no event, for the per-minute counts. False
    /// if there was no room: try again later.
    pub fn offer_uncounted(&self, counts: Vec<(MinuteKey, u64)>) -> bool {
        let item = Item::Uncounted(counts);
        self.shared.level.reserve(item.bytes()) && self.send(item)
    }

    /// The same before the end, when there is no later: the kernel's table of outcomes
    /// bounds them.
    pub fn offer_last_uncounted(&self, counts: Vec<(MinuteKey, u64)>) {
        let item = Item::Uncounted(counts);
        self.shared.level.force(item.bytes());
        self.send(item);
    }

    /// How it goes.
    pub fn status(&self) -> HistoryStatus {
        self.shared.status()
    }

    /// Writes what waits, closes the file and ends the thread, in at most
    /// `within`; what is not written by then is counted as dropped.
    pub fn finish(mut self, within: Duration) -> HistoryStatus {
        self.close(within)
    }

    /// For room that was reserved. False if the thread has crashed.
    fn send(&self, item: Item) -> bool {
        let (bytes, count) = (item.bytes(), item.count());
        self.shared.pending.fetch_add(count, Ordering::Relaxed);
        let is_sent = self.sender.as_ref().is_some_and(|sender| sender.send(item).is_ok());
        if !is_sent {
            self.shared.pending.fetch_sub(count, Ordering::Relaxed);
            self.shared.level.release(1, bytes);
        }
        is_sent
    }

    fn close(&mut self, within: Duration) -> HistoryStatus {
        self.shared.is_closing.store(true, Ordering::Release);
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if self.done.recv_timeout(within) != Err(RecvTimeoutError::Timeout) {
                let _ = thread.join();
            }
        }
        let left = self.shared.pending.swap(0, Ordering::Relaxed);
        if left > 0 {
            *self.shared.trouble().dropped.entry(AT_THE_END).or_default() += left;
        }
        self.shared.status()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.close(Duration::from_secs(1));
        }
    }
}

struct Worker {
    /// None after an error that a new connection may cure.
    recorder: Option<Recorder>,
    path: PathBuf,
    retention: Retention,
    receiver: Receiver<Item>,
    shared: Arc<Shared>,
    say: Box<dyn FnMut(&str) + Send>,
    /// Items of the queue that were collected, and their bytes.
    taken: (u64, u64),
    entries: Vec<Entry>,
    uncounted: Vec<(MinuteKey, u64)>,
    alerts: Vec<Alert>,
    deliveries: Vec<DeliveryRow>,
    retain_at: Instant,
    failing_since: Option<Instant>,
    failure_said_at: Option<Instant>,
    slowness_said_at: Option<Instant>,
    dropped_said: u64,
}

impl Worker {
    fn new(
        recorder: Recorder,
        receiver: Receiver<Item>,
        shared: Arc<Shared>,
        say: Box<dyn FnMut(&str) + Send>,
    ) -> Self {
        Self {
            path: recorder.path().to_owned(),
            retention: recorder.retention(),
            recorder: Some(recorder),
            receiver,
            shared,
            say,
            taken: (0, 0),
            entries: Vec::new(),
            uncounted: Vec::new(),
            alerts: Vec::new(),
            deliveries: Vec::new(),
            retain_at: Instant::now(),
            failing_since: None,
            failure_said_at: None,
            slowness_said_at: None,
            dropped_said: 0,
        }
    }

    fn run(&mut self) {
        loop {
            let is_open = self.collect();
            let is_written = self.write();
            if !is_open {
                return;
            }
            if is_written && Instant::now() >= self.retain_at {
                self.retain();
            }
            self.say_dropped();
        }
    }

    /// Waits for items, and a little longer for more. False when there will be
    /// no more.
    fn collect(&mut self) -> bool {
        let idle = self.retain_at.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(idle) {
            Ok(item) => self.take(item),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        let deadline = Instant::now() + LINGER;
        while self.entries.len() + self.deliveries.len() < BATCH {
            match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(item) => self.take(item),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    fn take(&mut self, item: Item) {
        self.taken.0 += 1;
        self.taken.1 += item.bytes();
        match item {
            Item::Event(event) => self.entries.push(Entry::from(&*event)),
            Item::Uncounted(counts) => self.uncounted.extend(counts),
            Item::Alert(alert) => self.alerts.push(*alert),
            Item::Delivery(delivery) => self.deliveries.push(*delivery),
        }
    }

    /// Writes what was collected; tries until it is written, or the writer is
    /// being closed. True if it was.
    fn write(&mut self) -> bool {
        let mut backoff = BACKOFF.0;
        while self.has_items() {
            match self.try_write() {
                Ok(()) => self.recovered(),
                Err(error) => {
                    self.failed(&error);
                    if error.cause() == "disk full" && self.make_room() {
                        continue;
                    }
                    if self.shared.is_closing.load(Ordering::Acquire) {
                        return false;
                    }
                    // `close` cuts it short.
                    thread::park_timeout(backoff);
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
        let (items, bytes) = std::mem::take(&mut self.taken);
        self.shared.level.release(items, bytes);
        true
    }

    fn has_items(&self) -> bool {
        !self.entries.is_empty() || !self.uncounted.is_empty() || !self.alerts.is_empty() || !self.deliveries.is_empty()
    }

    fn try_write(&mut self) -> Result<()> {
        let (entries, uncounted) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.uncounted));
        let written = self.recorder().and_then(|recorder| recorder.record(&entries, &uncounted));
        match written {
            Ok(written) => {
                let counted = uncounted.iter().map(|(_, count)| count).sum::<u64>();
                self.shared.pending.fetch_sub(entries.len() as u64 + counted, Ordering::Relaxed);
                self.shared.written.fetch_add(written.attempts, Ordering::Relaxed);
                self.shared.duplicates.fetch_add(written.duplicates, Ordering::Relaxed);
                self.entries = emptied(entries);
                self.write_rows(|worker| &mut worker.alerts, Recorder::record_alerts)?;
                self.write_rows(|worker| &mut worker.deliveries, Recorder::record_deliveries)
            }
            Err(error) => {
                (self.entries, self.uncounted) = (entries, uncounted);
                Err(error)
            }
        }
    }

    /// Writes rows of one kind; they are kept if that fails.
    fn write_rows<T>(
        &mut self,
        of: impl Fn(&mut Self) -> &mut Vec<T>,
        write: impl Fn(&mut Recorder, &[T]) -> Result<()>,
    ) -> Result<()> {
        let rows = std::mem::take(of(self));
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.recorder().and_then(|recorder| write(recorder, &rows));
        match &written {
            Ok(()) => drop(self.shared.pending.fetch_sub(rows.len() as u64, Ordering::Relaxed)),
            Err(_) => *of(self) = rows,
        }
        written
    }

    fn recorder(&mut self) -> Result<&mut Recorder> {
        let open = match self.recorder.take() {
            Some(open) => open,
            None => Recorder::open(&self.path, self.retention, Timestamp::now())?,
        };
        Ok(self.recorder.insert(open))
    }

    /// Retention is what makes room, so that it does not wait until a batch is written.
    /// True if it has.
    fn make_room(&mut self) -> bool {
        let made = self.recorder.as_mut().map(|recorder| recorder.make_room(Timestamp::now()));
        match made {
            Some(Ok(is_made)) => is_made,
            Some(Err(error)) => {
                self.failed(&error);
                false
            }
            None => false,
        }
    }

    fn retain(&mut self) {
        let step = match &mut self.recorder {
            Some(recorder) if !recorder.is_in_place() => match recorder.checkpoint() {
                Ok(true) => {
                    self.recorder = None;
                    (self.say)(&format!(
                        "history: {} was moved or removed: what came until now is in that file, and a new one is begun",
                        self.path.display()
                    ));
                    Ok(false)
                }
                // A reader needs its log: rows go there until it is done.
                Ok(false) => Ok(false),
                Err(error) => Err(error),
            },
            Some(recorder) => recorder.retain(Timestamp::now()).or_else(|error| match error.cause() {
                // A whole step needs more room than there is.
                "disk full" => recorder.make_room(Timestamp::now()),
                _ => Err(error),
            }),
            None => Ok(false),
        };
        let is_more = step.unwrap_or_else(|error| {
            self.failed(&error);
            false
        });
        self.retain_at = Instant::now() + if is_more { Duration::ZERO } else { RETAIN_EVERY };
    }

    fn failed(&mut self, error: &super::Error) {
        let cause = error.cause();
        let text = error.to_string();
        {
            let mut trouble = self.shared.trouble();
            trouble.failing = Some(cause);
            trouble.last_error = Some((Timestamp::now(), text.clone()));
        }
        // A full or a locked disk needs no new connection; a file that was
        // damaged, moved or made read-only may be another one by then.
        if !matches!(cause, "disk full" | "database locked") {
            self.recorder = None;
        }
        let now = Instant::now();
        self.failing_since.get_or_insert(now);
        if may_say(self.failure_said_at, now) {
            self.failure_said_at = Some(now);
            (self.say)(&format!("history is not written: {text}; trying again"));
        }
    }

    fn recovered(&mut self) {
        let Some(since) = self.failing_since.take() else { return };
        let dropped = {
            let mut trouble = self.shared.trouble();
            trouble.failing = None;
            trouble.dropped.values().sum::<u64>()
        };
        // Only where the beginning was said.
        if self.failure_said_at.is_some_and(|said| said >= since) {
            let lost = dropped - self.dropped_said;
            self.dropped_said = dropped;
            let seconds = since.elapsed().as_secs();
            (self.say)(&format!("history is written again after {seconds} s; {lost} events are missing in it"));
        }
    }

    fn say_dropped(&mut self) {
        let dropped = self.shared.trouble().dropped.values().sum::<u64>();
        let now = Instant::now();
        if dropped > self.dropped_said && may_say(self.slowness_said_at, now) {
            self.slowness_said_at = Some(now);
            let lost = dropped - self.dropped_said;
            self.dropped_said = dropped;
            (self.say)(&format!("history: {lost} events are missing in it: {TOO_SLOW} for them"));
        }
    }
}

fn may_say(said_at: Option<Instant>, now: Instant) -> bool {
    said_at.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY)
}

/// The batch's memory is used again, unless a flood has made it large.
fn emptied(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.clear();
    entries.shrink_to(BATCH / 8);
    entries
}

#[cfg(test)]
mod tests;
