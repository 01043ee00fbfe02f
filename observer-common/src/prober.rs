//! Processes whose connections are observer's own: an array of slots that user space
//! fills, each a process id and how many more of its connections pass.

/// Processes at a time.
pub const SLOTS: u32 = 4;

/// One connection, as it is taken from a slot.
pub const ONE: u64 = 1 << 32;

/// A slot that lets so many connections of a process pass; 0 is an empty one.
pub const fn slot(pid: u32, connections: u32) -> u64 {
    (connections as u64) << 32 | pid as u64
}

/// True if a connection of this process passes.
pub const fn admits(slot: u64, pid: u32) -> bool {
    slot as u32 == pid && slot >= ONE
}

/// How many more connections pass.
pub const fn left(slot: u64) -> u32 {
    (slot >> 32) as u32
}

const _: () = assert!(admits(slot(7, 1), 7) && !admits(slot(7, 0), 7) && !admits(slot(7, 1), 8));
const _: () = assert!(left(slot(7, 3) - ONE) == 2 && !admits(0, 7));
