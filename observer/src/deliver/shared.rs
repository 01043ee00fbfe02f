//! What a sink's threads and its outlet know in common.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::health::Status;
use super::target::Target;
use crate::spool::Spool;

/// A receiver is looked at again this often while nothing is sent: a broken
/// connection is noticed, and messages are confirmed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Shared {
    /// Of a sink whose target can be away.
    pub(super) spool: Option<Mutex<Spool>>,
    /// Messages in the queue.
    pub(super) queued: AtomicUsize,
    /// The file is to be opened anew.
    pub(super) reopen: AtomicBool,
    health: Mutex<Status>,
    deadline: Mutex<Option<Instant>>,
    /// Where messages go, and how often that has changed.
    target: Mutex<(u64, Target)>,
    spooled: Condvar,
}

impl Shared {
    pub(super) fn new(spool: Option<Spool>, target: Target) -> Self {
        Self {
            spool: spool.map(Mutex::new),
            queued: AtomicUsize::new(0),
            reopen: AtomicBool::new(false),
            health: Mutex::default(),
            deadline: Mutex::default(),
            target: Mutex::new((0, target)),
            spooled: Condvar::new(),
        }
    }

    /// A panic while counting leaves counts that are still worth reading.
    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Status> {
        Self::lock(&self.health)
    }

    pub(super) fn status(&self) -> Status {
        let spool = self.spool.as_ref().map(|spool| Self::lock(spool).status());
        let queued = self.queued.load(Ordering::Relaxed) as u64;
        Status { queued, spool, ..self.health().clone() }
    }

    pub(super) fn lose(&self, cause: &'static str, count: u64) {
        *self.health().dropped.entry(cause).or_default() += count;
    }

    pub(super) fn trouble(&self, cause: String) {
        self.health().set_trouble(Timestamp::now(), cause);
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
        *Self::lock(&self.deadline) = Some(deadline);
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
        self.wait_for(LOOK_EVERY);
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

    fn wait_for(&self, time: Duration) {
        if let Some(spool) = &self.spool {
            let _unused = self.spooled.wait_timeout(Self::lock(spool), time);
        }
    }
}
