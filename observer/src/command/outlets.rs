//! The sinks of `observer run`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Failure;
use super::live::say;
use crate::config::SinkConfig;
use crate::event::Host;
use crate::format::Entry;
use crate::metrics::{SinkMetrics, SpoolMetrics};
use crate::notice::Notice;
use crate::sink::{Attention, Outlet, Status, end_all};

/// Between two looks at how the sinks are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a sink that is no longer wanted may still take.
const RETIRE_WITHIN: Duration = Duration::from_secs(10);

/// Sinks that run, and those that are ending.
pub(super) struct Outlets {
    running: Vec<(Outlet, Attention)>,
    retiring: Vec<Outlet>,
    spools: PathBuf,
    host: Host,
    look_at: Instant,
    notices: u64,
}

impl Outlets {
    /// Starts them all; their spools lie below `spools`.
    pub(super) fn start(configs: &[SinkConfig], spools: PathBuf, host: Host) -> Result<Self, Failure> {
        let start = |config: &SinkConfig| Outlet::start(config.clone(), &spools).map(with_attention);
        let running = configs.iter().map(start).collect::<Result<_, _>>();
        let running = running.map_err(|error| Failure::new("cannot start", error))?;
        Ok(Self { running, retiring: Vec::new(), spools, host, look_at: Instant::now(), notices: 0 })
    }

    /// Hands it to every sink that wants it.
    pub(super) fn offer(&mut self, entry: Entry<'_>) {
        for (outlet, _) in &mut self.running {
            outlet.offer(entry);
        }
    }

    /// To be called after each batch.
    pub(super) fn flush(&mut self) {
        for (outlet, _) in &mut self.running {
            outlet.flush();
        }
    }

    /// To be called at every tick: says what is wrong with a sink, to people and
    /// to all sinks.
    pub(super) fn tick(&mut self) {
        self.retiring.retain(|outlet| !outlet.has_ended());
        if Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        for notice in self.take_notices(Timestamp::now()) {
            say(&notice.text);
            self.offer(Entry::Notice(&notice));
        }
        self.flush();
    }

    fn take_notices(&mut self, now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (outlet, attention) in &mut self.running {
            for finding in attention.findings(&outlet.status(), now) {
                self.notices += 1;
                notices.push(Notice::of_sink(&outlet.config().name, finding, &self.host, self.notices, now));
            }
        }
        notices
    }

    /// Goes over to other sinks. What is the same goes on undisturbed, files are
    /// opened anew, and what is no longer wanted ends in the background.
    pub(super) fn reload(&mut self, configs: &[SinkConfig]) {
        let mut old = std::mem::take(&mut self.running);
        for config in configs {
            let same = old.iter().position(|(outlet, _)| outlet.can_adopt(config));
            if let Some((mut outlet, attention)) = same.map(|nth| old.swap_remove(nth)) {
                outlet.reopen();
                outlet.adopt(config.clone());
                self.running.push((outlet, attention));
                continue;
            }
            match Outlet::start(config.clone(), &self.spools) {
                Ok(outlet) => self.running.push(with_attention(outlet)),
                Err(error) => say(&format!("cannot start {error}")),
            }
        }
        for (mut outlet, _) in old {
            outlet.end(Instant::now() + RETIRE_WITHIN);
            self.retiring.push(outlet);
        }
    }

    /// How each sink is doing.
    pub(super) fn metrics(&self) -> Vec<SinkMetrics> {
        self.running.iter().map(|(outlet, _)| sink_metrics(outlet.config(), &outlet.status())).collect()
    }

    /// Ends them all, and says what is left.
    pub(super) fn finish(self, within: Duration) {
        let mut all: Vec<_> = self.running.into_iter().map(|(outlet, _)| outlet).chain(self.retiring).collect();
        end_all(&mut all, within);
        for outlet in &all {
            say(&summary(&outlet.config().name, &outlet.status()));
        }
    }
}

fn with_attention(outlet: Outlet) -> (Outlet, Attention) {
    (outlet, Attention::default())
}

fn sink_metrics(config: &SinkConfig, status: &Status) -> SinkMetrics {
    let by_cause = |drops: &mut dyn Iterator<Item = (&'static str, u64)>| {
        drops.map(|(cause, count)| (cause.to_owned(), count)).collect()
    };
    SinkMetrics {
        name: config.name.clone(),
        delivered: status.delivered,
        refused: status.refused,
        dropped: by_cause(&mut status.dropped.iter().map(|(&cause, &count)| (cause, count))),
        queued: status.queued,
        trouble_since: status.trouble.as_ref().map(|(since, _)| *since),
        spool: status.spool.as_ref().map(|spool| SpoolMetrics {
            messages: spool.messages,
            bytes: spool.bytes,
            limit_bytes: config.spool.bytes,
            oldest: spool.oldest,
            dropped: by_cause(&mut spool.drops().into_iter()),
            corrupt: spool.corrupt_records,
        }),
    }
}

/// `sink siem: 120 delivered, 3 wait in the spool, 1 refused, 2 dropped (queue full 2)`.
fn summary(name: &str, status: &Status) -> String {
    let mut line = format!("sink {name}: {} delivered", status.delivered);
    let waiting = status.spool.as_ref().map_or(0, |spool| spool.messages) + status.queued;
    if waiting > 0 {
        line.push_str(&format!(", {waiting} wait in the spool"));
    }
    if status.refused > 0 {
        line.push_str(&format!(", {} refused", status.refused));
    }
    let dropped = status.dropped_total() + status.spool.as_ref().map_or(0, |spool| spool.dropped_total());
    match dropped {
        0 => line.push_str(", none dropped"),
        _ => line.push_str(&format!(", {dropped} dropped ({})", status.drops_in_words())),
    }
    line
}
