use std::sync::Arc;

use observer_common::address::Address;
use observer_common::record::{DestinationKey, EndCode, OutcomeKey, end, fact, phase};
use observer_common::stat;
use proptest::prelude::*;

use super::Ledger;
use crate::count::{DestinationSum, Destinations, Totals};
use crate::label::{Label, Reason};
use crate::sample;

const REFUSED: EndCode = EndCode {
    facts: fact::RST,
    sk_err: libc::ECONNREFUSED as u16,
    phase: phase::SYN_SENT,
    end: end::CLOSE,
    icmp_type: 0,
    icmp_code: 0,
    soft_err: 0,
    family: 4,
};
const TIMEOUT: EndCode = EndCode { facts: 0, sk_err: libc::ETIMEDOUT as u16, ..REFUSED };
const CONNECTED: EndCode =
    EndCode { facts: fact::BYTES_RECEIVED, sk_err: 0, phase: phase::ESTABLISHED, end: end::LOCAL_FIN, ..REFUSED };

fn key(host: u8) -> DestinationKey {
    DestinationKey { daddr: Address::mapped(u32::from_ne_bytes([203, 0, 113, host])), dport: 25, reserved: 0 }
}

fn ended(host: u8, code: EndCode, count: u64) -> (OutcomeKey, u64) {
    (OutcomeKey { saddr: Address::UNSPECIFIED, destination: key(host), code }, count)
}

fn totals(stats: &[(u32, u64)], outcomes: &[(OutcomeKey, u64)]) -> Totals {
    let mut totals = Totals::default();
    for &(index, count) in stats {
        totals.stats[index as usize] = count;
    }
    totals.known.add(outcomes);
    totals
}

fn destinations(outcomes: &[(OutcomeKey, u64)]) -> Vec<DestinationSum> {
    let mut destinations = Destinations::new(10);
    outcomes.iter().for_each(|(key, count)| destinations.add(key, *count));
    destinations.sums()
}

