//! The pipeline's end of a sink: takes what the sink wants, formats it, and never waits.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::delivery::Delivery;
use super::file::{Lines, RotatedFile};
use super::health::Status;
use super::message::Message;
use super::shared::Shared;
use super::target::Target;
use super::{intake, writing};
use crate::config::SinkConfig;
use crate::format::{Entry, Format};
use crate::spool::Spool;

/// Messages between the pipeline and a sink's threads: some 10 MB, a second of a
/// flood. What does not fit is dropped and counted.
const QUEUE: usize = 8_192;
/// Dropped before it reached the disk.
const QUEUE_FULL: &str = "queue full";
/// What a sink can die of.
const DEFECT: &str = "a defect of observer's has ended this sink: please report it, and restart observer";
/// Could not be formatted.
const NOT_FORMATTED: &str = "not formatted";

/// A sink that is running.
pub struct Outlet {
    config: SinkConfig,
    shared: Arc<Shared>,
    pending: Vec<Message>,
    queue: Option<Sender<Vec<Message>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Outlet {
    /// Starts the sink's threads; its spool, if it has one, lies below `spools`.
    ///
    /// # Errors
    /// If the spool cannot be opened, or no thread started.
    pub fn start(config: SinkConfig, spools: &Path) -> Result<Self, String> {
        let (sender, receiver) = channel();
        let name = config.name.clone();
        let failed = |error: &dyn std::fmt::Display| format!("sink {name}: {error}");
        let started = match &config.target {
            Target::Stdout => start_lines(std::io::stdout(), receiver, &name),
            Target::File(file) => start_lines(RotatedFile::new(file.clone()), receiver, &name),
            _ => start_spooled(&config, spools, receiver),
        };
        let (shared, threads) = started.map_err(|error| failed(&error))?;
        Ok(Self { config, shared, pending: Vec::new(), queue: Some(sender), threads })
    }

    /// What it was started with, or was told since.
    pub fn config(&self) -> &SinkConfig {
        &self.config
    }

    /// True if `config` can be adopted by [`Self::adopt`]: the same name and format, and
    /// so the same spool; or the same file.
    pub fn can_adopt(&self, config: &SinkConfig) -> bool {
        let is_same = self.config.name == config.name && self.config.format == config.format;
        let are_spooled = is_spooled(&self.config.target) && is_spooled(&config.target);
        is_same && (are_spooled || self.config.target == config.target)
    }

    /// Goes on with another configuration; nothing that waits is lost.
    pub fn adopt(&mut self, config: SinkConfig) {
        if let Some(spool) = &self.shared.spool {
            Shared::lock(spool).set_limits(config.spool);
        }
        self.shared.aim(config.target.clone());
        self.config = config;
    }

    /// Takes what the sink wants. Formats it, and keeps it until [`Self::flush`].
    pub fn offer(&mut self, entry: Entry<'_>) {
        if !self.config.wants(entry) {
            return;
        }
        let mut body = Vec::with_capacity(1_024);
        let appended = match self.config.target {
            Target::Syslog(_) => self.config.format.append_syslog(entry, self.config.enterprise, &mut body),
            _ => self.config.format.append(entry, false, &mut body),
        };
        match appended {
            Ok(()) => self.pending.push(Message { id: entry.id().to_owned(), body }),
            Err(_) => self.shared.lose(NOT_FORMATTED, 1),
        }
    }

    /// Hands over what was taken since the last time. Never waits.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.pending);
        let count = batch.len();
        let is_room = self.shared.queued.load(Ordering::Relaxed) + count <= QUEUE;
        let Some(queue) = self.queue.as_ref().filter(|_| is_room) else {
            return self.shared.lose(QUEUE_FULL, count as u64);
        };
        self.shared.queued.fetch_add(count, Ordering::Relaxed);
        if queue.send(batch).is_err() {
            self.shared.queued.fetch_sub(count, Ordering::Relaxed);
            self.shared.lose(QUEUE_FULL, count as u64);
        }
    }

    /// Somebody has renamed the file.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let is_to_run = self.queue.is_some();
        if is_to_run && self.threads.iter().any(JoinHandle::is_finished) {
            // Only a panic ends one.
            self.shared.trouble(DEFECT.to_owned());
        }
        self.shared.status()
    }

    /// Asks it to end: what waits is spooled or written, and as much delivered as
    /// can be until `deadline`. Does not wait.
    pub fn end(&mut self, deadline: Instant) {
        self.flush();
        self.shared.end(deadline);
        self.queue = None;
    }

    /// True when all of its threads have ended.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

/// Ends every outlet at once and waits for them, no longer than `within`. A thread
/// that is stuck in a receiver's timeout goes down with the process: what it was
/// about to deliver is in its spool.
pub fn end_all(outlets: &mut [Outlet], within: Duration) {
    let deadline = Instant::now() + within;
    for outlet in &mut *outlets {
        outlet.end(deadline);
    }
    while Instant::now() < deadline && !outlets.iter().all(Outlet::has_ended) {
        thread::sleep(Duration::from_millis(5));
    }
}

type Started = (Arc<Shared>, Vec<JoinHandle<()>>);

fn start_lines(
    lines: impl Lines + 'static,
    queue: mpsc::Receiver<Vec<Message>>,
    name: &str,
) -> Result<Started, String> {
    let shared = Arc::new(Shared::new(None, Target::Stdout));
    let theirs = Arc::clone(&shared);
    let thread = spawn(name, move || writing::run(lines, &queue, &theirs))?;
    Ok((shared, vec![thread]))
}

fn start_spooled(config: &SinkConfig, spools: &Path, queue: mpsc::Receiver<Vec<Message>>) -> Result<Started, String> {
    let directory = spools.join(spool_name(&config.name, config.format));
    let spool = Spool::open(&directory, config.spool).map_err(|error| error.to_string())?;
    let shared = Arc::new(Shared::new(Some(spool), config.target.clone()));
    let theirs = Arc::clone(&shared);
    let intake = spawn(&config.name, move || intake::run(&queue, &theirs))?;
    let mut delivery = Delivery::new(Arc::clone(&shared), &directory.with_extension("dead"));
    let delivery = spawn(&config.name, move || delivery.run())?;
    Ok((shared, vec![intake, delivery]))
}

/// `siem.rfc5424`: messages of another format are no messages of this sink's.
fn spool_name(name: &str, format: Format) -> String {
    format!("{name}.{}", format.name())
}

fn is_spooled(target: &Target) -> bool {
    !matches!(target, Target::Stdout | Target::File(_))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    // The kernel keeps 15 bytes of it.
    thread::Builder::new()
        .name(format!("sink-{name}"))
        .spawn(run)
        .map_err(|error| format!("cannot start a thread: {error}"))
}
