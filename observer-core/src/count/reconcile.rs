//! Finds the attempts of which no event came.

use std::collections::{HashMap, VecDeque};

use observer_common::record::{FIRST_EPOCH, NO_EPOCH, next_epoch};

use super::{Drain, Ended, Missing};

/// Epochs that wait for events at most; whoever ends epochs must not be further ahead.
/// More of them are only there when records were damaged.
const OPEN_MAX: usize = 256;

/// Compares drains with events, epoch by epoch. What it holds is bounded by what
/// was counted in the epochs that are open: the one that counts now, and those
/// whose events are on their way.
#[derive(Debug)]
pub struct Reconciler {
    /// Oldest first, without a gap; the first is the one after the last closed.
    open: VecDeque<Epoch>,
    first: u16,
    late: u64,
}

#[derive(Debug, Default)]
struct Epoch {
    /// What events told.
    told: HashMap<Ended, u64>,
    /// Events that came, also those that could not be decoded.
    taken: u64,
    drain: Option<Drain>,
}

impl Epoch {
    fn is_complete(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| self.taken >= drain.events)
    }

    /// True if it was drained, and lacks events.
    fn is_waiting(&self) -> bool {
        self.drain.is_some() && !self.is_complete()
    }

    fn missing(self) -> Missing {
        let mut told = self.told;
        let mut counted: HashMap<Ended, u64> = HashMap::new();
        for (key, count) in self.drain.into_iter().flat_map(|drain| drain.outcomes) {
            let ended = Ended::of_key(&key);
            // What an event told is no longer looked for.
            let known = told.get_mut(&ended);
            let known = known.map_or(0, |known| {
                let of_these = count.min(*known);
                *known -= of_these;
                of_these
            });
            if count > known {
                *counted.entry(ended).or_default() += count - known;
            }
        }
        counted.into_iter().collect()
    }
}

impl Default for Reconciler {
    fn default() -> Self {
        Self { open: VecDeque::new(), first: FIRST_EPOCH, late: 0 }
    }
}

impl Reconciler {
    /// An event came, of an attempt that was counted in `epoch`.
    pub fn told(&mut self, epoch: u16, ended: Ended) {
        if let Some(epoch) = self.epoch(epoch) {
            epoch.taken += 1;
            *epoch.told.entry(ended).or_default() += 1;
        }
    }

    /// A record came that cannot be decoded; its attempt will be missing.
    pub fn undecodable(&mut self, epoch: u16) {
        if let Some(epoch) = self.epoch(epoch) {
            epoch.taken += 1;
        }
    }

    /// The kernel's counters of an epoch; to be called once for each, in order.
    pub fn drained(&mut self, drain: Drain) {
        if let Some(epoch) = self.epoch(drain.epoch) {
            epoch.drain = Some(drain);
        }
    }

    /// What is missing for certain; to be added to whatever counts events.
    pub fn missing(&mut self) -> Missing {
        let mut all = Missing::new();
        while self.is_first_over() || self.open.len() > OPEN_MAX {
            self.first = next_epoch(self.first);
            all.extend(self.open.pop_front().into_iter().flat_map(Epoch::missing));
        }
        all
    }

    /// True if no event of the first epoch is still to come.
    fn is_first_over(&self) -> bool {
        // Events come in the order in which they were sent, and all of an epoch are sent
        // before the next one ends: what lacks when there are events of the one after
        // that was damaged on its way.
        let is_past = || self.open.iter().skip(2).any(|later| later.taken > 0);
        self.open.front().is_some_and(|first| first.is_complete() || first.is_waiting() && is_past())
    }

    /// Epochs that were drained and are not over.
    pub fn waiting(&self) -> usize {
        self.open.iter().filter(|epoch| epoch.drain.is_some()).count()
    }

    /// Events that came after their epoch had been given up. 0 unless records
    /// were damaged: their attempts are counted twice.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Keys that are held.
    pub fn len(&self) -> usize {
        let keys = |epoch: &Epoch| epoch.told.len() + epoch.drain.as_ref().map_or(0, |drain| drain.outcomes.len());
        self.open.iter().map(keys).sum()
    }

