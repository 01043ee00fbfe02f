//! From the bytes of a ring-buffer record to the record.

use std::fmt;

use observer_common::address::Address;
use observer_common::record::{AttemptRecord, DestinationCounters, EndCode, FAMILY_V4, FAMILY_V6, end, phase};

/// Size of a record in bytes.
pub const RECORD_LEN: usize = size_of::<AttemptRecord>();

/// Why bytes are no record. The kernel programs of the same build never send
/// such bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not [`RECORD_LEN`] bytes, but this many.
    Length(usize),
    /// A phase that does not exist.
    Phase(u8),
    /// An end that does not exist.
    End(u8),
    /// An address family that does not exist.
    Family(u8),
    /// The attempt ended before it began.
    Times,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "a record of {len} bytes, not {RECORD_LEN}"),
            Self::Phase(value) => write!(f, "unknown phase {value}"),
            Self::End(value) => write!(f, "unknown end {value}"),
            Self::Family(value) => write!(f, "unknown address family {value}"),
            Self::Times => f.write_str("the attempt ended before it began"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes one record.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(mut bytes: &[u8]) -> Result<AttemptRecord, DecodeError> {
    if bytes.len() != RECORD_LEN {
        return Err(DecodeError::Length(bytes.len()));
    }
    // The order of the fields of AttemptRecord; its test compares with a
    // record's memory.
    let record = AttemptRecord {
        started_ns: u64::from_ne_bytes(take(&mut bytes)),
        established_ns: u64::from_ne_bytes(take(&mut bytes)),
        ended_ns: u64::from_ne_bytes(take(&mut bytes)),
        cgroup: u64::from_ne_bytes(take(&mut bytes)),
        bytes_received: u64::from_ne_bytes(take(&mut bytes)),
        saddr: Address::from_octets(take(&mut bytes)),
        daddr: Address::from_octets(take(&mut bytes)),
        icmp_from: Address::from_octets(take(&mut bytes)),
        comm: take(&mut bytes),
        netns: u32::from_ne_bytes(take(&mut bytes)),
        pid: u32::from_ne_bytes(take(&mut bytes)),
        uid: u32::from_ne_bytes(take(&mut bytes)),
        iif: u32::from_ne_bytes(take(&mut bytes)),
        oif: u32::from_ne_bytes(take(&mut bytes)),
        cpu: u32::from_ne_bytes(take(&mut bytes)),
        code: end_code(&mut bytes),
        dport: u16::from_ne_bytes(take(&mut bytes)),
        sport: u16::from_ne_bytes(take(&mut bytes)),
        syn_retransmits: u16::from_ne_bytes(take(&mut bytes)),
        syn_drops: u16::from_ne_bytes(take(&mut bytes)),
        rst_ttl: u8::from_ne_bytes(take(&mut bytes)),
        icmp_ttl: u8::from_ne_bytes(take(&mut bytes)),
        answer_drops: u16::from_ne_bytes(take(&mut bytes)),
        unacked_bytes: u32::from_ne_bytes(take(&mut bytes)),
        reserved: u32::from_ne_bytes(take(&mut bytes)),
        counters: DestinationCounters {
            since_ns: u64::from_ne_bytes(take(&mut bytes)),
            attempts: u64::from_ne_bytes(take(&mut bytes)),
            established: u64::from_ne_bytes(take(&mut bytes)),
            fastest_handshake_ns: u64::from_ne_bytes(take(&mut bytes)),
        },
    };
    validate(&record)?;
    Ok(record)
}

fn end_code(bytes: &mut &[u8]) -> EndCode {
    EndCode {
        facts: u32::from_ne_bytes(take(bytes)),
        sk_err: u16::from_ne_bytes(take(bytes)),
        phase: u8::from_ne_bytes(take(bytes)),
        end: u8::from_ne_bytes(take(bytes)),
        icmp_type: u8::from_ne_bytes(take(bytes)),
        icmp_code: u8::from_ne_bytes(take(bytes)),
        soft_err: u8::from_ne_bytes(take(bytes)),
        family: u8::from_ne_bytes(take(bytes)),
    }
}

/// The next N bytes; zeroes behind the end, which the length check excludes.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut field = [0; N];
    if let Some((head, rest)) = bytes.split_first_chunk::<N>() {
        field = *head;
        *bytes = rest;
    }
    field
}