#[test]
fn outcomes_with_the_same_label_add_up() {
    let late = EndCode { facts: fact::RST | fact::SYN_RETRANSMITTED, ..REFUSED };
    let outcomes = vec![ended(1, REFUSED, 3), ended(1, late, 4), ended(2, REFUSED, 5), ended(2, CONNECTED, 6)];
    let ledger = Ledger::new(&totals(&[(stat::ATTEMPTS, 18), (stat::OUTCOMES, 18)], &outcomes), 0);
    let expected = [((Label::Refused, Some(Reason::Rst)), 12), ((Label::Connected, None), 6)];
    assert_eq!(ledger.outcomes.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn balances_with_everything_in_it() {
    let stats = [
        (stat::ATTEMPTS, 20),
        (stat::OUTCOMES, 15),
        (stat::LOST_ATTEMPTS_FULL, 1),
        (stat::EVENTS, 12),
        (stat::RING_FULL, 2),
        (stat::OUTCOMES_FULL, 5),
        (stat::ESTABLISHED, 7),
    ];
    let ledger = Ledger::new(&Totals { in_flight: 4, ..totals(&stats, &[ended(1, TIMEOUT, 10)]) }, 11);
    assert_eq!((ledger.outcomes_unlabelled, ledger.outcomes_total(), ledger.lost_total()), (5, 15, 1));
    assert_eq!((ledger.imbalance(), ledger.established), (0, 7));
    assert_eq!(ledger.events_lost, [("ring buffer full", 2), ("not read before the end", 1)]);
    assert_eq!(ledger.remarks, [("outcomes counted in total only, outcome table full", 5)]);
}

#[test]
fn says_how_much_is_missing_and_how_much_is_too_much() {
    let outcomes = [ended(1, REFUSED, 8)];
    let vanished = Ledger::new(&totals(&[(stat::ATTEMPTS, 10), (stat::OUTCOMES, 8)], &outcomes), 0);
    assert_eq!(vanished.imbalance(), 2);
    let twice = Ledger::new(&totals(&[(stat::ATTEMPTS, 5), (stat::OUTCOMES, 8)], &outcomes), 0);
    assert_eq!(twice.imbalance(), -3);
}

#[test]
fn a_destination_knows_its_dominant_failure() {
    let outcomes = [ended(1, CONNECTED, 90), ended(1, REFUSED, 3), ended(1, TIMEOUT, 5), ended(2, CONNECTED, 1)];
    let mut destinations = destinations(&outcomes);
    destinations.sort_by_key(|known| known.ip);
    destinations[0].in_flight = 2;
    let ledger = Ledger::new(&Totals { destinations: Arc::new(destinations), ..totals(&[], &outcomes) }, 0);
    let [first, second] = ledger.destinations.as_slice() else { panic!("{:?}", ledger.destinations) };
    assert_eq!((first.ip, first.port), (sample::ip("203.0.113.1"), 25));
    assert_eq!((first.attempts, first.established, first.failures), (100, 90, 8));
    assert_eq!(first.dominant, Some(((Label::Timeout, Some(Reason::SynTimeout)), 5)));
    assert_eq!((second.failures, second.dominant), (0, None));
}

#[test]
fn of_failures_as_frequent_the_first_label_wins() {
    let destinations = destinations(&[ended(1, TIMEOUT, 5), ended(1, REFUSED, 5)]);
    let totals = Totals { destinations: Arc::new(destinations), ..Totals::default() };
    let dominant = Ledger::new(&totals, 0).destinations[0].dominant;
    assert_eq!(dominant, Some(((Label::Refused, Some(Reason::Rst)), 5)));
}

#[test]
fn what_was_counted_before_is_left_out() {
    let mut earlier = totals(&[(stat::ATTEMPTS, 9), (stat::OUTCOMES, 7)], &[ended(1, REFUSED, 7)]);
    earlier.in_flight = 2;
    earlier.destinations = Arc::new(destinations(&[ended(1, REFUSED, 7)]));
    let outcomes = [ended(1, REFUSED, 7), ended(1, TIMEOUT, 2), ended(2, REFUSED, 3)];
    let mut now = totals(&[(stat::ATTEMPTS, 12), (stat::OUTCOMES, 12)], &outcomes);
    now.destinations = Arc::new(destinations(&outcomes));
    let ledger = Ledger::new(&now.since(&earlier, 4), 4);
    assert_eq!((ledger.attempts, ledger.outcomes_total(), ledger.imbalance()), (5, 5, 0));
    let mut known: Vec<_> = ledger.destinations.iter().map(|known| (known.ip.to_string(), known.attempts)).collect();
    known.sort();
    assert_eq!(known, [("203.0.113.1".to_owned(), 2), ("203.0.113.2".to_owned(), 3)]);
    assert_eq!(ledger.events_lost_total(), 0);
}

proptest! {
    #[test]
    fn balances_exactly_when_the_kernel_does(
        ends in proptest::collection::vec((0u8..4, 0u32..1 << 19, 0u16..140, 0u8..4, 0u64..1000), 0..40),
        in_flight in 0u64..1000,
        lost in 0u64..1000,
        error in -50i64..50,
    ) {
        let outcomes: Vec<_> = ends
            .into_iter()
            .map(|(host, facts, sk_err, phase, count)| ended(host, EndCode { facts, sk_err, phase, ..REFUSED }, count))
            .collect();
        let total: u64 = outcomes.iter().map(|(_, count)| count).sum();
        let attempts = (total + in_flight + lost).saturating_add_signed(error);
        let stats = [(stat::ATTEMPTS, attempts), (stat::OUTCOMES, total), (stat::LOST_ATTEMPTS_FULL, lost)];
        let ledger = Ledger::new(&Totals { in_flight, ..totals(&stats, &outcomes) }, 0);
        prop_assert_eq!(ledger.outcomes_total(), total);
        prop_assert_eq!(ledger.imbalance(), i128::from(attempts) - i128::from(total + in_flight + lost));
    }
}
