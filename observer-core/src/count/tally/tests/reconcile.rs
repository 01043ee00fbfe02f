//! Lost events are made up for by the kernel's counters.

use std::collections::BTreeMap;

use observer_common::address::Address;
use observer_common::record::{DestinationKey, EndCode, OutcomeKey, end, fact, phase};
use observer_common::stat;
use proptest::prelude::*;

use super::*;
use crate::ledger::Counters;

/// Codes of which two are the same outcome.
fn codes() -> [EndCode; 4] {
    let refused = sample::attempt().code;
    let timed_out = EndCode { facts: fact::ONE_SECOND, sk_err: libc::ETIMEDOUT as u16, ..refused };
    let connected =
        EndCode { facts: fact::BYTES_RECEIVED, sk_err: 0, phase: phase::ESTABLISHED, end: end::LOCAL_FIN, ..refused };
    [refused, timed_out, connected, EndCode { end: end::PEER_FIN, ..connected }]
}

fn octets(addr: IpAddr) -> Address {
    Address::from_octets(match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    })
}

#[derive(Default)]
struct Kernel(BTreeMap<OutcomeKey, u64>, u64);

impl Kernel {
    /// Counts one and gives what its event would show.
    fn count(&mut self, seen: &Seen, code: EndCode) -> Seen {
        let destination = DestinationKey { daddr: octets(seen.daddr), dport: seen.dport, reserved: 0 };
        let saddr = seen.saddr.map_or(Address::UNSPECIFIED, octets);
        let key = OutcomeKey { saddr, destination, code };
        *self.0.entry(key).or_default() += 1;
        Seen { handshake: seen.handshake, elapsed: seen.elapsed, ..Seen::from_counter(&key, 1, seen.at) }
    }

    fn read(&self) -> Counters {
        let mut stats = [0; stat::COUNT as usize];
        stats[stat::OUTCOMES_FULL as usize] = self.1;
        let outcomes = self.0.iter().map(|(key, count)| (*key, *count)).collect();
        Counters { stats, in_flight: 0, outcomes, destinations: Vec::new() }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Attempt { seen: Seen, code: usize, lost: bool },
    Reconcile,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let attempt =
        (any_seen(), 0usize..4, any::<bool>()).prop_map(|(seen, code, lost)| Step::Attempt { seen, code, lost });
    prop::collection::vec(prop_oneof![12 => attempt, 1 => Just(Step::Reconcile)], 0..120)
}

proptest! {
    #[test]
    fn with_any_events_lost_it_equals_a_recount(steps in steps(), room in prop_oneof![1usize..8, Just(1_000)]) {
        let (mut tallies, mut kernel) = (tight(room), Kernel::default());
        let mut plain: BTreeMap<_, BTreeMap<Outcome, u64>> = BTreeMap::new();
        let (mut total, mut lost_total, mut made_up) = (0, 0, 0);
        for step in steps.into_iter().chain([Step::Reconcile]) {
            match step {
                Step::Attempt { seen, code, lost } => {
                    let seen = kernel.count(&seen, codes()[code]);
                    *plain.entry((seen.daddr, seen.dport)).or_default().entry(seen.outcome).or_default() += 1;
                    total += 1;
                    lost_total += u64::from(lost);
                    if !lost {
                        tallies.add(&seen, seen.at);
                    }
                }
                Step::Reconcile => made_up += tallies.reconcile(&kernel.read(), after(200_000)),
            }
        }
        prop_assert_eq!((made_up, tallies.total().attempts()), (lost_total, total));
        prop_assert_eq!((tallies.reconciled(), tallies.ambiguous()), (lost_total, 0));
        prop_assert_eq!(tallies.reconcile(&kernel.read(), after(200_001)), 0);
        for roll_up in roll_ups(&tallies) {
            prop_assert_eq!(roll_up, facts(tallies.total()));
        }
        if room >= plain.len() {
            for (key, outcomes) in plain {
                let counted: BTreeMap<_, _> = tallies.destination(key).unwrap().outcomes().collect();
                prop_assert_eq!(counted, outcomes);
            }
        }
    }

    #[test]
    fn events_that_came_after_the_reading_are_counted_once(steps in steps(), seed in any::<u64>()) {
        let (mut tallies, mut kernel) = (Tallies::default(), Kernel::default());
        let mut reading = kernel.read();
        let mut total = 0;
        for (index, step) in steps.into_iter().enumerate() {
            if let Step::Attempt { seen, code, .. } = step {
                let seen = kernel.count(&seen, codes()[code]);
                tallies.add(&seen, seen.at);
                total += 1;
            }
            if seed >> (index % 64) & 1 == 1 {
                prop_assert_eq!(tallies.reconcile(&reading, after(200_000)), 0);
                reading = kernel.read();
            }
        }
        prop_assert_eq!(tallies.total().attempts(), total);
    }
}

#[test]
fn lost_successes_end_the_streak_and_count() {
    let (mut tallies, mut kernel) = (Tallies::default(), Kernel::default());
    let one = seen("203.0.113.1", REFUSED, 1, after(0));
    let refused = kernel.count(&one, codes()[0]);
    tallies.add(&refused, after(0));
    kernel.count(&one, codes()[0]);
    kernel.count(&one, codes()[2]);
    kernel.count(&one, codes()[3]);
    assert_eq!(tallies.reconcile(&kernel.read(), after(5)), 3);
    let destination = tallies.destination((one.daddr, 25)).unwrap();
    assert_eq!((destination.attempts(), destination.connected(), destination.streak()), (4, 2, 0));
    assert_eq!(destination.last_succeeded().map(Timestamp::as_microsecond), Some(after(5).as_microsecond()));
}

/// A kernel map of one entry is full: what it does not count is forgotten key by
/// key, never counted twice, and never lost from the totals.
#[test]
fn a_full_kernel_map_does_not_let_the_notes_grow() {
    let budget = Budget { destinations: (1, 1 << 30), kernel_outcomes: 1, ..Budget::default() };
    let (mut tallies, mut kernel) = (Tallies::new(budget, Prefixes::default()), Kernel::default());
    let counted = kernel.count(&seen("203.0.113.1", REFUSED, 1, after(0)), codes()[0]);
    tallies.add(&counted, after(0));
    kernel.1 = 1;
    for host in 2..=50 {
        tallies.add(&seen(&format!("203.0.113.{host}"), REFUSED, 1, after(1)), after(1));
        assert_eq!(tallies.reconcile(&kernel.read(), after(1)), 0);
    }
    assert_eq!((tallies.total().attempts(), tallies.ambiguous()), (50, 0));
    kernel.count(&counted, codes()[0]);
    assert_eq!(tallies.reconcile(&kernel.read(), after(2)), 1);
}

/// Without a reconciliation in between, keys beyond twice the kernel's are not
/// written down; what can't be told apart is then said, not guessed.
#[test]
fn what_cannot_be_told_apart_is_not_counted_twice() {
    let budget = Budget { destinations: (1, 1 << 30), kernel_outcomes: 1, ..Budget::default() };
    let (mut tallies, mut kernel) = (Tallies::new(budget, Prefixes::default()), Kernel::default());
    for host in 1..=6 {
        let event = kernel.count(&seen(&format!("203.0.113.{host}"), REFUSED, 1, after(0)), codes()[0]);
        tallies.add(&event, after(0));
    }
    assert_eq!(tallies.reconcile(&kernel.read(), after(1)), 0);
    assert_eq!((tallies.total().attempts(), tallies.ambiguous()), (6, 3));
}
