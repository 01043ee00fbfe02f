//! The minute, version 1: how many attempts ended in which way within a minute.
//! It goes the way of events, and its JSON form is documented by
//! `schema/observer.minute.v1.json`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::count::Ended;
use crate::event::{Endpoint, Event, Host};
use crate::label::{Label, Reason};
use crate::schema::{self, Name};

/// Value of [`Minute::schema`].
pub const SCHEMA: &str = "observer.minute.v1";

/// Attempts of one minute from one source address to one destination that ended
/// in the same way, those whose event was lost among them. There can be several of
/// the same: they add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "schema_name")]
    pub schema: Name,
    /// Stable and unique: host, boot, minute, start of this process, and which of its
    /// minutes it is.
    pub id: String,
    /// This host's name.
    pub host: String,
    /// Its beginning.
    pub time: Timestamp,
    /// Its end, which is no longer a part of it.
    pub end: Timestamp,
    /// Source address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_ip: Option<IpAddr>,
    /// Destination.
    pub dst: Endpoint,
    /// How they ended.
    pub label: Label,
    /// The mechanism; absent for `connected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// This host itself answered in the destination's name: it redirects the connections.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirected: bool,
    /// How many.
    pub count: u64,
}

/// Reads [`SCHEMA`], and no other version.
fn schema_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    schema::expect(SCHEMA, deserializer)
}

/// Seconds of a minute.
const MINUTE: i64 = 60;
/// How long after its end a minute is waited for: events take less than that to
/// arrive.
const GRACE: i64 = 5;
/// Different outcomes that are kept. When there are more, some are told at once, and
/// what comes of them later is told again: a minute has parts that add up.
const KEYS_MAX: usize = 16_384;
/// How many are told then.
const KEYS_TOLD: usize = KEYS_MAX / 8;

/// What attempts of a minute have in common that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MinuteOutcome {
    /// Source address, where it is known.
    pub src_ip: Option<IpAddr>,
    /// Destination.
    pub dst_ip: Option<IpAddr>,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// How they ended.
    pub label: Label,
    /// The mechanism.
    pub reason: Option<Reason>,
    /// This host redirected them to itself.
    pub redirected: bool,
}

impl From<&Event> for MinuteOutcome {
    fn from(event: &Event) -> Self {
        Self {
            src_ip: event.src.ip,
            dst_ip: event.dst.ip,
            dst_port: event.dst.port,
            label: event.label,
            reason: event.reason,
            redirected: event.evidence.redirected,
        }
    }
}

impl From<&Ended> for MinuteOutcome {
    fn from(ended: &Ended) -> Self {
        Self {
            src_ip: ended.src_ip,
            dst_ip: Some(ended.dst_ip),
            dst_port: Some(ended.dst_port),
            label: ended.label,
            reason: ended.reason,
            redirected: ended.redirected,
        }
    }
}

/// Counts the outcomes of each minute.
#[derive(Debug)]
pub struct Minutes {
    /// When this process began, for ids: another one may tell of the same minute.
    started: Timestamp,
    counts: BTreeMap<(i64, MinuteOutcome), u64>,
    /// The first minute that was not told yet.
    open: i64,
    /// Minutes told so far, for their ids.
    told: u64,
}

impl Minutes {
    /// Of a process that began then.
    pub fn new(started: Timestamp) -> Self {
        Self { started, counts: BTreeMap::new(), open: 0, told: 0 }
    }

    /// Counts attempts that ended at `time`, in that minute, or in the first that was
    /// not told yet.
    pub fn add(&mut self, time: Timestamp, outcome: MinuteOutcome, count: u64) {
        let minute = time.as_second().div_euclid(MINUTE).max(self.open);
        *self.counts.entry((minute, outcome)).or_default() += count;
    }

    /// Parts of minutes that are told because there is no room for more; to be
    /// called after [`Self::add`].
    pub fn overflow(&mut self, host: &Host) -> Vec<Minute> {
        if self.counts.len() <= KEYS_MAX {
            return Vec::new();
        }
        let parts: Vec<_> = std::iter::from_fn(|| self.counts.pop_first()).take(KEYS_TOLD).collect();
        parts.into_iter().filter_map(|((minute, outcome), count)| self.minute(minute, outcome, count, host)).collect()
    }

