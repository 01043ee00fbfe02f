//! Attempts that wait for their names, in their order, each for so long and no longer.

use std::collections::VecDeque;
use std::future;
use std::io;
use std::time::Duration;

use observer_core::event::Surroundings;
use observer_core::pipeline::Judged;
use tokio::time::{Instant, timeout_at};

use crate::host::names::Names;

/// So long an attempt waits, and so many do.
const WITHIN: Duration = Duration::from_millis(100);
const WAITING_MAX: usize = 16_384;

/// Names, and what waits for them.
pub(super) struct Naming {
    names: Names,
    /// Each until then.
    waiting: VecDeque<(Judged, Instant)>,
}

impl Naming {
    /// Starts the thread that looks names up.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { names: Names::start()?, waiting: VecDeque::new() })
    }

    /// Takes an attempt that came now.
    pub(super) fn add(&mut self, judged: Judged, now: Instant) {
        // So that it does not ask only when it is the first.
        self.names.ask_about(judged.attempt());
        self.waiting.push_back((judged, now + WITHIN));
    }

    /// The next attempt, if it has its names or waits no longer.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Judged, Surroundings)> {
        let (judged, until) = self.waiting.front()?;
        self.names.take_answers();
        let is_patient = now < *until && self.waiting.len() <= WAITING_MAX;
        let around = match self.names.of(judged.attempt()) {
            None if is_patient => return None,
            None => self.names.known_of(judged.attempt()),
            Some(around) => around,
        };
        self.waiting.pop_front().map(|(judged, _)| (judged, around))
    }

    /// True if no attempt waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns when the first attempt may have its names, or waits no longer.
    pub(super) async fn progress(&mut self) {
        match self.waiting.front() {
            Some(&(_, until)) => drop(timeout_at(until, self.names.answered()).await),
            None => future::pending().await,
        }
    }

    /// Attempts that went without a name, because it was not found in time.
    pub(super) fn left_out(&self) -> u64 {
        self.names.left_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_core::attempt::{Attempt, Task};
    use observer_core::sample;

    /// Of a process that is no more, in the cgroup with this id.
    fn attempt(cgroup: u64, sport: u16) -> Judged {
        let task = Task { pid: u32::MAX, uid: 0, comm: "smtp".to_owned(), cgroup };
        let process = Some(task);
        sample::nameless(Attempt { process, iif: None, oif: None, sport: Some(sport), ..sample::attempt() })
    }

    fn ports(naming: &mut Naming, now: Instant) -> Vec<(Option<u16>, bool)> {
        let told = |(judged, around): (Judged, Surroundings)| (judged.attempt().sport, around.missing.is_empty());
        std::iter::from_fn(|| naming.next(now)).map(told).collect()
    }

    #[tokio::test]
    async fn attempts_wait_in_their_order_for_so_long_and_no_longer() {
        let mut naming = Naming::start().unwrap();
        let begun = Instant::now();
        let without = |sport| {
            let process = None;
            sample::nameless(Attempt { process, iif: None, oif: None, sport: Some(sport), ..sample::attempt() })
        };
        naming.add(without(1), begun);
        naming.add(attempt(u64::MAX, 2), begun);
        naming.add(without(3), begun + WITHIN / 2);
        // By a clock that stands still: the first needs no name, the others wait behind it, unless
        // a walk has told already that there is no such cgroup.
        let mut told = ports(&mut naming, begun);
        assert!(matches!(told[..], [(Some(1), true)] | [(Some(1), true), (Some(2), true), ..]), "{told:?}");
        assert_eq!(naming.is_empty(), told.len() == 3);
        told.extend(ports(&mut naming, begun + WITHIN));
        assert!(matches!(told[..], [_, (Some(2), _), (Some(3), true)]), "{told:?}");
        assert!(naming.is_empty());
        assert_eq!(naming.left_out(), u64::from(!told[1].1));
    }

    #[tokio::test]
    async fn no_more_wait_than_there_is_room_for() {
        let mut naming = Naming::start().unwrap();
        let now = Instant::now();
        let ids = (0..WAITING_MAX + 10).map(|nth| u64::MAX - nth as u64);
        ids.for_each(|id| naming.add(attempt(id, 1), now));
        let gone = ports(&mut naming, now).len();
        assert!(gone >= 10, "{gone}");
        assert!(naming.waiting.len() <= WAITING_MAX);
    }
}
