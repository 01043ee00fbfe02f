//! Any bytes as a segment of a spool: what can be read is read, and the rest counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::store::spool::record::{Parsed, append, census, parse};

fuzz_target!(|bytes: &[u8]| {
    let found = census(bytes, 0);
    assert!(found.end <= bytes.len());
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        match parse(&bytes[at..]) {
            Parsed::Record { message, time, len } => {
                let mut again = Vec::new();
                assert!(append(&message, time, &mut again));
                assert_eq!(again, &bytes[at..at + len], "a record is written as it was read");
                records += 1;
                at += len;
            }
            Parsed::Damaged(len) => at += len,
            Parsed::Incomplete(_) | Parsed::Lost => break,
        }
    }
    assert_eq!(records, found.records);
});
