use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use observer_common::record::{end, fact, phase};
use observer_core::label::{Label, Origin, Reason};
use proptest::prelude::*;

use super::compare::{Born, BySource, Unclear, born, by_source};
use super::connect::{Patience, Seen, connect, first_line, is_whole};
use super::trace::{Answer, Hop, MAX_SILENT, ProbeKind, Trace, answer};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plan(port: u16, destinations: usize) -> Plan {
    let destinations = (0..destinations).map(|at| ip(&format!("203.0.113.{}", at + 1))).collect();
    Plan { destinations, sources: Vec::new(), port }
}

#[test]
fn only_mail_ports_and_few_hosts_are_admitted() {
    assert_eq!(admit(&plan(25, MAX_DESTINATIONS), false), Ok(()));
    assert_eq!(admit(&plan(443, 1), false), Err(Refused::Port(443)));
    assert_eq!(admit(&plan(443, 1), true), Ok(()));
    assert_eq!(admit(&plan(0, 1), true), Err(Refused::Port(0)));
    assert_eq!(admit(&plan(25, 17), true), Err(Refused::Destinations(17)));
    let many = Plan { sources: vec![ip("192.0.2.1"); 9], ..plan(25, 1) };
    assert_eq!(admit(&many, true), Err(Refused::Sources(9)));
    for address in ["224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:224.0.0.1"] {
        let group = Plan { destinations: vec![ip(address)], ..plan(25, 0) };
        assert_eq!(admit(&group, true), Err(Refused::Address(ip(address))), "{address}");
    }
}

#[test]
fn banners_are_one_visible_line() {
    assert_eq!(first_line(b"220 mx.example.net ESMTP\r\n250 no"), "220 mx.example.net ESMTP");
    assert_eq!(first_line(b"220-\x1b[2J\xff\n"), "220-\\x1b[2J\\xef\\xbf\\xbd".replace("\\xef\\xbf\\xbd", "\u{fffd}"));
    assert_eq!(first_line(&[b'a'; 5_000]).len(), MAX_BANNER);
    assert_eq!(first_line(b""), "");
}

#[test]
fn a_greeting_has_a_last_line() {
    for (bytes, whole) in [
        ("220 mx ESMTP\r\n", true),
        ("220 mx ESMTP", false),
        ("220-mx\r\n", false),
        ("220-mx\r\n220 mx", false),
        ("220-mx\r\n220 mx\r\n", true),
        ("554\r\n", true),
        ("", false),
        ("\n", true),
    ] {
        assert_eq!(is_whole(bytes.as_bytes()), whole, "{bytes:?}");
    }
}

/// What a server hears while it holds back the end of its greeting, and after it.
#[test]
fn a_greeting_is_not_interrupted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut buffer = [0; 64];
        stream.write_all(b"220-mx.example.net\r\n").unwrap();
        let early = stream.read(&mut buffer).ok();
        stream.write_all(b"220 mx.example.net ESMTP\r\n").unwrap();
        let length = stream.read(&mut buffer).unwrap();
        (early, String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    let plan = Plan { destinations: vec![ip("127.0.0.1")], sources: vec![ip("127.0.0.1")], port };
    let patience = Patience { connect: Duration::from_secs(5), banner: Duration::from_secs(5) };
    let run = connect(&plan, patience, true).unwrap();
    assert_eq!(server.join().unwrap(), (None, "QUIT\r\n".to_owned()));
    let probe = &run.probes[0];
    assert_eq!((probe.label, probe.reply, probe.is_welcome()), (Label::Connected, Some(220), true), "{probe}");
    assert_eq!(connect(&plan, patience, false), Err(Refused::Port(port)));
}

fn failed(errno: i32, icmp: Option<Icmp>) -> Probe {
    let mut seen = Seen::new("203.0.113.5:25".parse().unwrap(), Some(ip("192.0.2.10")));
    (seen.code.phase, seen.code.end) = (phase::SYN_SENT, end::CLOSE);
    seen.fail(errno, icmp);
    seen.judge(Duration::from_micros(1_234))
}

