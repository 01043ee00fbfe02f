//! The thread that counts for alerts, and looks how far failures reach: a look at every
//! destination takes longer than events may wait.

use std::io;
use std::mem::take;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use observer_core::count::Ended;
use observer_core::scope::{OpenScope, ScopeChange, ScopeTracker};
use observer_core::steady::Now;
use observer_core::tally::{Budget, Prefixes, Seen, Tallies};

use crate::host::own;
use crate::queue::QueueLevel;

/// What a daemon keeps for this: enough for the destinations of a large host, and
/// little of its memory. What is forgotten still counts in the groups above it.
const BUDGET: Budget =
    Budget { destinations: (32_768, 16_000_000), prefixes: (8_192, 6_000_000), sources: (256, 1_000_000) };
/// Bytes that may wait for the thread: some 60,000 attempts.
const WAITING: u64 = 8 << 20;
/// This host's own addresses come and go seldom.
const READ_OWN_EVERY: Duration = Duration::from_secs(60);
/// Attempts that are handed over at once.
const AT_ONCE: usize = 256;

enum Job {
    Add(Vec<(Seen, Now)>),
    /// Attempts of which no event came.
    MakeUp(Vec<(Ended, u64)>, Now),
    Look(Now),
}

/// What a look found.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) changes: Vec<ScopeChange>,
    /// What fails now.
    pub(super) open: Vec<OpenScope>,
    /// Destinations, prefixes, local addresses and scopes that were let go, or not followed, for
    /// want of room.
    pub(super) let_go: [u64; 4],
}

/// The thread's handle. It ends with it.
pub(super) struct Reach {
    jobs: Sender<Job>,
    looked: Receiver<Looked>,
    level: Arc<QueueLevel>,
    /// What is handed over next.
    seen: Vec<(Seen, Now)>,
    not_counted: u64,
}

impl Reach {
    /// Starts it.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start() -> io::Result<Self> {
        let ((jobs, todo), (answers, looked)) = (channel(), channel());
        let level = QueueLevel::new(WAITING);
        let shared = Arc::clone(&level);
        thread::Builder::new().name("alerts".to_owned()).spawn(move || run(&todo, &answers, &shared))?;
        Ok(Self { jobs, looked, level, seen: Vec::new(), not_counted: 0 })
    }

    /// Counts an attempt.
    pub(super) fn add(&mut self, seen: Seen, now: Now) {
        self.seen.push((seen, now));
        if self.seen.len() >= AT_ONCE {
            self.hand_over();
        }
    }

    /// Counts attempts of which no event came.
    pub(super) fn make_up(&mut self, missing: &[(Ended, u64)], now: Now) {
        self.hand_over();
        if self.level.reserve(size_of_val(missing) as u64) {
            // If the thread has ended, nobody waits for what it finds.
            let _ = self.jobs.send(Job::MakeUp(missing.to_vec(), now));
        } else {
            self.not_counted += missing.iter().map(|(_, count)| count).sum::<u64>();
        }
    }

    /// Asks for a look.
    pub(super) fn look(&mut self, now: Now) {
        self.hand_over();
        let _ = self.jobs.send(Job::Look(now));
    }

    /// What a look found, once it did.
    pub(super) fn looked(&self) -> Option<Looked> {
        self.looked.try_recv().ok()
    }

    /// Attempts that were not counted for want of room in the queue.
    pub(super) fn not_counted(&self) -> u64 {
        self.not_counted
    }

    fn hand_over(&mut self) {
        let seen = take(&mut self.seen);
        if seen.is_empty() {
            return;
        }
        if self.level.reserve(size_of_val(&*seen) as u64) {
            let _ = self.jobs.send(Job::Add(seen));
        } else {
            self.not_counted += seen.len() as u64;
        }
    }
}

