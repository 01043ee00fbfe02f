//! Indexes of the kernel's own counters, a per-CPU array.

/// Attempts begun, also those that found no room in the map.
pub const ATTEMPTS: u32 = 0;
/// Attempts whose end was counted.
pub const OUTCOMES: u32 = 1;
/// Attempts not followed because the map of attempts in flight was full.
pub const LOST_ATTEMPTS_FULL: u32 = 2;
/// Events committed to the ring buffer.
pub const EVENTS: u32 = 3;
/// Outcomes counted in total, not per destination: that map was full.
pub const OUTCOMES_FULL: u32 = 4;
/// Attempts counted in total, not per destination: that map was full.
pub const DESTINATIONS_FULL: u32 = 5;
/// Events that found the ring buffer full. Their outcome is counted.
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

/// Number of counters.
pub const COUNT: u32 = 12;
