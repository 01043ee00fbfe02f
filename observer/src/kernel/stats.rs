//! The kernel's own counters, mapped into this process's memory.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, IterableMap as _, MapData, MapError};
use observer_common::stat::{self, CpuStats, Stats};
use rustix::fd::AsFd as _;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Value;

/// The map of counters, an element for each CPU.
pub(super) struct MappedStats {
    first: NonNull<CpuStats>,
    cpus: usize,
    /// The programs that are not loaded yet need its descriptor.
    _map: Array<MapData, Value<CpuStats>>,
}

// SAFETY: memory that stays mapped until this is dropped, and that is only read, atomically.
unsafe impl Send for MappedStats {}

impl MappedStats {
    /// Maps it.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub(super) fn of(map: Array<MapData, Value<CpuStats>>) -> Result<Self, MapError> {
        let cpus = map.len() as usize;
        let bytes = cpus * size_of::<CpuStats>();
        let fd = map.map().fd().as_fd();
        // SAFETY: a new mapping, at no address of ours.
        let first = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, fd, 0) };
        let first = first.map_err(|error| MapError::IoError(error.into()))?;
        let first = NonNull::new(first.cast()).ok_or_else(|| MapError::IoError(io::ErrorKind::AddrInUse.into()))?;
        Ok(Self { first, cpus, _map: map })
    }

    /// Summed over the CPUs.
    pub(super) fn sums(&self) -> Stats {
        let mut sums = [0; stat::COUNT];
        for cpu in 0..self.cpus {
            // SAFETY: an element of the mapping, which begins at a page.
            let counters = unsafe { &raw mut (*self.first.add(cpu).as_ptr()).counts }.cast::<u64>();
            for (index, sum) in sums.iter_mut().enumerate() {
                // SAFETY: within that element, aligned; whoever writes it does so atomically.
                *sum += unsafe { AtomicU64::from_ptr(counters.add(index)) }.load(Ordering::Relaxed);
            }
        }
        sums
    }
}

impl Drop for MappedStats {
    fn drop(&mut self) {
        // SAFETY: what `of` mapped, to which nothing refers any more.
        let _ = unsafe { munmap(self.first.as_ptr().cast(), self.cpus * size_of::<CpuStats>()) };
    }
}

/// Elements for all CPUs that this kernel may number: one beyond the highest.
pub(super) fn cpus() -> u32 {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    highest(&list).map_or_else(|| aya::util::nr_cpus().map_or(1, u32::from), |cpu| cpu + 1)
}

/// The last number in `0-3,8-11`.
fn highest(list: &str) -> Option<u32> {
    list.trim().split([',', '-']).filter_map(|number| number.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::highest;

    #[test]
    fn the_highest_cpu_is_found_in_any_list() {
        assert_eq!(highest("0\n"), Some(0));
        assert_eq!(highest("0-3\n"), Some(3));
        assert_eq!(highest("0,2-3,8\n"), Some(8));
        assert_eq!(highest(""), None);
    }
}