fn run(jobs: &Receiver<Job>, answers: &Sender<Looked>, level: &QueueLevel) {
    let mut tallies = Tallies::new(BUDGET, Prefixes::default());
    let mut tracker = ScopeTracker::default();
    let mut read_own_at = Instant::now();
    for job in jobs {
        match job {
            Job::Add(seen) => {
                seen.iter().for_each(|(seen, now)| tallies.add(seen, *now));
                level.release(1, size_of_val(&*seen) as u64);
            }
            Job::MakeUp(missing, now) => {
                tallies.make_up(&missing, now);
                level.release(1, size_of_val(&*missing) as u64);
            }
            Job::Look(now) => {
                if Instant::now() >= read_own_at {
                    read_own_at = Instant::now() + READ_OWN_EVERY;
                    // Without them, loopback and what sends to itself are known.
                    if let Ok(own) = own::addresses() {
                        tallies.set_own(own);
                    }
                }
                let changes = tracker.update(&tallies, now);
                let [destinations, prefixes, sources] = tallies.evicted();
                let let_go = [destinations + tallies.unremembered(), prefixes, sources, tracker.untracked()];
                let open = tracker.active(now).collect();
                if answers.send(Looked { changes, open, let_go }).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_core::label::{Label, Reason};
    use observer_core::sample;
    use observer_core::scope::Change;

    fn looked(reach: &mut Reach) -> Looked {
        reach.look(sample::time().into());
        reach.looked.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn seen(daddr: &str, outcome: (Label, Option<Reason>)) -> Seen {
        let event = sample::event(outcome.0, outcome.1);
        Seen { daddr: sample::ip(daddr), ..Seen::from_event(&event).unwrap() }
    }

    #[test]
    fn a_look_finds_what_was_handed_over_before_it() {
        let mut reach = Reach::start().unwrap();
        let refused = seen("203.0.113.1", (Label::Refused, Some(Reason::Rst)));
        for _ in 0..50 {
            reach.add(refused, sample::time().into());
            reach.add(seen("198.51.100.1", (Label::Connected, None)), sample::time().into());
        }
        let first = looked(&mut reach);
        assert_eq!(first.changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [Change::Began]);
        assert_eq!((first.open.len(), first.let_go), (1, [0; 4]));
        let second = looked(&mut reach);
        assert_eq!((second.changes.len(), second.open), (0, first.open));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut reach = Reach::start().unwrap();
        reach.level.set_limit(1);
        reach.level.force(1);
        let refused = seen("203.0.113.1", (Label::Refused, Some(Reason::Rst)));
        (0..AT_ONCE).for_each(|_| reach.add(refused, sample::time().into()));
        let ended = Ended {
            src_ip: None,
            dst_ip: sample::ip("203.0.113.1"),
            dst_port: 25,
            label: Label::Refused,
            reason: Some(Reason::Rst),
            redirected: false,
        };
        reach.make_up(&[(ended, 7)], sample::time().into());
        assert_eq!(reach.not_counted(), AT_ONCE as u64 + 7);
        assert_eq!(looked(&mut reach).changes.len(), 0);
    }

    /// Prints how long it takes to count, and to look at, as many destinations as are followed.
    #[test]
    #[ignore = "a measurement"]
    fn the_time_of_a_look() {
        let mut reach = Reach::start().unwrap();
        let begun = Instant::now();
        for nth in 0_u32..32_768 {
            let [.., high, low] = nth.to_be_bytes();
            let connected = (Label::Connected, None);
            for outcome in [(Label::Refused, Some(Reason::Rst)), connected] {
                reach.add(seen(&format!("198.18.{high}.{low}"), outcome), sample::time().into());
            }
        }
        looked(&mut reach);
        println!("counting, and the first look: {:?}; {} not counted", begun.elapsed(), reach.not_counted());
        for _ in 0..10 {
            let begun = Instant::now();
            looked(&mut reach);
            println!("a look: {:?}", begun.elapsed());
        }
    }
}
