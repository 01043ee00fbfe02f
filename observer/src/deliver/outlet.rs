//! The pipeline's end of a sink: takes what the sink wants, and never waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::delivery::SinkThread;
use super::file::{Lines, RotatedFile};
use super::formatter::Formatter;
use super::health::{Opening, SinkStatus};
use super::intake::Batch;
use super::shared::Shared;
use super::shared_record::SharedRecord;
use super::target::Target;
use super::{intake, writing};
use crate::config::SinkConfig;
use crate::queue::QueueLevel;

/// Dropped before it reached the disk.
const QUEUE_FULL: &str = "queue full";
/// What a sink's thread can die of.
const CRASHED: &str = "bug in observer: this sink's thread crashed; restart observer, and please report it";

/// A sink that is running. None of its methods waits for a disk or a receiver.
pub struct Outlet {
    config: SinkConfig,
    shared: Arc<Shared>,
    pending: Vec<SharedRecord>,
    queue: Option<Sender<Batch>>,
    threads: Vec<JoinHandle<()>>,
}

impl Outlet {
    /// Starts the sink's threads; its spool, if it has one, lies below `spools`. They
    /// open it: [`Self::opening`] tells how that went.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(config: SinkConfig, spools: &Path) -> Result<Self, String> {
        let (sender, receiver) = channel();
        let shared = Shared::new(config.target.clone(), config.spool, QueueLevel::new(config.queue_bytes));
        let shared = Arc::new(shared);
        let name = config.name.clone();
        let started = match &config.target {
            Target::Stdout => start_lines(std::io::stdout(), receiver, &shared, &name),
            Target::File(file) => start_lines(RotatedFile::new(file.clone()), receiver, &shared, &name),
            _ => start_spooled(&name, spool_directory(&config, spools), receiver, &shared),
        };
        let threads = started.map_err(|error| format!("sink {name}: {error}"))?;
        Ok(Self { config, shared, pending: Vec::new(), queue: Some(sender), threads })
    }

    /// What it was started with, or was told since.
    pub fn config(&self) -> &SinkConfig {
        &self.config
    }

    /// True if `config` can be adopted by [`Self::adopt`]: it has the same spool, or the
    /// same file.
    pub fn can_adopt(&self, config: &SinkConfig) -> bool {
        match (spool_name(&self.config), spool_name(config)) {
            (Some(own), Some(other)) => own == other,
            (None, None) => {
                let same = |of: &SinkConfig| (of.name.clone(), of.format, of.target.clone());
                same(&self.config) == same(config)
            }
            _ => false,
        }
    }

    /// Goes on with another configuration; nothing that waits is lost. A file is opened
    /// anew.
    pub fn adopt(&mut self, config: SinkConfig) {
        self.flush();
        self.shared.set_limits(config.spool);
        self.shared.level.set_limit(config.queue_bytes);
        self.shared.aim(config.target.clone());
        if !is_spooled(&config) {
            self.shared.reopen();
        }
        self.config = config;
    }

    /// Takes what the sink wants, and keeps it until [`Self::flush`]. What finds the queue
    /// full is lost and counted. The filter is applied here, so that nothing counts as
    /// lost that the sink does not want.
    pub fn offer(&mut self, record: &SharedRecord) {
        if !self.config.wants(record.entry()) {
            return;
        }
        if self.shared.level.reserve(record.retained_bytes()) {
            self.pending.push(record.clone());
        } else {
            self.shared.lose(QUEUE_FULL, 1);
        }
    }

    /// Hands over what was taken since the last time. Never waits.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.pending);
        let batch = Batch { records, formatter: Formatter::of(&self.config) };
        let unsent = match &self.queue {
            Some(queue) => queue.send(batch).err().map(|unsent| unsent.0),
            None => Some(batch),
        };
        // The sink has ended, or its thread has crashed.
        if let Some(batch) = unsent {
            batch.lose(QUEUE_FULL, &self.shared);
        }
    }

    /// Whether its file or spool could be opened.
    pub fn opening(&self) -> Opening {
        self.shared.opening()
    }

    /// How it is doing.
    pub fn status(&self) -> SinkStatus {
        let is_to_run = self.queue.is_some();
        if is_to_run && self.threads.iter().any(JoinHandle::is_finished) {
            // Only a panic ends one.
            self.shared.trouble(CRASHED.to_owned());
        }
        self.shared.status()
    }

    /// Asks it to end: what waits is spooled or written, and as much delivered as
    /// can be until `deadline`. Does not wait. Of several deadlines the earliest counts.
    pub fn end(&mut self, deadline: Instant) {
        self.flush();
        self.shared.end(deadline);
        self.queue = None;
    }

    /// True when all of its threads have ended.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// The file of what its receiver refused, below `spools`, if it has one.
    pub fn dead_letters(&self, spools: &Path) -> Option<PathBuf> {
        self.spool_directory(spools).map(|directory| dead_letters(&directory))
    }

    /// The directory of its spool below `spools`, if it has one.
    pub fn spool_directory(&self, spools: &Path) -> Option<PathBuf> {
        spool_name(&self.config).map(|name| spools.join(name))
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

type Started = Result<Vec<JoinHandle<()>>, String>;

fn start_lines(lines: impl Lines + 'static, queue: Receiver<Batch>, shared: &Arc<Shared>, name: &str) -> Started {
    let shared = Arc::clone(shared);
    Ok(vec![spawn(name, move || writing::run(lines, &queue, &shared))?])
}

fn start_spooled(name: &str, directory: PathBuf, queue: Receiver<Batch>, shared: &Arc<Shared>) -> Started {
    let dead = dead_letters(&directory);
    let (sender, spool) = channel();
    let of_intake = Arc::clone(shared);
    let intake = spawn(name, move || intake::run(&directory, &queue, &sender, &of_intake))?;
    let shared = Arc::clone(shared);
    let delivery = spawn(name, move || {
        // None comes if the spool could not be opened before the end.
        if let Ok(spool) = spool.recv() {
            SinkThread::new(shared, spool, &dead).run();
        }
    })?;
    Ok(vec![intake, delivery])
}

/// `siem.syslog-rfc5424`: messages that were written for another kind of receiver, or in
/// another format, are no messages of this sink's. `None` for a sink without a spool.
pub fn spool_name(config: &SinkConfig) -> Option<String> {
    let SinkConfig { name, target, format, .. } = config;
    is_spooled(config).then(|| format!("{name}.{}-{}", target.kind(), format.name()))
}

/// The file of what a receiver refused, beside the spool.
pub fn dead_letters(spool: &Path) -> PathBuf {
    spool.with_extension("dead")
}

fn spool_directory(config: &SinkConfig, spools: &Path) -> PathBuf {
    spools.join(spool_name(config).unwrap_or_default())
}

fn is_spooled(config: &SinkConfig) -> bool {
    !matches!(config.target, Target::Stdout | Target::File(_))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    // The kernel keeps 15 bytes of it.
    thread::Builder::new()
        .name(format!("sink-{name}"))
        .spawn(run)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

#[cfg(test)]
mod tests;
