//! Processes that probe for observer: their connections are no attempts.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, MapData, MapError};
use aya::{Ebpf, Pod};
use observer_common::prober::{SLOTS, left, slot};

/// Connections that pass for one process: many times what a diagnosis makes.
pub const CONNECTIONS: u32 = 1_000;

/// The kernel's list of them.
pub struct Probers(Mutex<Array<MapData, Slot>>);

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Slot(u64);

// SAFETY: an integer.
unsafe impl Pod for Slot {}

impl Probers {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Arc<Self>, MapError> {
        let name = "PROBERS";
        let map = ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })?;
        Ok(Arc::new(Self(Mutex::new(Array::try_from(map)?))))
    }

    /// Lets connections of a process pass, [`CONNECTIONS`] at most, until the result is
    /// dropped. `pid` is an id of the initial pid namespace.
    ///
    /// # Errors
    /// If as many as there is room for probe already; those of the bpf system call.
    pub fn admit(self: &Arc<Self>, pid: u32) -> io::Result<Admitted> {
        let mut slots = self.slots();
        for index in 0..SLOTS {
            if slots.get(&index, 0).map_err(io::Error::other)?.0 as u32 == 0 {
                slots.set(index, &Slot(slot(pid, CONNECTIONS)), 0).map_err(io::Error::other)?;
                return Ok(Admitted { probers: Arc::clone(self), index });
            }
        }
        Err(io::Error::other(format!("{SLOTS} processes probe already")))
    }

    fn slots(&self) -> MutexGuard<'_, Array<MapData, Slot>> {
        // Slots are set whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
pub struct Admitted {
    probers: Arc<Probers>,
    index: u32,
}

impl Admitted {
    /// Connections that have passed.
    pub fn passed(&self) -> u32 {
        let slot = self.probers.slots().get(&self.index, 0);
        // The last ones may pass on two CPUs at once.
        slot.map_or(0, |slot| CONNECTIONS.saturating_sub(left(slot.0)))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // It could be written to when it was admitted.
        let _ = self.probers.slots().set(self.index, &Slot(0), 0);
    }
}
