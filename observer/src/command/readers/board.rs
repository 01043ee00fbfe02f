//! What readers see, on the thread that serves them. No borrow outlives a call, and so none is
//! held while another task runs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use observer_core::count::{Ended, Totals};
use observer_core::event::{Endpoint, Event};
use observer_core::label::Label;
use observer_core::tally::{Limit, Seen, Snapshot, Tallies};
use observer_core::wire::{Account, Line, Missing, Request};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::News;
use super::backlog::{BEHIND, Backlog, Before, Sort};
use super::losses::Losses;
use crate::kernel::Probers;

/// Destinations of a snapshot, at most, and bytes that they take in memory.
const KNOWN: Limit = Limit { destinations: 10_000, bytes: 4 << 20 };

/// For the last counts, when no others can be had.
const LAST_WITHIN: Duration = Duration::from_secs(5);

/// Where the sums of the kernel's counters are.
pub(super) trait Sums: 'static {
    /// As they were at the last look.
    fn latest(&self) -> Totals;
    /// As they are now, with destinations. `None` if they cannot be read any more.
    fn now(&self) -> impl Future<Output = Option<Totals>>;
}

/// Numbers for whoever asks from other threads.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Readers that are connected.
    pub(super) connected: AtomicU64,
    /// Of all of them together.
    pub(super) losses: Losses,
    /// Records that could not be decoded.
    pub(super) malformed: AtomicU64,
}

pub(super) struct Board<S> {
    pub(super) sums: S,
    pub(super) figures: Arc<Figures>,
    /// Whose connections are not recorded.
    pub(super) probers: Option<Arc<Probers>>,
    backlog: RefCell<Backlog>,
    tallies: RefCell<Tallies>,
    /// The next line of each reader.
    cursors: RefCell<HashMap<u64, u64>>,
    /// All that was counted, at the end.
    last: RefCell<Option<Totals>>,
    is_over: Cell<bool>,
    news: Notify,
}

impl<S: Sums> Board<S> {
    pub(super) fn new(sums: S, tallies: Tallies, figures: Arc<Figures>, probers: Option<Arc<Probers>>) -> Self {
        Self {
            sums,
            figures,
            probers,
            backlog: RefCell::new(Backlog::new(BEHIND)),
            tallies: RefCell::new(tallies),
            cursors: RefCell::default(),
            last: RefCell::default(),
            is_over: Cell::new(false),
            news: Notify::new(),
        }
    }

    /// Takes what has come, and wakes those who wait for it.
    pub(super) fn take(&self, news: impl IntoIterator<Item = News>, now: Timestamp) {
        news.into_iter().for_each(|news| self.take_one(news, now));
        let slowest = self.cursors.borrow().values().min().copied();
        if let Some(slowest) = slowest {
            self.backlog.borrow_mut().keep_from(slowest);
        }
        self.news.notify_waiters();
    }

    fn take_one(&self, news: News, now: Timestamp) {
        match news {
            News::Event(event) => self.event(event, now),
            News::Delivery(delivery) => self.tell(Sort::Delivery, || Line::Delivery(delivery)),
            News::Alert(alert) => self.tell(Sort::Alert, || Line::Alert(alert)),
            News::Missing(missing) => self.missing(&missing, now),
            News::Untold { events, counts } => {
                // The rest of them had no event.
                let missing = counts.iter().map(|(_, count)| count).sum::<u64>().saturating_sub(events);
                self.backlog.borrow_mut().skip(Before { events, missing });
                self.tallies.borrow_mut().make_up(&counts, now);
            }
            News::End(totals) => {
                *self.last.borrow_mut() = Some(*totals);
                self.tell(Sort::End, || Line::End);
                self.is_over.set(true);
            }
        }
    }

    fn event(&self, event: Arc<Event>, now: Timestamp) {
        if let Some(seen) = Seen::from_event(&event) {
            self.tallies.borrow_mut().add(&seen, now);
        }
        let sort = if event.label == Label::Connected { Sort::Success } else { Sort::Failure };
        self.tell(sort, || Line::Event(Box::new(Arc::unwrap_or_clone(event))));
    }

    fn missing(&self, missing: &[(Ended, u64)], now: Timestamp) {
        self.tallies.borrow_mut().make_up(missing, now);
        for (ended, count) in missing {
            let missing = Missing {
                time: now,
                src: Endpoint { ip: ended.src_ip, port: None },
                dst: Endpoint { ip: Some(ended.dst_ip), port: Some(ended.dst_port) },
                label: ended.label,
                reason: ended.reason,
                redirected: ended.redirected,
                count: *count,
            };
            self.tell_of(Sort::Missing, *count, || Line::Missing(Box::new(missing)));
        }
    }