fn validate(record: &AttemptRecord) -> Result<(), DecodeError> {
    let code = &record.code;
    if code.phase > phase::ESTABLISHED {
        return Err(DecodeError::Phase(code.phase));
    }
    if code.end > end::REPLACED {
        return Err(DecodeError::End(code.end));
    }
    if !matches!(code.family, FAMILY_V4 | FAMILY_V6) {
        return Err(DecodeError::Family(code.family));
    }
    if record.ended_ns < record.started_ns {
        return Err(DecodeError::Times);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> AttemptRecord {
        AttemptRecord {
            started_ns: 1_000,
            established_ns: 0x0102_0304_0506_0708,
            ended_ns: 2_000,
            cgroup: 3,
            bytes_received: 4,
            saddr: Address::from_octets([5; 16]),
            daddr: Address::from_octets([6; 16]),
            icmp_from: Address::from_octets([7; 16]),
            comm: *b"smtp\0\0\0\0\0\0\0\0\0\0\0\0",
            netns: 8,
            pid: 9,
            uid: 10,
            iif: 11,
            oif: 12,
            cpu: 13,
            code: EndCode {
                facts: 14,
                sk_err: 111,
                phase: phase::SYN_SENT,
                end: end::CLOSE,
                icmp_type: 15,
                icmp_code: 16,
                soft_err: 17,
                family: FAMILY_V6,
            },
            dport: 25,
            sport: 18,
            syn_retransmits: 19,
            syn_drops: 20,
            rst_ttl: 21,
            icmp_ttl: 22,
            answer_drops: 29,
            unacked_bytes: 28,
            reserved: 26,
            counters: DestinationCounters { since_ns: 27, attempts: 23, established: 24, fastest_handshake_ns: 25 },
        }
    }

    fn memory(record: &AttemptRecord) -> Vec<u8> {
        // SAFETY: the record has no padding, which observer-common asserts.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), RECORD_LEN) }.to_vec()
    }

    #[test]
    fn decodes_what_the_kernel_writes() {
        assert_eq!(decode(&memory(&sample())), Ok(sample()));
    }

    #[test]
    fn refuses_malformed_records() {
        let broken = |change: &dyn Fn(&mut AttemptRecord)| {
            let mut record = sample();
            change(&mut record);
            decode(&memory(&record))
        };
        let whole = memory(&sample());
        let table: &[(&str, Result<AttemptRecord, DecodeError>, DecodeError)] = &[
            ("empty", decode(&[]), DecodeError::Length(0)),
            ("one byte short", decode(&whole[1..]), DecodeError::Length(RECORD_LEN - 1)),
            ("one byte long", decode(&[&whole[..], &[0]].concat()), DecodeError::Length(RECORD_LEN + 1)),
            ("phase", broken(&|record| record.code.phase = 3), DecodeError::Phase(3)),
            ("end", broken(&|record| record.code.end = 6), DecodeError::End(6)),
            ("no family", broken(&|record| record.code.family = 0), DecodeError::Family(0)),
            ("AF_INET6", broken(&|record| record.code.family = 10), DecodeError::Family(10)),
            ("times", broken(&|record| record.ended_ns = 999), DecodeError::Times),
        ];
        for (name, got, expected) in table {
            assert_eq!(*got, Err(*expected), "{name}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_record_survives(mut bytes in proptest::collection::vec(any::<u8>(), RECORD_LEN)) {
            // Make the few fields that are checked valid; all others are free.
            bytes[..8].copy_from_slice(&0_u64.to_ne_bytes());
            let facts = std::mem::offset_of!(AttemptRecord, code);
            bytes[facts + 6] %= 3;
            bytes[facts + 7] %= 6;
            bytes[facts + 11] = FAMILY_V4;
            let record = decode(&bytes).unwrap();
            prop_assert_eq!(memory(&record), bytes);
        }
    }
}