    /// The minutes that are over.
    pub fn take(&mut self, now: Timestamp, host: &Host) -> Vec<Minute> {
        self.take_until(now.as_second().saturating_sub(GRACE).div_euclid(MINUTE), host)
    }

    /// All minutes, the one that is not over too: nothing will come any more.
    pub fn take_all(&mut self, host: &Host) -> Vec<Minute> {
        self.take_until(i64::MAX, host)
    }

    fn take_until(&mut self, end: i64, host: &Host) -> Vec<Minute> {
        let later = match self.counts.last_key_value() {
            Some(((minute, _), _)) if *minute < end => BTreeMap::new(),
            _ => {
                let first_later = self.counts.keys().find(|(minute, _)| *minute >= end).copied();
                first_later.map(|key| self.counts.split_off(&key)).unwrap_or_default()
            }
        };
        let mut over = std::mem::replace(&mut self.counts, later);
        if end < self.open.saturating_sub(1) {
            // The clock was set back: minutes are told of once more, and add up. Those to come
            // by the clock as it was would have to wait for it.
            over.append(&mut self.counts);
            self.open = end;
        } else if end != i64::MAX {
            self.open = self.open.max(end);
        }
        over.into_iter().filter_map(|((minute, outcome), count)| self.minute(minute, outcome, count, host)).collect()
    }

