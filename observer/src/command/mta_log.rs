//! The mail server's log beside the kernel's events: a thread reads it, and each event
//! goes on with what it says of the delivery behind it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use observer_core::event::Event;
use observer_core::join::Settings;
use observer_core::join::attach::{Attacher, Ready};
use observer_core::join::hash::DomainKey;
use observer_core::metrics::MtaMetrics;
use observer_core::mta::{Line, MtaKind, advice};
use observer_core::steady::{Now, Steady};

use super::Failure;
use super::clock;
use super::live::say;
use crate::config;
use crate::follow::{Follower, From, LogCounts, Place, journalctl};

/// Between two looks at a log that has nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two attempts to read a log that cannot be read.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// Chunks that wait: each has some 300 lines at most.
const CHUNKS: usize = 64;
/// A line is in the log so long after its time, at most: a syslog daemon is between.
const ARRIVES_WITHIN: SignedDuration = SignedDuration::from_secs(2);
/// A log of which nothing is understood is said to be so after this time: a line or two can be of anybody.
const SAYS_AFTER: Duration = Duration::from_secs(2);
/// So many connects that would fit but for their process ids are no coincidence, where none fits.
const OTHER_PIDS: u64 = 10;
/// Events wait so long for a log that is not read.
const WAITS_FOR_LOG: SignedDuration = SignedDuration::from_secs(3);

/// Lines that the thread has read.
struct Heard {
    lines: Vec<Line>,
    /// When nothing more was in the log; `None`: there may be more.
    until: Option<Timestamp>,
}

/// What the thread says of itself.
#[derive(Default)]
struct State {
    counts: LogCounts,
    /// Why the log cannot be read.
    trouble: Option<String>,
    /// Why files of it can come and go unnoticed.
    unnoticed: Option<String>,
    /// Since when nothing in it is understood.
    not_understood: Option<NotUnderstood>,
}

/// A log that has lines, of which none is understood.
struct NotUnderstood {
    since: Instant,
    lines: u64,
    first: String,
}

impl State {
    /// True if it has been so for long enough to say it.
    fn is_not_understood(&self) -> bool {
        self.not_understood.as_ref().is_some_and(|state| state.since.elapsed() >= SAYS_AFTER)
    }
}

/// The log, and the events that wait for it.
pub(super) struct MtaLog {
    attacher: Attacher,
    /// What hides names.
    key: Option<DomainKey>,
    heard: Receiver<Heard>,
    clock: Steady,
    /// By the steady clock, as the next.
    read_until: Timestamp,
    settled_until: Timestamp,
    state: Arc<Mutex<State>>,
    place: String,
    /// The trouble that was said.
    said: Option<String>,
    said_unnoticed: Option<String>,
    /// It was said that nothing is understood.
    said_not_understood: bool,
    /// It was said that process ids do not fit.
    said_other_pids: bool,
    /// Of what may not have been read, so much was said.
    said_unread: u64,
}

impl MtaLog {
    /// Begins to read at the end of the log.
    ///
    /// # Errors
    /// If the key for domains cannot be read, or no thread can be started. That the log
    /// cannot be read is said, and tried again.
    pub(super) fn start(config: &config::MtaLog) -> Result<Self, Failure> {
        let key = domain_key(config)?;
        let (tell, heard) = sync_channel(CHUNKS);
        let state = Arc::new(Mutex::new(State::default()));
        let reader = Reader { kind: config.kind, place: config.log.clone(), tell, state: Arc::clone(&state) };
        thread::Builder::new()
            .name("mta-log".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| Failure::new("cannot start a thread", error))?;
        let settings = Settings { are_pids_ours: !config.has_own_process_ids, ..Settings::default() };
        let clock = clock::steady();
        let mut attacher = Attacher::new(settings).hiding(key.clone());
        attacher.set_clock(clock);
        Ok(Self {
            attacher,
            key,
            heard,
            read_until: clock.now().steady,
            clock,
            settled_until: Timestamp::MIN,
            state,
            place: named(config.kind, &config.log),
            said: None,
            said_unnoticed: None,
            said_not_understood: false,
            said_other_pids: false,
            said_unread: 0,
        })
    }

