use std::time::Duration;

use insta::assert_snapshot;
use observer_common::record::{EndCode, FAMILY_V4, FAMILY_V6, end, fact, phase as phases};
use proptest::prelude::*;

use super::{known, phrase, task_name};
use crate::attempt::Attempt;
use crate::event::{Capabilities, Event};
use crate::label::{Origin, Verdict, label};
use crate::sample;

/// What a SYN-SENT attempt after `ms` says that ended with these facts.
fn syn(facts: u32, errno: i32, ms: u64) -> Attempt {
    let code = EndCode {
        facts,
        sk_err: errno as u16,
        phase: phases::SYN_SENT,
        end: end::CLOSE,
        family: FAMILY_V4,
        ..EndCode::default()
    };
    Attempt { code, elapsed: Some(Duration::from_millis(ms)), rst_ttl: None, ..sample::attempt() }
}

/// Accepted after 20 ms, then ended `ms` later.
fn session(facts: u32, errno: i32, end: u8, ms: u64) -> Attempt {
    let mut attempt = syn(facts, errno, 20 + ms);
    (attempt.code.phase, attempt.code.end) = (phases::ESTABLISHED, end);
    attempt.handshake = Some(Duration::from_millis(20));
    attempt.bytes_received = if facts & fact::BYTES_RECEIVED != 0 { 812 } else { 0 };
    attempt
}

fn connect(errno: i32) -> Attempt {
    let mut attempt = syn(0, errno, 0);
    (attempt.code.phase, attempt.code.end) = (phases::CONNECT, end::CONNECT_FAILED);
    attempt
}

fn icmp(facts: u32, icmp_type: u8, icmp_code: u8) -> Attempt {
    let mut attempt = syn(fact::ICMP | facts, libc::EHOSTUNREACH, 21);
    (attempt.code.icmp_type, attempt.code.icmp_code) = (icmp_type, icmp_code);
    attempt.icmp_from = (facts & fact::ICMP_SENDER != 0).then(|| sample::ip("198.51.100.1"));
    attempt
}

fn judged(attempt: &Attempt, verdict: Verdict) -> String {
    let event = sample::judged(attempt, verdict);
    let verdict = [verdict.reason.map(|reason| reason.as_str()), verdict.origin.map(|origin| origin.as_str())];
    let verdict: Vec<_> = verdict.into_iter().flatten().collect();
    format!("{} {}: {}", event.label.as_str(), verdict.join(" "), known(&event).map(|_| phrase(&event)).unwrap())
}

fn say(attempt: &Attempt) -> String {
    judged(attempt, label(&attempt.code))
}

const WAITED: u32 = fact::SYN_RETRANSMITTED | fact::ONE_SECOND;
const CLOSED: u32 = fact::SHUTDOWN;

#[test]
fn refused_by_rst() {
    let rst = syn(fact::RST, libc::ECONNREFUSED, 31);
    assert_snapshot!(say(&rst), @"refused rst remote: refused by the remote host: RST after 31 ms");
    assert_snapshot!(say(&syn(fact::RST | fact::LOOPBACK, libc::ECONNREFUSED, 0)), @"refused rst local: refused by this host itself: RST after <0.1 ms");
    let suspected = Verdict { origin: Some(Origin::SuspectedMiddlebox), ..label(&rst.code) };
    assert_snapshot!(judged(&rst, suspected), @"refused rst suspected-middlebox: refused in the remote host's name, by a suspected middlebox: RST after 31 ms");
    assert_snapshot!(judged(&Attempt { rst_ttl: Some(250), ..rst.clone() }, suspected), @"refused rst suspected-middlebox: refused in the remote host's name, by a suspected middlebox: RST after 31 ms, TTL 250");
    assert_snapshot!(say(&Attempt { elapsed: None, ..rst }), @"refused rst remote: refused by the remote host: RST");
}

