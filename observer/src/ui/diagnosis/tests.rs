use std::time::Duration;

use jiff::Timestamp;

use super::{letter, render};
use crate::diagnose::{Diagnosis, Evidence, Seen, diagnose};
use crate::event::{Endpoint, Evidence as Facts};
use crate::history::Entry;
use crate::label::{Label, Origin, Reason};

fn entry(second: i64, label: Label, reason: Option<Reason>, origin: Option<Origin>) -> Entry {
    let end = |ip: &str, port| Endpoint { ip: ip.parse().ok(), port: Some(port) };
    Entry {
        id: second.to_string(),
        time: Timestamp::from_second(1_795_000_000 + second).unwrap(),
        label,
        reason,
        origin,
        active_refusal: None,
        errno: None,
        src: end("192.0.2.10", 40_000),
        dst: end("203.0.113.5", 25),
        elapsed: Some(Duration::from_millis(31)),
        handshake: (label == Label::Connected).then(|| Duration::from_millis(30)),
        syn_retransmits: 0,
        process: None,
        evidence: Facts::default(),
    }
}

fn diagnosis(asked: &str, connected: i64, refused: i64) -> Diagnosis {
    let mut subject = Seen::default();
    for second in 0..connected {
        subject.add(&entry(second, Label::Connected, None, None));
    }
    for second in connected..connected + refused {
        subject.add(&entry(second, Label::Refused, Some(Reason::Rst), Some(Origin::Remote)));
    }
    let mut elsewhere = Seen::default();
    elsewhere.add_count("198.51.100.7".parse().unwrap(), Label::Connected, None, 20);
    let evidence = Evidence { asked: asked.to_owned(), port: 25, subject, elsewhere, ..Evidence::default() };
    diagnose(&evidence, Timestamp::from_second(1_795_003_600).unwrap())
}

#[test]
fn what_a_person_reads() {
    insta::assert_snapshot!("stopped", render(&diagnosis("mx.example.net", 12, 9)));
    insta::assert_snapshot!("open", render(&diagnosis("mx.example.net", 0, 9)));
    insta::assert_snapshot!(render(&diagnosis("mx.example.net", 3, 0)), @"mx.example.net, port 25: nothing fails: 3 attempts, all connected");
    insta::assert_snapshot!(render(&diagnosis("mx.example.net", 0, 0)), @"mx.example.net, port 25: no attempts in this period");
}

#[test]
fn what_their_postmaster_reads() {
    insta::assert_snapshot!("letter", letter(&diagnosis("mx.example.net", 12, 9)));
}

#[test]
fn no_terminal_escape_gets_through() {
    let text = render(&diagnosis("mx\u{1b}[2J\u{202e}.example", 0, 3));
    assert!(text.chars().all(|c| c == '\n' || crate::sanitize::is_visible(c)), "{text:?}");
}
