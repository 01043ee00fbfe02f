//! `observer run`'s end of the unix socket: many readers at once. One that is slow
//! loses events of its own, and holds up nobody.

mod losses;
mod prober;

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::time::timeout;

use self::losses::Losses;
use super::live::{Live, say};
use super::socket::Socket;
use crate::alert::Alert;
use crate::count::Totals;
use crate::event::Event;
use crate::kernel::Probers;
use crate::kernel::counting::Counts;
use crate::label::Label;
use crate::ledger::Ledger;
use crate::metrics::ReaderMetrics;
use crate::ui::summary;
use crate::wire::{Account, Delivery, Hello, Line, Lost, REQUEST_MAX, Refusal, Request, Summary};

/// Readers at a time: each remembers the kernel's counts of when it came.
const MAX_READERS: usize = 16;
/// Lines that a reader may be behind: some 18 MB, if one is so far behind.
const BEHIND: usize = 16_384;
/// Bytes written at once.
const WRITE: usize = 64 << 10;
/// For a reader to say what it wants.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// For a reader to take what is written, before it gives its place to others.
const WRITE_WITHIN: Duration = Duration::from_mins(10);
/// For readers to be told of the end.
const END_WITHIN: Duration = Duration::from_millis(250);
/// Between two accounts.
const ACCOUNT_EVERY: Duration = Duration::from_secs(1);

/// A line for readers, and who wants it.
#[derive(Clone)]
struct Told {
    kind: Kind,
    /// Events told before this line, by which a reader finds how many it lost.
    before: u64,
    json: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Success,
    Alert,
    Account,
    Delivery,
    /// Nothing comes after it.
    End,
}

impl Kind {
    fn is_event(self) -> bool {
        matches!(self, Self::Failure | Self::Success)
    }

    fn is_wanted(self, request: &Request) -> bool {
        match self {
            Self::Failure | Self::Delivery | Self::End => true,
            Self::Success => request.successes,
            Self::Alert => request.alerts,
            Self::Account => request.accounts,
        }
    }
}

/// A reader begins; what is told from then on is the reply.
type Ask = oneshot::Sender<Beginning>;

/// Lines from here on, and how many events there were before.
struct Beginning {
    lines: broadcast::Receiver<Told>,
    events: u64,
}

/// The kernel's counts, for a reader's summary.
#[derive(Clone)]
struct Sums {
    counts: Counts,
    /// When nothing is counted any more.
    last: Arc<OnceLock<Totals>>,
}

impl Sums {
    async fn now(&self) -> Totals {
        match self.last.get() {
            Some(last) => last.clone(),
            None => self.counts.now().await,
        }
    }
}

/// Everybody who reads.
pub(super) struct Readers {
    lines: broadcast::Sender<Told>,
    asks: mpsc::Receiver<Ask>,
    sums: Sums,
    account_at: Instant,
    /// Events told so far.
    events: u64,
    /// Of all of them together.
    losses: Arc<Losses>,
    _socket: Arc<Socket>,
}

impl Readers {
    /// Serves on `socket`. Must be called inside a tokio runtime.
    pub(super) fn serve(socket: Socket, hello: Hello, counts: Counts, probers: Option<Arc<Probers>>) -> Self {
        let socket = Arc::new(socket);
        let (lines, _) = broadcast::channel(BEHIND);
        let (ask, asks) = mpsc::channel(64);
        let losses = Arc::<Losses>::default();
        let of_all = Arc::clone(&losses);
        let sums = Sums { counts, last: Arc::default() };
        let hello = Arc::new(hello);
        tokio::spawn(
            Server { socket: Arc::clone(&socket), ask, hello, probers, losses: of_all, sums: sums.clone() }.accept(),
        );
        Self { lines, asks, sums, account_at: Instant::now(), events: 0, losses, _socket: socket }
    }

    /// Hands an event to those who read.
    pub(super) fn event(&mut self, event: &Event) {
        let kind = if event.label == Label::Connected { Kind::Success } else { Kind::Failure };
        self.tell(kind, || Line::Event(Box::new(event.clone())));
        self.events += 1;
    }