/// An own firewall's RST comes by loopback, too.
#[test]
fn a_redirect_is_claimed_only_where_nothing_else_explains_the_answer() {
    let rst = syn(fact::RST | fact::ANSWER_FROM_LOOPBACK, libc::ECONNREFUSED, 0);
    let is_redirected = |attempt: &Attempt, able: Capabilities| {
        Event::new(attempt, label(&attempt.code), &sample::host(), able, sample::surroundings()).evidence.redirected
    };
    let blind = Capabilities { syn_drops: false, ..sample::able() };
    assert!(is_redirected(&rst, sample::able()) && !is_redirected(&rst, blind));
    let open = session(fact::RST | fact::ANSWER_FROM_LOOPBACK, libc::ECONNRESET, end::CLOSE, 40);
    assert!(is_redirected(&open, sample::able()) && is_redirected(&open, blind));
    for attempt in [
        syn(fact::RST | fact::ANSWER_FROM_LOOPBACK | fact::LOOPBACK, libc::ECONNREFUSED, 0),
        syn(fact::RST | fact::ANSWER_FROM_LOOPBACK | fact::SYN_DROPPED_ALL, libc::ECONNREFUSED, 0),
        Attempt { oif: None, ..rst },
        Attempt { oif: None, ..open },
    ] {
        assert!(!is_redirected(&attempt, sample::able()), "{attempt:?}");
    }
}

#[test]
fn refused_by_icmp() {
    let network = fact::ICMP_SENDER;
    let remote = fact::ICMP_SENDER | fact::ICMP_FROM_DESTINATION;
    let local = fact::ICMP_SENDER | fact::ICMP_FROM_SOURCE;
    assert_snapshot!(say(&icmp(network, 3, 13)), @"refused icmp-admin-prohibited network: rejected by a firewall or router at 198.51.100.1: ICMP administratively prohibited (3/13) after 21 ms");
    assert_snapshot!(say(&icmp(remote, 3, 10)), @"refused icmp-admin-prohibited remote: rejected by the remote host: ICMP administratively prohibited (3/10) after 21 ms");
    assert_snapshot!(say(&icmp(local, 3, 9)), @"refused icmp-admin-prohibited local: rejected by this host itself: ICMP administratively prohibited (3/9) after 21 ms");
    assert_snapshot!(say(&icmp(0, 3, 13)), @"refused icmp-admin-prohibited unknown: rejected by an unknown sender: ICMP administratively prohibited (3/13) after 21 ms (missing: icmp_from)");
    assert_snapshot!(say(&icmp(network, 3, 3)), @"refused icmp-port-unreachable network: rejected by a firewall or router at 198.51.100.1: ICMP port unreachable (3/3) after 21 ms");
    assert_snapshot!(say(&icmp(remote, 3, 3)), @"refused icmp-port-unreachable remote: rejected by the remote host: ICMP port unreachable (3/3) after 21 ms");
    assert_snapshot!(say(&icmp(local, 3, 3)), @"refused icmp-port-unreachable local: rejected by this host itself: ICMP port unreachable (3/3) after 21 ms");
    assert_snapshot!(say(&icmp(0, 3, 3)), @"refused icmp-port-unreachable unknown: rejected by an unknown sender: ICMP port unreachable (3/3) after 21 ms (missing: icmp_from)");
    assert_snapshot!(say(&icmp(network, 3, 2)), @"refused icmp-protocol-unreachable network: rejected by a firewall or router at 198.51.100.1: ICMP protocol unreachable (3/2) after 21 ms");
    assert_snapshot!(say(&icmp(remote, 3, 2)), @"refused icmp-protocol-unreachable remote: rejected by the remote host: ICMP protocol unreachable (3/2) after 21 ms");
    assert_snapshot!(say(&icmp(local, 3, 2)), @"refused icmp-protocol-unreachable local: rejected by this host itself: ICMP protocol unreachable (3/2) after 21 ms");
    assert_snapshot!(say(&icmp(0, 3, 2)), @"refused icmp-protocol-unreachable unknown: rejected by an unknown sender: ICMP protocol unreachable (3/2) after 21 ms (missing: icmp_from)");
    // Only the errno is known: type, code and sender are missing.
    assert_snapshot!(say(&syn(0, libc::ECONNREFUSED, 21)), @"refused icmp-port-unreachable unknown: rejected by an unknown sender: ICMP port unreachable after 21 ms (missing: icmp_type, icmp_from)");
}