    /// `None` for a time that no clock shows.
    fn minute(&mut self, minute: i64, outcome: MinuteOutcome, count: u64, host: &Host) -> Option<Minute> {
        self.told += 1;
        Some(Minute {
            schema: SCHEMA,
            id: format!("{}-{}-{minute:x}.m{:x}.{}", host.name, host.boot, self.started.as_millisecond(), self.told),
            host: host.name.clone(),
            time: Timestamp::from_second(minute.checked_mul(MINUTE)?).ok()?,
            end: Timestamp::from_second((minute + 1).checked_mul(MINUTE)?).ok()?,
            src_ip: outcome.src_ip,
            dst: Endpoint { ip: outcome.dst_ip, port: outcome.dst_port },
            label: outcome.label,
            reason: outcome.reason,
            redirected: outcome.redirected,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::sample::{against_schema, any_event, host};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
        /// Whatever the order of events, clocks and looks: each attempt is in one
        /// minute, and no minute is told of twice.
        #[test]
        fn each_attempt_is_counted_once(
            steps in prop::collection::vec((any_event(), 0..600_i64, 0..600_i64, 1..4_u64, any::<bool>()), 1..60),
        ) {
            let (mut minutes, mut told) = (Minutes::new(at(0)), Vec::new());
            let (mut expected, mut now) = (BTreeMap::<MinuteOutcome, u64>::new(), 0);
            for (event, time, forward, count, looks) in steps {
                let outcome = MinuteOutcome::from(&event);
                minutes.add(at(time), outcome, count);
                *expected.entry(outcome).or_default() += count;
                now += forward / 10;
                if looks {
                    told.extend(minutes.take(at(now), &host()));
                }
            }
            told.extend(minutes.take_all(&host()));
            let mut found = BTreeMap::<MinuteOutcome, u64>::new();
            let mut ids = BTreeSet::new();
            let mut keys = BTreeSet::new();
            for minute in &told {
                let outcome = MinuteOutcome {
                    src_ip: minute.src_ip,
                    dst_ip: minute.dst.ip,
                    dst_port: minute.dst.port,
                    label: minute.label,
                    reason: minute.reason,
                    redirected: minute.redirected,
                };
                *found.entry(outcome).or_default() += minute.count;
                prop_assert!(ids.insert(minute.id.clone()) && keys.insert((minute.time, outcome)), "{:?}", minute);
                prop_assert_eq!(minute.end.as_second() - minute.time.as_second(), 60);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_schema_describes_every_minute_and_it_reads_back() {
        let mut minutes = Minutes::new(at(0));
        for label in Label::ALL {
            let reason = (label != Label::Connected).then_some(Reason::Unknown);
            minutes.add(at(0), MinuteOutcome::from(&crate::sample::event(label, reason)), 3);
        }
        minutes.add(
            at(0),
            MinuteOutcome {
                src_ip: None,
                dst_ip: None,
                dst_port: None,
                label: Label::Refused,
                reason: None,
                redirected: true,
            },
            1,
        );
        for minute in minutes.take_all(&host()) {
            let json = serde_json::to_value(&minute).unwrap();
            assert_eq!(against_schema(SCHEMA, &json), [""; 0], "{json}");
            assert_eq!(serde_json::from_value::<Minute>(json).unwrap(), minute);
        }
    }

    #[test]
    fn a_minute_is_told_of_when_it_is_over_and_what_comes_later_is_in_the_next() {
        let mut minutes = Minutes::new(at(0));
        let outcome = MinuteOutcome::from(&crate::sample::event(Label::Refused, Some(Reason::Rst)));
        minutes.add(at(119), outcome, 1);
        assert_eq!(minutes.take(at(124), &host()), []);
        minutes.add(at(121), outcome, 2);
        let told = minutes.take(at(125), &host());
        assert_eq!(told.iter().map(|minute| (minute.time, minute.count)).collect::<Vec<_>>(), [(at(60), 1)]);
        minutes.add(at(119), outcome, 4);
        let told = minutes.take_all(&host());
        assert_eq!(told.iter().map(|minute| (minute.time, minute.count)).collect::<Vec<_>>(), [(at(120), 6)]);
    }

    #[test]
    fn a_clock_that_was_set_back_counts_on() {
        let mut minutes = Minutes::new(at(0));
        let outcome = MinuteOutcome::from(&crate::sample::event(Label::Refused, Some(Reason::Rst)));
        assert_eq!(minutes.take(at(100_000), &host()), []);
        assert_eq!(minutes.take(at(600), &host()), []);
        minutes.add(at(601), outcome, 1);
        assert_eq!(minutes.take(at(665), &host())[0].time, at(600));
    }

    #[test]
    fn two_processes_of_one_minute_have_two_ids() {
        let outcome = MinuteOutcome::from(&crate::sample::event(Label::Refused, Some(Reason::Rst)));
        let ids = [0, 1].map(|second| {
            let mut minutes = Minutes::new(at(second));
            minutes.add(at(5), outcome, 1);
            minutes.take_all(&host())[0].id.clone()
        });
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn what_was_counted_by_a_clock_that_was_a_day_ahead_does_not_wait_for_that_day() {
        let mut minutes = Minutes::new(at(0));
        let outcome = MinuteOutcome::from(&crate::sample::event(Label::Refused, Some(Reason::Rst)));
        assert_eq!(minutes.take(at(600), &host()), []);
        assert_eq!(minutes.take(at(600 + 86_400), &host()), []);
        minutes.add(at(610 + 86_400), outcome, 1);
        // Set back: known only from the next look on.
        minutes.add(at(611), outcome, 2);
        let told = minutes.take(at(612), &host());
        assert_eq!(told.iter().map(|minute| minute.count).sum::<u64>(), 3, "{told:?}");
        minutes.add(at(613), outcome, 4);
        let told = minutes.take(at(665), &host());
        assert_eq!(told.iter().map(|minute| (minute.time, minute.count)).collect::<Vec<_>>(), [(at(600), 4)]);
    }

    #[test]
    fn beyond_its_room_a_minute_is_told_in_parts_that_add_up() {
        let mut minutes = Minutes::new(at(0));
        let any = MinuteOutcome::from(&crate::sample::event(Label::Refused, Some(Reason::Rst)));
        let of = |host: u32| MinuteOutcome { dst_ip: Some(std::net::Ipv4Addr::from_bits(host).into()), ..any };
        let all = 3 * KEYS_MAX as u32;
        let mut told = Vec::new();
        for host in (0..all).chain(0..all) {
            minutes.add(at(0), of(host), 1);
            told.extend(minutes.overflow(&crate::sample::host()));
            assert!(minutes.counts.len() <= KEYS_MAX);
        }
        told.extend(minutes.take_all(&crate::sample::host()));
        let mut sums = BTreeMap::new();
        for minute in &told {
            assert_eq!((minute.time, minute.dst.port), (at(0), any.dst_port));
            *sums.entry(minute.dst.ip.unwrap()).or_insert(0) += minute.count;
        }
        assert_eq!((sums.len(), sums.values().all(|&count| count == 2)), (all as usize, true));
        let ids: BTreeSet<_> = told.iter().map(|minute| &minute.id).collect();
        assert_eq!(ids.len(), told.len());
    }
}
