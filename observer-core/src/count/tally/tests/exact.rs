//! Counts against a plain recount.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tally::{Latency, Source, Window};

/// A window by its definition, over what was added in order of time.
fn recount(all: &[Seen], window: Window, now: Timestamp) -> u64 {
    let (seconds, buckets) = match window {
        Window::Minute => (10, 6),
        Window::TenMinutes => (10, 60),
        Window::Hour => (60, 60),
        Window::Day => (600, 144),
    };
    let bucket = |at: Timestamp| at.as_second() / seconds;
    all.iter().filter(|seen| bucket(seen.at) > bucket(now) - buckets).map(|seen| seen.count).sum()
}

proptest! {
    #[test]
    fn live_counts_equal_a_recount(mut all in prop::collection::vec(any_seen(), 1..80), late in 0i64..50) {
        all.sort_by_key(|seen| seen.at);
        let mut tallies = Tallies::default();
        // Out of order within what events are: `late` seconds.
        let mut arriving: Vec<_> = all.iter().enumerate().collect();
        arriving.sort_by_key(|(index, seen)| (seen.at + (*index as i64 * 7 % (late + 1)).seconds(), *index));
        for (_, seen) in arriving {
            tallies.add(seen, seen.at);
        }
        let now = all.last().unwrap().at;
        let tick = tallies.tick(now);
        for window in Window::ALL {
            prop_assert_eq!(tallies.total().window(window, tick).attempts(), recount(&all, window, now));
        }
        let mut plain: BTreeMap<_, BTreeMap<Outcome, u64>> = BTreeMap::new();
        for seen in &all {
            *plain.entry((seen.daddr, seen.dport)).or_default().entry(seen.outcome).or_default() += seen.count;
        }
        prop_assert_eq!(tallies.len(), plain.len());
        for (key, outcomes) in plain {
            let destination = tallies.destination(key).unwrap();
            let own = || all.iter().filter(|seen| (seen.daddr, seen.dport) == key);
            prop_assert_eq!(destination.outcomes().collect::<BTreeMap<_, _>>(), outcomes);
            prop_assert_eq!(
                destination.established(),
                own().filter(|seen| is_established(seen.outcome)).map(|seen| seen.count).sum::<u64>()
            );
            let of = |fails: bool| own().filter(move |seen| (seen.outcome != CONNECTED) == fails).map(|seen| seen.at);
            let ms = |time: Option<Timestamp>| time.map(|time| time.as_microsecond());
            prop_assert_eq!(ms(destination.first_failed()), ms(of(true).min()));
            prop_assert_eq!(ms(destination.last_failed()), ms(of(true).max()));
            prop_assert_eq!(ms(destination.last_succeeded()), ms(of(false).max()));
            let split = tallies.split(destination);
            prop_assert_eq!(split.iter().map(|part| part.attempts()).sum::<u64>(), destination.attempts());
            prop_assert_eq!(split.iter().map(|part| part.failures()).sum::<u64>(), destination.failures());
            prop_assert!(split.len() <= 9);
            for part in split {
                let Source::Address(addr) = part.source else { continue };
                let expected: u64 = own().filter(|seen| seen.saddr == Some(addr)).map(|seen| seen.count).sum();
                prop_assert_eq!(part.attempts(), expected);
            }
        }
    }

    #[test]
    fn roll_ups_equal_the_sum_of_their_parts(all in prop::collection::vec(any_seen(), 0..80), room in 1usize..12) {
        let mut tallies = tight(room);
        for seen in &all {
            tallies.add(seen, seen.at);
        }
        for roll_up in roll_ups(&tallies) {
            prop_assert_eq!(roll_up, facts(tallies.total()));
        }
        prop_assert_eq!(tallies.total().attempts(), all.iter().map(|seen| seen.count).sum::<u64>());
        prop_assert!(tallies.len() <= room && tallies.prefixes().count() <= 3 && tallies.sources().count() <= 2);
    }

    #[test]
    fn a_clock_set_back_neither_repeats_nor_forgets(
        steps in prop::collection::vec((prop_oneof![5 => 0i64..40, 1 => -90_000i64..-61], any_seen()), 1..60),
    ) {
        let (mut tallies, mut now, mut elapsed) = (Tallies::default(), 1_000_000, 1_000_000);
        let first = seen("203.0.113.1", REFUSED, 1, after(now));
        tallies.add(&first, first.at);
        let mut plain = vec![first];
        for (step, seen) in steps {
            now += step;
            elapsed += step.max(0);
            tallies.add(&Seen { at: after(now), ..seen }, after(now));
            plain.push(Seen { at: after(elapsed), ..seen });
        }
        let tick = tallies.tick(after(now));
        for window in Window::ALL {
            let expected = recount(&plain, window, after(elapsed));
            prop_assert_eq!(tallies.total().window(window, tick).attempts(), expected);
        }
    }
}

#[test]
fn the_streak_is_since_the_last_success() {
    let mut tallies = Tallies::default();
    let mut streak = |outcome, count| {
        tallies.add(&seen("203.0.113.1", outcome, count, after(0)), after(0));
        tallies.destination((sample::ip("203.0.113.1"), 25)).unwrap().streak()
    };
    assert_eq!([streak(REFUSED, 1), streak(TIMED_OUT, 2), streak(CONNECTED, 1), streak(RESET, 1)], [1, 3, 0, 1]);
}

#[test]
fn latencies_are_of_handshakes_and_refusals() {
    let mut tallies = Tallies::default();
    OUTCOMES.iter().for_each(|&outcome| tallies.add(&seen("203.0.113.1", outcome, 1, after(0)), after(0)));
    let latencies = tallies.total().latencies();
    assert_eq!([Latency::Connect, Latency::Refusal].map(|what| latencies.count(what)), [2, 1]);
    assert_eq!(tallies.total().ratio(), Some(0.75));
    assert_eq!(tallies.total().dominant(), Some((REFUSED, 1)));
}

#[test]
fn an_event_is_counted_as_it_is() {
    let event = sample::event(Label::Refused, Some(Reason::Rst));
    let seen = Seen::from_event(&event).unwrap();
    assert_eq!((seen.daddr, seen.dport, seen.count), (sample::ip("203.0.113.5"), 25, 1));
    assert_eq!((seen.at, seen.outcome), (event.time, REFUSED));
    assert_eq!(seen.elapsed, Some(Duration::from_micros(31_402)));
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mut tallies = Tallies::default();
    tallies.add(&seen("::ffff:203.0.113.1", REFUSED, 1, after(0)), after(0));
    assert_eq!(tallies.family(Family::Ipv4).attempts(), 1);
    assert_eq!(tallies.prefixes().next().unwrap().0.to_string(), "203.0.113.0/24");
}
