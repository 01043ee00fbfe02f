use std::collections::{BTreeMap, VecDeque};

use observer_common::address::Address;
use observer_common::record::{DestinationKey, EndCode, OutcomeKey, fact};
use proptest::prelude::*;

use super::*;
use crate::count::{ByPort, KnownEnds};
use crate::label::label;
use crate::ledger::Ledger;
use crate::sample;

/// Codes of which the first two are the same outcome.
fn codes() -> [EndCode; 3] {
    let refused = sample::refused();
    let timed_out = EndCode { facts: fact::ONE_SECOND, sk_err: libc::ETIMEDOUT as u16, ..refused };
    [refused, EndCode { facts: fact::RST | fact::SYN_RETRANSMITTED, ..refused }, timed_out]
}

fn key(last: u8, code: usize) -> OutcomeKey {
    let daddr = Address::mapped(u32::from_ne_bytes([203, 0, 113, last]));
    let destination = DestinationKey { daddr, dport: 25, reserved: 0 };
    OutcomeKey { saddr: Address::UNSPECIFIED, destination, code: codes()[code] }
}

fn outcome(code: usize) -> ByPort {
    let verdict = label(&codes()[code]);
    (verdict.label, verdict.reason, 25)
}

fn known(refused: u64) -> Known {
    let mut known = Known::default();
    known.add(&[(key(1, 0), refused)]);
    known
}

fn stats(counts: &[(u32, u64)]) -> Stats {
    let mut stats = [0; stat::COUNT];
    counts.iter().for_each(|&(index, count)| stats[index as usize] = count);
    stats
}

#[test]
fn what_was_not_read_yet_is_in_flight() {
    let counted = stats(&[(stat::ATTEMPTS, 10), (stat::OUTCOMES, 8), (stat::OUTCOMES_FULL, 1)]);
    let totals = Totals::new(known(4), &counted, &counted);
    assert_eq!((totals.in_flight, totals.unread, totals.stat(stat::OUTCOMES)), (5, 3, 5));
    let ledger = Ledger::new(&totals, 0);
    assert_eq!((ledger.imbalance(), ledger.outcomes_unlabelled), (0, 1));
}

#[test]
fn an_attempt_that_passes_between_two_cpus_while_they_are_read_balances() {
    // It began on a CPU that had been read, and ended on one that had not.
    let first = stats(&[(stat::ATTEMPTS, 10), (stat::OUTCOMES, 11)]);
    let second = stats(&[(stat::ATTEMPTS, 11), (stat::OUTCOMES, 11)]);
    let ledger = Ledger::new(&Totals::new(known(10), &first, &second), 0);
    assert_eq!((ledger.attempts, ledger.outcomes_total(), ledger.in_flight, ledger.imbalance()), (11, 10, 1, 0));
}

#[test]
fn what_could_not_be_decoded_has_ended() {
    let counted = stats(&[(stat::ATTEMPTS, 10), (stat::OUTCOMES, 10)]);
    let known = Known { undecodable: 2, ..known(8) };
    let ledger = Ledger::new(&Totals::new(known, &counted, &counted), 0);
    assert_eq!((ledger.imbalance(), ledger.in_flight, ledger.outcomes_unlabelled), (0, 0, 2));
}

#[test]
fn the_time_between_two_readings_balances_whatever_was_read() {
    let totals = |attempts, ended, read| {
        let counted = stats(&[(stat::ATTEMPTS, attempts), (stat::OUTCOMES, ended)]);
        Totals::new(known(read), &counted, &counted)
    };
    for (before, after) in [
        (totals(10, 8, 5), totals(30, 30, 30)),
        (totals(10, 8, 8), totals(30, 28, 20)),
        (totals(10, 8, 3), totals(30, 28, 20)),
    ] {
        let ledger = Ledger::new(&after.since(&before, 0), 0);
        assert_eq!((ledger.imbalance(), ledger.outcomes_unlabelled), (0, 0), "{ledger:?}");
    }
}

