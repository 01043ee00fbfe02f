//! A reader's end of `observer run`'s unix socket.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use observer_core::wire::{Hello, Line, PROTOCOL, Refusal, Request, Summary, event_as_it_came};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::Failure;
use super::live::{Consumer, Stop, list, say, tell};
use super::socket::admission;
use super::source::{Source, nobody_listens};
use crate::cli::SourceArgs;
use crate::exit::Exit;

/// Between two looks at the terminal and the clock when nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For the next line, when what waits and the summary are read.
const NEXT_WITHIN: Duration = Duration::from_secs(5);
/// For all of them.
const SUMMARY_WITHIN: Duration = Duration::from_secs(20);
/// Longest line that is read: many times what an event takes.
const LINE_MAX: u64 = 1 << 20;
/// For the first line.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What to do about two versions that do not understand each other.
const RESTART: &str = "restart the daemon, or use --standalone";

/// A connection to `observer run`.
pub(super) struct Remote {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    hello: Hello,
    /// The line that comes in, as far as it has come.
    text: Vec<u8>,
}

impl Remote {
    /// Connects to `observer run`, if one is up and `source` does not forbid it.
    ///
    /// # Errors
    /// If one is up that this user may not read from, that does not answer, or that is of a
    /// version that cannot be understood; and if none is up at a socket that was named.
    pub(super) async fn connect(source: &SourceArgs, request: &Request) -> Result<Option<Self>, Failure> {
        let (path, is_named) = match Source::of(source)? {
            Source::Hooks => return Ok(None),
            Source::Configured(path) => (path, false),
            Source::Named(path) => (path, true),
        };
        let path = path.as_path();
        let request = Request { protocol: PROTOCOL, ..request.clone() };
        let Some(stream) = open(path).await? else {
            return if is_named { Err(nobody_listens(path)) } else { Ok(None) };
        };
        let greeted = match greet(path, stream, &request).await? {
            Greeted::Refused(Refusal { protocol: 0, .. }) => {
                // Perhaps only because it does not know what it is asked for.
                let request = Request { protocol: 0, known: None, ..request };
                let Some(stream) = open(path).await? else { return Ok(None) };
                greet(path, stream, &request).await?
            }
            greeted => greeted,
        };
        match greeted {
            Greeted::Served(remote) => Ok(Some(remote)),
            Greeted::Refused(refusal) => Err(unreadable(path, io::Error::other(refusal.cause))),
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

    /// What the daemon says of itself.
    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Says why counts begin now; `None` if the daemon tells what it counted before.
    pub(super) fn begins_now(&self) -> Option<String> {
        let daemon = &self.hello.version;
        (self.hello.protocol == 0)
            .then(|| format!("counts begin now: observer run {daemon} does not send earlier ones (this is {VERSION})"))
    }

    /// Hands over what comes in until one of both has enough.
    pub(super) async fn until(&mut self, stop: &mut Stop, consumer: &mut impl Consumer) -> Result<(), Failure> {
        loop {
            let line = tokio::select! {
                biased;
                // What has come of a line is kept for what follows.
                () = stop.asked() => return Ok(()),
                line = timeout(LOOK_EVERY, next(&mut self.read, &mut self.text)) => line,
            };
            let flow = match line {
                Ok(line) => {
                    let Some(line) = line.map_err(|error| self.failed(error))?.filter(|line| *line != Line::End) else {
                        let _ = consumer.batch_end()?;
                        return Err(ended());
                    };
                    self.take(line, consumer)?
                }
                Err(_) => consumer.batch_end()?,
            };
            let is_quiet = self.read.buffer().is_empty();
            if flow.is_break() || (is_quiet && consumer.batch_end()?.is_break()) {
                return Ok(());
            }
        }
    }

    /// Hands over a line that has come whole.
    fn take(&mut self, line: Line, consumer: &mut impl Consumer) -> Result<ControlFlow<()>, Failure> {
        let text = std::mem::take(&mut self.text);
        match line {
            Line::Event(event) => {
                let event = Arc::from(event);
                let is_other = self.hello.version != VERSION;
                return match event_as_it_came(&text).filter(|_| is_other) {
                    Some(json) => consumer.event_as_it_came(&event, json),
                    None => consumer.event(&event),
                };
            }
            Line::Missing(missing) => {
                if let Some(ended) = missing.ended() {
                    consumer.missing(&[ended], missing.time)?;
                }
            }
            Line::Known(known) => consumer.known(known),
            Line::Alert(alert) => consumer.alert(&alert)?,
            Line::LaterAlert(alert) => consumer.later_alert(&alert)?,
            Line::Delivery(delivery) => consumer.delivery(&delivery)?,
            Line::Account(account) => consumer.account(account),
            Line::Lost(lost) => consumer.lost(lost.events),
            Line::Hello(_) | Line::Probing(_) | Line::Refusal(_) | Line::End | Line::Summary(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&self, error: io::Error) -> Failure {
        let daemon = &self.hello.version;
        if error.kind() != ErrorKind::InvalidData {
            return Failure::new("cannot read from observer run", error);
        }
        let what = format!("cannot read from observer run: incompatible version (daemon {daemon}, this {VERSION})");
        Failure::new(&what, format!("{error}: {RESTART}"))
    }

    /// Hands over what was told until now, and returns the summary of the time that
    /// was read; `None` if `observer run` sent none.
    pub(super) async fn finish(mut self, consumer: &mut impl Consumer) -> Result<Option<Summary>, Failure> {
        let _ = self.write.shutdown().await;
        let deadline = Instant::now() + SUMMARY_WITHIN;
        let mut is_enough = false;
        loop {
            let next_by = deadline.min(Instant::now() + NEXT_WITHIN);
            let Ok(Ok(Some(line))) = timeout_at(next_by, next(&mut self.read, &mut self.text)).await else {
                return Ok(None);
            };
            match line {
                Line::Summary(summary) => {
                    let _ = consumer.batch_end()?;
                    return Ok(Some(summary));
                }
                line if !is_enough => is_enough = self.take(line, consumer)?.is_break(),
                _ => {}
            }
        }
    }

    /// As [`Self::finish`], and writes the summary to stderr.
    pub(super) async fn conclude(self, consumer: &mut impl Consumer) -> Result<(), Failure> {
        match self.finish(consumer).await? {
            Some(summary) => tell(&summary.text),
            None => say("no summary: observer run did not send one"),
        }
        Ok(())
    }
}

/// What the daemon answers to a request.
enum Greeted {
    Served(Remote),
    Refused(Refusal),
}

/// `None` if nobody listens there.
async fn open(path: &Path) -> Result<Option<UnixStream>, Failure> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(refused(path, &error)),
    }
}

async fn greet(path: &Path, stream: UnixStream, request: &Request) -> Result<Greeted, Failure> {
    let greeted = timeout(HELLO_WITHIN, exchange(stream, request)).await;
    greeted.map_err(io::Error::from).and_then(|greeted| greeted).map_err(|error| unreadable(path, error))
}

async fn exchange(stream: UnixStream, request: &Request) -> io::Result<Greeted> {
    let (read, mut write) = stream.into_split();
    let mut json = serde_json::to_string(request)?;
    json.push('\n');
    write.write_all(json.as_bytes()).await?;
    let mut read = BufReader::new(read);
    let first = next(&mut read, &mut Vec::new()).await;
    match first {
        Ok(Some(Line::Hello(hello))) => Ok(Greeted::Served(Remote { read, write, hello, text: Vec::new() })),
        Ok(Some(Line::Refusal(refusal))) => Ok(Greeted::Refused(refusal)),
        Ok(None) => Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
        Err(error) if error.kind() != ErrorKind::InvalidData => Err(error),
        _ => Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("not an observer socket, or an incompatible version (this {VERSION}): {RESTART}"),
        )),
    }
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    Failure::new(&format!("cannot read from observer run at {}", path.display()), error)
}

/// A script that wanted more must find out.
fn ended() -> Failure {
    Failure::with(Exit::Failure, "observer run has ended".to_owned())
}

/// The next line; `None` at the end. `text` holds what has come of it, so that
/// this can be cancelled and called again; it is the line, when there is one.
async fn next(read: &mut BufReader<OwnedReadHalf>, text: &mut Vec<u8>) -> io::Result<Option<Line>> {
    // That line was returned.
    if text.ends_with(b"\n") {
        text.clear();
    }
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
        let line = Line::from_json(text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if let Some(line) = line {
            return Ok(Some(line));
        }
        text.clear();
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let cure =
        if error.kind() == ErrorKind::PermissionDenied { format!("; {}", admission(path)) } else { String::new() };
    let text = format!("observer run is up, but {} cannot be connected to: {error}{cure}", path.display());
    let exit = if error.kind() == ErrorKind::PermissionDenied { Exit::NoPermission } else { Exit::Failure };
    Failure::with(exit, text)
}

#[cfg(test)]
mod tests;
