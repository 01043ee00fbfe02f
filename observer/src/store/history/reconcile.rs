//! Finds attempts that the kernel counted and no event told of, so that the
//! per-minute counts are right also when events were lost.

use std::collections::HashMap;
use std::net::IpAddr;

use observer_common::record::OutcomeKey;

use super::MinuteKey;
use crate::attempt::address;
use crate::event::Event;
use crate::label::label;

/// Counts what events told, and compares it with what the kernel counted. Knows
/// no more keys than the kernel's own table.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// By key, `minute` being 0.
    told: HashMap<MinuteKey, u64>,
    /// What a look found missing: perhaps only on its way.
    suspects: HashMap<MinuteKey, u64>,
    /// Entries of `told`, at most.
    limit: usize,
    /// Something found no room in `told`.
    is_full: bool,
}

/// When the kernel's counters were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Attempts end meanwhile: what is missing may be on its way, and is
    /// believed to be lost when the next look still misses it.
    Running,
    /// Nothing moves any more.
    Final,
}

impl Reconciler {
    /// For a kernel table of so many outcomes.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// What [`Reconciler::told`] takes.
    pub fn key(event: &Event) -> MinuteKey {
        MinuteKey { minute: 0, ..MinuteKey::of_event(event) }
    }

    /// An event with this key is on its way to history.
    pub fn told(&mut self, key: MinuteKey) {
        self.add(key, 1);
    }

    /// True if a look may find something.
    pub fn is_suspicious(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// What must be added to the counts of `minute`. Hand it to
    /// [`Reconciler::confirm`] once it is on its way to history.
    pub fn missing(&mut self, counted: &[(OutcomeKey, u64)], minute: i64, look: Look) -> Vec<(MinuteKey, u64)> {
        let mut kernel: HashMap<MinuteKey, u64> = HashMap::new();
        for (key, count) in counted {
            // Different facts can be the same outcome.
            *kernel.entry(of_kernel(key)).or_default() += count;
        }
        let mut lacking: HashMap<MinuteKey, u64> = HashMap::new();
        let mut lost = Vec::new();
        for (key, count) in kernel {
            let told = match self.told.get(&key) {
                Some(&told) => told,
                // Events may have told of it and found no room: too few is
                // better than twice.
                None if self.is_full => continue,
                None => 0,
            };
            let lacks = count.saturating_sub(told);
            if lacks == 0 {
                continue;
            }
            // Of what the earlier look had counted, this much is still missing.
            let still = match look {
                Look::Running => self.suspects.get(&key).map_or(0, |&earlier| earlier.saturating_sub(told)),
                Look::Final => lacks,
            };
            if still > 0 {
                lost.push((MinuteKey { minute, ..key }, still));
            }
            if lacks > still {
                lacking.insert(key, count);
            }
        }
        self.suspects = lacking;
        lost
    }

    /// These are on their way to history.
    pub fn confirm(&mut self, missing: &[(MinuteKey, u64)]) {
        for &(key, count) in missing {
            self.add(MinuteKey { minute: 0, ..key }, count);
        }
    }

    fn add(&mut self, key: MinuteKey, count: u64) {
        if let Some(told) = self.told.get_mut(&key) {
            *told += count;
        } else if self.told.len() < self.limit {
            self.told.insert(key, count);
        } else {
            self.is_full = true;
        }
    }
}

fn of_kernel(key: &OutcomeKey) -> MinuteKey {
    let verdict = label(&key.code);
    let src: IpAddr = address(key.saddr);
    MinuteKey {
        minute: 0,
        src_ip: Some(src).filter(|ip| !ip.is_unspecified()),
        dst_ip: Some(address(key.destination.daddr)),
        dst_port: key.destination.dport,
        label: verdict.label,
        reason: verdict.reason,
    }
}

#[cfg(test)]
mod tests {
    use observer_common::address::Address;
    use observer_common::record::{DestinationKey, EndCode, FAMILY_V4, end, fact, phase};
    use proptest::prelude::*;