#[test]
fn outcomes_are_labelled_as_events_are() {
    let icmp = |kind, code, from: &str| Some(Icmp { kind, code, from: Some(ip(from)) });
    for (errno, icmp, label, reason, origin) in [
        (libc::ECONNREFUSED, None, Label::Refused, Reason::Rst, Origin::Remote),
        (libc::ECONNREFUSED, icmp(3, 3, "203.0.113.5"), Label::Refused, Reason::IcmpPortUnreachable, Origin::Remote),
        (libc::EHOSTUNREACH, icmp(3, 13, "198.51.100.1"), Label::Refused, Reason::IcmpAdminProhibited, Origin::Network),
        (libc::EHOSTUNREACH, icmp(3, 1, "192.0.2.10"), Label::Unreachable, Reason::NoNeighbour, Origin::Local),
        (libc::ETIMEDOUT, None, Label::Timeout, Reason::SynTimeout, Origin::None),
    ] {
        let probe = failed(errno, icmp);
        assert_eq!((probe.label, probe.reason, probe.origin), (label, Some(reason), Some(origin)), "{probe}");
    }
    let refused = failed(libc::ECONNREFUSED, None);
    assert_eq!(refused.to_string(), "203.0.113.5:25 from 192.0.2.10: refused (rst) after 1.2 ms");
    let mut silent = Seen::new("203.0.113.5:25".parse().unwrap(), None);
    (silent.code.phase, silent.code.end) = (phase::SYN_SENT, end::CLOSE);
    silent.code.facts = fact::SHUTDOWN | fact::ONE_SECOND | fact::SYN_RETRANSMITTED;
    assert_eq!(silent.judge(Duration::ZERO).reason, Some(Reason::Abandoned));
}

#[test]
fn sources_are_compared() {
    let refused = |source: &str| Probe { source: Some(ip(source)), ..failed(libc::ECONNREFUSED, None) };
    let greeted = |source: &str, reply| Probe {
        label: Label::Connected,
        reason: None,
        origin: None,
        reply: Some(reply),
        ..refused(source)
    };
    assert_eq!(by_source(&[refused("192.0.2.10")]), BySource::TooFew);
    assert_eq!(by_source(&[refused("192.0.2.10"), refused("192.0.2.10")]), BySource::TooFew);
    let both = [refused("192.0.2.10"), refused("192.0.2.11")];
    assert_eq!(by_source(&both), BySource::AllAlike { label: Label::Refused });
    for unwelcome in [refused("192.0.2.10"), greeted("192.0.2.10", 554)] {
        let ours = BySource::Ours { welcome: vec![ip("192.0.2.11")], unwelcome: vec![ip("192.0.2.10")] };
        assert_eq!(by_source(&[unwelcome, greeted("192.0.2.11", 220)]), ours);
    }
    let differing = [refused("192.0.2.10"), greeted("192.0.2.11", 554)];
    assert_eq!(by_source(&differing), BySource::AllFail);
    let welcome = [greeted("192.0.2.10", 220), greeted("192.0.2.11", 220)];
    assert_eq!(by_source(&welcome), BySource::AllWelcome);
    let unusable = Probe { label: Label::Blocked, ..refused("192.0.2.12") };
    assert_eq!(by_source(&[unusable, greeted("192.0.2.11", 220)]), BySource::TooFew);
}

fn trace(kind: ProbeKind, answers: &[Answer]) -> Trace {
    let hop = |(at, &answer): (usize, &Answer)| Hop { ttl: at as u8 + 1, answer, elapsed_ms: 1.0 };
    let destination = "203.0.113.5:25".parse().unwrap();
    Trace { kind, destination, source: None, hops: answers.iter().enumerate().map(hop).collect() }
}