    /// Tells the ledger in numbers to those who asked for it.
    pub(super) fn account(&self) {
        let totals = self.sums.latest();
        let malformed = self.figures.malformed.load(Ordering::Relaxed);
        self.tell(Sort::Account, || Line::Account(Account { malformed, ..Account::of(&totals) }));
        self.news.notify_waiters();
    }

    fn tell(&self, sort: Sort, line: impl FnOnce() -> Line) {
        self.tell_of(sort, 0, line);
    }

    fn tell_of(&self, sort: Sort, missing: u64, line: impl FnOnce() -> Line) {
        let is_read = !self.cursors.borrow().is_empty();
        let mut backlog = self.backlog.borrow_mut();
        if is_read { backlog.tell(sort, missing, &line()) } else { backlog.pass(sort, missing) }
    }

    /// True when nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    pub(super) fn is_read(&self) -> bool {
        !self.cursors.borrow().is_empty()
    }

    /// Waits for something new.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    /// Waits until so many events were told, or it is over, but not for long. True if it is so.
    pub(super) async fn told(&self, events: u64, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.backlog.borrow().told().events < events && !self.is_over() {
            if timeout_at(deadline, self.changed()).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The kernel's counts now, or at the end.
    pub(super) async fn totals(&self) -> Option<Totals> {
        let last = self.last.borrow().clone();
        if last.is_some() {
            return last;
        }
        if let Some(now) = self.sums.now().await {
            return Some(now);
        }
        // The kernel's programs are gone, and the last counts on their way.
        self.told(u64::MAX, LAST_WITHIN).await;
        self.last.borrow().clone()
    }

    /// A place in the stream of lines, and what was counted before it.
    pub(super) fn begin(self: &Rc<Self>, reader: u64, known: Option<u32>) -> (Cursor<S>, Option<Snapshot>) {
        let (next, before) = self.head();
        self.cursors.borrow_mut().insert(reader, next);
        let known = known.map(|destinations| self.snapshot(destinations));
        (Cursor { board: Rc::clone(self), reader, next, before, delivered: 0, lost: 0, missed: 0 }, known)
    }

    /// What was counted until now, with at most so many destinations.
    pub(super) fn snapshot(&self, destinations: u32) -> Snapshot {
        let destinations = KNOWN.destinations.min(destinations as usize);
        self.tallies.borrow().snapshot(Limit { destinations, ..KNOWN })
    }

    /// The number of the next line, and what was told before it.
    pub(super) fn head(&self) -> (u64, Before) {
        let backlog = self.backlog.borrow();
        (backlog.end(), backlog.told())
    }
}

/// How far a reader has read.
pub(super) struct Cursor<S: Sums> {
    board: Rc<Board<S>>,
    reader: u64,
    next: u64,
    /// What will have been told before the next line, if nothing is lost.
    before: Before,
    /// Events that came to this reader, also those that it did not ask for.
    pub(super) delivered: u64,
    /// Events that it was too slow for.
    pub(super) lost: u64,
    /// Attempts without an event of which it was not told.
    pub(super) missed: u64,
}

impl<S: Sums> Cursor<S> {
    /// Appends lines, up to `bytes` or so, and those before the line `until`. True if the last
    /// line of all is among them.
    pub(super) fn read(&mut self, request: &Request, bytes: usize, until: u64, out: &mut Vec<u8>) -> bool {
        let board = Rc::clone(&self.board);
        let backlog = board.backlog.borrow();
        let mut is_last = false;
        while out.len() < bytes
            && self.next < until
            && let Some((number, told)) = backlog.get(self.next)
        {
            self.miss(told.before, out);
            let events = u64::from(told.sort.is_event());
            self.before.events += events;
            self.before.missing += told.missing;
            self.delivered += events;
            out.extend_from_slice(told.line_for(request).unwrap_or_default().as_bytes());
            self.next = number + 1;
            is_last = told.sort == Sort::End;
        }
        board.cursors.borrow_mut().insert(self.reader, self.next);
        is_last
    }

    /// True if a line before `until` is still to be read.
    pub(super) fn is_before(&self, until: u64) -> bool {
        self.next < until && self.board.backlog.borrow().get(self.next).is_some_and(|(number, _)| number < until)
    }

    /// Takes note of what has been told; what did not come here is lost.
    pub(super) fn miss(&mut self, before: Before, out: &mut Vec<u8>) {
        self.missed += before.missing.saturating_sub(self.before.missing);
        let lost = before.events.saturating_sub(self.before.events);
        self.before = before;
        if lost == 0 {
            return;
        }
        self.lost += lost;
        self.board.figures.losses.events.add(lost);
        // Plain numbers are always written.
        let line = Line::Lost(observer_core::wire::Lost { events: lost }).to_json().unwrap_or_default();
        out.extend_from_slice(line.as_bytes());
    }
}

impl<S: Sums> Drop for Cursor<S> {
    fn drop(&mut self) {
        self.board.cursors.borrow_mut().remove(&self.reader);
    }
}
