//! Names for the kernel's numbers, looked up where nobody waits for it: a thread asks
//! /proc and the cgroup hierarchy, and an event waits for its names so long and no
//! longer.

mod cgroups;

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;
use observer_core::attempt::{Attempt, Task};
use observer_core::event::Surroundings;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::cgroups::Cgroups;

/// Distinct cgroups remembered; a host has a few hundred.
const CGROUPS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Interfaces remembered.
const INTERFACES: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Interfaces are renamed: a name is asked for again after the former, and believed for
/// the latter.
const INTERFACE_FRESH: Duration = Duration::from_secs(1);
const INTERFACE_KNOWN: Duration = Duration::from_secs(10);
/// Questions that wait for the thread, and for a walk. When there are more, names are
/// left out.
const QUESTIONS: usize = 1_024;
/// So long nothing is asked again that was too much.
const BUSY: Duration = Duration::from_millis(100);
/// For the next question, when nothing waits for a walk.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    Cgroup { id: u64, pid: u32 },
    Interface(u32),
}

impl Question {
    /// What is asked for; who it was about does not matter.
    fn subject(self) -> Subject {
        match self {
            Self::Cgroup { id, .. } => Subject::Cgroup(id),
            Self::Interface(index) => Subject::Interface(index),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Cgroup(u64),
    Interface(u32),
}

type Answer = (Subject, Found);

#[derive(Debug)]
enum Found {
    /// Its name; `None`: it has none.
    Name(Option<String>),
    /// Too much is looked for, or there is too much to look at: to be asked again.
    Busy,
}

/// What is known of names.
pub struct Names {
    netns: u32,
    cgroups: LruCache<u64, Option<String>>,
    interfaces: LruCache<u32, (Option<String>, Instant)>,
    asked: HashSet<Subject>,
    /// Of those, what was too much, and is asked for again from then on.
    again: VecDeque<(Subject, Instant)>,
    questions: SyncSender<Question>,
    answers: UnboundedReceiver<Answer>,
    left_out: u64,
}

impl Names {
    /// Starts the thread. Names are those of this process's network namespace and
    /// mounts.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start() -> io::Result<Self> {
        let netns = fs::metadata("/proc/self/ns/net").map(|meta| meta.ino() as u32).unwrap_or(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let (questions, asked) = sync_channel(QUESTIONS);
        let (answer, answers) = unbounded_channel();
        let mut lookup = Lookup { cgroups: Cgroups::mounted(&mounts), answer, later: Vec::new() };
        thread::Builder::new().name("names".to_owned()).spawn(move || lookup.run(&asked))?;
        Ok(Self {
            netns,
            cgroups: LruCache::new(CGROUPS),
            interfaces: LruCache::new(INTERFACES),
            asked: HashSet::new(),
            again: VecDeque::new(),
            questions,
            answers,
            left_out: 0,
        })
    }

    /// Returns when something has been answered.
    pub async fn answered(&mut self) {
        match self.answers.recv().await {
            Some(answer) => self.learn(answer),
            // The thread is gone, and nothing will be answered any more.
            None => std::future::pending().await,
        }
    }

    /// Takes what has been answered.
    pub fn take_answers(&mut self) {
        let is_over = |&mut (_, until): &mut (_, Instant)| until <= Instant::now();
        while let Some((subject, _)) = self.again.pop_front_if(is_over) {
            self.asked.remove(&subject);
        }
        while let Ok(answer) = self.answers.try_recv() {
            self.learn(answer);
        }
    }

    fn learn(&mut self, (subject, found): Answer) {
        let Found::Name(name) = found else {
            // At once, it would be too much again.
            return self.again.push_back((subject, Instant::now() + BUSY));
        };
        self.asked.remove(&subject);
        match subject {
            Subject::Cgroup(id) => drop(self.cgroups.put(id, name)),
            Subject::Interface(index) => drop(self.interfaces.put(index, (name, Instant::now()))),
        }
    }

    /// Has the names of an attempt looked up that are not known.
    pub fn ask_about(&mut self, attempt: &Attempt) {
        self.known(attempt);
    }

    /// The names that belong to an attempt; `None` while some are being looked up.
    pub fn of(&mut self, attempt: &Attempt) -> Option<Surroundings> {
        let around = self.known(attempt);
        around.missing.is_empty().then_some(around)
    }

    /// The names that are known now, for an attempt that waits no longer.
    pub fn known_of(&mut self, attempt: &Attempt) -> Surroundings {
        let around = self.known(attempt);
        self.left_out += u64::from(!around.missing.is_empty());
        around
    }

    /// Attempts that went without a name, because it was not found in time.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn known(&mut self, attempt: &Attempt) -> Surroundings {
        let mut missing = Vec::new();
        let mut name = |index: Option<u32>, what| {
            let index = index?;
            let name = self.interface(index, attempt.netns);
            if name.is_none() {
                missing.push(what);
            }
            Some(name.unwrap_or_else(|| format!("if{index}")))
        };
        let (iface, route_iface) = (name(attempt.iif, "iface"), name(attempt.oif, "route_iface"));
        let cgroup = attempt.process.as_ref().and_then(|task| {
            let cgroup = self.cgroup(task);
            if cgroup.is_none() {
                missing.push("cgroup");
            }
            cgroup.flatten()
        });
        Surroundings { iface, route_iface, cgroup, destination: None, missing }
    }

    /// The interface's name; its number where it lies in another network namespace,
    /// whose names are not to be had from here. `None` while it is looked up.
    fn interface(&mut self, index: u32, netns: u32) -> Option<String> {
        if netns != self.netns {
            return Some(format!("if{index}"));
        }
        let known = self.interfaces.get(&index).map(|(name, at)| (name.clone(), at.elapsed()));
        if known.as_ref().is_none_or(|(_, age)| *age >= INTERFACE_FRESH) {
            self.ask(Question::Interface(index));
        }
        let (name, _) = known.filter(|(_, age)| *age < INTERFACE_KNOWN)?;
        Some(name.unwrap_or_else(|| format!("if{index}")))
    }

    /// The cgroup's path, if it has one; `None` while it is looked up.
    fn cgroup(&mut self, task: &Task) -> Option<Option<String>> {
        let known = self.cgroups.get(&task.cgroup).cloned();
        if known.is_none() {
            self.ask(Question::Cgroup { id: task.cgroup, pid: task.pid });
        }
        known
    }

    fn ask(&mut self, question: Question) {
        // One that finds no room is asked again with the next attempt.
        if !self.asked.contains(&question.subject()) && self.questions.try_send(question).is_ok() {
            self.asked.insert(question.subject());
        }
    }
}

/// The thread.
struct Lookup {
    /// `None`: there is no cgroup2 here.
    cgroups: Option<Cgroups>,
    answer: UnboundedSender<Answer>,
    /// What waits for the next walk.
    later: Vec<u64>,
}

impl Lookup {
    fn run(&mut self, asked: &Receiver<Question>) {
        loop {
            let done = match asked.recv_timeout(self.pause()) {
                Ok(Question::Interface(index)) => {
                    self.tell(Subject::Interface(index), Found::Name(interface_name(index)))
                }
                Ok(Question::Cgroup { id, pid }) => self.cgroup(id, pid),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if done.and_then(|()| self.walk()).is_err() {
                return;
            }
        }
    }

    /// Until there is something to do without a question.
    fn pause(&self) -> Duration {
        let until_walk = self.cgroups.as_ref().filter(|_| !self.later.is_empty()).map(Cgroups::until_walk);
        until_walk.unwrap_or(IDLE)
    }

    /// An error says that nobody listens any more.
    fn tell(&self, subject: Subject, found: Found) -> Result<(), ()> {
        self.answer.send((subject, found)).map_err(drop)
    }

    fn cgroup(&mut self, id: u64, pid: u32) -> Result<(), ()> {
        let subject = Subject::Cgroup(id);
        let Some(cgroups) = &self.cgroups else { return self.tell(subject, Found::Name(None)) };
        match cgroups.path(id, pid) {
            Some(path) => self.tell(subject, Found::Name(Some(path))),
            None if self.later.len() >= QUESTIONS => self.tell(subject, Found::Busy),
            None => {
                self.later.push(id);
                Ok(())
            }
        }
    }

    /// Looks for all that was not found, once in a while.
    fn walk(&mut self) -> Result<(), ()> {
        let is_time = |cgroups: &&mut Cgroups| !self.later.is_empty() && cgroups.until_walk().is_zero();
        let Some(cgroups) = self.cgroups.as_mut().filter(is_time) else { return Ok(()) };
        cgroups.walk();
        let is_whole = cgroups.is_whole();
        let found = |id| match cgroups.found(id) {
            None if !is_whole => Found::Busy,
            path => Found::Name(path),
        };
        let answers: Vec<_> = self.later.drain(..).map(|id| (Subject::Cgroup(id), found(id))).collect();
        answers.into_iter().try_for_each(|(subject, found)| self.tell(subject, found))
    }
}

fn interface_name(index: u32) -> Option<String> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    netdevice::index_to_name(socket, index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_core::sample;

    /// Waits as a command does, with a generous deadline.
    async fn named(names: &mut Names, attempt: &Attempt) -> Surroundings {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(around) = names.of(attempt) {
                return around;
            }
            assert!(Instant::now() < deadline, "no answer");
            let _ = tokio::time::timeout(Duration::from_millis(100), names.answered()).await;
        }
    }

