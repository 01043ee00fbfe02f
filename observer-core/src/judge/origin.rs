//! Tells a RST that the destination sent from one that something on the way
//! sent in its name.
//!
//! Rests on what the destination showed before: how long its fastest handshake
//! took, which the kernel programs count, and which TTL its RSTs carried inside
//! connections that it had accepted. Says `suspected-middlebox` only when that
//! evidence does not fit, and never that it fits.

use std::time::Duration;

use observer_common::record::{DestinationCounters, EndCode, fact, phase};

use crate::attempt::Attempt;
use crate::label::{Label, Origin, Reason, Verdict};

/// An answer came by loopback, where the route is not known to lead there: this host answers in
/// another's name.
pub(crate) const fn is_answered_here(code: &EndCode) -> bool {
    code.facts & (fact::ANSWER_FROM_LOOPBACK | fact::LOOPBACK) == fact::ANSWER_FROM_LOOPBACK
}

/// Handshakes that must be known before their latency counts as evidence.
const HANDSHAKES_NEEDED: u64 = 3;
/// TTLs remembered: a destination behind a load balancer shows several.
const TTLS_KEPT: usize = 4;
/// Hops by which a route may change without suspicion.
const TTL_TOLERANCE: u8 = 3;
/// Scheduling noise of a single measurement.
const LATENCY_NOISE: Duration = Duration::from_millis(1);

/// What one destination showed in connections that it accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    ttls: Recent<u8, TTLS_KEPT>,
}

impl Fingerprint {
    /// True if nothing is known yet.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The verdict with its origin adjusted by what was known before this
    /// attempt, and by the kernel's counters of its destination.
    pub fn adjust(&self, attempt: &Attempt, verdict: Verdict, counters: Option<DestinationCounters>) -> Verdict {
        if is_remote_rst(verdict) && (is_too_early(attempt, counters) || self.is_from_elsewhere(attempt)) {
            return Verdict { origin: Some(Origin::SuspectedMiddlebox), ..verdict };
        }
        verdict
    }

    /// Remembers what this attempt shows of its destination.
    pub fn learn(&mut self, attempt: &Attempt) {
        let was_accepted = attempt.code.phase == phase::ESTABLISHED;
        if let Some(ttl) = attempt.rst_ttl.filter(|_| was_accepted && attempt.code.facts & fact::RST != 0) {
            self.ttls.push(ttl);
        }
    }

    /// The RST's TTL is far from every TTL that the destination showed.
    fn is_from_elsewhere(&self, attempt: &Attempt) -> bool {
        let Some(ttl) = attempt.rst_ttl else { return false };
        let mut known = self.ttls.iter().peekable();
        known.peek().is_some() && known.all(|&seen| ttl.abs_diff(seen) > TTL_TOLERANCE)
    }
}

/// The verdict of one who cannot see the SYNs that this host drops, or by which interface a
/// RST came: one that comes at once may be this host's own.
pub fn without_local_evidence(attempt: &Attempt, verdict: Verdict) -> Verdict {
    if is_remote_rst(verdict) && attempt.elapsed.is_none_or(|elapsed| elapsed < LATENCY_NOISE) {
        return Verdict { origin: Some(Origin::Unknown), ..verdict };
    }
    verdict
}

fn is_remote_rst(verdict: Verdict) -> bool {
    verdict.label == Label::Refused && verdict.reason == Some(Reason::Rst) && verdict.origin == Some(Origin::Remote)
}