#[test]
fn timeout() {
    assert_snapshot!(say(&Attempt { syn_retransmits: 6, ..syn(WAITED, libc::ETIMEDOUT, 131_200) }), @"timeout syn-timeout none: no answer: the kernel gave up after 2 min 11 s, 6 SYN retransmits");
    let abandoned = Attempt { syn_retransmits: 5, ..syn(WAITED | CLOSED, 0, 30_000) };
    assert_snapshot!(say(&abandoned), @"timeout abandoned none: no answer: smtp gave up after 30.0 s, 5 SYN retransmits");
    assert_snapshot!(say(&Attempt { process: None, syn_retransmits: 1, ..abandoned }), @"timeout abandoned none: no answer: the application gave up after 30.0 s, 1 SYN retransmit");
    assert_snapshot!(say(&session(0, libc::ETIMEDOUT, end::CLOSE, 925_000)), @"timeout stalled none: accepted, then silence: the kernel gave up after 15 min 25 s");
    let stalled =
        Attempt { unacked_bytes: 1_448, ..session(fact::BYTES_RECEIVED | fact::UNACKED, 0, end::LOCAL_FIN, 180_000) };
    assert_snapshot!(say(&stalled), @"timeout stalled none: accepted, then silence: smtp gave up after 3 min 0 s, 1448 bytes not acknowledged");
    let mut destroyed = syn(WAITED, 0, 30_000);
    destroyed.code.end = end::DESTROYED;
    assert_snapshot!(say(&destroyed), @"timeout unknown none: no answer after 30.0 s; how it ended is not known (missing: end)");
}

#[test]
fn unreachable() {
    let network = fact::ICMP_SENDER;
    let remote = fact::ICMP_SENDER | fact::ICMP_FROM_DESTINATION;
    assert_snapshot!(say(&icmp(network, 3, 0)), @"unreachable icmp-net-unreachable network: reported by a firewall or router at 198.51.100.1: ICMP network unreachable (3/0) after 21 ms");
    assert_snapshot!(say(&icmp(remote, 3, 0)), @"unreachable icmp-net-unreachable remote: reported by the remote host: ICMP network unreachable (3/0) after 21 ms");
    assert_snapshot!(say(&icmp(fact::ICMP_SENDER | fact::ICMP_FROM_SOURCE, 3, 0)), @"unreachable icmp-net-unreachable local: reported by this host itself: ICMP network unreachable (3/0) after 21 ms");
    assert_snapshot!(say(&icmp(0, 3, 0)), @"unreachable icmp-net-unreachable unknown: reported by an unknown sender: ICMP network unreachable (3/0) after 21 ms (missing: icmp_from)");
    assert_snapshot!(say(&icmp(network, 3, 1)), @"unreachable icmp-host-unreachable network: reported by a firewall or router at 198.51.100.1: ICMP host unreachable (3/1) after 21 ms");
    assert_snapshot!(say(&icmp(remote, 3, 1)), @"unreachable icmp-host-unreachable remote: reported by the remote host: ICMP host unreachable (3/1) after 21 ms");
    assert_snapshot!(say(&icmp(fact::ICMP_SENT_HERE, 3, 1)), @"unreachable icmp-host-unreachable local: reported by this host itself: ICMP host unreachable (3/1) after 21 ms");
    assert_snapshot!(say(&icmp(0, 3, 1)), @"unreachable icmp-host-unreachable unknown: reported by an unknown sender: ICMP host unreachable (3/1) after 21 ms (missing: icmp_from)");
    assert_snapshot!(say(&icmp(network, 11, 0)), @"unreachable icmp-time-exceeded network: reported by a firewall or router at 198.51.100.1: ICMP time exceeded (11/0) after 21 ms");
    let neighbour = syn(fact::NEIGH_FAILED, libc::EHOSTUNREACH, 3_100);
    assert_snapshot!(say(&neighbour), @"unreachable no-neighbour local: next hop on eth0 does not answer ARP: gave up after 3.1 s");
    assert_snapshot!(say(&Attempt { daddr: sample::ip("2001:db8::1"), ..neighbour }), @"unreachable no-neighbour local: next hop on eth0 does not answer NDP: gave up after 3.1 s");
    assert_snapshot!(say(&connect(libc::ENETUNREACH)), @"unreachable no-route local: no route to the destination from this host (ENETUNREACH)");
    assert_snapshot!(say(&connect(libc::EACCES)), @"unreachable route-prohibited local: this host's routing table prohibits the destination (EACCES)");
}