    /// Hands to those who read what the mail server's log says of an event.
    pub(super) fn delivery(&self, event: &Event) {
        let Some(mta) = &event.mta else { return };
        let (id, time, dst, mta) = (event.id.clone(), event.time, event.dst, mta.clone());
        self.tell(Kind::Delivery, || Line::Delivery(Box::new(Delivery { id, time, dst, mta })));
    }

    /// Hands an alert to those who read.
    pub(super) fn alert(&self, alert: &Alert) {
        self.tell(Kind::Alert, || Line::Alert(Box::new(alert.clone())));
    }

    /// How many there are, and what they were too slow for.
    pub(super) fn metrics(&self) -> ReaderMetrics {
        ReaderMetrics { connected: self.lines.receiver_count() as u64, events_lost: self.losses.events.get() }
    }

    /// Who was refused, or no longer left out, because a limit was reached.
    pub(super) fn limits(&self) -> [(&'static str, u64); 3] {
        self.losses.limits()
    }

    /// Answers what readers ask; to be called at every tick.
    pub(super) fn tick(&mut self, live: &Live) {
        self.answer();
        if self.lines.receiver_count() > 0 && Instant::now() >= self.account_at {
            self.account_at = Instant::now() + ACCOUNT_EVERY;
            let account = live.account();
            self.tell(Kind::Account, || Line::Account(account));
        }
    }

    /// Lets readers have what waits, and the socket go; whoever takes longer is
    /// left behind. `last` are the kernel's last counts.
    pub(super) async fn finish(mut self, last: Totals) {
        let deadline = Instant::now() + END_WITHIN;
        let _ = self.sums.last.set(last);
        self.tell(Kind::End, || Line::End);
        // A reader's task keeps its end of the lines until its summary is written.
        while self.lines.receiver_count() > 0 && Instant::now() < deadline {
            self.answer();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn tell(&self, kind: Kind, line: impl FnOnce() -> Line) {
        if self.lines.receiver_count() == 0 {
            return;
        }
        if let Ok(json) = line().to_json() {
            // An error says that the last reader has just gone.
            let _ = self.lines.send(Told { kind, before: self.events, json: json.into() });
        }
    }

    fn answer(&mut self) {
        while let Ok(reply) = self.asks.try_recv() {
            let _ = reply.send(Beginning { lines: self.lines.subscribe(), events: self.events });
        }
    }
}

fn conclusion(ledger: &Ledger, delivered: u64, too_slow: u64) -> Summary {
    let cause = |name| ledger.events_lost.iter().filter(|(cause, _)| *cause == name).map(|(_, count)| count).sum();
    let account = Account {
        attempts: ledger.attempts,
        outcomes: ledger.outcomes_total(),
        in_flight: ledger.in_flight,
        lost: ledger.lost_total(),
        events_lost: cause("ring buffer full"),
        malformed: 0,
    };
    Summary { text: summary::render(ledger), account, events: delivered, too_slow }
}

/// Accepts readers.
struct Server {
    socket: Arc<Socket>,
    ask: mpsc::Sender<Ask>,
    hello: Arc<Hello>,
    probers: Option<Arc<Probers>>,
    losses: Arc<Losses>,
    sums: Sums,
}

impl Server {
    async fn accept(self) {
        let room = Arc::new(Semaphore::new(MAX_READERS));
        loop {
            let stream = match self.socket.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    say(&format!("cannot accept a reader: {error}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let Ok(seat) = Arc::clone(&room).try_acquire_owned() else {
                self.losses.readers.add(1);
                tokio::spawn(refuse(stream));
                continue;
            };
            let (ask, hello, losses) = (self.ask.clone(), Arc::clone(&self.hello), Arc::clone(&self.losses));
            let (probers, sums) = (self.probers.clone(), self.sums.clone());
            let one = Reader { ask, hello, probers, losses, sums, next: 0, delivered: 0, lost: 0 };
            tokio::spawn(async move {
                // Whatever goes wrong is the reader's own affair.
                let _ = one.serve(stream).await;
                drop(seat);
            });
        }
    }
}

async fn refuse(mut stream: UnixStream) {
    let refusal = Line::Refusal(Refusal { cause: format!("{MAX_READERS} readers are served already") });
    if let Ok(json) = refusal.to_json() {
        let _ = timeout(REQUEST_WITHIN, stream.write_all(json.as_bytes())).await;
    }
}

/// One reader, while it reads.
struct Reader {
    ask: mpsc::Sender<Ask>,
    hello: Arc<Hello>,
    probers: Option<Arc<Probers>>,
    losses: Arc<Losses>,
    sums: Sums,
    /// How many events will have been told before the next line, if none is lost.
    next: u64,
    delivered: u64,
    lost: u64,
}

impl Reader {
    async fn serve(mut self, stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?;
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let request = timeout(REQUEST_WITHIN, request(&mut read)).await??;
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let cause = format!("no request of a reader: {error}");
                return write.write_all(json(&Line::Refusal(Refusal { cause }))?.as_bytes()).await;
            }
        };
        if request.probing {
            return prober::serve(self.probers.as_ref(), peer, &self.losses, &mut read, &mut write).await;
        }
        let (reply, beginning) = oneshot::channel();
        let begun = self.sums.now().await;
        let _ = self.ask.send(reply).await;
        let Ok(Beginning { mut lines, events }) = beginning.await else { return Ok(()) };
        self.next = events;
        write.write_all(json(&Line::Hello((*self.hello).clone()))?.as_bytes()).await?;
        let mut rest = Vec::new();
        loop {
            tokio::select! {
                biased;
                // It closes its half when it has enough. What it still says is ignored.
                read = read.read_buf(&mut rest) => match read? {
                    0 => break,
                    _ => rest.clear(),
                },
                line = lines.recv() => {
                    if self.pass_on(line, &mut lines, &request, &mut write).await?.is_break() {
                        break;
                    }
                }
            }
        }
        // What was told until now is part of its time.
        while let Some(line) = waiting(&mut lines) {
            if self.pass_on(line, &mut lines, &request, &mut write).await?.is_break() {
                break;
            }
        }
        self.conclude(&begun, &mut write).await
    }

    /// Writes a line, and those that wait behind it. `Break` at the end of all.
    async fn pass_on(
        &mut self,
        first: Result<Told, RecvError>,
        lines: &mut broadcast::Receiver<Told>,
        request: &Request,
        write: &mut OwnedWriteHalf,
    ) -> io::Result<ControlFlow<()>> {
        let mut out = Vec::new();
        let mut next = Some(first);
        let mut is_over = false;
        while let Some(line) = next.take() {
            match line {
                Ok(told) => {
                    is_over = told.kind == Kind::End;
                    self.take(&told, request, &mut out)?;
                }
                // How many of them were events, the next line tells.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => is_over = true,
            }
            if out.len() < WRITE && !is_over {
                next = waiting(lines);
            }
        }
        timeout(WRITE_WITHIN, write.write_all(&out)).await??;
        Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn take(&mut self, told: &Told, request: &Request, out: &mut Vec<u8>) -> io::Result<()> {
        let events = told.before.saturating_sub(self.next);
        if events > 0 {
            self.lost += events;
            self.losses.events.add(events);
            out.extend_from_slice(json(&Line::Lost(Lost { events }))?.as_bytes());
        }
        self.next = told.before + u64::from(told.kind.is_event());
        self.delivered += u64::from(told.kind.is_event());
        if told.kind.is_wanted(request) {
            out.extend_from_slice(told.json.as_bytes());
        }
        Ok(())
    }

    async fn conclude(&self, begun: &Totals, write: &mut OwnedWriteHalf) -> io::Result<()> {
        let totals = self.sums.now().await;
        let events = self.delivered + self.lost;
        let mut ledger = Ledger::new(&totals.since(begun, events), events);
        ledger.events_delivered = self.delivered;
        ledger.events_lost.push(("this reader was too slow", self.lost));
        let summary = conclusion(&ledger, self.delivered, self.lost);
        write.write_all(json(&Line::Summary(summary))?.as_bytes()).await
    }
}

/// A line that is there already.
fn waiting(lines: &mut broadcast::Receiver<Told>) -> Option<Result<Told, RecvError>> {
    match lines.try_recv() {
        Ok(told) => Some(Ok(told)),
        Err(TryRecvError::Lagged(lines)) => Some(Err(RecvError::Lagged(lines))),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}

async fn request(read: &mut BufReader<OwnedReadHalf>) -> io::Result<serde_json::Result<Request>> {
    let mut line = Vec::new();
    read.take(REQUEST_MAX).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line))
}

fn json(line: &Line) -> io::Result<String> {
    line.to_json().map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