/// What the kernel and user space do, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// An attempt begins.
    Begin,
    /// One ends: there is room for its event or not, for its counter or not, and its record
    /// can be decoded or not.
    End { last: u8, code: usize, is_sent: bool, has_room: bool, is_damaged: bool },
    /// So many events are taken.
    Take(usize),
    /// User space empties the counters.
    Drain,
    /// It publishes its sums; between its two readings this many attempts begin and end.
    Publish { between: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rarely = || prop::bool::weighted(0.1);
    let end = (0u8..4, 0usize..3, any::<bool>(), rarely(), rarely()).prop_map(
        |(last, code, is_sent, is_full, is_damaged)| Step::End { last, code, is_sent, has_room: !is_full, is_damaged },
    );
    let publish = (0u64..4).prop_map(|between| Step::Publish { between });
    let step = prop_oneof![8 => Just(Step::Begin), 8 => end, 4 => (1usize..4).prop_map(Step::Take), 2 => Just(Step::Drain), 3 => publish];
    prop::collection::vec(step, 0..200)
}

#[derive(Default)]
struct Kernel {
    stats: Stats,
    ring: VecDeque<(OutcomeKey, bool)>,
    counters: BTreeMap<OutcomeKey, u64>,
    /// By outcome, of those that can be known.
    ends: BTreeMap<ByPort, u64>,
}

impl Kernel {
    fn count(&mut self, index: u32, count: u64) {
        self.stats[index as usize] += count;
    }

    fn in_flight(&self) -> u64 {
        self.stats[stat::ATTEMPTS as usize] - self.stats[stat::OUTCOMES as usize]
    }

    fn end(&mut self, last: u8, code: usize, is_sent: bool, has_room: bool, is_damaged: bool) {
        if self.in_flight() == 0 {
            return;
        }
        self.count(stat::OUTCOMES, 1);
        let is_known = if is_sent {
            self.count(stat::EVENTS, 1);
            self.ring.push_back((key(last, code), is_damaged));
            !is_damaged
        } else if has_room {
            self.count(stat::UNTOLD, 1);
            *self.counters.entry(key(last, code)).or_default() += 1;
            true
        } else {
            self.count(stat::OUTCOMES_FULL, 1);
            false
        };
        if is_known {
            *self.ends.entry(outcome(code)).or_default() += 1;
        }
    }
}

proptest! {
    /// Whatever is sent, counted or damaged, and in whatever order events are taken and
    /// counters drained: what is known is never more than the kernel's count, the ledger
    /// balances at any time, and in the end the sums are the kernel's.
    #[test]
    fn in_the_end_the_counts_are_the_kernels(steps in steps()) {
        let (mut kernel, mut ends) = (Kernel::default(), KnownEnds::new(2));
        let mut damaged = 0;
        let last = [Step::Take(usize::MAX), Step::Drain, Step::Publish { between: 0 }];
        let mut published = Totals::default();
        for step in steps.into_iter().chain(last) {
            match step {
                Step::Begin => kernel.count(stat::ATTEMPTS, 1),
                Step::End { last, code, is_sent, has_room, is_damaged } => {
                    kernel.end(last, code, is_sent, has_room, is_damaged);
                }
                Step::Take(most) => {
                    let most = most.min(kernel.ring.len());
                    let (bad, good): (Vec<_>, Vec<_>) = kernel.ring.drain(..most).partition(|&(_, is_damaged)| is_damaged);
                    damaged += bad.len() as u64;
                    let good: Vec<_> = good.into_iter().map(|(key, _)| (key, 1)).collect();
                    ends.add(&good, bad.len() as u64);
                }
                Step::Drain => {
                    let outcomes: Vec<_> = std::mem::take(&mut kernel.counters).into_iter().collect();
                    ends.add(&outcomes, 0);
                }
                Step::Publish { between } => {
                    let (known, first) = (ends.known(), kernel.stats);
                    for _ in 0..between {
                        kernel.count(stat::ATTEMPTS, 1);
                        kernel.end(1, 0, true, true, false);
                    }
                    let totals = Totals::new(known, &first, &kernel.stats);
                    for (outcome, count) in totals.known.outcomes.iter() {
                        prop_assert!(*count <= kernel.ends[outcome], "{:?}", outcome);
                    }
                    let since = totals.since(&published, 0);
                    for ledger in [Ledger::new(&totals, 0), Ledger::new(&since, 0)] {
                        prop_assert_eq!(ledger.imbalance(), 0);
                    }
                    published = totals;
                }
            }
        }
        let full = kernel.stats[stat::OUTCOMES_FULL as usize];
        prop_assert_eq!(&*published.known.outcomes, &kernel.ends);
        prop_assert_eq!((published.unread, published.in_flight), (0, kernel.in_flight()));
        let ledger = Ledger::new(&published, 0);
        prop_assert_eq!((ledger.attempts, ledger.outcomes_unlabelled), (kernel.stats[stat::ATTEMPTS as usize], full + damaged));
    }
}
