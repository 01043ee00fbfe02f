//! The sinks of `observer run`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use observer_core::event::Host;
use observer_core::metrics::{SinkMetrics, SpoolMetrics};
use observer_core::notice::{Notice, NoticeKind};

use super::Failure;
use super::live::say;
use crate::config::SinkConfig;
use crate::deliver::{Attention, Opening, Outlet, SharedRecord, SinkStatus, end_all};
use crate::store::spool::{self, LeftSpool, left_spools};

/// Between two looks at how the sinks are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a sink that is no longer wanted may still take.
const RETIRE_WITHIN: Duration = Duration::from_secs(10);
/// For the sinks of a new configuration to open their files and spools.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// What was still queued when observer ended.
const NOT_TAKEN: &str = "not taken before the end";

/// Sinks that run, and those that are ending. None of the methods waits for a disk or a
/// receiver, but for [`Self::start`] and [`Self::finish`].
pub(super) struct Outlets {
    running: Vec<(Outlet, Attention)>,
    retiring: Vec<Outlet>,
    spools: PathBuf,
    host: Host,
    look_at: Instant,
    notices: u64,
    /// Until when those of a new configuration are waited for.
    opened_by: Option<Instant>,
    /// Spools that were found and no sink owns.
    left: Option<Receiver<LeftSpool>>,
}

impl Outlets {
    /// Starts them all; their spools lie below `spools`. Waits for each spool to be
    /// opened.
    pub(super) fn start(configs: &[SinkConfig], spools: PathBuf, host: Host) -> Result<Self, Failure> {
        let start = |config: &SinkConfig| Outlet::start(config.clone(), &spools).map(with_attention);
        let running = configs.iter().map(start).collect::<Result<Vec<_>, _>>();
        let running = running.map_err(|error| Failure::new("cannot start", error))?;
        for (outlet, _) in &running {
            let has_spool = outlet.spool_directory(&spools).is_some();
            match opened(outlet) {
                Opening::Busy(cause) | Opening::Failed(cause) if has_spool => {
                    return Err(Failure::new("cannot start", named(outlet, &cause)));
                }
                // A file may be on a disk that comes later; recording is worth more.
                Opening::Failed(cause) => say(&format!("{}; trying again", named(outlet, &cause))),
                _ => {}
            }
        }
        let (retiring, look_at) = (Vec::new(), Instant::now());
        let mut outlets = Self { running, retiring, spools, host, look_at, notices: 0, opened_by: None, left: None };
        outlets.look_for_left();
        Ok(outlets)
    }

    fn look_for_left(&mut self) {
        let outlets = self.running.iter().map(|(outlet, _)| outlet).chain(&self.retiring);
        let owned = outlets.filter_map(|outlet| outlet.spool_directory(&self.spools)).collect();
        self.left = look_for_left(self.spools.clone(), owned);
    }

