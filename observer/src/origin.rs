//! Tells a RST that the destination sent from one that something on the way
//! sent in its name.
//!
//! Rests on what the destination showed before: how long its handshakes took,
//! and which TTL its RSTs carried inside connections that it had accepted. Says
//! `suspected-middlebox` only when that evidence does not fit, and never that it
//! fits.

use std::time::Duration;

use observer_common::record::{fact, phase};

use crate::attempt::Attempt;
use crate::label::{Label, Origin, Reason, Verdict};

/// Handshakes that must be known before their latency counts as evidence.
const HANDSHAKES_NEEDED: usize = 3;
/// Handshakes remembered: few, so that a change of route is forgotten soon.
const LATENCIES_KEPT: usize = 8;
/// TTLs remembered: a destination behind a load balancer shows several.
const TTLS_KEPT: usize = 4;
/// Hops by which a route may change without suspicion.
const TTL_TOLERANCE: u8 = 3;
/// Scheduling noise of a single measurement.
const LATENCY_NOISE: Duration = Duration::from_millis(1);

/// What one destination showed in connections that it accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    latencies: Recent<Duration, LATENCIES_KEPT>,
    ttls: Recent<u8, TTLS_KEPT>,
}

impl Fingerprint {
    /// True if nothing is known yet.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The verdict with its origin adjusted by what was known before this
    /// attempt.
    pub fn adjust(&self, attempt: &Attempt, verdict: Verdict) -> Verdict {
        let is_remote_rst = verdict.label == Label::Refused
            && verdict.reason == Some(Reason::Rst)
            && verdict.origin == Some(Origin::Remote);
        if is_remote_rst && (self.is_too_early(attempt) || self.is_from_elsewhere(attempt)) {
            return Verdict { origin: Some(Origin::SuspectedMiddlebox), ..verdict };
        }
        verdict
    }

    /// Remembers what this attempt shows of its destination.
    pub fn learn(&mut self, attempt: &Attempt) {
        // After a retransmit the handshake's time is the timer's, not the path's.
        if let Some(latency) = attempt.handshake.filter(|_| attempt.syn_retransmits == 0) {
            self.latencies.push(latency);
        }
        let was_accepted = attempt.code.phase == phase::ESTABLISHED;
        if let Some(ttl) = attempt.rst_ttl.filter(|_| was_accepted && attempt.code.facts & fact::RST != 0) {
            self.ttls.push(ttl);
        }
    }

    /// The RST came in less than half of the shortest handshake: from less than
    /// half of the way.
    fn is_too_early(&self, attempt: &Attempt) -> bool {
        let known = self.latencies.iter();
        if known.clone().count() < HANDSHAKES_NEEDED || attempt.syn_retransmits != 0 {
            return false;
        }
        let shortest = known.min().copied().unwrap_or_default();
        let border = (shortest / 2).saturating_sub(LATENCY_NOISE);
        attempt.elapsed.is_some_and(|elapsed| elapsed < border)
    }

    /// The RST's TTL is far from every TTL that the destination showed.
    fn is_from_elsewhere(&self, attempt: &Attempt) -> bool {
        let Some(ttl) = attempt.rst_ttl else { return false };
        let mut known = self.ttls.iter().peekable();
        known.peek().is_some() && known.all(|&seen| ttl.abs_diff(seen) > TTL_TOLERANCE)
    }
}

/// The last `N` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recent<T, const N: usize> {
    values: [Option<T>; N],
    next: usize,
}

impl<T: Copy, const N: usize> Default for Recent<T, N> {
    fn default() -> Self {
        Self { values: [None; N], next: 0 }
    }
}

impl<T, const N: usize> Recent<T, N> {
    fn push(&mut self, value: T) {
        self.values[self.next] = Some(value);
        self.next = (self.next + 1) % N;
    }

    fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.values.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use observer_common::record::phase;
    use proptest::prelude::*;

    use super::Fingerprint;
    use crate::attempt::Attempt;
    use crate::label::{Origin, label};
    use crate::sample;

    fn accepted(latency_us: u64, rst_ttl: Option<u8>) -> Attempt {
        let mut attempt = sample::attempt();
        attempt.code.phase = phase::ESTABLISHED;
        attempt.handshake = Some(Duration::from_micros(latency_us));
        attempt.rst_ttl = rst_ttl;
        if rst_ttl.is_none() {
            attempt.code.facts = 0;
        }
        attempt
    }

