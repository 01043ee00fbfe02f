use std::time::Duration;

use jiff::Timestamp;
use observer_core::diagnose::{Diagnosis, Evidence, Firewall, Mail, Seen, diagnose};
use observer_core::event::{Endpoint, Evidence as Facts};
use observer_core::label::{Label, Origin, Reason};
use observer_core::mta::{DeliveryStatus, MtaKind, Said};

use super::{letter, render};
use crate::host::firewall::{Flow, Listings, Way, walk};
use crate::host::probe::Probe;
use crate::store::history::{Connect, DeliveryRow, Entry};

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
    let mut evidence = Evidence { asked: asked.to_owned(), port: 25, subject, elsewhere, ..Evidence::default() };
    let failed = connected..connected + refused;
    let failed = failed.map(|second| entry(second, Label::Refused, Some(Reason::Rst), Some(Origin::Remote)));
    evidence.sample(&failed.collect::<Vec<_>>());
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
fn one_attempt_is_not_many() {
    let text = letter(&diagnosis("mx.example.net", 0, 1), "mx1.example.org");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(line.contains("The one connection that we tried failed."), "{text}");
    let text = render(&diagnosis("mx.example.net", 1, 0));
    assert_eq!(text, "mx.example.net, port 25: nothing fails: 1 attempt, connected\n");
    assert!(render(&diagnosis("mx.example.net", 0, 1)).contains(": the only attempt failed"));
}

#[test]
fn probes_are_shown_where_nothing_fails_and_where_nothing_is_known() {
    let probe = Probe {
        destination: "203.0.113.5:25".parse().unwrap(),
        source: "192.0.2.10".parse().ok(),
        label: Label::Connected,
        reason: None,
        origin: None,
        active_refusal: false,
        connect_ms: 31.0,
        banner_ms: Some(12.0),
        banner: Some("220 mx.example.net ESMTP".to_owned()),
        reply: Some(220),
        icmp: None,
    };
    let shown = |connected| {
        let not_seen = vec!["not probed from 10.0.0.5: Network is unreachable".to_owned()];
        render(&Diagnosis { probes: vec![probe.clone()], not_seen, ..diagnosis("mx.example.net", connected, 0) })
    };
    insta::assert_snapshot!(shown(3) + &shown(0));
    // The failures are over, so no letter is needed.
    let over = Diagnosis { probes: vec![probe], causes: Vec::new(), ..diagnosis("mx.example.net", 0, 9) };
    let text = render(&over).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("Probed now, it serves from every address that was tried"), "{text}");
    assert_eq!(over.is_theirs().unwrap_err(), "probed now, mx.example.net serves from every address that was tried");
}