    use super::*;
    use crate::label::{Label, Reason};
    use crate::sample;

    fn key(last: u8) -> OutcomeKey {
        OutcomeKey {
            saddr: Address::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 10]),
            destination: DestinationKey {
                daddr: Address::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 203, 0, 113, last]),
                dport: 25,
                reserved: 0,
            },
            code: EndCode {
                facts: fact::RST,
                sk_err: libc::ECONNREFUSED as u16,
                phase: phase::SYN_SENT,
                end: end::CLOSE,
                family: FAMILY_V4,
                ..EndCode::default()
            },
        }
    }

    fn entry(last: u8) -> MinuteKey {
        let mut event = sample::event(Label::Refused, Some(Reason::Rst));
        event.dst.ip = Some(sample::ip(&format!("203.0.113.{last}")));
        Reconciler::key(&event)
    }

    fn sum(missing: &[(MinuteKey, u64)]) -> u64 {
        missing.iter().map(|(_, count)| count).sum()
    }

    #[test]
    fn what_is_on_its_way_is_not_lost() {
        let mut reconciler = Reconciler::new(10);
        assert_eq!(reconciler.missing(&[(key(5), 2)], 60, Look::Running), []);
        assert!(reconciler.is_suspicious());
        reconciler.told(entry(5));
        reconciler.told(entry(5));
        assert_eq!(reconciler.missing(&[(key(5), 2)], 60, Look::Running), []);
        assert!(!reconciler.is_suspicious());
    }

    #[test]
    fn a_full_table_counts_nothing_twice() {
        let mut reconciler = Reconciler::new(1);
        reconciler.told(entry(5));
        reconciler.told(entry(6));
        assert_eq!(reconciler.missing(&[(key(5), 1), (key(6), 1)], 60, Look::Final), []);
    }

    #[test]
    fn what_stays_away_is_lost_once() {
        let mut reconciler = Reconciler::new(10);
        reconciler.told(entry(5));
        assert_eq!(reconciler.missing(&[(key(5), 3)], 60, Look::Running), []);
        let missing = reconciler.missing(&[(key(5), 4)], 120, Look::Running);
        assert_eq!(missing, [(MinuteKey { minute: 120, ..entry(5) }, 2)]);
        reconciler.confirm(&missing);
        reconciler.told(entry(5));
        assert_eq!(reconciler.missing(&[(key(5), 4)], 180, Look::Final), []);
    }

    proptest! {
        /// Whatever is lost, and whenever it is looked: in the end history has
        /// counted what the kernel has.
        #[test]
        fn in_the_end_the_counts_are_the_kernels(
            steps in prop::collection::vec((0u8..4, any::<bool>(), any::<bool>()), 0..60)
        ) {
            let mut reconciler = Reconciler::new(10);
            let mut kernel = [0u64; 4];
            let mut history = 0;
            let mut waiting = Vec::new();
            let counters = |kernel: &[u64; 4]| (0..).zip(kernel).map(|(last, &count)| (key(last), count)).collect::<Vec<_>>();
            for (last, is_lost, is_look) in steps {
                kernel[usize::from(last)] += 1;
                if !is_lost {
                    waiting.push(last);
                }
                if is_look {
                    let missing = reconciler.missing(&counters(&kernel), 60, Look::Running);
                    history += sum(&missing);
                    reconciler.confirm(&missing);
                    // What waited at the time of a look is told before the next.
                    history += waiting.len() as u64;
                    waiting.drain(..).for_each(|last| reconciler.told(entry(last)));
                }
            }
            history += waiting.len() as u64;
            waiting.drain(..).for_each(|last| reconciler.told(entry(last)));
            history += sum(&reconciler.missing(&counters(&kernel), 60, Look::Final));
            prop_assert_eq!(history, kernel.iter().sum::<u64>());
        }
    }
}
