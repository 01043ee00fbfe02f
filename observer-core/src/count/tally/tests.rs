mod exact;
mod made_up;
mod room;
mod snapshot;

use std::net::IpAddr;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use super::{Budget, Family, Outcome, Prefixes, Seen, Tallies, Tally, is_established};
use crate::label::{Label, Reason};
use crate::sample;

pub(super) const REFUSED: Outcome = (Label::Refused, Some(Reason::Rst));
pub(super) const TIMED_OUT: Outcome = (Label::Timeout, Some(Reason::SynTimeout));
pub(super) const CONNECTED: Outcome = (Label::Connected, None);
pub(super) const RESET: Outcome = (Label::Reset, Some(Reason::MidSession));
const OUTCOMES: [Outcome; 4] = [REFUSED, TIMED_OUT, CONNECTED, RESET];

pub(super) fn after(seconds: i64) -> Timestamp {
    sample::time() + seconds.seconds()
}

pub(super) fn seen(daddr: &str, outcome: Outcome, count: u64, at: Timestamp) -> Seen {
    let elapsed = Some(Duration::from_millis(31));
    Seen {
        at,
        saddr: Some(sample::ip("192.0.2.10")),
        daddr: sample::ip(daddr),
        dport: sample::PORT,
        outcome,
        handshake: elapsed.filter(|_| is_established(outcome)),
        elapsed,
        count,
        redirected: false,
    }
}

pub(super) fn tight(destinations: usize) -> Tallies {
    let budget = Budget { destinations: (destinations, 1 << 30), prefixes: (3, 1 << 30), sources: (2, 1 << 30) };
    Tallies::new(budget, Prefixes::default())
}

/// Few addresses, so that each comes up often.
pub(super) fn any_seen() -> impl Strategy<Value = Seen> {
    let daddr = prop_oneof![
        (0u8..4, 0u8..4).prop_map(|(net, host)| IpAddr::from([203, 0, net, host])),
        (0u16..3, 0u16..3).prop_map(|(net, host)| IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, host])),
    ];
    let saddr = prop::option::of((0u8..12).prop_map(|host| IpAddr::from([192, 0, 2, host])));
    (daddr, saddr, 0usize..OUTCOMES.len(), 1u64..4, 0i64..200_000, 24u16..26).prop_map(
        |(daddr, saddr, outcome, count, at, dport)| Seen {
            daddr,
            saddr,
            dport,
            ..seen("203.0.113.1", OUTCOMES[outcome], count, after(at))
        },
    )
}

/// Everything of a tally that does not depend on the order of arrival.
pub(super) fn facts(tally: &Tally) -> Tally {
    sum([tally])
}

pub(super) fn sum<'a>(parts: impl IntoIterator<Item = &'a Tally>) -> Tally {
    let mut sum = Tally::default();
    parts.into_iter().for_each(|part| sum.merge(part));
    sum
}

/// Every roll-up, with what it forgot.
pub(super) fn roll_ups(tallies: &Tallies) -> [Tally; 4] {
    let destinations = tallies.destinations().map(|(_, destination)| destination);
    [
        sum(Family::ALL.map(|family| tallies.family(family))),
        sum(destinations.chain([tallies.forgotten()])),
        sum(tallies.prefixes().map(|(_, tally)| tally).chain([tallies.forgotten_prefixes()])),
        sum(tallies.sources().map(|(_, tally)| tally).chain([tallies.forgotten_sources()])),
    ]
}

proptest! {
    #[test]
    fn the_outcome_tells_of_the_handshake(code in sample::any_code()) {
        let verdict = crate::label::label(&code);
        let is_destroyed = verdict.reason == Some(crate::label::Reason::Destroyed);
        let expected = code.phase == observer_common::record::phase::ESTABLISHED && !is_destroyed;
        prop_assert_eq!(is_established((verdict.label, verdict.reason)), expected);
    }
}