    /// Takes an event.
    pub(super) fn event(&mut self, event: Event) {
        self.read_clock();
        self.attacher.event(event);
    }

    /// What can go on; to be called at every tick. `is_drained` tells that all events up
    /// to now have come.
    pub(super) fn tick(&mut self, is_drained: bool) -> Ready {
        let now = self.read_clock().steady;
        self.hear();
        self.say_trouble();
        self.say_unread();
        self.say_not_understood();
        self.say_other_pids();
        let until = self.read_until.max(before(now, WAITS_FOR_LOG));
        if is_drained {
            self.settled_until = self.settled_until.max(before(until, ARRIVES_WITHIN));
        }
        self.attacher.settle(self.settled_until)
    }

    /// All that is left.
    pub(super) fn finish(mut self) -> Ready {
        self.read_clock();
        self.hear();
        self.attacher.finish()
    }

    /// What was read and joined.
    pub(super) fn metrics(&self) -> MtaMetrics {
        let state = lock(&self.state);
        MtaMetrics {
            is_read: state.trouble.is_none(),
            is_not_understood: state.is_not_understood(),
            counts: state.counts,
            tallies: self.attacher.tallies(),
            waiting: self.attacher.waiting(),
        }
    }

    fn hear(&mut self) {
        for Heard { lines, until } in self.heard.try_iter() {
            lines.into_iter().for_each(|line| self.attacher.line(line));
            self.read_until = until.map_or(self.read_until, |until| self.clock.steady_of_stamp(until));
        }
    }

    fn read_clock(&mut self) -> Now {
        let now = clock::read(&mut self.clock);
        self.attacher.set_clock(self.clock);
        now
    }

    fn say_trouble(&mut self) {
        let trouble = lock(&self.state).trouble.clone();
        if trouble == self.said {
            return;
        }
        match &trouble {
            Some(trouble) => say(&format!("cannot read {}: {trouble}", self.place)),
            None => say(&format!("{} is read again", self.place)),
        }
        self.said = trouble;
    }

    /// Says that nothing in the log is understood, with its first line, and when that is over.
    fn say_not_understood(&mut self) {
        let state = lock(&self.state);
        let is_over = self.said_not_understood && state.not_understood.is_none();
        let text = match &state.not_understood {
            Some(NotUnderstood { lines, first, .. }) if !self.said_not_understood && state.is_not_understood() => {
                let first = self.key.as_ref().map_or_else(|| first.clone(), |key| key.hide_line(first));
                not_understood(&self.place, *lines, &first)
            }
            None if is_over => format!("{}: its lines are understood now", self.place),
            _ => return,
        };
        drop(state);
        self.said_not_understood = !is_over;
        say(&text);
    }

    /// Says once that the process ids in the log are not those of this host.
    fn say_other_pids(&mut self) {
        let others = self.attacher.waiting().other_pids;
        if self.said_other_pids || others < OTHER_PIDS || self.attacher.tallies().joined > 0 {
            return;
        }
        self.said_other_pids = true;
        say(&format!(
            "{}: {others} connects fit attempts in all but their process ids, and none fits in those: if the mail server runs in a \
             container, set own_process_ids = true in [mta]",
            self.place
        ));
    }

    /// Says what may be missing, once.
    fn say_unread(&mut self) {
        let state = lock(&self.state);
        let (counts, unnoticed) = (state.counts, state.unnoticed.clone());
        drop(state);
        let place = &self.place;
        if let Some(why) = unnoticed.as_ref().filter(|_| unnoticed != self.said_unnoticed) {
            say(&format!("{place}: several rotations within 100 ms can go unnoticed: cannot watch {why}"));
        }
        self.said_unnoticed = unnoticed;
        let unread = counts.unread_files + counts.unread_ends;
        if unread > self.said_unread {
            let LogCounts { unread_files, unread_ends, .. } = counts;
            say(&format!(
                "{place}: not all was read (files that came and went: {unread_files}, files cut or removed before their end: \
                 {unread_ends}): let logrotate delay the compression (delaycompress), and rotate less often"
            ));
        }
        self.said_unread = unread;
    }
}

