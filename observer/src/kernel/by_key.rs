//! Reading a hash map key by key, which kernel programs hardly notice.
//!
//! While the kernel copies elements for a system call, it skips every program on that CPU
//! that is attached to a classic tracepoint (`bpf_disable_instrumentation`, in
//! `include/linux/bpf.h`): whatever preempts or interrupts the call there is not seen. A batch
//! call does so for as long as it walks through buckets, empty ones too. To look for the next
//! key it does not, and to copy one element takes less than a microsecond.

use std::collections::HashSet;
use std::hash::Hash;

use aya::Pod;
use aya::maps::{HashMap, MapData, MapError};

/// Keys that may come again, beside as many as there are: whenever the one at which a walk
/// stands is removed, the walk begins anew.
const AGAIN_MAX: usize = 65_536;

/// Hands over every element that is there from beginning to end, once, whatever comes and
/// goes beside it. False if so much goes that the walk does not end: some are missing then.
///
/// # Errors
/// Those of the bpf system call.
pub(super) fn read<K: Pod + Eq + Hash, V: Pod>(
    map: &HashMap<MapData, K, V>,
    mut each: impl FnMut(&V),
) -> Result<bool, MapError> {
    let (mut seen, mut again) = (HashSet::new(), 0);
    for key in map.keys() {
        let key = key?;
        if !seen.insert(key) {
            again += 1;
            if again > seen.len() + AGAIN_MAX {
                return Ok(false);
            }
            continue;
        }
        match map.get(&key, 0) {
            Ok(value) => each(&value),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Removes every element of a map to which nothing is added meanwhile, and hands it over.
///
/// # Errors
/// Those of the bpf system call. Nothing is removed that was not handed over.
pub(super) fn take<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    mut each: impl FnMut(&K, &V),
) -> Result<(), MapError> {
    for key in map.keys().collect::<Result<Vec<K>, _>>()? {
        let value = map.get(&key, 0)?;
        map.remove(&key)?;
        each(&key, &value);
    }
    Ok(())
}
