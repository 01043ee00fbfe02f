//! Indexes of the kernel's own counters, an array for each CPU.

/// Attempts begun, also those that found no room in the map.
pub const ATTEMPTS: u32 = 0;
/// Attempts whose end was counted.
pub const OUTCOMES: u32 = 1;
/// Attempts not followed because the map of attempts in flight was full.
pub const LOST_ATTEMPTS_FULL: u32 = 2;
/// Events committed to the ring buffer.
pub const EVENTS: u32 = 3;
/// Attempts of which no event was sent, counted in total only: there was no room for
/// their destination and end.
pub const OUTCOMES_FULL: u32 = 4;
/// Destinations that began to be remembered, also those that were once forgotten.
pub const DESTINATIONS: u32 = 5;
/// Events that found the ring buffer full. Their attempts are counted.
pub const RING_FULL: u32 = 6;
/// Handshakes completed.
pub const ESTABLISHED: u32 = 7;
/// Attempts whose beginning was not seen (before attach, or a skipped run).
pub const LATE_STARTS: u32 = 8;
/// Ends that the hook in charge missed and a later hook caught.
pub const RECOVERED_ENDS: u32 = 9;
/// Ended attempts that were not remembered because their map was full: what
/// connect() then says of them is counted as another attempt.
pub const ENDED_FULL: u32 = 10;
/// RSTs, ICMP errors and dropped SYNs that a skipped run missed and that the
/// socket still told of.
pub const RECOVERED_FACTS: u32 = 11;
/// Attempts of which no event was sent, counted by source, destination and end.
pub const UNTOLD: u32 = 12;
/// Connections of observer's own, such as probes: not attempts.
pub const OWN: u32 = 13;

/// Number of counters.
pub const COUNT: usize = 14;

/// All of them.
pub type Stats = [u64; COUNT];

/// One CPU's, in cache lines of its own.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct CpuStats {
    /// Its counters.
    pub counts: Stats,
    /// Zero.
    pub reserved: [u64; 2],
}