    /// Hands it to every sink that wants it.
    pub(super) fn offer(&mut self, record: &SharedRecord) {
        for (outlet, _) in &mut self.running {
            outlet.offer(record);
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
        self.say_retired();
        for left in self.left.iter().flat_map(Receiver::try_iter) {
            say(&left_behind(&left));
        }
        if Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        for notice in self.take_notices(Timestamp::now()) {
            say(&notice.text);
            self.offer(&notice.into());
        }
        self.flush();
    }

    fn take_notices(&mut self, now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (outlet, attention) in &mut self.running {
            for mut finding in attention.findings(&outlet.status(), now) {
                if finding.kind == NoticeKind::MessagesRefused
                    && let Some(file) = outlet.dead_letters(&self.spools)
                {
                    finding.cause.push_str(&format!("; they are kept in {}", file.display()));
                }
                self.notices += 1;
                notices.push(Notice::of_sink(&outlet.config().name, finding, &self.host, self.notices, now));
            }
        }
        notices
    }

    /// Says what became of sinks that are no longer wanted, and what they leave behind.
    fn say_retired(&mut self) {
        for outlet in self.retiring.extract_if(.., |outlet| outlet.has_ended()) {
            let status = outlet.status();
            say(&format!("{}; it is no longer configured", summary(&outlet.config().name, &status)));
            let directory = outlet.spool_directory(&self.spools);
            if let (Some(spool::SpoolStatus { messages: messages @ 1.., bytes, .. }), Some(directory)) =
                (status.spool, directory)
            {
                say(&left_behind(&LeftSpool { directory, messages, bytes }));
            }
        }
    }

    /// Goes over to other sinks. What is the same goes on undisturbed, files are
    /// opened anew, and what is no longer wanted ends in the background.
    /// [`Self::reloaded`] tells how it went.
    pub(super) fn reload(&mut self, configs: &[SinkConfig]) {
        let mut old = std::mem::take(&mut self.running);
        for config in configs {
            let same = old.iter().position(|(outlet, _)| outlet.can_adopt(config));
            if let Some((mut outlet, attention)) = same.map(|nth| old.swap_remove(nth)) {
                outlet.adopt(config.clone());
                self.running.push((outlet, attention));
                continue;
            }
            // Whoever still has the spool lets go of it.
            for retiring in self.retiring.iter_mut().filter(|retiring| retiring.can_adopt(config)) {
                retiring.end(Instant::now());
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
        self.opened_by = Some(Instant::now() + OPEN_WITHIN);
        self.look_for_left();
    }

    /// What became of [`Self::reload`], once that is known: how many sinks run, or which
    /// do not and why. Those are tried again.
    pub(super) fn reloaded(&mut self) -> Option<Result<usize, String>> {
        let until = self.opened_by?;
        let mut problems = Vec::new();
        let mut is_pending = false;
        for (outlet, _) in &self.running {
            match outlet.opening() {
                Opening::Done => {}
                Opening::Failed(cause) => problems.push(named(outlet, &cause)),
                Opening::Busy(cause) => {
                    is_pending = true;
                    problems.push(named(outlet, &cause));
                }
                Opening::Pending => {
                    is_pending = true;
                    problems.push(named(outlet, "its disk does not answer"));
                }
            }
        }
        if is_pending && Instant::now() < until {
            return None;
        }
        self.opened_by = None;
        if problems.is_empty() { Some(Ok(self.running.len())) } else { Some(Err(problems.join("; "))) }
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

/// Waits until its file or spool is open, or cannot be.
fn opened(outlet: &Outlet) -> Opening {
    loop {
        match outlet.opening() {
            Opening::Pending if !outlet.has_ended() => thread::sleep(Duration::from_millis(2)),
            known => return known,
        }
    }
}

/// Looks for spools that no sink owns, on a thread of its own: there may be much to read,
/// from a disk that does not answer.
fn look_for_left(spools: PathBuf, owned: BTreeSet<PathBuf>) -> Option<Receiver<LeftSpool>> {
    let (sender, found) = channel();
    let look = move || {
        let left = left_spools(&spools, &owned);
        for spool in left.unwrap_or_default() {
            // Nobody waits for it any longer.
            let _ = sender.send(spool);
        }
    };
    thread::Builder::new().name("left-spools".to_owned()).spawn(look).ok().map(|_| found)
}

/// `the spool /var/lib/observer/spool/siem.syslog-cef holds 3 messages (1024 bytes) that no
/// sink delivers: ...`.
fn left_behind(left: &LeftSpool) -> String {
    let LeftSpool { directory, messages, bytes } = left;
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let cure = match name.split_once('.').and_then(|(name, shape)| Some((name, shape.split_once('-')?))) {
        Some((sink, _)) => {
            format!("configure a sink \"{sink}\" of the type and format that its name says, or remove the directory")
        }
        None => "another version of observer wrote it; remove the directory".to_owned(),
    };
    let directory = directory.display();
    format!("the spool {directory} holds {messages} messages ({bytes} bytes) that no sink delivers: {cure}")
}

fn named(outlet: &Outlet, cause: &str) -> String {
    format!("sink {}: {cause}", outlet.config().name)
}

fn with_attention(outlet: Outlet) -> (Outlet, Attention) {
    (outlet, Attention::default())
}

fn sink_metrics(config: &SinkConfig, status: &SinkStatus) -> SinkMetrics {
    let by_cause = |drops: &mut dyn Iterator<Item = (&'static str, u64)>| {
        drops.map(|(cause, count)| (cause.to_owned(), count)).collect()
    };
    SinkMetrics {
        name: config.name.clone(),
        delivered: status.delivered,
        refused: status.refused,
        dropped: by_cause(&mut status.dropped.iter().map(|(&cause, &count)| (cause, count))),
        queued: status.queued,
        queue_bytes: status.queue_bytes,
        queue_limit_bytes: status.queue_limit,
        trouble_since: status.any_trouble().map(|(since, _)| *since),
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

/// `sink siem: 120 delivered, 3 wait in the spool, 2 dropped (queue full 2)`,
/// of a sink that has ended, or is not waited for any longer: what is still in its queue
/// is lost.
fn summary(name: &str, status: &SinkStatus) -> String {
    let mut line = format!("sink {name}: {} delivered", status.delivered);
    let waiting = status.spool.as_ref().map_or(0, |spool| spool.messages);
    if waiting > 0 {
        line.push_str(&format!(", {waiting} wait in the spool"));
    }
    if status.refused > 0 {
        line.push_str(&format!(", {} refused by the receiver and kept beside the spool", status.refused));
    }
    let mut causes = status.drops_in_words();
    if status.queued > 0 {
        let comma = if causes.is_empty() { "" } else { ", " };
        causes.push_str(&format!("{comma}{NOT_TAKEN} {}", status.queued));
    }
    match status.dropped_total() + status.queued {
        0 => line.push_str(", none dropped"),
        dropped => line.push_str(&format!(", {dropped} dropped ({causes})")),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_is_left_is_named_with_what_delivers_it() {
        let left = |name: &str| LeftSpool { directory: format!("/spool/{name}").into(), messages: 3, bytes: 420 };
        insta::assert_snapshot!(left_behind(&left("siem.syslog-cef")), @r#"the spool /spool/siem.syslog-cef holds 3 messages (420 bytes) that no sink delivers: configure a sink "siem" of the type and format that its name says, or remove the directory"#);
        insta::assert_snapshot!(left_behind(&left("siem.cef")), @"the spool /spool/siem.cef holds 3 messages (420 bytes) that no sink delivers: another version of observer wrote it; remove the directory");
    }

    #[test]
    fn the_summary_counts_what_is_left_in_the_queue_as_lost() {
        let spool = crate::store::spool::SpoolStatus { messages: 3, dropped: 4, ..Default::default() };
        let mut status = SinkStatus { delivered: 120, spool: Some(spool), ..SinkStatus::default() };
        insta::assert_snapshot!(summary("siem", &status), @"sink siem: 120 delivered, 3 wait in the spool, 4 dropped (spool full 4)");
        (status.queued, status.refused) = (2, 1);
        insta::assert_snapshot!(summary("siem", &status), @"sink siem: 120 delivered, 3 wait in the spool, 1 refused by the receiver and kept beside the spool, 6 dropped (spool full 4, not taken before the end 2)");
    }
}