#[test]
fn the_firewall_s_answer_is_one_of_three() {
    let told = |save: &str, uid| {
        let flow = Flow {
            src: None,
            dst: "203.0.113.5".parse().unwrap(),
            port: 25,
            interface: None,
            uid,
            gid: None,
            way: Way::Out,
        };
        let listings = Listings { iptables: format!("*filter\n:OUTPUT ACCEPT [0:0]\n{save}\n"), ..Listings::default() };
        let firewall = Some(Firewall { walked: walk(&listings, &flow), flow });
        let text = render(&Diagnosis { firewall, ..diagnosis("mx.example.net", 0, 9) });
        let begin = text.find("firewall   ").unwrap();
        text[begin..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let rule = "-A OUTPUT -p tcp -m owner ! --uid-owner 108 -j DROP";
    let rules = "firewall this host's rules as they are now, for";
    assert_eq!(told(rule, Some(108)), format!("{rules} user 108 to 203.0.113.5: it passes"));
    assert_eq!(
        told(rule, Some(33)),
        format!("{rules} user 33 to 203.0.113.5: stopped by iptables, filter OUTPUT: {rule}")
    );
    let unknown = told(rule, None);
    assert!(
        unknown.contains("cannot be known: perhaps by") && unknown.ends_with("(it depends on the user)"),
        "{unknown}"
    );
}

fn with_log(connected: i64, connects: &[Connect]) -> Diagnosis {
    let mut subject = Seen::default();
    (0..connected).for_each(|second| subject.add(&entry(second, Label::Connected, None, None)));
    let mut mail = Mail::default();
    for &connect in connects {
        mail.add(&DeliveryRow {
            time: Timestamp::from_second(1_795_000_000).unwrap(),
            kind: MtaKind::Postfix,
            queue_id: Some("4WxYz".to_owned()),
            recipient_domain: Some("example.net".to_owned()),
            status: Some(DeliveryStatus::Deferred),
            host: Some("mx.example.net".to_owned()),
            ip: "203.0.113.5".parse().ok(),
            said: if connect == Connect::Seen { Said::Answered } else { Said::Suspended },
            words: "said: 421 4.7.0 Too many connections from \u{1b}[2Jyour host".to_owned(),
            connect,
            attempt: None,
        });
    }
    let evidence = Evidence { asked: "mx.example.net".to_owned(), port: 25, subject, mail, ..Evidence::default() };
    diagnose(&evidence, Timestamp::from_second(1_795_003_600).unwrap())
}

#[test]
fn what_the_mail_servers_log_adds() {
    insta::assert_snapshot!(
        "answered",
        render(&with_log(4, &[Connect::Seen, Connect::Seen, Connect::Seen, Connect::None]))
    );
    insta::assert_snapshot!("suspended", render(&with_log(0, &[Connect::None, Connect::None])));
}

/// One sentence a claim, and each is true of the attempts.
#[test]
fn all_and_none_are_said_only_where_it_is_so() {
    let head = |kinds: &[(i64, Label)]| {
        let mut subject = Seen::default();
        let mut second = 0;
        for &(count, label) in kinds {
            for _ in 0..count {
                let reason = (label == Label::Refused).then_some(Reason::Rst);
                subject.add(&entry(second, label, reason, None));
                second += 1;
            }
        }
        let evidence = Evidence { asked: "mx.example.net".to_owned(), port: 25, subject, ..Evidence::default() };
        let text = render(&diagnose(&evidence, Timestamp::from_second(1_795_003_600).unwrap()));
        text.lines().next().unwrap_or_default().trim_start_matches("mx.example.net, port 25: ").to_owned()
    };
    let (connected, refused) = (Label::Connected, Label::Refused);
    assert_eq!(head(&[(9, refused)]), "9 of 9 attempts failed since 2026-11-18T11:06:40Z, and none succeeded");
    assert_eq!(
        head(&[(5, connected), (9, refused)]),
        "9 of 14 attempts failed, all since 2026-11-18T11:06:45Z; the last success was at 2026-11-18T11:06:44Z"
    );
    assert_eq!(
        head(&[(5, refused), (1, connected), (9, refused)]),
        "14 of 15 attempts failed, the last 9 since 2026-11-18T11:06:46Z; the last success was at 2026-11-18T11:06:45Z"
    );
    assert_eq!(
        head(&[(9, refused), (1, connected)]),
        "9 of 10 attempts failed; the last success was at 2026-11-18T11:06:49Z"
    );
}

#[test]
fn what_their_postmaster_reads() {
    insta::assert_snapshot!("letter", letter(&diagnosis("mx.example.net", 12, 9), "mx1.example.org"));
}

#[test]
fn a_letter_says_which_of_our_addresses_its_counts_are_of() {
    let one = Diagnosis { sources: vec!["192.0.2.10".to_owned()], ..diagnosis("mx.example.net", 12, 9) };
    assert!(letter(&one, "mx1.example.org").contains("How they ended:"));
    let both = vec!["192.0.2.10".to_owned(), "192.0.2.11".to_owned()];
    let text = letter(&Diagnosis { sources: both, ..one }, "mx1.example.org");
    assert!(text.contains("our addresses         192.0.2.10, 192.0.2.11\n"), "{text}");
    assert!(text.contains("How they ended, all from 192.0.2.10, 192.0.2.11 together:"), "{text}");
}

#[test]
fn no_terminal_escape_gets_through() {
    let text = render(&diagnosis("mx\u{1b}[2J\u{202e}.example", 0, 3));
    assert!(text.chars().all(|c| c == '\n' || observer_core::sanitize::is_visible(c)), "{text:?}");
}
