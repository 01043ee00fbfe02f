//! What a sink's threads and its outlet know in common.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::health::{Opening, SinkStatus};
use super::target::Target;
use crate::queue::QueueLevel;
use crate::store::spool::{Limits, SpoolHandle};

/// A receiver is looked at again this often while nothing is sent: a broken
/// connection is noticed, and messages are confirmed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// None of its locks is held while anything waits for a disk or a receiver.
pub(super) struct Shared {
    /// Of the queue from the pipeline.
    pub(super) level: Arc<QueueLevel>,
    /// The file is to be opened anew.
    reopen: AtomicBool,
    spool: OnceLock<SpoolHandle>,
    limits: Mutex<Limits>,
    opening: Mutex<Opening>,
    health: Mutex<SinkStatus>,
    deadline: Mutex<Option<Instant>>,
    /// Where messages go, and how often that has changed.
    target: Mutex<(u64, Target)>,
    /// Goes with the deadline.
    spooled: Condvar,
}

impl Shared {
    pub(super) fn new(target: Target, limits: Limits, level: Arc<QueueLevel>) -> Self {
        Self {
            level,
            reopen: AtomicBool::new(false),
            spool: OnceLock::new(),
            limits: Mutex::new(limits),
            opening: Mutex::default(),
            health: Mutex::default(),
            deadline: Mutex::default(),
            target: Mutex::new((0, target)),
            spooled: Condvar::new(),
        }
    }

    /// A panic while counting leaves counts that are still worth reading.
    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, SinkStatus> {
        Self::lock(&self.health)
    }

    pub(super) fn status(&self) -> SinkStatus {
        let mut status = self.health().clone();
        status.spool = self.spool.get().map(SpoolHandle::status);
        (status.queued, status.queue_bytes) = (self.level.items(), self.level.bytes());
        status.queue_limit = self.level.limit();
        status
    }

    pub(super) fn lose(&self, cause: &'static str, count: u64) {
        if count > 0 {
            *self.health().dropped.entry(cause).or_default() += count;
        }
    }

    /// The receiver cannot be reached, or the file not written.
    pub(super) fn trouble(&self, cause: String) {
        self.health().set_trouble(Timestamp::now(), cause);
    }

    /// The spool cannot be written.
    pub(super) fn spool_trouble(&self, cause: String) {
        self.health().set_spool_trouble(Timestamp::now(), cause);
    }

    pub(super) fn limits(&self) -> Limits {
        *Self::lock(&self.limits)
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        *Self::lock(&self.limits) = limits;
        if let Some(spool) = self.spool.get() {
            spool.set_limits(limits);
        }
    }

    pub(super) fn opening(&self) -> Opening {
        Self::lock(&self.opening).clone()
    }

    pub(super) fn set_opening(&self, opening: Opening) {
        *Self::lock(&self.opening) = opening;
    }

    pub(super) fn spool_opened(&self, handle: SpoolHandle) {
        // Limits may have changed while it was opened.
        handle.set_limits(self.limits());
        let _ = self.spool.set(handle);
        self.health().spool_trouble = None;
        self.set_opening(Opening::Done);
    }

    /// Asks for the file to be opened anew.
    pub(super) fn reopen(&self) {
        self.set_opening(Opening::Pending);
        self.reopen.store(true, Ordering::Release);
    }

    pub(super) fn is_to_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    pub(super) fn aim(&self, target: Target) {
        let mut aim = Self::lock(&self.target);
        if aim.1 != target {
            *aim = (aim.0 + 1, target);
        }
    }

    pub(super) fn target(&self) -> (u64, Target) {
        Self::lock(&self.target).clone()
    }

    pub(super) fn end(&self, deadline: Instant) {
        let mut earliest = Self::lock(&self.deadline);
        *earliest = Some(earliest.map_or(deadline, |earlier| earlier.min(deadline)));
        self.spooled.notify_all();
    }

    /// When to end, once that was asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *Self::lock(&self.deadline)
    }

    /// Something was spooled.
    pub(super) fn notify(&self) {
        self.spooled.notify_all();
    }

    /// Until something was spooled, but not for long.
    pub(super) fn wait(&self) {
        let _unused = self.spooled.wait_timeout(Self::lock(&self.deadline), LOOK_EVERY);
    }

    /// Sleeps, until the end is asked for at most.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while self.deadline().is_none()
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
