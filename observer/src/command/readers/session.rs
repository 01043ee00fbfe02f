//! One reader, while it reads.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use observer_core::count::Totals;
use observer_core::ledger::Ledger;
use observer_core::tally::Snapshot;
use observer_core::wire::{Account, Hello, Known, Line, REQUEST_MAX, Request, Summary};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout};

use super::board::{Board, Cursor, Sums};
use super::prober;
use super::refusal::refuse_for;
use crate::ui::summary;

/// For a reader to say what it wants.
pub(super) const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// For a reader to take what is written, before it gives its place to others.
const WRITE_WITHIN: Duration = Duration::from_mins(10);
/// For events to come that the kernel has committed.
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// Bytes written at once.
const WRITE: usize = 64 << 10;
/// Bytes that may be written to a reader before others have their turn: more than a batch of
/// news makes.
const TURN: usize = 512 << 10;
/// Between two times that a reader that lost events gets the totals again, which costs more than
/// the events did.
const AGAIN_EVERY: Duration = Duration::from_secs(10);

/// Serves a reader until it, or everything, ends.
pub(super) async fn serve<S: Sums>(
    stream: UnixStream,
    reader: u64,
    hello: &Hello,
    board: &Rc<Board<S>>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let request = match timeout(REQUEST_WITHIN, request(&mut read)).await?? {
        Ok(request) => request,
        Err(error) => return refuse_for(write, format!("invalid request: {error}")).await,
    };
    if request.probing {
        return prober::serve(board.probers.as_ref(), peer, &board.figures.losses, &mut read, &mut write).await;
    }
    let Some(begun) = totals(board).await else { return Ok(()) };
    let (cursor, known) = board.begin(reader, request.known);
    let mut write = Turns { write, written: 0 };
    let mut session = Session { cursor, request, board: Rc::clone(board), made_good: 0, again_at: Instant::now() };
    write.send(&mut Line::Hello(hello.clone()).to_json()?.into_bytes()).await?;
    if let Some(known) = known {
        tell_known(known, &mut write).await?;
    }
    let half = Half { read: read.into_inner(), said: 0 };
    session.pass_on(half, &mut write).await?;
    session.conclude(&begun, &hello.unseen, &mut write).await
}

/// The kernel's counts, once the events that it had sent were told. Those of which the end is not
/// known by then count as in flight, so that they balance in any case.
async fn totals<S: Sums>(board: &Board<S>) -> Option<Totals> {
    let now = board.totals().await?;
    let is_told = board.told(now.events(), TOLD_WITHIN).await;
    // Asked again only if it was in time: no reader waits for long.
    if now.unread > 0 && is_told { board.totals().await } else { Some(now) }
}

async fn request(read: &mut BufReader<OwnedReadHalf>) -> io::Result<serde_json::Result<Request>> {
    let mut line = Vec::new();
    read.take(REQUEST_MAX).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line))
}

/// Writes a snapshot. Its lines are made as the reader takes them.
async fn tell_known(known: Snapshot, write: &mut Turns) -> io::Result<()> {
    let head = Known::Head(known.head().clone());
    let groups = known.map(|group| Known::Group(Box::new(group)));
    let mut out = Vec::new();
    for line in [head].into_iter().chain(groups).chain([Known::End]) {
        out.extend_from_slice(Line::Known(line).to_json()?.as_bytes());
        if out.len() >= WRITE {
            write.send(&mut out).await?;
        }
    }
    write.send(&mut out).await
}

/// The reader's end, and how much of its turn is over.
struct Turns {
    write: OwnedWriteHalf,
    written: usize,
}

impl Turns {
    /// Writes all of `out`, and after a while lets others have their turn.
    async fn send(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        timeout(WRITE_WITHIN, self.write.write_all(out)).await??;
        self.written += out.len();
        out.clear();
        if self.written >= TURN {
            self.written = 0;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

struct Session<S: Sums> {
    cursor: Cursor<S>,
    request: Request,
    board: Rc<Board<S>>,
    /// Lost events, and attempts without, that are in the totals that the reader got.
    made_good: u64,
    /// When it may get them again.
    again_at: Instant,
}

impl<S: Sums> Session<S> {
    /// Writes lines as they come, until the reader closes its half or the last was written.
    async fn pass_on(&mut self, mut half: Half, write: &mut Turns) -> io::Result<()> {
        let mut out = Vec::new();
        while !half.is_closed()? {
            let is_last = self.cursor.read(&self.request, WRITE, u64::MAX, &mut out);
            if is_last {
                return write.send(&mut out).await;
            }
            let again = if out.is_empty() { self.make_good(&mut out) } else { None };
            if out.is_empty() && again.is_none() {
                tokio::select! {
                    readable = half.read.readable() => readable?,
                    // Nothing came in since: nobody else ran.
                    () = self.board.changed() => {}
                }
                continue;
            }
            write.send(&mut out).await?;
            if let Some(known) = again {
                tell_known(known, write).await?;
            }
        }
        Ok(())
    }

    /// The totals, for a reader that asked for them, has read all that is there, and lost some.
    fn make_good(&mut self, out: &mut Vec<u8>) -> Option<Snapshot> {
        // Also what there was no room for on its way here.
        let (_, before) = self.board.head();
        self.cursor.miss(before, out);
        let destinations = self.request.known?;
        if self.cursor.lost + self.cursor.missed == self.made_good || Instant::now() < self.again_at {
            return None;
        }
        self.again_at = Instant::now() + AGAIN_EVERY;
        self.made_good = self.cursor.lost + self.cursor.missed;
        Some(self.board.snapshot(destinations))
    }

    /// Writes what was told until now, and the summary of the time since `begun`.
    async fn conclude(mut self, begun: &Totals, unseen: &[String], write: &mut Turns) -> io::Result<()> {
        let Some(totals) = totals(&self.board).await else { return Ok(()) };
        let (end, before) = self.board.head();
        let mut out = Vec::new();
        while self.cursor.is_before(end) {
            self.cursor.read(&self.request, WRITE, end, &mut out);
            write.send(&mut out).await?;
        }
        self.cursor.miss(before, &mut out);
        let summary = self.summary(begun, &totals, unseen);
        out.extend_from_slice(Line::Summary(summary).to_json()?.as_bytes());
        write.send(&mut out).await
    }

    fn summary(&self, begun: &Totals, totals: &Totals, unseen: &[String]) -> Summary {
        let (delivered, lost) = (self.cursor.delivered, self.cursor.lost);
        let since = totals.since(begun, delivered + lost);
        let mut ledger = Ledger::new(&since, delivered + lost);
        ledger.events_delivered = delivered;
        ledger.unseen = unseen.to_vec();
        ledger.events_lost.push(("this reader was too slow", lost));
        let account = Account::of(&since);
        Summary { text: summary::render(&ledger), account, events: delivered, too_slow: lost }
    }
}

/// The half of the reader, which has said what it wants.
struct Half {
    read: OwnedReadHalf,
    said: usize,
}

impl Half {
    /// True once the reader has closed it. What it still says is ignored, and an error if it is
    /// more than a request: nobody else would have a turn while it goes on.
    fn is_closed(&mut self) -> io::Result<bool> {
        let mut ignored = [0; 512];
        loop {
            match self.read.try_read(&mut ignored) {
                Ok(0) => return Ok(true),
                Ok(bytes) => self.said += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if self.said as u64 > REQUEST_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}
