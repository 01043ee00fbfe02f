//! The kernel's counters. One thread owns them: nobody else reads these maps.

use std::hash::Hash;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, MapError};
use aya::{Ebpf, Pod};
use observer_common::record::{AttemptRecord, DestinationCounters, DestinationKey, OutcomeKey};
use observer_common::stat::Stats;

use super::batch::BatchReader;
use super::stats::MappedStats;
use super::{Key, Value, by_key};

/// For the programs that had begun before the other map counted, where the kernel does not
/// say when they have ended: they take microseconds.
const GRACE: Duration = Duration::from_millis(200);

/// The maps that count.
pub struct CounterMaps {
    outcomes: [HashMap<MapData, Key<OutcomeKey>, u64>; 2],
    attempts: HashMap<MapData, u64, Value<AttemptRecord>>,
    destinations: HashMap<MapData, Key<DestinationKey>, Value<DestinationCounters>>,
    counting: Array<MapData, u32>,
    stats: MappedStats,
    /// Which of `outcomes` counts now.
    now: usize,
    /// See [`by_key`]: dearer than batches.
    is_by_key: bool,
    /// A state hook that is skipped loses attempts.
    is_to_be_spared: bool,
    read_outcomes: BatchReader<Key<OutcomeKey>, u64>,
    read_attempts: BatchReader<u64, Value<AttemptRecord>>,
    read_destinations: BatchReader<Key<DestinationKey>, Value<DestinationCounters>>,
}

impl CounterMaps {
    /// Takes them out of a loaded object, before anything is attached.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        Ok(Self {
            outcomes: [take(ebpf, "OUTCOMES_0")?.try_into()?, take(ebpf, "OUTCOMES_1")?.try_into()?],
            attempts: take(ebpf, "ATTEMPTS")?.try_into()?,
            destinations: take(ebpf, "DESTINATIONS")?.try_into()?,
            counting: take(ebpf, "COUNTING")?.try_into()?,
            stats: MappedStats::of(take(ebpf, "STATS")?.try_into()?)?,
            now: 0,
            is_by_key: false,
            is_to_be_spared: false,
            read_outcomes: BatchReader::new(),
            read_attempts: BatchReader::new(),
            read_destinations: BatchReader::new(),
        })
    }

    /// From now on reads the maps so that hardly any program on a classic tracepoint is
    /// skipped; `is_state` if the state hook is one.
    pub(super) fn spare_tracepoints(&mut self, is_state: bool) {
        (self.is_by_key, self.is_to_be_spared) = (true, is_state);
    }

    /// True if they are to be drained seldom: that may keep the state hook from running.
    pub(super) fn is_to_be_spared(&self) -> bool {
        self.is_to_be_spared
    }

    /// The counters of [`observer_common::stat`], summed over the CPUs: quick to read, and no
    /// program notices.
    pub fn stats(&self) -> Stats {
        self.stats.sums()
    }

    /// True if this process may read maps.
    pub fn is_readable(&self) -> bool {
        self.counting.get(&0, 0).is_ok()
    }

    /// Lets the other map count, and takes everything that was counted in this one, by
    /// source, destination and end code. Waits for the kernel, some ten milliseconds.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn drain(&mut self) -> Result<Vec<(OutcomeKey, u64)>, MapError> {
        let over = self.now;
        self.now = 1 - over;
        self.counting.set(0, &(self.now as u32), 0)?;
        wait_for_programs();
        let mut outcomes = Vec::new();
        let each = |key: &Key<OutcomeKey>, count: &u64| outcomes.push((key.0, *count));
        let map = &mut self.outcomes[over];
        if self.is_by_key {
            by_key::take(map, each)?;
        } else {
            self.read_outcomes.take(map.map().fd(), each).map_err(batch_error)?;
        }
        Ok(outcomes)
    }

    /// Counts the attempts that are in flight.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn count_in_flight(&mut self) -> Result<u64, MapError> {
        let one = |count: &mut u64, record: &Value<AttemptRecord>| *count += u64::from(is_in_flight(&record.0));
        sum(self.is_by_key, &self.attempts, &mut self.read_attempts, one)
    }

    /// The attempts that are in flight.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn in_flight(&mut self) -> Result<Vec<AttemptRecord>, MapError> {
        let one = |records: &mut Vec<_>, record: &Value<AttemptRecord>| {
            records.extend(Some(record.0).filter(is_in_flight));
        };
        sum(self.is_by_key, &self.attempts, &mut self.read_attempts, one)
    }

    /// Destinations that the kernel remembers.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn destinations(&mut self) -> Result<u64, MapError> {
        let one = |count: &mut u64, _: &Value<DestinationCounters>| *count += 1;
        sum(self.is_by_key, &self.destinations, &mut self.read_destinations, one)
    }
}

/// Sums a map up, in one of the two ways to read it.
fn sum<K: Pod + Eq + Hash, V: Pod, S: Default>(
    is_by_key: bool,
    map: &HashMap<MapData, K, V>,
    batches: &mut BatchReader<K, V>,
    add: impl Fn(&mut S, &V),
) -> Result<S, MapError> {
    let mut sum = S::default();
    if is_by_key && by_key::read(map, |value| add(&mut sum, value))? {
        return Ok(sum);
    }
    // Of a walk that did not come to its end nothing counts.
    sum = S::default();
    batches.read(map.map().fd(), |_, value| add(&mut sum, value)).map_err(batch_error)?;
    Ok(sum)
}

/// One that has ended is only not removed yet.
fn is_in_flight(record: &AttemptRecord) -> bool {
    record.ended_ns == 0
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

fn batch_error(error: io::Error) -> MapError {
    MapError::IoError(error)
}

/// Returns when every program that was running has ended: the kernel's grace period.
pub(super) fn wait_for_programs() {
    // `include/uapi/linux/membarrier.h`: a grace period of RCU, since Linux 4.3.
    // Programs run within one of its read-side sections.
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes no pointer.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    let is_one_cpu = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
    if done < 0 || is_one_cpu {
        // With nohz_full it does not exist; with one CPU it returns at once, also while a
        // program that was preempted has not ended.
        sleep(GRACE);
    }
}
