//! Any bytes as a line of a mail server's log: what it means has no local part of an
//! address, is of a bounded size, and can be joined.
#![no_main]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use observer_core::join::{Joiner, Settings};
use observer_core::mta::stamp::Clock;
use observer_core::mta::{MtaKind, Understanding, WORDS_MAX, read};

const KINDS: [MtaKind; 4] = [MtaKind::Postfix, MtaKind::Exim, MtaKind::OpenSmtpd, MtaKind::KumoMta];

fuzz_target!(|bytes: &[u8]| {
    let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
    for kind in KINDS {
        let mut joiner = Joiner::new(Settings { max_waiting: 4, ..Settings::default() });
        let mut understanding = Understanding::default();
        let mut read_of = |line| {
            let reading = read(kind, line, &clock);
            understanding.take(line, reading.writer);
            reading.lines
        };
        for line in bytes.split(|&byte| byte == b'\n').flat_map(&mut read_of) {
            assert!(line.words.len() <= WORDS_MAX);
            assert!(!line.recipient_domain.as_ref().is_some_and(|domain| domain.contains('@')));
            for (at, _) in line.words.match_indices('@') {
                assert!(line.words[..at].ends_with('*'), "{}", line.words);
            }
            joiner.line(line);
        }
        joiner.finish();
        let shown = understanding.nothing().map_or("", |(_, first)| first);
        assert!(shown.len() <= 200 && !shown.contains(char::is_control));
    }
});
