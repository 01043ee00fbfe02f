//! Deliveries of every kind.

mod hidden;
mod truth;

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::delivery::Found;
use super::{Attempt, Joiner, Judged, Settings, Settled, Verdict};
use crate::mta::stamp::Clock;
use crate::mta::{DeliveryStatus, Line, MtaKind, Said, parse};

fn at(ms: i64) -> Timestamp {
    let start: Timestamp = "2026-11-26T16:00:00Z".parse().unwrap();
    start + SignedDuration::from_millis(ms)
}

/// An attempt of `pid` to 203.0.113.`host`, from `start` to `end` in milliseconds.
fn attempt(id: &str, pid: u32, host: u8, start: i64, end: i64, is_accepted: bool) -> Attempt {
    Attempt {
        id: id.to_owned(),
        pid: Some(pid),
        source: None,
        ip: format!("203.0.113.{host}").parse().unwrap(),
        port: 25,
        started: at(start),
        ended: at(end),
        is_accepted,
    }
}

fn parsed(kind: MtaKind, line: &str) -> Line {
    let clock = Clock { now: at(86_400_000), zone: TimeZone::UTC };
    parse(kind, line.as_bytes(), &clock).unwrap_or_else(|| panic!("{line}"))
}

/// The stamp of classic syslog: seconds alone.
fn stamp(ms: i64) -> String {
    TimeZone::UTC.to_datetime(at(ms)).strftime("%b %e %H:%M:%S").to_string()
}

fn refused(ms: i64, pid: u32, host: u8) -> Line {
    let line = format!(
        "{} mx1 postfix/smtp[{pid}]: connect to mx{host}.example.net[203.0.113.{host}]:25: Connection refused",
        stamp(ms)
    );
    parsed(MtaKind::Postfix, &line)
}

/// The last line of a delivery that took so many seconds, and ended at a host that refused.
fn deferred(ms: i64, pid: u32, id: &str, host: u8, took: f64) -> Line {
    let line = format!(
        "{} mx1 postfix/smtp[{pid}]: {id}: to=<user@d{host}.example>, relay=none, delay=9, delays=1/1/{took}/0, dsn=4.4.1, \
         status=deferred (connect to mx{host}.example.net[203.0.113.{host}]:25: Connection refused)",
        stamp(ms)
    );
    parsed(MtaKind::Postfix, &line)
}

fn sent(ms: i64, pid: u32, id: &str, host: u8, extra: &str) -> Line {
    let line = format!(
        "{} mx1 postfix/smtp[{pid}]: {id}: to=<user@d{host}.example>, relay=mx{host}.example.net[203.0.113.{host}]:25,{extra} \
         delay=9, delays=1/1/0.1/0.1, dsn=2.0.0, status=sent (250 ok)",
        stamp(ms)
    );
    parsed(MtaKind::Postfix, &line)
}

fn exim(ms: i64, text: &str) -> Line {
    let stamp = TimeZone::UTC.to_datetime(at(ms)).strftime("%F %T").to_string();
    parsed(MtaKind::Exim, &format!("{stamp} {text}"))
}

fn join(attempts: Vec<Attempt>, lines: Vec<Line>) -> Settled {
    let mut joiner = Joiner::new(Settings::default());
    attempts.into_iter().for_each(|attempt| joiner.attempt(attempt));
    lines.into_iter().for_each(|line| joiner.line(line));
    joiner.finish()
}

/// `id verdict queue-id domain host`, one an attempt.
fn brief(settled: &Settled) -> Vec<String> {
    let line = |judged: &Judged| {
        let mta = judged.mta.as_ref();
        let text = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
        let (id, domain) =
            (text(mta.and_then(|mta| mta.queue_id.as_ref())), text(mta.and_then(|mta| mta.recipient_domain.as_ref())));
        let host = text(mta.and_then(|mta| mta.host.as_ref()));
        format!("{} {:?} {id} {domain} {host}", judged.id, judged.verdict)
    };
    settled.attempts.iter().map(line).collect()
}

