//! The thread that accepts readers and serves them.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use observer_core::wire::Hello;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::live::say;
use super::News;
use super::board::{Board, Sums};
use super::refusal::refuse_for;
use super::session::{self, REQUEST_WITHIN};

/// Readers at a time: each may have a snapshot and totals of its own.
const MAX_READERS: usize = 16;
/// Between two accounts.
const ACCOUNT_EVERY: Duration = Duration::from_secs(1);
/// News taken at once, between two turns of the readers. They make fewer bytes than a socket
/// takes (some 200 kB), and than a reader may write in a turn: else every reader would fall
/// behind in a flood, however fast it is.
const BATCH: usize = 64;
/// For readers to be told of the end.
const END_WITHIN: Duration = Duration::from_millis(500);

/// What comes in.
pub(super) struct Inbox {
    pub(super) news: UnboundedReceiver<News>,
    /// Bytes of it that wait.
    pub(super) waiting: Arc<AtomicUsize>,
}

/// Serves until [`News::End`] has come, or nobody is left who could send it.
pub(super) async fn serve<S: Sums>(listener: UnixListener, hello: Hello, board: Board<S>, mut inbox: Inbox) {
    let board = Rc::new(board);
    let accepting = spawn_local(accept(listener, Rc::new(hello), Rc::clone(&board)));
    let mut account = interval(ACCOUNT_EVERY);
    account.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    while !board.is_over() {
        tokio::select! {
            biased;
            // Once in a while, also while news never ends.
            _ = account.tick() => {
                if board.is_read() {
                    board.account();
                }
            }
            count = inbox.news.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                let bytes = batch.iter().map(News::bytes).sum();
                board.take(batch.drain(..), Timestamp::now());
                inbox.waiting.fetch_sub(bytes, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    }
    accepting.abort();
    // Whoever takes longer is left behind.
    let _ = timeout(END_WITHIN, all_gone(&board)).await;
}

async fn all_gone<S: Sums>(board: &Board<S>) {
    while board.is_read() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn accept<S: Sums>(listener: UnixListener, hello: Rc<Hello>, board: Rc<Board<S>>) {
    let room = Arc::new(Semaphore::new(MAX_READERS));
    let mut reader = 0_u64;
    loop {
        reader += 1;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                say(&format!("cannot accept a reader: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Ok(seat) = Arc::clone(&room).try_acquire_owned() else {
            board.figures.losses.readers.add(1);
            spawn_local(refuse(stream));
            continue;
        };
        let (hello, board) = (Rc::clone(&hello), Rc::clone(&board));
        spawn_local(async move {
            board.figures.connected.fetch_add(1, Ordering::Relaxed);
            // Whatever goes wrong concerns this reader alone.
            let _ = session::serve(stream, reader, &hello, &board).await;
            board.figures.connected.fetch_sub(1, Ordering::Relaxed);
            drop(seat);
        });
    }
}

async fn refuse(stream: UnixStream) {
    let _ = timeout(REQUEST_WITHIN, refuse_for(stream, format!("{MAX_READERS} readers are served already"))).await;
}
