//! Indexes of the kernel's own counters, an array for each CPU.

/// Attempts begun, also those that found no room in the map.
pub const ATTEMPTS: u32 = 0;
/// Attempts whose end was counted.
pub const OUTCOMES: u32 = 1;
/// Attempts not followed because the map of attempts in flight was full.
pub const LOST_ATTEMPTS_FULL: u32 = 2;
/// Events committed to the ring buffer, of attempts counted in an even epoch.
pub const EVENTS_EVEN: u32 = 3;
/// Outcomes counted in total, not per destination: that map was full.
pub const OUTCOMES_FULL: u32 = 4;
/// Destinations that began to be remembered, also those that were once forgotten.
pub const DESTINATIONS: u32 = 5;
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
/// As [`EVENTS_EVEN`], in an odd epoch.
pub const EVENTS_ODD: u32 = 12;
/// Outcomes of [`OUTCOMES_FULL`] whose event was committed; they are in neither
/// [`EVENTS_EVEN`] nor [`EVENTS_ODD`].
pub const EVENTS_UNKEYED: u32 = 13;

/// Connections of observer's own, such as probes: not attempts.
pub const OWN: u32 = 14;

/// Number of counters.
pub const COUNT: usize = 15;

/// All of them.
pub type Stats = [u64; COUNT];

/// Events committed to the ring buffer.
pub const fn events(stats: &Stats) -> u64 {
    stats[EVENTS_EVEN as usize] + stats[EVENTS_ODD as usize] + stats[EVENTS_UNKEYED as usize]
}

/// The counter of events of an epoch.
pub const fn events_of(epoch: u16) -> u32 {
    match epoch {
        crate::record::NO_EPOCH => EVENTS_UNKEYED,
        _ if epoch & 1 == 1 => EVENTS_ODD,
        _ => EVENTS_EVEN,
    }
}
