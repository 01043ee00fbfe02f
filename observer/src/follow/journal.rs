//! The journal, through journalctl: its files are for its own library.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::lines::Lines;
use super::{From, LogCounts};

const CHUNK: usize = 64 << 10;
/// Bytes of a line, to say how many entries so many bytes are.
const ENTRY: u64 = 200;
/// A message of 2,000 bytes that are no text is a list of numbers four times as long.
const ENTRY_MAX: usize = 32 << 10;
/// Between two starts.
const PAUSE: Duration = Duration::from_secs(5);
/// A clock that is behind by less was not set.
const SLEWED: SignedDuration = SignedDuration::from_secs(1);
/// All that is asked of an entry.
const FIELDS: &str = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_HOSTNAME,_SOURCE_REALTIME_TIMESTAMP,CONTAINER_ID";
/// What the facility `mail` has, 2 by RFC 5424, section 6.2.1, or came from a container: the drivers of
/// docker and podman give it no facility.
const MATCHES: [&str; 5] = ["SYSLOG_FACILITY=2", "+", "_COMM=dockerd", "+", "_COMM=conmon"];

/// A journalctl that follows.
#[derive(Debug)]
pub(super) struct Journal {
    program: PathBuf,
    child: Child,
    output: ChildStdout,
    lines: Lines,
    /// When the first journalctl was started, for a second one.
    since: Timestamp,
    cursor: Option<String>,
    started: Instant,
    chunk: Vec<u8>,
}

impl Journal {
    /// As the program journalctl does.
    pub(super) fn start(program: &Path, from: From) -> io::Result<Self> {
        let since = Timestamp::now();
        let begin = match from {
            // With --lines=0, systemd 252 leaves out the first entry of an empty journal.
            From::End => "--since=now".to_owned(),
            From::Back(bytes) => format!("--lines={}", bytes.div_ceil(ENTRY)),
        };
        let (child, output) = follow(program, &begin)?;
        let (lines, chunk) = (Lines::new(ENTRY_MAX), vec![0; CHUNK]);
        let program = program.to_owned();
        Ok(Self { program, child, output, lines, since, cursor: None, started: Instant::now(), chunk })
    }

    pub(super) fn poll(&mut self, counts: &mut LogCounts, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        match self.output.read(&mut self.chunk) {
            Ok(0) => self.start_again(counts),
            Ok(read) => {
                let cursor = &mut self.cursor;
                counts.too_long += self.lines.split(&self.chunk[..read], &mut |line| {
                    if let Ok(Place { cursor: Some(place) }) = serde_json::from_slice(line) {
                        *cursor = Some(place.into_owned());
                    }
                    take(line);
                });
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.outlive_a_clock_set_back(Timestamp::now())
            }
            Err(error) => Err(error),
        }
    }

    /// A journalctl that has seen no entry yet waits for one that is not older than its
    /// start: after the clock was set back, for as long as by that. Another one begins at
    /// the end of the journal; by time it would begin with what was read long ago.
    fn outlive_a_clock_set_back(&mut self, now: Timestamp) -> io::Result<bool> {
        if self.cursor.is_none() && now.duration_since(self.since) < -SLEWED {
            end(&mut self.child);
            (self.started, self.since) = (Instant::now(), now);
            (self.child, self.output) = follow(&self.program, "--lines=0")?;
        }
        Ok(false)
    }

    /// journalctl ended: goes on after the last entry.
    fn start_again(&mut self, counts: &mut LogCounts) -> io::Result<bool> {
        if self.started.elapsed() < PAUSE {
            return Ok(false);
        }
        end(&mut self.child);
        self.started = Instant::now();
        counts.restarts += 1;
        let after = self.cursor.as_ref().map(|cursor| format!("--after-cursor={cursor}"));
        let from = after.unwrap_or_else(|| format!("--since=@{}", self.since.as_second()));
        (self.child, self.output) = follow(&self.program, &from)?;
        self.lines = Lines::new(ENTRY_MAX);
        Ok(false)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends it, and takes what is left of it.
fn end(child: &mut Child) {
    // It may have ended itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn follow(program: &Path, from: &str) -> io::Result<(Child, ChildStdout)> {
    let mut command = Command::new(program);
    command.args(["--follow", "--quiet", "--output=json", "--output-fields", FIELDS, from]).args(MATCHES);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let Some(output) = child.stdout.take() else { return Err(io::Error::other("journalctl has no output")) };
    let flags = rustix::fs::fcntl_getfl(&output)?;
    rustix::fs::fcntl_setfl(&output, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok((child, output))
}

#[derive(Deserialize)]
struct Place<'a> {
    #[serde(rename = "__CURSOR", borrow)]
    cursor: Option<Cow<'a, str>>,
}