/// That of so many lines none is understood, and what to do about it.
fn not_understood(place: &str, lines: u64, first: &str) -> String {
    let advice = advice(first);
    format!(
        "cannot understand {place}: none of {lines} lines so far is of a form that observer knows, and no event gets its delivery: \
         {advice}; the first line: {first}"
    )
}

/// The key that names are hidden by, if they are.
///
/// # Errors
/// If it cannot be read.
pub(super) fn domain_key(config: &config::MtaLog) -> Result<Option<DomainKey>, Failure> {
    let Some(path) = config.domain_key.as_deref() else { return Ok(None) };
    let key = File::open(path).and_then(DomainKey::read);
    key.map(Some).map_err(|error| Failure::new(&format!("cannot read the key for domains, {}", path.display()), error))
}

fn before(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Counts are worth reading whatever happened to the thread.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `the log of postfix, /var/log/mail.log`.
pub(super) fn named(kind: MtaKind, place: &Place) -> String {
    match place {
        Place::File(path) => format!("the log of {}, {}", kind.as_str(), path.display()),
        Place::Journal => format!("the log of {} in the journal", kind.as_str()),
    }
}

/// The thread.
struct Reader {
    kind: MtaKind,
    place: Place,
    tell: SyncSender<Heard>,
    state: Arc<Mutex<State>>,
}

impl Reader {
    /// Reads until nobody listens any more.
    fn run(&self) {
        let mut follower: Option<Follower> = None;
        let mut try_at = Instant::now();
        loop {
            if follower.is_none() && Instant::now() >= try_at {
                try_at = Instant::now() + TRY_EVERY;
                follower = match Follower::open(self.kind, &self.place, From::End) {
                    Ok(open) => Some(open),
                    Err(error) => {
                        lock(&self.state).trouble = Some(self.cause(&error));
                        None
                    }
                };
            }
            let (heard, is_more) = match &mut follower {
                Some(open) => self.read(open),
                None => (Heard { lines: Vec::new(), until: None }, false),
            };
            if self.tell.send(heard).is_err() {
                return;
            }
            if !is_more {
                thread::sleep(LOOK_EVERY);
            }
        }
    }

    fn read(&self, follower: &mut Follower) -> (Heard, bool) {
        let now = Timestamp::now();
        let mut lines = Vec::new();
        let read = follower.poll(now, |line| lines.push(line));
        let mut state = lock(&self.state);
        state.counts = follower.counts();
        state.unnoticed = follower.trouble();
        let since = state.not_understood.as_ref().map_or_else(Instant::now, |state| state.since);
        state.not_understood =
            follower.not_understood().map(|(lines, first)| NotUnderstood { since, lines, first: first.to_owned() });
        state.trouble = read.as_ref().err().map(|error| self.cause(error));
        let is_more = matches!(read, Ok(true));
        (Heard { lines, until: matches!(read, Ok(false)).then_some(now) }, is_more)
    }

    fn cause(&self, error: &io::Error) -> String {
        let cure = match (error.kind(), &self.place) {
            (io::ErrorKind::PermissionDenied, Place::File(_)) => {
                ": let observer read it, such as by SupplementaryGroups=adm in its unit"
            }
            (io::ErrorKind::NotFound, Place::Journal) => ": journalctl is not installed, or not in PATH",
            _ => "",
        };
        format!("{error}{cure}; trying again")
    }
}

/// The program that reading the log starts: journalctl, if it is the journal.
pub(super) fn program(config: &config::MtaLog) -> Option<PathBuf> {
    match config.log {
        Place::File(_) => None,
        Place::Journal => journalctl(),
    }
}