#[test]
fn a_refused_connect_gets_the_message_that_it_was_for() {
    let settled = join(
        vec![attempt("a", 7, 5, 1_100, 1_130, false)],
        vec![refused(1_131, 7, 5), deferred(1_140, 7, "AAAAAA", 5, 0.03)],
    );
    assert_eq!(brief(&settled), ["a Joined AAAAAA d5.example mx5.example.net"]);
    let [delivery] = settled.deliveries.as_slice() else { panic!("{settled:?}") };
    assert_eq!((delivery.recipients, delivery.status, delivery.steps.len()), (1, DeliveryStatus::Deferred, 1));
    assert_eq!(delivery.steps[0].found, Found::One("a".to_owned()));
    let mta = settled.attempts[0].mta.as_ref().unwrap();
    assert_eq!((mta.said, mta.words.as_deref()), (Some(Said::Refused), Some("Connection refused")));
}

#[test]
fn every_host_that_was_tried_belongs_to_the_delivery() {
    let attempts = vec![
        attempt("a", 7, 5, 1_000, 1_030, false),
        attempt("b", 7, 6, 1_040, 31_050, false),
        attempt("c", 7, 7, 31_060, 31_500, true),
        // Another process, the same host, at the same time.
        attempt("x", 8, 5, 1_000, 1_030, false),
    ];
    let lines = vec![refused(1_031, 7, 5), refused(31_051, 7, 6), sent(31_400, 7, "AAAAAA", 7, "")];
    let settled = join(attempts, lines);
    assert_eq!(
        brief(&settled),
        [
            "a Joined AAAAAA d7.example mx5.example.net",
            "x Nothing - - -",
            "b Joined AAAAAA d7.example mx6.example.net",
            "c Joined AAAAAA d7.example mx7.example.net",
        ]
    );
    assert_eq!(settled.deliveries.len(), 1);
}

#[test]
fn an_attempt_without_a_line_belongs_to_what_its_process_was_doing() {
    let attempts = vec![attempt("a", 7, 5, 1_000, 3_000, true), attempt("b", 7, 6, 3_010, 3_500, true)];
    let last = {
        let mut last = sent(3_400, 7, "AAAAAA", 6, "");
        last.took = Some(Duration::from_millis(2_400));
        last
    };
    let settled = join(attempts, vec![last]);
    assert_eq!(brief(&settled), ["a Unlogged AAAAAA d6.example -", "b Joined AAAAAA d6.example mx6.example.net"]);
    assert!(settled.attempts[0].mta.as_ref().unwrap().unlogged);
}

#[test]
fn several_recipients_of_one_session_share_its_attempt() {
    let lines = vec![
        sent(1_200, 7, "AAAAAA", 5, ""),
        sent(1_200, 7, "AAAAAA", 5, ""),
        sent(1_900, 7, "BBBBBB", 5, " conn_use=2,"),
    ];
    let settled = join(vec![attempt("a", 7, 5, 1_000, 4_000, true)], lines);
    assert_eq!(brief(&settled), ["a Joined AAAAAA d5.example mx5.example.net"]);
    let found: Vec<_> =
        settled.deliveries.iter().map(|delivery| (delivery.recipients, delivery.steps[0].found.clone())).collect();
    assert_eq!(found, [(2, Found::One("a".to_owned())), (1, Found::Reused)]);
}

#[test]
fn what_was_suspended_has_no_connect() {
    let line = "Nov 26 16:00:01 mx1 postfix/error[9]: AAAAAA: to=<user@d5.example>, relay=none, delay=9, delays=9/0/0/0, dsn=4.4.1, \
                status=deferred (delivery temporarily suspended: connect to mx5.example.net[203.0.113.5]:25: Connection refused)";
    let settled = join(vec![attempt("a", 7, 5, 1_100, 1_130, false)], vec![parsed(MtaKind::Postfix, line)]);
    assert_eq!(brief(&settled), ["a Nothing - - -"]);
    assert!(settled.deliveries[0].is_without_connect());
    assert_eq!(settled.deliveries[0].recipient_domain(), Some("d5.example"));
}

