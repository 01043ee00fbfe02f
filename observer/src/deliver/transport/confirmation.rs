//! What a receiver surely has, over a protocol that never answers.
//!
//! The kernel knows how many bytes the other side has not acknowledged yet; over a
//! unix socket, how many its process has not read yet. Neither is proof that the
//! process has them: what lies in its socket buffer dies with it. So a message is
//! confirmed only after its bytes were acknowledged, and then the connection stood
//! for [`HOLD`] longer, in which a receiver that runs reads and keeps them. Where
//! it does not read, its window closes, bytes stay unacknowledged, and the hold
//! begins anew when they move again. When the connection breaks within the hold,
//! as it does when the receiver is killed, everything not confirmed is sent again.
//!
//! What this cannot see: a receiver that stops reading, but whose buffer has room
//! for all that was sent, and that is killed later than the hold; one that reads,
//! and is killed before it writes to its disk, later than the hold; and, with UDP,
//! every datagram that is lost on the way. Protocols with answers (HTTP, NATS) have
//! no such gap.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between acknowledgement and confirmation.
pub(super) const HOLD: Duration = Duration::from_secs(1);
/// Unacknowledged bytes that do not move for so long: the receiver does not read.
const STALL: Duration = Duration::from_millis(200);
/// More marks than that are merged into the last one: it then waits a little longer.
const MOST_MARKS: usize = 4096;

/// The end of something that was sent.
#[derive(Clone, Copy, Debug)]
struct Mark {
    messages: u64,
    bytes: u64,
    acknowledged: Option<Instant>,
}

/// What was sent over one connection, and how much of it is confirmed.
#[derive(Debug)]
pub(super) struct Confirmation {
    hold: Duration,
    marks: VecDeque<Mark>,
    /// Messages sent, from the last trouble on.
    sent: u64,
    confirmed: u64,
    acknowledged_bytes: u64,
    moved: Option<Instant>,
}

impl Confirmation {
    /// Of a new connection.
    pub(super) fn new(hold: Duration) -> Self {
        Self { hold, marks: VecDeque::new(), sent: 0, confirmed: 0, acknowledged_bytes: 0, moved: None }
    }

    /// Messages were sent; the connection's bytes are now `bytes` in all.
    pub(super) fn sent(&mut self, messages: u64, bytes: u64) {
        self.sent += messages;
        let mark = Mark { messages: self.sent, bytes, acknowledged: None };
        let is_full = self.marks.len() >= MOST_MARKS;
        match self.marks.back_mut() {
            Some(last) if is_full => *last = mark,
            _ => self.marks.push_back(mark),
        }
    }

    /// The receiver has acknowledged `acknowledged` bytes, `outstanding` ones are
    /// on their way, and the connection stands. Returns the messages confirmed.
    pub(super) fn stands(&mut self, acknowledged: u64, outstanding: u64, now: Instant) -> u64 {
        if acknowledged != self.acknowledged_bytes || outstanding == 0 {
            self.acknowledged_bytes = acknowledged;
            self.moved = Some(now);
        }
        let stalled = self.moved.get_or_insert(now).checked_add(STALL).is_some_and(|until| until < now);
        for mark in self.marks.iter_mut().take_while(|mark| mark.bytes <= acknowledged) {
            if stalled || mark.acknowledged.is_none() {
                mark.acknowledged = Some(now);
            }
        }
        let held = |mark: &Mark| mark.acknowledged.is_some_and(|at| now.duration_since(at) >= self.hold);
        while let Some(mark) = self.marks.front().copied().filter(held) {
            self.confirmed = mark.messages;
            self.marks.pop_front();
        }
        self.confirmed
    }

    /// Messages confirmed so far.
    pub(super) const fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Nothing is on its way.
    pub(super) const fn is_complete(&self) -> bool {
        self.confirmed == self.sent
    }

    /// Goes on over a new connection, after one that ended complete.
    pub(super) fn reconnected(&mut self) {
        self.marks.clear();
        self.acknowledged_bytes = 0;
        self.moved = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_message_is_confirmed_when_it_was_acknowledged_and_the_connection_stood() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(HOLD);
        confirmation.sent(2, 100);
        assert_eq!(confirmation.stands(40, 60, start), 0);
        assert_eq!(confirmation.stands(100, 0, start + 10 * MS), 0);
        assert_eq!(confirmation.stands(100, 0, start + HOLD), 0, "the hold begins with the acknowledgement");
        assert!(!confirmation.is_complete());
        assert_eq!(confirmation.stands(100, 0, start + HOLD + 10 * MS), 2);
        assert!(confirmation.is_complete());
    }

    #[test]
    fn a_receiver_that_does_not_read_holds_back_what_it_acknowledged_before() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(HOLD);
        confirmation.sent(1, 100);
        confirmation.sent(1, 200);
        for tick in 0..100 {
            assert_eq!(confirmation.stands(100, 100, start + 50 * MS * tick), 0);
        }
        let resumed = start + 5_000 * MS;
        assert_eq!(confirmation.stands(200, 0, resumed), 0);
        assert_eq!(confirmation.stands(200, 0, resumed + HOLD), 2);
    }

    #[test]
    fn marks_are_bounded_and_merging_them_confirms_nothing_early() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(HOLD);
        for nth in 1..=10_000 {
            confirmation.sent(1, nth * 10);
        }
        assert!(confirmation.marks.len() <= MOST_MARKS);
        confirmation.stands(99_990, 10, start);
        assert!(confirmation.stands(99_990, 10, start + HOLD) < 10_000);
    }

    proptest! {
        #[test]
        fn no_more_is_confirmed_than_was_acknowledged_a_hold_ago(
            steps in prop::collection::vec((0u64..5, 0u64..400, 0u64..700), 1..60),
        ) {
            let (mut now, mut bytes, mut acknowledged, mut messages) = (Instant::now(), 0, 0, 0);
            let mut confirmation = Confirmation::new(HOLD);
            let mut ends: Vec<(u64, u64)> = Vec::new();
            let mut seen: Vec<(Instant, u64)> = Vec::new();
            for (count, more, pause) in steps {
                messages += count;
                bytes += count * 50;
                confirmation.sent(count, bytes);
                ends.push((messages, bytes));
                acknowledged = bytes.min(acknowledged + more);
                now += Duration::from_millis(pause);
                seen.push((now, acknowledged));
                let confirmed = confirmation.stands(acknowledged, bytes - acknowledged, now);
                let then = seen.iter().rev().find(|(at, _)| now.duration_since(*at) >= HOLD).map_or(0, |(_, acked)| *acked);
                let most = ends.iter().rev().find(|(_, end)| *end <= then).map_or(0, |(messages, _)| *messages);
                prop_assert!(confirmed <= most, "{confirmed} of {most}");
            }
        }
    }
}