#[test]
fn the_hop_where_an_answer_is_born_is_compared() {
    let router = |at: u8| Answer::TimeExceeded { from: Some(IpAddr::from([198, 51, 100, at])) };
    let from = |address: &str| Answer::Unreachable(Icmp { kind: 3, code: 3, from: Some(ip(address)) });
    let there = trace(ProbeKind::Udp, &[router(1), Answer::Silence, from("203.0.113.5")]);
    let elsewhere = trace(ProbeKind::Udp, &[router(1), from("198.51.100.9")]);
    let silent = trace(ProbeKind::Udp, &[router(1), Answer::Silence]);
    let unclear = |why| Born::Unclear { why };
    for (answers, reference, expected) in [
        (vec![router(1), router(2), Answer::Reset], Some(&there), Born::AtTheEnd { hop: 3 }),
        (
            vec![router(1), Answer::Reset],
            Some(&there),
            Born::OnTheWay { hop: 2, destination: 3, after: Some(ip("198.51.100.1")) },
        ),
        (vec![Answer::Accepted], Some(&there), Born::OnTheWay { hop: 1, destination: 3, after: None }),
        (vec![router(1), Answer::Reset], Some(&silent), unclear(Unclear::NoDistance)),
        (vec![router(1), Answer::Reset], Some(&elsewhere), unclear(Unclear::NoDistance)),
        (vec![router(1), Answer::Reset], None, unclear(Unclear::NoDistance)),
        (vec![router(1), router(2), router(3), Answer::Reset], Some(&there), unclear(Unclear::PathsDiffer)),
        (vec![router(1), from("198.51.100.7")], None, Born::Named { hop: 2, by: ip("198.51.100.7") }),
        (vec![router(1), router(2), Answer::Silence], None, Born::Silence { after: Some(ip("198.51.100.2")), hop: 2 }),
        (vec![Answer::Silence], None, Born::Silence { after: None, hop: 0 }),
        (vec![router(1), router(2), router(1)], None, unclear(Unclear::NoEnd)),
        (vec![Answer::Failed { errno: libc::EPERM }], None, unclear(Unclear::NotSent)),
    ] {
        assert_eq!(born(&trace(ProbeKind::Syn, &answers), reference), expected, "{answers:?}");
    }
}

#[test]
fn traces_end() {
    let mut silent = trace(ProbeKind::Syn, &[]);
    let hop = |ttl, answer| Hop { ttl, answer, elapsed_ms: 1.0 };
    let tried = (1..=200).take_while(|&ttl| silent.push(hop(ttl, Answer::Silence))).count();
    assert_eq!(tried + 1, MAX_SILENT);
    let mut looping = trace(ProbeKind::Syn, &[]);
    let tried = (1..=200).take_while(|&ttl| looping.push(hop(ttl, Answer::TimeExceeded { from: None }))).count();
    assert_eq!(tried + 1, usize::from(trace::MAX_HOPS));
    assert!(!looping.push(hop(3, Answer::Reset)));
}

#[test]
fn errors_of_the_queue_are_read() {
    let head = [0, 0, 0, 113, 2, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let v4 = [&head[..], &[2, 0, 0, 0, 198, 51, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let icmp = socket::parse(&v4).unwrap();
    assert_eq!((icmp.kind, icmp.code, icmp.from), (11, 0, Some(ip("198.51.100.1"))));
    assert_eq!(answer(ProbeKind::Syn, 113, Some(icmp), true), Answer::TimeExceeded { from: icmp.from });
    assert_eq!(answer(ProbeKind::Syn, libc::ECONNREFUSED, None, true), Answer::Reset);
    assert_eq!(socket::parse(&head).unwrap().from, None);
    // The kernel's own complaint is no ICMP error.
    assert_eq!(socket::parse(&[[0, 0, 0, 90, 1].as_slice(), &[0; 27]].concat()), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_banner_and_an_error(bytes in any::<Vec<u8>>()) {
        let line = first_line(&bytes);
        prop_assert!(line.chars().count() <= MAX_BANNER && line.chars().all(observer_core::sanitize::is_visible));
        let _ = socket::parse(&bytes);
    }
}