    /// True if no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn epoch(&mut self, epoch: u16) -> Option<&mut Epoch> {
        if epoch == NO_EPOCH {
            // Counted in total only: no counter has it, and nothing is missing.
            return None;
        }
        let ahead = distance(self.first, epoch);
        if ahead >= EPOCHS / 2 {
            self.late += 1;
            return None;
        }
        if ahead > 2 * OPEN_MAX {
            // No kernel is so far ahead: a damaged record.
            return None;
        }
        while self.open.len() <= ahead {
            self.open.push_back(Epoch::default());
        }
        self.open.get_mut(ahead)
    }
}

/// How many epochs there are before they repeat.
const EPOCHS: usize = u16::MAX as usize - 1;

/// How many epochs lie between two.
fn distance(from: u16, to: u16) -> usize {
    let nth = |epoch: u16| usize::from(epoch - FIRST_EPOCH);
    (nth(to) + EPOCHS - nth(from)) % EPOCHS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use observer_common::address::Address;
    use observer_common::record::{AttemptRecord, DestinationKey, EndCode, FAMILY_V4, OutcomeKey, end, fact, phase};
    use proptest::prelude::*;

    use super::*;

    /// Codes of which the first two are the same outcome.
    fn codes() -> [EndCode; 3] {
        let refused = EndCode {
            facts: fact::RST,
            sk_err: libc::ECONNREFUSED as u16,
            phase: phase::SYN_SENT,
            end: end::CLOSE,
            family: FAMILY_V4,
            ..EndCode::default()
        };
        let timed_out = EndCode { facts: fact::ONE_SECOND, sk_err: libc::ETIMEDOUT as u16, ..refused };
        [refused, EndCode { facts: fact::RST | fact::SYN_RETRANSMITTED, ..refused }, timed_out]
    }

    fn key(last: u8, code: usize) -> OutcomeKey {
        OutcomeKey {
            saddr: Address::mapped(u32::from_ne_bytes([192, 0, 2, 10])),
            destination: DestinationKey {
                daddr: Address::mapped(u32::from_ne_bytes([203, 0, 113, last])),
                dport: 25,
                reserved: 0,
            },
            code: codes()[code],
        }
    }

    fn refused(last: u8) -> Ended {
        Ended::of_key(&key(last, 0))
    }

    #[test]
    fn an_event_and_its_counter_are_of_one_key() {
        let key = key(5, 0);
        let record = AttemptRecord {
            saddr: key.saddr,
            daddr: key.destination.daddr,
            dport: key.destination.dport,
            code: key.code,
            ..AttemptRecord::NONE
        };
        assert_eq!(Ended::of_record(&record), Ended::of_key(&key));
    }

    #[test]
    fn what_is_on_its_way_is_not_missing() {
        let mut reconciler = Reconciler::default();
        reconciler.drained(Drain { epoch: 1, outcomes: vec![(key(5, 0), 2), (key(5, 1), 1)], events: 2 });
        assert_eq!(reconciler.missing(), []);
        reconciler.told(1, refused(5));
        assert_eq!(reconciler.missing(), []);
        // Of the next epoch, and early.
        reconciler.told(2, refused(5));
        assert_eq!(reconciler.missing(), []);
        reconciler.told(1, refused(5));
        assert_eq!(reconciler.missing(), [(refused(5), 1)]);
        reconciler.drained(Drain { epoch: 2, outcomes: vec![(key(5, 0), 1)], events: 1 });
        assert_eq!(reconciler.missing(), []);
        assert!(reconciler.is_empty());
    }

    #[test]
    fn what_was_counted_in_total_only_or_is_late_is_not_looked_for() {
        let mut reconciler = Reconciler::default();
        reconciler.told(NO_EPOCH, refused(5));
        reconciler.drained(Drain { epoch: 1, outcomes: vec![(key(5, 0), 1)], events: 0 });
        assert_eq!(reconciler.missing(), [(refused(5), 1)]);
        reconciler.told(1, refused(5));
        reconciler.told(u16::MAX, refused(5));
        assert_eq!((reconciler.missing(), reconciler.late(), reconciler.len()), (vec![], 2, 0));
    }

    #[test]
    fn a_damaged_record_holds_nothing_up() {
        let mut reconciler = Reconciler::default();
        for epoch in 1..=3 {
            reconciler.drained(Drain { epoch, outcomes: vec![(key(5, 0), 2)], events: 2 });
        }
        reconciler.told(1, refused(5));
        reconciler.told(2, refused(5));
        reconciler.told(2, refused(5));
        // Of the first, events may still come behind those of the next.
        assert_eq!((reconciler.missing(), reconciler.waiting()), (vec![], 3));
        reconciler.told(3, refused(5));
        assert_eq!((reconciler.missing(), reconciler.waiting()), (vec![(refused(5), 1)], 1));
    }

    #[test]
    fn an_epoch_whose_events_never_come_is_given_up() {
        let mut reconciler = Reconciler::default();
        let mut epoch = FIRST_EPOCH;
        let mut missing = 0;
        for _ in 0..=OPEN_MAX {
            reconciler.drained(Drain { epoch, outcomes: vec![(key(5, 0), 1)], events: u64::from(epoch == 1) });
            epoch = next_epoch(epoch);
            missing += reconciler.missing().len();
        }
        assert_eq!((missing, reconciler.len()), (OPEN_MAX + 1, 0));
    }

    /// What the kernel and the ring do, in any order.
    #[derive(Clone, Debug)]
    enum Step {
        /// An attempt ends; its event is lost or not.
        End { last: u8, code: usize, is_lost: bool, is_unkeyed: bool },
        /// An event is taken.
        Take,
        /// User space ends an epoch and drains it; attempts that are on their way
        /// through the hooks have been counted in it.
        Drain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let end = (0u8..4, 0usize..3, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(last, code, is_lost, is_unkeyed)| Step::End { last, code, is_lost, is_unkeyed });
        prop::collection::vec(prop_oneof![8 => end, 6 => Just(Step::Take), 2 => Just(Step::Drain)], 0..200)
    }

    proptest! {
        /// Whatever is lost, whenever drains come and however late events are: what
        /// is counted is never more than the kernel's count, and in the end it is
        /// that; nothing is left behind.
        #[test]
        fn in_the_end_the_counts_are_the_kernels(steps in steps(), start in 0u16..3) {
            let mut reconciler = Reconciler::default();
            // Near the end of the numbers too.
            let mut epoch = if start == 0 { FIRST_EPOCH } else { u16::MAX - 1 - start };
            reconciler.first = epoch;
            let (mut kernel, mut counted) = (BTreeMap::<Ended, u64>::new(), BTreeMap::<Ended, u64>::new());
            let mut unkeyed = BTreeMap::<Ended, u64>::new();
            let (mut map, mut committed) = (BTreeMap::<OutcomeKey, u64>::new(), 0);
            let mut ring = VecDeque::new();
            let last = [Step::Drain].into_iter().chain(std::iter::repeat_n(Step::Take, 200)).chain([Step::Drain]);
            for step in steps.into_iter().chain(last) {
                match step {
                    Step::End { last, code, is_lost, is_unkeyed } => {
                        let ended = Ended::of_key(&key(last, code));
                        if is_unkeyed {
                            // Told by its event, or known in total only.
                            *unkeyed.entry(ended).or_default() += u64::from(!is_lost);
                            ring.extend((!is_lost).then_some((NO_EPOCH, ended)));
                            continue;
                        }
                        *kernel.entry(ended).or_default() += 1;
                        *map.entry(key(last, code)).or_default() += 1;
                        if !is_lost {
                            committed += 1;
                            ring.push_back((epoch, ended));
                        }
                    }
                    Step::Take => if let Some((epoch, ended)) = ring.pop_front() {
                        reconciler.told(epoch, ended);
                        *counted.entry(ended).or_default() += 1;
                    },
                    Step::Drain => {
                        let outcomes = std::mem::take(&mut map).into_iter().collect();
                        reconciler.drained(Drain { epoch, outcomes, events: committed });
                        (epoch, committed) = (next_epoch(epoch), 0);
                    }
                }
                for (ended, count) in reconciler.missing() {
                    *counted.entry(ended).or_default() += count;
                }
                for (ended, &count) in &counted {
                    let most = kernel.get(ended).copied().unwrap_or(0) + unkeyed.get(ended).copied().unwrap_or(0);
                    prop_assert!(count <= most, "{:?}: {} of {}", ended, count, most);
                }
            }
            for (ended, count) in unkeyed {
                *kernel.entry(ended).or_default() += count;
            }
            kernel.retain(|_, count| *count > 0);
            prop_assert_eq!(counted, kernel);
            prop_assert_eq!((reconciler.len(), reconciler.late()), (0, 0));
        }
    }
}