/// The RST came in less than half of the fastest handshake: from less than half
/// of the way. After a retransmit its time is the timer's, not the path's.
fn is_too_early(attempt: &Attempt, counters: Option<DestinationCounters>) -> bool {
    let known = counters.filter(|known| known.established >= HANDSHAKES_NEEDED && known.fastest_handshake_ns != 0);
    let Some(known) = known.filter(|_| attempt.syn_retransmits == 0) else { return false };
    let border = (Duration::from_nanos(known.fastest_handshake_ns) / 2).saturating_sub(LATENCY_NOISE);
    attempt.elapsed.is_some_and(|elapsed| elapsed < border)
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

    use observer_common::record::{DestinationCounters, phase};
    use proptest::prelude::*;

    use super::Fingerprint;
    use crate::attempt::Attempt;
    use crate::label::{Origin, label};
    use crate::sample;

    fn reset_in_session(rst_ttl: u8) -> Attempt {
        let mut attempt = sample::attempt();
        attempt.code.phase = phase::ESTABLISHED;
        attempt.handshake = Some(Duration::from_millis(40));
        attempt.rst_ttl = Some(rst_ttl);
        attempt
    }

    fn refused(elapsed_us: u64, rst_ttl: Option<u8>) -> Attempt {
        let elapsed = Some(Duration::from_micros(elapsed_us));
        Attempt { elapsed, rst_ttl, ..sample::attempt() }
    }

    fn handshakes(established: u64, fastest_us: u64) -> Option<DestinationCounters> {
        Some(DestinationCounters { since_ns: 1, attempts: 10, established, fastest_handshake_ns: fastest_us * 1_000 })
    }

    fn knowing(ttls: &[u8]) -> Fingerprint {
        let mut known = Fingerprint::default();
        ttls.iter().for_each(|&ttl| known.learn(&reset_in_session(ttl)));
        known
    }

    fn is_suspect(known: &Fingerprint, attempt: &Attempt, counters: Option<DestinationCounters>) -> bool {
        let verdict = known.adjust(attempt, label(&attempt.code), counters);
        verdict.origin == Some(Origin::SuspectedMiddlebox)
    }

    #[test]
    fn a_rst_at_once_is_anybodys_where_dropped_syns_are_not_seen() {
        let origin = |elapsed_us| {
            let attempt = refused(elapsed_us, None);
            super::without_local_evidence(&attempt, label(&attempt.code)).origin
        };
        assert_eq!(origin(40), Some(Origin::Unknown));
        assert_eq!(origin(20_000), Some(Origin::Remote));
    }

    #[test]
    fn an_early_rst_is_suspect_after_three_handshakes() {
        let nothing = Fingerprint::default();
        for (elapsed_us, counters, expected) in [
            (18_999, handshakes(3, 40_000), true),
            (19_000, handshakes(3, 40_000), false),
            (40_000, handshakes(3, 40_000), false),
            (2_000, handshakes(2, 40_000), false),
            (2_000, handshakes(3, 0), false),
            (2_000, None, false),
            // So near that half of the way is within the noise.
            (0, handshakes(9, 1_900), false),
        ] {
            assert_eq!(
                is_suspect(&nothing, &refused(elapsed_us, None), counters),
                expected,
                "{elapsed_us} {counters:?}"
            );
        }
    }

    #[test]
    fn retransmits_and_an_unknown_start_are_no_evidence() {
        let (nothing, known) = (Fingerprint::default(), handshakes(3, 40_000));
        assert!(!is_suspect(&nothing, &Attempt { syn_retransmits: 1, ..refused(2_000, None) }, known));
        assert!(!is_suspect(&nothing, &Attempt { elapsed: None, ..refused(0, None) }, known));
    }

    #[test]
    fn a_strange_ttl_is_suspect() {
        for (ttl, expected) in [(50, true), (51, false), (57, false), (58, true), (255, true)] {
            assert_eq!(is_suspect(&knowing(&[54]), &refused(40_000, Some(ttl)), None), expected, "{ttl}");
        }
        assert!(!is_suspect(&knowing(&[54]), &refused(40_000, None), None));
    }

    #[test]
    fn a_ttl_seen_before_is_not_strange() {
        let known = knowing(&[54, 120]);
        assert!(!is_suspect(&known, &refused(40_000, Some(119)), None));
        assert!(is_suspect(&known, &refused(40_000, Some(64)), None));
    }

    #[test]
    fn the_ttl_of_a_refusal_proves_nothing() {
        let mut known = Fingerprint::default();
        known.learn(&refused(40_000, Some(54)));
        assert!(known.is_empty());
    }

    #[test]
    fn old_evidence_is_forgotten() {
        let known = knowing(&[54, 60, 60, 60, 60]);
        assert!(!is_suspect(&known, &refused(40_000, Some(60)), None));
        assert!(is_suspect(&known, &refused(40_000, Some(54)), None));
    }

    proptest! {
        #[test]
        fn only_a_remote_rst_is_adjusted_and_only_its_origin(facts in 0u32..1 << 19, sk_err in 0u16..140, phase in 0u8..3) {
            let mut attempt = refused(1_000, Some(200));
            (attempt.code.facts, attempt.code.sk_err, attempt.code.phase) = (facts, sk_err, phase);
            let before = label(&attempt.code);
            let after = knowing(&[10]).adjust(&attempt, before, handshakes(4, 500_000));
            prop_assert_eq!((before.label, before.reason, before.active_refusal),
                (after.label, after.reason, after.active_refusal));
            let is_rst = before.label.as_str() == "refused" && before.reason.map(|r| r.as_str()) == Some("rst");
            let expected = is_rst && before.origin == Some(Origin::Remote);
            prop_assert_eq!(after != before, expected);
        }
    }
}