#[test]
fn blocked() {
    let dropped = syn(fact::SYN_DROPPED_ALL | WAITED | CLOSED, 0, 30_000);
    assert_snapshot!(say(&Attempt { syn_drops: 1, ..dropped.clone() }), @"blocked local-firewall local: this host's own firewall dropped the SYN");
    assert_snapshot!(say(&Attempt { syn_drops: 6, ..dropped }), @"blocked local-firewall local: this host's own firewall dropped the SYN, 6 times in 30.0 s");
    assert_snapshot!(say(&syn(fact::SYN_DROPPED_ALL | fact::RST, libc::ECONNREFUSED, 0)), @"blocked local-firewall local: this host's own firewall rejected the SYN after <0.1 ms");
    assert_snapshot!(say(&connect(libc::EPERM)), @"blocked permission-denied local: this host does not permit the connection (EPERM)");
    let denied = |facts| {
        let mut attempt = connect(libc::EACCES);
        attempt.code.facts = facts;
        attempt
    };
    assert_snapshot!(say(&denied(fact::BEFORE_ROUTE)), @"blocked security-policy local: a security policy of this host refused connect() (EACCES)");
    assert_snapshot!(say(&denied(fact::AFTER_ROUTE)), @"unreachable route-prohibited local: this host's routing table prohibits the destination (EACCES)");
    let mut bound = Attempt { saddr: Some(sample::ip("127.0.0.1")), ..connect(libc::EINVAL) };
    bound.code.facts = fact::SOURCE_UNUSABLE;
    assert_snapshot!(say(&bound), @"blocked no-source-address local: bound to 127.0.0.1, from which the destination cannot be reached (EINVAL)");
    assert_snapshot!(say(&connect(libc::EADDRNOTAVAIL)), @"blocked no-source-address local: no usable source address on this host (EADDRNOTAVAIL)");
    assert_snapshot!(say(&syn(fact::NO_SEGS_OUT, 0, 0)), @"blocked ports-exhausted local: no free local port on this host");
    assert_snapshot!(say(&connect(libc::ENOMEM)), @"blocked unknown local: this host could not connect (ENOMEM); why is not known (missing: end)");
}

