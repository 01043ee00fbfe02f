//! A reader's end of `observer run`'s unix socket.

use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::Failure;
use super::live::{Stop, TICK, list, say};
use crate::alert::Alert;
use crate::cli::SourceArgs;
use crate::event::Event;
use crate::exit::Exit;
use crate::wire::{Account, Delivery, Hello, Line, Request, Summary};

/// For the summary, when all events have been read.
const SUMMARY_WITHIN: Duration = Duration::from_secs(2);
/// Longest line that is read: many times what an event takes.
const LINE_MAX: u64 = 1 << 20;
/// For the first line.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// What a command does with what it reads.
pub(super) trait Reads {
    /// Takes an event. `Break` ends it.
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure>;
    /// Takes an alert.
    fn alert(&mut self, _: &Alert) -> Result<(), Failure> {
        Ok(())
    }
    /// Takes what the mail server's log says of an attempt.
    fn delivery(&mut self, _: &Delivery) -> Result<(), Failure> {
        Ok(())
    }
    /// Takes the ledger in numbers.
    fn account(&mut self, _: Account) {}
    /// This reader was too slow for so many events.
    fn lost(&mut self, events: u64) {
        say(&format!("{events} events were not read fast enough, and are lost to this reader"));
    }
    /// Called when nothing waits any more, and every now and then. `Break` ends it.
    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure>;
}

/// A connection to `observer run`.
pub(super) struct Remote {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    hello: Hello,
}