#[test]
fn one_process_is_joined_in_order_within_a_second() {
    let attempts =
        (0..4).map(|nth| attempt(&format!("a{nth}"), 7, 5, 1_000 + nth * 50, 1_020 + nth * 50, false)).collect();
    let ids = ["AAAAAA", "BBBBBB", "CCCCCC", "DDDDDD"];
    let lines = ids.iter().flat_map(|id| [refused(1_500, 7, 5), deferred(1_500, 7, id, 5, 0.02)]).collect();
    let settled = join(attempts, lines);
    let expected: Vec<_> =
        ids.iter().enumerate().map(|(nth, id)| format!("a{nth} Joined {id} d5.example mx5.example.net")).collect();
    assert_eq!(brief(&settled), expected);
}

#[test]
fn where_a_line_or_an_attempt_is_lacking_nothing_is_guessed() {
    let attempts = vec![attempt("a", 7, 5, 1_000, 1_020, false), attempt("b", 7, 5, 1_050, 1_070, false)];
    let settled = join(attempts.clone(), vec![refused(1_500, 7, 5), deferred(1_500, 7, "AAAAAA", 5, 0.02)]);
    assert_eq!(brief(&settled), ["a Ambiguous(1) - - -", "b Ambiguous(1) - - -"]);
    let three = ["AAAAAA", "BBBBBB", "CCCCCC"]
        .iter()
        .flat_map(|id| [refused(1_500, 7, 5), deferred(1_500, 7, id, 5, 0.02)])
        .collect();
    let settled = join(attempts, three);
    // All that fit are for the same domain and host: that is known.
    assert_eq!(brief(&settled)[0], "a Ambiguous(3) - d5.example mx5.example.net");
    assert_eq!(settled.attempts[0].mta.as_ref().unwrap().candidates, Some(3));
}

#[test]
fn exims_processes_are_told_apart_by_time_alone() {
    let step = |ms, id: &str| exim(ms, &format!("{id} H=mx5.example.net [203.0.113.5] Connection refused"));
    let last = |ms, id: &str| {
        exim(ms, &format!("{id} == user@d5.example R=dnslookup T=remote_smtp defer (111): Connection refused"))
    };
    let (one, other) = ("1rAbCd-0001bQ-2x", "1rAbCd-0001bR-2x");
    let attempts = vec![attempt("a", 7, 5, 1_000, 1_020, false), attempt("b", 8, 5, 9_000, 9_020, false)];
    let settled = join(attempts, vec![step(1_021, one), last(1_030, one), step(9_021, other), last(9_030, other)]);
    assert_eq!(
        brief(&settled),
        [format!("a Joined {one} d5.example mx5.example.net"), format!("b Joined {other} d5.example mx5.example.net"),]
    );
    let attempts = vec![attempt("a", 7, 5, 1_000, 1_020, false), attempt("b", 8, 5, 1_000, 1_025, false)];
    let settled = join(attempts, vec![step(1_021, one), step(1_026, other), last(1_030, one), last(1_031, other)]);
    assert_eq!(brief(&settled)[0], "a Ambiguous(2) - d5.example mx5.example.net");
    assert_eq!(settled.deliveries[0].steps[0].found, Found::Many(2));
}

/// By TCP Fast Open, which it tries by default, Exim takes for connected what it has sent a SYN.
#[test]
fn exim_waits_for_the_greeting_of_a_host_that_never_answered() {
    let id = "1rAbCd-0001bQ-2x";
    let words = "H=mx5.example.net [203.0.113.5]: SMTP timeout after initial connection: Connection timed out";
    let last = format!("{id} == user@d5.example R=dnslookup T=remote_smtp defer (110): Connection timed out {words}");
    for is_accepted in [false, true] {
        let attempts = vec![attempt("a", 7, 5, 1_000, 5_020, is_accepted)];
        let settled = join(attempts, vec![exim(5_021, &format!("{id} {words}")), exim(5_030, &last)]);
        assert_eq!(brief(&settled), [format!("a Joined {id} d5.example mx5.example.net")], "{is_accepted}");
    }
}

