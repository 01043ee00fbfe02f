use std::time::Duration;

use observer_common::record::{DestinationCounters, EndCode, end, fact, phase};
use proptest::prelude::*;

use super::Aggregate;
use crate::attempt::Attempt;
use crate::event::Destination;
use crate::label::{Label, Origin, label};
use crate::sample;

fn counters(attempts: u64, established: u64) -> Option<DestinationCounters> {
    Some(DestinationCounters { since_ns: 1, attempts, established, fastest_handshake_ns: 0 })
}

fn to(host: u8, code: EndCode) -> Attempt {
    let handshake = (code.phase == phase::ESTABLISHED).then_some(Duration::from_millis(30));
    Attempt { daddr: [203, 0, 113, host].into(), code, handshake, ..sample::attempt() }
}

fn refused(host: u8) -> Attempt {
    to(host, sample::attempt().code)
}

fn timed_out(host: u8) -> Attempt {
    to(host, EndCode { sk_err: libc::ETIMEDOUT as u16, facts: 0, ..sample::attempt().code })
}

fn accepted(host: u8, facts: u32) -> Attempt {
    let code = EndCode { facts, sk_err: 0, phase: phase::ESTABLISHED, end: end::PEER_FIN, ..sample::attempt().code };
    to(host, code)
}

fn connected(host: u8) -> Attempt {
    accepted(host, fact::BYTES_RECEIVED)
}

fn feed(aggregate: &mut Aggregate, attempt: &Attempt, counts: Option<DestinationCounters>) -> Option<Destination> {
    let verdict = aggregate.observe(attempt, label(&attempt.code), counts);
    aggregate.record(attempt, verdict, counts)
}

#[test]
fn counts_by_label_and_destination() {
    let mut aggregate = Aggregate::new(10);
    feed(&mut aggregate, &refused(1), counters(1, 0));
    feed(&mut aggregate, &timed_out(2), counters(1, 0));
    let first = feed(&mut aggregate, &timed_out(1), counters(5, 2)).unwrap();
    assert_eq!((first.attempts, first.established), (5, 2));
    assert_eq!((first.refused, first.timeout), (1, 1));
    assert_eq!(first.first_failed, Some(sample::time()));
    assert_eq!(aggregate.totals().iter().collect::<Vec<_>>(), [(&Label::Refused, &1), (&Label::Timeout, &2)]);
    assert_eq!(aggregate.len(), 2);
}

#[test]
fn first_failed_is_the_first() {
    let mut aggregate = Aggregate::new(10);
    let later = sample::time() + Duration::from_secs(60);
    feed(&mut aggregate, &refused(1), counters(1, 0));
    let second = feed(&mut aggregate, &Attempt { ended: later, ..refused(1) }, counters(2, 0)).unwrap();
    assert_eq!(second.first_failed, Some(sample::time()));
}

#[test]
fn ports_are_different_destinations() {
    let mut aggregate = Aggregate::new(10);
    feed(&mut aggregate, &refused(1), counters(1, 0));
    let other = feed(&mut aggregate, &Attempt { dport: 587, ..refused(1) }, counters(1, 0)).unwrap();
    assert_eq!(other.streak, 1);
}

#[test]
fn a_success_seen_only_by_the_kernel_ends_a_streak() {
    let mut aggregate = Aggregate::new(10);
    let steps = [
        (refused(1), 0, 1),
        (timed_out(1), 0, 2),
        // One handshake in between: a success.
        (refused(1), 1, 1),
        (refused(1), 1, 2),
        // Its own handshake is none.
        (accepted(1, 0), 2, 3),
        (accepted(1, fact::RST), 3, 4),
        // Its own, and another.
        (accepted(1, 0), 5, 1),
    ];
    for (index, (attempt, established, streak)) in steps.into_iter().enumerate() {
        let state = feed(&mut aggregate, &attempt, counters(20, established)).unwrap();
        assert_eq!(state.streak, streak, "step {index}");
    }
}

#[test]
fn a_success_that_is_sent_ends_a_streak_once() {
    let mut aggregate = Aggregate::new(10);
    feed(&mut aggregate, &refused(1), counters(1, 0));
    assert_eq!(feed(&mut aggregate, &connected(1), counters(2, 1)).unwrap().streak, 0);
    assert_eq!(feed(&mut aggregate, &refused(1), counters(3, 1)).unwrap().streak, 1);
    assert_eq!(feed(&mut aggregate, &refused(1), counters(4, 1)).unwrap().streak, 2);
}

#[test]
fn without_exact_counts_nothing_is_stated_but_the_streak_goes_on() {
    let mut aggregate = Aggregate::new(10);
    feed(&mut aggregate, &refused(1), counters(1, 0));
    assert_eq!(feed(&mut aggregate, &refused(1), None), None);
    assert_eq!(feed(&mut aggregate, &refused(1), counters(3, 0)).unwrap().streak, 3);
}

