//! `observer run`'s end of the unix socket: many readers at once, served by a thread of their
//! own. What is handed to it waits for nobody; a reader that is slow loses events of its own.

mod backlog;
mod board;
mod losses;
mod overflow;
mod prober;
mod refusal;
mod server;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use observer_core::alert::Alert;
use observer_core::count::{Ended, Totals};
use observer_core::event::{Event, Mta};
use observer_core::metrics::{ReaderMetrics, ReadersDropped};
use observer_core::tally::{Budget, Prefixes, Tallies};
use observer_core::wire::{Hello, Joined};
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::timeout;

use self::board::{Board, Figures, Sums};
use self::overflow::Overflow;
use self::server::Inbox;
use super::live::say;
use super::socket::Socket;
use crate::kernel::Probers;
use crate::kernel::counting::Counts;

/// Bytes that may wait for the thread: a burst of some 30,000 events.
const WAITING: usize = 32 << 20;
/// What is kept for readers that come: more destinations than they are sent.
const KEPT: Budget =
    Budget { destinations: (16_384, 6_000_000), prefixes: (4_096, 2_000_000), sources: (256, 500_000) };
/// Kinds of ends that are told at once, a line each: so that no batch of news is more than readers
/// can take between two of them.
const MISSING: usize = 16;
/// For the thread to end, longer than it gives readers.
const END_WITHIN: Duration = Duration::from_secs(1);

/// What the thread is told.
enum News {
    /// An attempt ended.
    Event(Arc<Event>),
    /// What the mail server's log says of an attempt.
    Delivery(Box<Joined>),
    Alert(Box<Alert>),
    /// Attempts of which no event came.
    Missing(Vec<(Ended, u64)>),
    /// Events for which there was no room here.
    Untold {
        events: u64,
        counts: Vec<(Ended, u64)>,
    },
    /// Nothing comes after it; all that was counted.
    End(Box<Totals>),
}

impl News {
    /// Bytes that it keeps in memory, about.
    fn bytes(&self) -> usize {
        let more = match self {
            Self::Event(event) => event_bytes(event),
            Self::Delivery(delivery) => size_of::<Joined>() + words(&delivery.mta),
            Self::Alert(alert) => size_of::<Alert>() + alert.text.len(),
            Self::Missing(counts) | Self::Untold { counts, .. } => counts.len() * size_of::<(Ended, u64)>(),
            Self::End(_) => 0,
        };
        size_of::<Self>() + more
    }
}

fn event_bytes(event: &Event) -> usize {
    let process = event.process.as_ref();
    let process = process.map_or(0, |process| process.comm.len() + process.cgroup.as_ref().map_or(0, String::len));
    let words = event.mta.as_ref().map_or(0, words);
    size_of::<Event>() + event.id.len() + event.host.len() + process + words
}

fn words(mta: &Mta) -> usize {
    mta.words.as_ref().map_or(0, String::len)
}

/// Everybody who reads.
pub(super) struct Readers {
    news: UnboundedSender<News>,
    waiting: Arc<AtomicUsize>,
    overflow: Overflow,
    dropped: ReadersDropped,
    figures: Arc<Figures>,
    ended: oneshot::Receiver<()>,
    is_down: bool,
}