#[test]
fn opensmtpd_tells_before_it_connects() {
    let line = |ms, text: &str| {
        parsed(MtaKind::OpenSmtpd, &format!("{} mx1 smtpd[88]: 5bd4e1f2a3b4c5d6 mta {text}", stamp(ms)))
    };
    let lines = vec![
        line(1_000, "connecting address=smtp://203.0.113.5:25 host=mx5.example.net"),
        line(3_000, "error reason=IO Error: Connection refused"),
        line(3_000, "connecting address=smtp://203.0.113.6:25 host=mx6.example.net"),
        line(
            3_400,
            "delivery evpid=0123456789abcdef from=<> to=<user@d5.example> rcpt=<-> source=\"192.0.2.1\" \
                     relay=\"203.0.113.6 (mx6.example.net)\" delay=2s result=\"Ok\" stat=\"250 ok\"",
        ),
    ];
    let attempts = vec![attempt("a", 88, 5, 1_010, 2_990, false), attempt("b", 88, 6, 3_010, 30_000, true)];
    let settled = join(attempts, lines);
    assert_eq!(
        brief(&settled),
        [
            "a Joined 0123456789abcdef d5.example mx5.example.net",
            "b Joined 0123456789abcdef d5.example mx6.example.net",
        ]
    );
    assert_eq!(settled.attempts[0].mta.as_ref().unwrap().said, Some(Said::Refused));
}

#[test]
fn a_session_of_opensmtpd_that_failed_is_not_waited_for() {
    let mut joiner = Joiner::new(Settings::default());
    joiner.attempt(attempt("a", 88, 5, 1_010, 2_990, false));
    for (ms, text) in [
        (1_000, "connecting address=smtp://203.0.113.5:25 host=mx5.example.net"),
        (3_000, "error reason=IO Error: Connection refused"),
    ] {
        let line = format!("{} mx1 smtpd[88]: 5bd4e1f2a3b4c5d6 mta {text}", stamp(ms));
        joiner.line(parsed(MtaKind::OpenSmtpd, &line));
    }
    let settled = joiner.settle(at(5_000));
    assert_eq!((brief(&settled), settled.deliveries.len()), (vec!["a Joined - - mx5.example.net".to_owned()], 0));
    let steps = &joiner.settle(at(10_000)).deliveries[0].steps;
    assert_eq!((steps[0].said, &steps[0].found), (Said::Refused, &Found::One("a".to_owned())));
}

#[test]
fn opensmtpd_has_the_same_words_before_and_after_the_handshake() {
    let line = |session, text: &str| {
        parsed(MtaKind::OpenSmtpd, &format!("{} mx1 smtpd[88]: {session} mta {text}", stamp(1_000)))
    };
    let connecting = |session| line(session, "connecting address=smtp://203.0.113.5:25 host=mx5.example.net");
    let timed_out = |session| line(session, "error reason=Connection timeout");
    let (one, other) = ("5bd4e1f2a3b4c5d6", "5bd4e1f2a3b4c5d7");
    let lines = vec![
        connecting(one),
        timed_out(one),
        connecting(other),
        line(other, "connected"),
        timed_out(other),
        line(
            "0000000000000000",
            "delivery evpid=0123456789abcdef from=<> to=<user@d5.example> rcpt=<-> source=\"-\" relay=\"d5.example\" \
             delay=9s result=\"TempFail\" stat=\"Network error on destination MXs\"",
        ),
    ];
    let deliveries = join(Vec::new(), lines).deliveries;
    let said: Vec<_> = deliveries.iter().flat_map(|delivery| &delivery.steps).map(|step| step.said).collect();
    assert_eq!(said, [Said::TimedOut, Said::LostInSession]);
    assert!(deliveries[2].is_untold() && !deliveries[2].is_without_connect());
}