#[test]
fn counters_that_began_anew_show_handshakes_of_their_own() {
    let mut aggregate = Aggregate::new(10);
    let anew = |attempts, established| {
        counters(attempts, established).map(|counters| DestinationCounters { since_ns: 2, ..counters })
    };
    let mut streak = |counts| feed(&mut aggregate, &refused(1), counts).unwrap().streak;
    assert_eq!([streak(counters(10, 9)), streak(counters(11, 9))], [1, 2]);
    // The kernel has forgotten the destination meanwhile.
    assert_eq!([streak(anew(1, 0)), streak(anew(3, 1)), streak(anew(4, 1))], [3, 1, 2]);
    // Of an attempt that ended before.
    assert_eq!(streak(counters(12, 9)), 3);
    assert_eq!(streak(anew(6, 2)), 1);
}

#[test]
fn the_least_recently_failed_destination_goes() {
    let mut aggregate = Aggregate::new(2);
    for host in [1, 2, 1, 3] {
        feed(&mut aggregate, &refused(host), counters(9, 0));
    }
    assert_eq!((aggregate.len(), aggregate.evicted()), (2, 1));
    assert_eq!(feed(&mut aggregate, &refused(1), counters(9, 0)).unwrap().streak, 3);
    assert_eq!(feed(&mut aggregate, &refused(2), counters(9, 0)).unwrap().streak, 1);
}

#[test]
fn a_success_never_pushes_a_failure_out() {
    let mut aggregate = Aggregate::new(2);
    feed(&mut aggregate, &connected(7), counters(1, 1));
    feed(&mut aggregate, &refused(1), counters(1, 0));
    feed(&mut aggregate, &connected(7), counters(2, 2));
    // The one that never failed goes first.
    feed(&mut aggregate, &refused(2), counters(1, 0));
    let state = feed(&mut aggregate, &connected(7), counters(3, 3)).unwrap();
    assert_eq!((state.attempts, state.streak), (3, 0));
    assert_eq!((aggregate.evicted(), aggregate.unremembered()), (1, 1));
    assert_eq!(feed(&mut aggregate, &refused(1), counters(2, 0)).unwrap().streak, 2);
}

#[test]
fn earlier_handshakes_expose_a_middlebox() {
    let mut aggregate = Aggregate::new(10);
    let early = Attempt { elapsed: Some(Duration::from_millis(2)), ..refused(1) };
    let mut origin = |counts| aggregate.observe(&early, label(&early.code), counts).origin;
    assert_eq!(origin(counters(1, 0)), Some(Origin::Remote));
    let known = DestinationCounters { since_ns: 1, attempts: 4, established: 3, fastest_handshake_ns: 30_000_000 };
    assert_eq!(origin(Some(known)), Some(Origin::SuspectedMiddlebox));
}

/// Destinations that failed, most recent last, and their failures in a row.
#[derive(Default)]
struct Model {
    failed: Vec<(u8, u64)>,
    evicted: u64,
}

impl Model {
    fn fail(&mut self, host: u8, room: usize) -> u64 {
        let known = self.failed.iter().position(|&(other, _)| other == host);
        let streak = known.map_or(0, |index| self.failed.remove(index).1) + 1;
        if self.failed.len() == room {
            self.failed.remove(0);
            self.evicted += 1;
        }
        self.failed.push((host, streak));
        streak
    }
}

proptest! {
    #[test]
    fn agrees_with_a_plain_list(hosts in proptest::collection::vec(0u8..12, 0..200), room in 1usize..9) {
        let mut aggregate = Aggregate::new(room);
        let mut model = Model::default();
        for host in &hosts {
            let state = feed(&mut aggregate, &refused(*host), counters(1, 0)).unwrap();
            prop_assert_eq!(state.streak, model.fail(*host, room));
            prop_assert!(aggregate.len() <= room);
        }
        prop_assert_eq!(aggregate.len(), model.failed.len());
        prop_assert_eq!(aggregate.evicted(), model.evicted);
        prop_assert_eq!(aggregate.totals().values().sum::<u64>(), hosts.len() as u64);
    }

    #[test]
    fn any_order_of_successes_and_failures_stays_bounded(
        steps in proptest::collection::vec((0u8..12, any::<bool>()), 0..200),
        room in 1usize..9,
    ) {
        let mut aggregate = Aggregate::new(room);
        for (host, is_failure) in steps {
            let attempt = if is_failure { refused(host) } else { connected(host) };
            let state = feed(&mut aggregate, &attempt, counters(1, 0)).unwrap();
            prop_assert!(aggregate.len() <= room);
            prop_assert_eq!(state.streak > 0, is_failure);
        }
    }
}