    fn refused(elapsed_us: u64, rst_ttl: Option<u8>) -> Attempt {
        let elapsed = Some(Duration::from_micros(elapsed_us));
        Attempt { elapsed, rst_ttl, ..sample::attempt() }
    }

    fn knowing(earlier: &[Attempt]) -> Fingerprint {
        let mut known = Fingerprint::default();
        earlier.iter().for_each(|attempt| known.learn(attempt));
        known
    }

    fn is_suspect(known: &Fingerprint, attempt: &Attempt) -> bool {
        let verdict = known.adjust(attempt, label(&attempt.code));
        verdict.origin == Some(Origin::SuspectedMiddlebox)
    }

    #[test]
    fn an_early_rst_is_suspect_after_three_handshakes() {
        let slow = accepted(40_000, None);
        assert!(!is_suspect(&knowing(&[slow.clone(), slow.clone()]), &refused(2_000, None)));
        let known = knowing(&[slow.clone(), slow.clone(), slow]);
        assert!(is_suspect(&known, &refused(18_999, None)));
        assert!(!is_suspect(&known, &refused(19_000, None)));
        assert!(!is_suspect(&known, &refused(40_000, None)));
    }

    #[test]
    fn the_shortest_handshake_decides() {
        let known = knowing(&[accepted(90_000, None), accepted(10_000, None), accepted(90_000, None)]);
        assert!(!is_suspect(&known, &refused(4_000, None)));
        assert!(is_suspect(&known, &refused(3_999, None)));
    }

    #[test]
    fn a_near_destination_is_never_early() {
        let near = accepted(1_900, None);
        assert!(!is_suspect(&knowing(&[near.clone(), near.clone(), near]), &refused(0, None)));
    }

    #[test]
    fn retransmits_are_no_evidence() {
        let slow = Attempt { syn_retransmits: 1, ..accepted(1_040_000, None) };
        assert!(knowing(&[slow.clone(), slow.clone(), slow]).is_empty());
        let plain = accepted(40_000, None);
        let known = knowing(&[plain.clone(), plain.clone(), plain]);
        assert!(!is_suspect(&known, &Attempt { syn_retransmits: 1, ..refused(2_000, None) }));
        assert!(!is_suspect(&known, &Attempt { elapsed: None, ..refused(0, None) }));
    }

    #[test]
    fn a_strange_ttl_is_suspect() {
        let known = knowing(&[accepted(40_000, Some(54))]);
        for (ttl, expected) in [(50, true), (51, false), (57, false), (58, true), (255, true)] {
            assert_eq!(is_suspect(&known, &refused(40_000, Some(ttl))), expected, "{ttl}");
        }
        assert!(!is_suspect(&known, &refused(40_000, None)));
    }

    #[test]
    fn a_ttl_seen_before_is_not_strange() {
        let known = knowing(&[accepted(40_000, Some(54)), accepted(40_000, Some(120))]);
        assert!(!is_suspect(&known, &refused(40_000, Some(119))));
        assert!(is_suspect(&known, &refused(40_000, Some(64))));
    }

    #[test]
    fn the_ttl_of_a_refusal_proves_nothing() {
        assert!(knowing(&[refused(40_000, Some(54))]).is_empty());
    }

    #[test]
    fn old_evidence_is_forgotten() {
        let mut earlier = vec![accepted(100_000, Some(54)); 3];
        earlier.extend(vec![accepted(10_000, Some(60)); 8]);
        let known = knowing(&earlier);
        assert!(!is_suspect(&known, &refused(40_000, Some(60))));
        assert!(is_suspect(&known, &refused(40_000, Some(54))));
    }

    proptest! {
        #[test]
        fn only_a_remote_rst_is_adjusted_and_only_its_origin(facts in 0u32..1 << 19, sk_err in 0u16..140, phase in 0u8..3) {
            let known = knowing(&vec![accepted(500_000, Some(10)); 4]);
            let mut attempt = refused(1_000, Some(200));
            (attempt.code.facts, attempt.code.sk_err, attempt.code.phase) = (facts, sk_err, phase);
            let before = label(&attempt.code);
            let after = known.adjust(&attempt, before);
            prop_assert_eq!((before.label, before.reason, before.active_refusal),
                (after.label, after.reason, after.active_refusal));
            let is_rst = before.label.as_str() == "refused" && before.reason.map(|r| r.as_str()) == Some("rst");
            let expected = is_rst && before.origin == Some(Origin::Remote);
            prop_assert_eq!(after != before, expected);
        }
    }
}