#[test]
fn kumomta_is_joined_by_the_local_port() {
    let line = |port: u16| {
        parsed(
            MtaKind::KumoMta,
            &format!(
                "{{\"type\":\"TransientFailure\",\"id\":\"{port}\",\"recipient\":\"user@d5.example\",\"timestamp\":{},\"response\":{{\"code\":450,\
         \"content\":\"no\"}},\"peer_address\":{{\"name\":\"mx5.example.net\",\"addr\":\"203.0.113.5\"}},\"source_address\":\
         {{\"address\":\"192.0.2.1:{port}\"}}}}",
                at(1_500).as_second()
            ),
        )
    };
    let from = |id, port: u16| Attempt {
        source: Some(format!("192.0.2.1:{port}").parse().unwrap()),
        ..attempt(id, 7, 5, 1_000, 2_000, true)
    };
    let settled = join(vec![from("a", 4001), from("b", 4002)], vec![line(4002), line(4001), line(4001)]);
    assert_eq!(
        brief(&settled),
        ["a Joined 4001 d5.example mx5.example.net", "b Joined 4002 d5.example mx5.example.net"]
    );
}

#[test]
fn an_attempt_waits_for_the_last_line_only_so_long() {
    let mut joiner = Joiner::new(Settings::default());
    joiner.attempt(attempt("a", 7, 5, 1_000, 1_020, false));
    joiner.line(refused(1_021, 7, 5));
    assert_eq!(joiner.settle(at(4_000)), Settled::default());
    assert_eq!(brief(&joiner.settle(at(6_100))), ["a Joined - - mx5.example.net"]);
    joiner.line(deferred(20_000, 7, "AAAAAA", 6, 19.0));
    let settled = joiner.finish();
    assert_eq!((settled.attempts.len(), settled.deliveries[0].steps.len()), (0, 2));
}