impl Readers {
    /// Serves on `socket`.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn serve(
        socket: Socket,
        hello: Hello,
        counts: Counts,
        probers: Option<Arc<Probers>>,
    ) -> io::Result<Self> {
        let (news, inbox) = unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (waiting, figures) = (Arc::<AtomicUsize>::default(), Arc::<Figures>::default());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inbox = Inbox { news: inbox, waiting: Arc::clone(&waiting) };
        let shared = Arc::clone(&figures);
        let (listener, file) = socket.into_std()?;
        thread::Builder::new().name("readers".to_owned()).spawn(move || {
            let board = Board::new(counts, Tallies::new(KEPT, Prefixes::default()), shared, probers);
            LocalSet::new().block_on(&runtime, async {
                match UnixListener::from_std(listener) {
                    Ok(listener) => server::serve(listener, hello, board, inbox).await,
                    Err(error) => say(&format!("cannot accept readers: {error}")),
                }
            });
            drop(file);
            // Nobody waits for it unless this process ends.
            let _ = end.send(());
        })?;
        Ok(Self {
            news,
            waiting,
            overflow: Overflow::default(),
            dropped: ReadersDropped::default(),
            figures,
            ended,
            is_down: false,
        })
    }

    /// Hands an event to those who read.
    pub(super) fn event(&mut self, event: &Arc<Event>) {
        self.catch_up();
        if !self.overflow.is_empty() || !self.tell(News::Event(Arc::clone(event))) {
            self.dropped.events += 1;
            self.overflow.event(event);
        }
    }

    /// Hands to those who read what the kernel counted and of which no event came.
    pub(super) fn missing(&mut self, missing: &[(Ended, u64)]) {
        self.catch_up();
        for part in missing.chunks(MISSING) {
            if !self.overflow.is_empty() || !self.tell(News::Missing(part.to_vec())) {
                self.overflow.missing(part);
            }
        }
    }

    /// Hands to those who read what the mail server's log says of an event.
    pub(super) fn delivery(&mut self, event: &Event) {
        let Some(mta) = event.mta.clone() else { return };
        let delivery = Joined { id: event.id.clone(), time: event.time, dst: event.dst, mta };
        self.dropped.deliveries += u64::from(!self.tell(News::Delivery(Box::new(delivery))));
    }

    /// Hands an alert to those who read.
    pub(super) fn alert(&mut self, alert: &Alert) {
        self.dropped.alerts += u64::from(!self.tell(News::Alert(Box::new(alert.clone()))));
    }

    /// Takes note of how many records could not be decoded; to be called at every tick.
    pub(super) fn tick(&mut self, malformed: u64) {
        self.figures.malformed.store(malformed, Ordering::Relaxed);
        self.catch_up();
    }

    /// How many there are, and what they were too slow for.
    pub(super) fn metrics(&self) -> ReaderMetrics {
        ReaderMetrics {
            connected: self.figures.connected.load(Ordering::Relaxed),
            events_lost: self.figures.losses.events.get(),
            queue_bytes: self.waiting.load(Ordering::Relaxed) as u64,
            queue_limit_bytes: WAITING as u64,
            dropped: self.dropped,
        }
    }

    /// Who was refused, or no longer left out, because a limit was reached.
    pub(super) fn limits(&self) -> [(&'static str, u64); 4] {
        let [readers, probers, probes] = self.figures.losses.limits();
        [readers, probers, probes, ("totals that readers begin with", self.overflow.uncounted())]
    }

    /// Lets readers have what waits and their summaries, and the socket go. `last` are the
    /// kernel's last counts.
    pub(super) async fn finish(mut self, last: Totals) {
        self.tell_overflow();
        self.force(News::End(Box::new(last)));
        let _ = timeout(END_WITHIN, self.ended).await;
    }

    /// Tells what there was no room for before.
    fn catch_up(&mut self) {
        if self.waiting.load(Ordering::Relaxed) <= WAITING / 2 {
            self.tell_overflow();
        }
    }

    fn tell_overflow(&mut self) {
        if !self.overflow.is_empty() {
            let (events, counts) = self.overflow.take();
            self.force(News::Untold { events, counts });
        }
    }

    /// False if there is no room.
    fn tell(&mut self, news: News) -> bool {
        if self.waiting.load(Ordering::Relaxed) + news.bytes() > WAITING {
            return false;
        }
        self.force(news);
        true
    }

    /// Whether there is room or not.
    fn force(&mut self, news: News) {
        self.waiting.fetch_add(news.bytes(), Ordering::Relaxed);
        if self.news.send(news).is_err() && !self.is_down {
            self.is_down = true;
            say("bug in observer: the thread that serves readers ended; restart to serve readers again");
        }
    }
}

impl Sums for Counts {
    fn latest(&self) -> Totals {
        Self::latest(self)
    }

    async fn now(&self) -> Option<Totals> {
        self.try_now().await
    }
}
