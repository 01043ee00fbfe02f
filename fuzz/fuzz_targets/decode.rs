//! Any bytes from the ring buffer become an error or an event, in every format.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use observer_core::attempt::{Attempt, ClockOffset};
use observer_core::decode::decode;
use observer_core::event::{Capabilities, Event, Host, Surroundings};
use observer_core::format::{Entry, Format};
use observer_core::label::label;

const FORMATS: [Format; 10] = [
    Format::Text,
    Format::Json,
    Format::Ecs,
    Format::Ocsf,
    Format::Cef,
    Format::Leef,
    Format::Rfc5424,
    Format::Gelf,
    Format::SplunkHec,
    Format::Otlp,
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = decode(bytes) else { return };
    let clock = ClockOffset::new(0, Timestamp::UNIX_EPOCH);
    let attempt = Attempt::from_record(&record, clock);
    let host = Host { name: "mx1".to_owned(), boot: "6f0c2d9e".to_owned() };
    let able = Capabilities { rst_origin: true, icmp_v4: true, icmp_v6: true, syn_drops: true };
    let event = Event::new(&attempt, label(&record.code), &host, able, Surroundings::default());
    for format in FORMATS {
        let mut line = Vec::new();
        format.append(Entry::Event(&event), true, &mut line).expect("writing to memory");
        let lines = line.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!((lines, line.last()), (1, Some(&b'\n')), "an event is one line");
    }
});