impl Remote {
    /// Connects to `observer run`, if one is up and `source` does not forbid it.
    ///
    /// # Errors
    /// If one is up that this user may not read from, or that does not answer.
    pub(super) async fn connect(source: &SourceArgs, request: &Request) -> Result<Option<Self>, Failure> {
        if source.standalone {
            return Ok(None);
        }
        let path = &source.socket;
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(refused(path, &error)),
        };
        let failed =
            |error: io::Error| Failure::new(&format!("cannot read from observer run at {}", path.display()), error);
        let remote = timeout(HELLO_WITHIN, Self::greet(stream, request)).await;
        remote.map_err(io::Error::from).and_then(|remote| remote).map(Some).map_err(failed)
    }

    async fn greet(stream: UnixStream, request: &Request) -> io::Result<Self> {
        let (read, mut write) = stream.into_split();
        let mut json = serde_json::to_string(request)?;
        json.push('\n');
        write.write_all(json.as_bytes()).await?;
        let mut read = BufReader::new(read);
        match next(&mut read, &mut Vec::new()).await? {
            Some(Line::Hello(hello)) => Ok(Self { read, write, hello }),
            Some(Line::Refusal(refusal)) => Err(io::Error::other(refusal.cause)),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "it does not speak as observer run does")),
        }
    }

    /// Fails if ports are asked for that `observer run` does not watch.
    pub(super) fn ensure_watched(&self, ports: &[u16]) -> Result<(), Failure> {
        let Some(port) = ports.iter().find(|port| !self.hello.ports.contains(port)) else { return Ok(()) };
        let watched = list(&self.hello.ports);
        Err(Failure::usage(&format!(
            "observer run watches {watched}, and not {port}: add it to its ports, or use --standalone"
        )))
    }

    /// `to port 25, 10 hooks attached`; `ports` are those asked for, none: all.
    pub(super) fn scope(&self, ports: &[u16]) -> String {
        let ports = if ports.is_empty() { &self.hello.ports } else { ports };
        format!("to {}, {} hooks attached", list(ports), self.hello.hooks)
    }

    /// Ports that `observer run` watches.
    pub(super) fn ports(&self) -> &[u16] {
        &self.hello.ports
    }

    /// Hands over what comes in until one of both has enough.
    pub(super) async fn until(&mut self, stop: &mut Stop, reads: &mut impl Reads) -> Result<(), Failure> {
        let mut text = Vec::new();
        loop {
            let line = tokio::select! {
                biased;
                () = stop.asked() => return Ok(()),
                line = timeout(TICK, next(&mut self.read, &mut text)) => line,
            };
            let flow = match line {
                Ok(line) => {
                    text.clear();
                    let line = line.map_err(|error| Failure::new("cannot read from observer run", error))?;
                    let Some(line) = line else {
                        let _ = reads.batch_end()?;
                        return Err(ended());
                    };
                    if line == Line::End {
                        let _ = reads.batch_end()?;
                        return Err(ended());
                    }
                    self.take(line, reads)?
                }
                // The half of a line that has come is kept in `text`.
                Err(_) => reads.batch_end()?,
            };
            let is_quiet = self.read.buffer().is_empty();
            if flow.is_break() || (is_quiet && reads.batch_end()?.is_break()) {
                return Ok(());
            }
        }
    }

    fn take(&mut self, line: Line, reads: &mut impl Reads) -> Result<ControlFlow<()>, Failure> {
        match line {
            Line::Event(event) => return reads.event(&Arc::from(event)),
            Line::Alert(alert) => reads.alert(&alert)?,
            Line::Delivery(delivery) => reads.delivery(&delivery)?,
            Line::Account(account) => reads.account(account),
            Line::Lost(lost) => reads.lost(lost.events),
            Line::Hello(_) | Line::Probing(_) | Line::Refusal(_) | Line::End | Line::Summary(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Hands over what was told until now, and returns the summary of the time that
    /// was read; `None` if `observer run` sent none.
    pub(super) async fn finish(mut self, reads: &mut impl Reads) -> Result<Option<Summary>, Failure> {
        let _ = self.write.shutdown().await;
        let mut text = Vec::new();
        let deadline = Instant::now() + SUMMARY_WITHIN;
        let mut is_enough = false;
        while let Ok(Ok(Some(line))) = timeout_at(deadline, next(&mut self.read, &mut text)).await {
            text.clear();
            match line {
                Line::Summary(summary) => {
                    let _ = reads.batch_end()?;
                    return Ok(Some(summary));
                }
                line if !is_enough => is_enough = self.take(line, reads)?.is_break(),
                _ => {}
            }
        }
        Ok(None)
    }

    /// As [`Self::finish`], and writes the summary to stderr.
    pub(super) async fn conclude(self, reads: &mut impl Reads) -> Result<(), Failure> {
        match self.finish(reads).await? {
            Some(summary) => drop(io::stderr().write_all(summary.text.as_bytes())),
            None => say("no summary: observer run did not send one"),
        }
        Ok(())
    }
}

/// A script that wanted more must find out.
fn ended() -> Failure {
    Failure::with(Exit::Failure, "observer run has ended".to_owned())
}

/// The next line; `None` at the end. `text` holds what has come of it, so that
/// this can be cancelled and called again.
async fn next(read: &mut BufReader<OwnedReadHalf>, text: &mut Vec<u8>) -> io::Result<Option<Line>> {
    loop {
        let room = LINE_MAX.saturating_sub(text.len() as u64);
        (&mut *read).take(room).read_until(b'\n', text).await?;
        if text.is_empty() {
            return Ok(None);
        }
        if text.last() != Some(&b'\n') {
            let fault = if text.len() as u64 >= LINE_MAX { "a line is too long" } else { "a line is cut off" };
            return Err(io::Error::new(ErrorKind::InvalidData, fault));
        }
        if let Some(line) = Line::from_json(text)? {
            return Ok(Some(line));
        }
        text.clear();
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let cure = if error.kind() == ErrorKind::PermissionDenied {
        "; join the socket's group (observer), or be root"
    } else {
        ""
    };
    let text = format!("observer run is up, but {} cannot be connected to: {error}{cure}", path.display());
    let exit = if error.kind() == ErrorKind::PermissionDenied { Exit::NoPermission } else { Exit::Failure };
    Failure::with(exit, text)
}