#[test]
fn accepted_and_then() {
    let rst = fact::RST;
    let banner = fact::BYTES_RECEIVED;
    assert_snapshot!(say(&session(rst, libc::ECONNRESET, end::CLOSE, 40)), @"reset before-banner remote: accepted, then reset by the remote host after 40 ms, before the banner");
    assert_snapshot!(say(&session(rst | fact::LOOPBACK, libc::ECONNRESET, end::CLOSE, 40)), @"reset before-banner local: accepted, then reset by this host itself after 40 ms, before the banner");
    assert_snapshot!(say(&session(rst | fact::ANSWER_FROM_LOOPBACK, libc::ECONNRESET, end::CLOSE, 40)), @"reset before-banner local: accepted, then reset by this host itself in the remote host's name after 40 ms, before the banner");
    assert_snapshot!(say(&session(rst | banner, libc::ECONNRESET, end::CLOSE, 2_100)), @"reset mid-session remote: accepted, then reset by the remote host in mid-session after 2.1 s, 812 bytes received");
    assert_snapshot!(say(&session(rst | banner | fact::LOOPBACK, libc::ECONNRESET, end::CLOSE, 2_100)), @"reset mid-session local: accepted, then reset by this host itself in mid-session after 2.1 s, 812 bytes received");
    assert_snapshot!(say(&session(0, 0, end::PEER_FIN, 40)), @"closed before-banner remote: accepted, then closed by the remote host after 40 ms, before the banner");
    assert_snapshot!(say(&session(0, 0, end::LOCAL_FIN, 10_000)), @"silent no-banner none: accepted, but no banner in 10.0 s: smtp gave up");
    assert_snapshot!(say(&session(0, 0, end::DESTROYED, 10_000)), @"silent unknown unknown: accepted, but no banner in 10.0 s; how it ended is not known (missing: end)");
    assert_snapshot!(say(&session(banner, 0, end::LOCAL_FIN, 2_100)), @"connected : accepted after 20 ms, ended in order after 2.1 s, 812 bytes received");
    assert_snapshot!(say(&session(banner | fact::ANSWER_FROM_LOOPBACK, 0, end::LOCAL_FIN, 2_100)), @"connected : accepted by this host itself in the remote host's name after 20 ms, ended in order after 2.1 s, 812 bytes received");
}

#[test]
fn cancelled() {
    assert_snapshot!(say(&syn(CLOSED, 0, 50)), @"cancelled early none: cancelled by smtp after 50 ms, before any answer");
    assert_snapshot!(say(&syn(CLOSED | fact::EXITING, 0, 50)), @"cancelled process-exit none: smtp exited after 50 ms, before any answer");
    assert_snapshot!(say(&syn(CLOSED, libc::ECONNABORTED, 50)), @"cancelled destroyed local: socket destroyed on this host after 50 ms, as by ss -K");
    assert_snapshot!(say(&syn(CLOSED, libc::EPIPE, 50)), @"cancelled unknown none: ended after 50 ms (EPIPE) without an answer; why is not known (missing: end)");
    let mut replaced = syn(0, 0, 50);
    replaced.code.end = end::REPLACED;
    assert_snapshot!(say(&replaced), @"cancelled unknown none: ended after 50 ms without an answer; why is not known (missing: end)");
}

#[test]
fn a_beginning_not_seen_leaves_times_and_names_out() {
    let mut late = syn(fact::LATE_START | CLOSED | fact::EXITING, 0, 50);
    (late.elapsed, late.started, late.process) = (None, None, None);
    assert_snapshot!(say(&late), @"cancelled process-exit none: the application exited, before any answer");
    let mut late = session(fact::LATE_START, 0, end::LOCAL_FIN, 10);
    (late.elapsed, late.handshake, late.process) = (None, None, None);
    assert_snapshot!(say(&late), @"silent no-banner none: accepted, but no banner: the application gave up");
}

#[test]
fn ipv6_codes_have_the_same_words() {
    let mut attempt = icmp(fact::ICMP_SENDER, 1, 1);
    attempt.code.family = FAMILY_V6;
    attempt.icmp_from = Some(sample::ip("2001:db8::fe"));
    assert_snapshot!(say(&attempt), @"refused icmp-admin-prohibited network: rejected by a firewall or router at 2001:db8::fe: ICMP administratively prohibited (1/1) after 21 ms");
}

#[test]
fn names_cannot_pose_as_our_words() {
    for (comm, shown) in [
        ("smtp", "smtp"),
        ("postfix/smtp", "postfix/smtp"),
        ("x by root: RST", "\"x by root: RST\""),
        ("a\"b", "\"a'b\""),
        ("\x1b[2J", "\"\\x1b[2J\""),
        ("", "\"\""),
    ] {
        assert_eq!(task_name(comm), shown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_judgement_has_its_own_phrase(event in sample::any_event()) {
        prop_assert!(known(&event).is_some(), "{:?} {:?} {:?}", event.label, event.reason, event.origin);
        prop_assert!(phrase(&event).chars().all(crate::sanitize::is_visible));
    }
}