    #[tokio::test]
    async fn names_the_loopback_interface_here_and_numbers_others() {
        let mut names = Names::start().unwrap();
        let here = Attempt { iif: Some(1), oif: None, netns: names.netns, ..sample::attempt() };
        assert!(names.of(&here).is_none(), "nobody waits for the first answer");
        assert_eq!(named(&mut names, &here).await.iface.as_deref(), Some("lo"));
        let elsewhere = Attempt { iif: Some(7), netns: names.netns.wrapping_add(1), ..here };
        assert_eq!(named(&mut names, &elsewhere).await.iface.as_deref(), Some("if7"));
    }

    #[tokio::test]
    async fn what_was_too_much_is_not_asked_again_at_once() {
        let mut names = Names::start().unwrap();
        let subject = Subject::Interface(u32::MAX);
        names.ask(Question::Interface(u32::MAX));
        while !matches!(names.answers.recv().await, Some((answered, _)) if answered == subject) {}
        names.learn((subject, Found::Busy));
        assert!(names.asked.contains(&subject));
        names.again[0].1 = Instant::now();
        names.take_answers();
        assert!(!names.asked.contains(&subject));
    }

    #[tokio::test]
    async fn an_attempt_that_waits_no_longer_says_what_it_lacks() {
        let mut names = Names::start().unwrap();
        let mut attempt = Attempt { iif: None, oif: Some(1), netns: names.netns, ..sample::attempt() };
        if let Some(task) = &mut attempt.process {
            task.cgroup = u64::MAX;
        }
        let around = names.known_of(&attempt);
        assert_eq!((around.route_iface.as_deref(), around.cgroup), (Some("if1"), None));
        assert_eq!((around.missing, names.left_out()), (vec!["route_iface", "cgroup"], 1));
        // A cgroup that does not exist is known to have no path, after a walk.
        assert_eq!(named(&mut names, &attempt).await.cgroup, None);
    }
}