#[test]
fn a_relay_that_refuses_everything_is_joined_in_order() {
    let (mut attempts, mut lines, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..300 {
        let id = format!("AAAA{nth:03}");
        attempts.push(attempt(&format!("a{nth:03}"), 7, 5, nth * 4, nth * 4 + 3, false));
        lines.extend([refused(nth * 4 + 3, 7, 5), deferred(nth * 4 + 3, 7, &id, 5, 0.003)]);
        expected.push(format!("a{nth:03} Joined {id} d5.example mx5.example.net"));
    }
    assert_eq!(brief(&join(attempts, lines)), expected);
}

#[test]
fn what_has_no_room_is_counted() {
    let mut joiner = Joiner::new(Settings { max_waiting: 16, ..Settings::default() });
    for nth in 0..100 {
        joiner.attempt(attempt(&format!("a{nth}"), 7, 5, nth * 10, nth * 10 + 5, false));
        joiner.line(deferred(nth * 10, 7, &format!("AAAAA{nth}"), 6, 0.1));
        let waiting = joiner.waiting();
        assert!(waiting.attempts <= 16 && waiting.mentions <= 16 && waiting.deliveries <= 16, "{waiting:?}");
    }
    let waiting = joiner.waiting();
    assert!(waiting.early_attempts == 84 && waiting.early_lines >= 84, "{waiting:?}");
    let settled = joiner.finish();
    assert_eq!((settled.attempts.len(), settled.deliveries.len()), (100, 100));
    assert_eq!(settled.attempts.iter().filter(|judged| judged.verdict == Verdict::Unsought).count(), 84);
}

#[test]
fn a_connection_that_exim_keeps_for_the_next_message_is_not_over_yet() {
    let settled = join(
        vec![attempt("a", 7, 5, 1_000, 60_000, true)],
        vec![
            exim(1_600, "1rAbCd-0001bQ-2x => u@d5.example R=r T=t H=mx5 [203.0.113.5]:25 C=\"250 OK\""),
            exim(2_600, "1rAbCd-0001bQ-2y => u@d5.example R=r T=t H=mx5 [203.0.113.5]:25* C=\"250 OK\""),
        ],
    );
    assert_eq!(brief(&settled), ["a Joined 1rAbCd-0001bQ-2x d5.example mx5"]);
    let found: Vec<_> = settled.deliveries.iter().map(|delivery| delivery.steps[0].found.clone()).collect();
    assert_eq!(found, [Found::One("a".to_owned()), Found::Reused]);
}

#[test]
fn where_tls_fails_the_next_connection_is_another_one() {
    let postfix = |ms: i64, text: &str| parsed(MtaKind::Postfix, &format!("{} mx1 postfix/smtp[7]: {text}", stamp(ms)));
    let attempts = || vec![attempt("a", 7, 5, 1_000, 3_000, true), attempt("b", 7, 5, 3_010, 5_500, true)];
    let lines = vec![
        postfix(2_990, "SSL_connect error to mx5.example.net[203.0.113.5]:25: lost connection"),
        sent(5_000, 7, "AAAAAA", 5, ""),
    ];
    let settled = join(attempts(), lines);
    assert_eq!(
        brief(&settled),
        ["a Joined AAAAAA d5.example mx5.example.net", "b Joined AAAAAA d5.example mx5.example.net"]
    );
    let said: Vec<_> = settled.deliveries[0].steps.iter().map(|step| step.said).collect();
    assert_eq!(said, [Said::TlsFailed, Said::Nothing]);
    // A failure that is said twice is one.
    let lines = vec![
        exim(2_900, "1rAbCd-0001bQ-2x H=mx5 [203.0.113.5] TLS error on connection (SSL_connect): error"),
        exim(
            3_000,
            "1rAbCd-0001bQ-2x == u@d5.example R=r T=t defer (-37) H=mx5 [203.0.113.5]: TLS session: (SSL_connect): error",
        ),
    ];
    let settled = join(vec![attempt("a", 7, 5, 1_000, 3_000, true)], lines);
    assert_eq!(brief(&settled), ["a Joined 1rAbCd-0001bQ-2x d5.example mx5"]);
    assert_eq!(settled.deliveries[0].steps.len(), 1);
}

/// All within a second, the precision of its stamps.
#[test]
fn exim_connects_again_without_tls_in_the_same_process() {
    let id = "1rAbCd-0001bQ-2x";
    let lines = || {
        let unencrypted =
            "TLS session: (gnutls_handshake): error: delivering unencrypted to H=mx5 [203.0.113.5] (not in x)";
        let last = "== u@d5.example R=r T=t defer (-46) H=mx5 [203.0.113.5]: SMTP error from remote mail server after RCPT TO:<u@d5.example>: 451 later";
        vec![exim(1_200, &format!("{id} {unencrypted}")), exim(1_400, &format!("{id} {last}"))]
    };
    let attempts = |pid| vec![attempt("a", 7, 5, 1_000, 1_200, true), attempt("b", pid, 5, 1_210, 1_400, true)];
    let settled = join(attempts(7), lines());
    assert_eq!(brief(&settled), [format!("a Joined {id} d5.example mx5"), format!("b Joined {id} d5.example mx5")]);
    let said: Vec<_> = settled.attempts.iter().map(|judged| judged.mta.as_ref().unwrap().said).collect();
    assert_eq!(said, [Some(Said::TlsFailed), Some(Said::Answered)]);
    // One of another process, such as a callout's, can be either.
    let of_others = join(attempts(8), lines());
    assert!(of_others.attempts.iter().all(|judged| judged.verdict == Verdict::Ambiguous(2)), "{of_others:?}");
    // Nor is it known which of three it was not.
    let three = [attempts(7), vec![attempt("c", 7, 5, 1_410, 1_500, true)]].concat();
    let settled = join(three, lines());
    assert!(settled.attempts.iter().all(|judged| judged.verdict == Verdict::Ambiguous(2)), "{settled:?}");
}

#[test]
fn a_server_that_cannot_bind_its_socket_says_why_once() {
    let postfix = |text: &str| parsed(MtaKind::Postfix, &format!("{} mx1 postfix/smtp[7]: {text}", stamp(1_000)));
    let warning = "warning: smtp_connect_addr: bind 192.0.2.99: Cannot assign requested address";
    let last = "AAAAAA: to=<u@d5.example>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.0, status=deferred (server configuration error)";
    let settled = join(Vec::new(), vec![postfix(warning), postfix(last)]);
    let [delivery] = settled.deliveries.as_slice() else { panic!("{settled:?}") };
    assert!(delivery.is_without_connect());
    assert_eq!(delivery.said, Said::NotPermitted);
    assert_eq!(delivery.words, "server configuration error: bind 192.0.2.99: Cannot assign requested address");
    // By default it goes on without.
    let settled = join(
        vec![attempt("a", 7, 5, 980, 1_020, false)],
        vec![postfix(warning), refused(1_000, 7, 5), deferred(1_000, 7, "AAAAAA", 5, 0.1)],
    );
    assert_eq!(brief(&settled), ["a Joined AAAAAA d5.example mx5.example.net"]);
    assert_eq!(settled.deliveries[0].said, Said::Refused);
}

#[test]
fn every_host_that_kumomta_names_in_its_words_belongs_to_the_delivery() {
    let failed = |ms: i64, id: &str, hosts: &str| {
        let line = format!(
            "{{\"type\":\"TransientFailure\",\"id\":\"{id}\",\"recipient\":\"u@d5.example\",\"timestamp\":1,\"event_time\":\"{}\",\
             \"peer_address\":null,\"response\":{{\"code\":400,\"content\":\"KumoMTA internal: failed to connect to any candidate hosts: \
             {hosts}\"}}}}",
            at(ms)
        );
        let clock = Clock { now: at(86_400_000), zone: TimeZone::UTC };
        crate::mta::read(MtaKind::KumoMta, line.as_bytes(), &clock).lines
    };
    let timed_out =
        "connect to 203.0.113.5:25 and read initial banner: timeout after 60s while connecting to 203.0.113.5:25 x";
    let refused = |host: u8| {
        format!(
            "connect to 203.0.113.{host}:25 and read initial banner: failed to connect to 203.0.113.{host}:25: Connection \
             refused (os error 111)"
        )
    };
    let attempts = vec![
        attempt("a", 9, 6, 900, 1_000, false),
        attempt("b", 9, 5, 1_000, 61_000, false),
        attempt("c", 9, 7, 61_000, 61_100, false),
        // Long before.
        attempt("x", 9, 7, 30_000, 30_100, false),
    ];
    // Two messages that waited for the same connection, and the next one of the first message.
    let hosts = format!("{}, {timed_out}, {}", refused(6), refused(7));
    let lines = [failed(61_110, "aa", &hosts), failed(61_110, "bb", &hosts), failed(900_000, "aa", &refused(7))];
    let settled = join(attempts, lines.concat());
    assert_eq!(
        brief(&settled),
        ["a Joined aa d5.example -", "x Nothing - - -", "b Joined aa d5.example -", "c Joined aa d5.example -"]
    );
    let said: Vec<_> = settled.deliveries.iter().map(|delivery| delivery.steps.len()).collect();
    assert_eq!(said, [3, 3, 1]);
    let mta = settled.attempts[2].mta.as_ref().unwrap();
    assert_eq!((mta.said, mta.status), (Some(Said::TimedOut), Some(DeliveryStatus::Deferred)));
    // The event of a host that failed long before has gone on. It is not said that there was none.
    let settled = join(Vec::new(), failed(61_110, "aa", &hosts));
    let found: Vec<_> = settled.deliveries[0].steps.iter().map(|step| step.found.clone()).collect();
    assert_eq!(found, [Found::Unsought, Found::Unsought, Found::Nothing]);
}

#[test]
fn process_ids_of_a_container_are_noticed() {
    let other_pids = |attempts: Vec<Attempt>, lines: Vec<Line>| {
        let mut joiner = Joiner::new(Settings::default());
        attempts.into_iter().for_each(|attempt| joiner.attempt(attempt));
        lines.into_iter().for_each(|line| joiner.line(line));
        joiner.settle(Timestamp::MAX);
        joiner.waiting().other_pids
    };
    let attempts = || vec![attempt("a", 4_711, 5, 1_000, 1_100, false), attempt("b", 4_712, 6, 1_000, 1_100, false)];
    assert_eq!(other_pids(attempts(), vec![refused(1_110, 7, 5), refused(1_110, 7, 6)]), 2);
    assert_eq!(other_pids(attempts(), vec![refused(1_110, 4_711, 5), refused(1_110, 7, 7)]), 0);
    // The same host at another time.
    assert_eq!(other_pids(attempts(), vec![refused(60_000, 7, 5)]), 0);
}
