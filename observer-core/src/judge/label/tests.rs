use observer_common::record::FAMILY_V4;
use proptest::prelude::*;

use super::*;

/// A failed handshake over IPv4.
fn handshake(facts: u32, sk_err: u16) -> EndCode {
    EndCode { facts, sk_err, phase: phase::SYN_SENT, end: end::CLOSE, family: FAMILY_V4, ..EndCode::default() }
}

fn icmp(family: u8, icmp_type: u8, icmp_code: u8) -> EndCode {
    let facts = fact::ICMP | fact::ICMP_SENDER;
    EndCode { icmp_type, icmp_code, family, ..handshake(facts, EHOSTUNREACH) }
}

fn session(facts: u32, end: u8, sk_err: u16) -> EndCode {
    EndCode { phase: phase::ESTABLISHED, end, ..handshake(facts, sk_err) }
}

fn connect(errno: u16) -> EndCode {
    EndCode { phase: phase::CONNECT, end: end::CONNECT_FAILED, ..handshake(0, errno) }
}

fn short(code: &EndCode) -> String {
    let verdict = label(code);
    let reason = verdict.reason.map_or("-", Reason::as_str);
    let origin = verdict.origin.map_or("-", Origin::as_str);
    let active = if verdict.active_refusal { " active" } else { "" };
    format!("{} {reason} {origin}{active}", verdict.label.as_str())
}

#[test]
fn every_row_of_the_vocabulary() {
    let quit = fact::SHUTDOWN;
    let rows: &[(&str, EndCode)] = &[
        ("refused rst remote active", handshake(fact::RST, ECONNREFUSED)),
        ("refused rst local active", handshake(fact::RST | fact::LOOPBACK, ECONNREFUSED)),
        ("refused icmp-protocol-unreachable network active", icmp(FAMILY_V4, 3, 2)),
        ("refused icmp-port-unreachable network active", icmp(FAMILY_V4, 3, 3)),
        ("refused icmp-admin-prohibited network active", icmp(FAMILY_V4, 3, 9)),
        ("refused icmp-admin-prohibited network active", icmp(FAMILY_V4, 3, 10)),
        ("refused icmp-admin-prohibited network active", icmp(FAMILY_V4, 3, 13)),
        ("refused icmp-admin-prohibited network active", icmp(FAMILY_V6, 1, 1)),
        ("refused icmp-port-unreachable network active", icmp(FAMILY_V6, 1, 4)),
        ("refused icmp-admin-prohibited network active", icmp(FAMILY_V6, 1, 5)),
        ("refused icmp-admin-prohibited network active", icmp(FAMILY_V6, 1, 6)),
        ("unreachable icmp-net-unreachable network", icmp(FAMILY_V4, 3, 0)),
        ("unreachable icmp-host-unreachable network", icmp(FAMILY_V4, 3, 1)),
        ("unreachable icmp-net-unreachable network", icmp(FAMILY_V6, 1, 0)),
        ("unreachable icmp-host-unreachable network", icmp(FAMILY_V6, 1, 3)),
        ("unreachable icmp-time-exceeded network", icmp(FAMILY_V4, 11, 0)),
        ("unreachable icmp-time-exceeded network", icmp(FAMILY_V6, 3, 0)),
        ("timeout syn-timeout none", handshake(fact::SYN_RETRANSMITTED, ETIMEDOUT)),
        ("timeout abandoned none", handshake(quit | fact::SYN_RETRANSMITTED, 0)),
        ("timeout abandoned none", handshake(quit | fact::ONE_SECOND, 0)),
        ("cancelled early none", handshake(quit, 0)),
        ("cancelled destroyed local", handshake(0, ECONNABORTED)),
        ("cancelled destroyed local", session(fact::BYTES_RECEIVED, end::CLOSE, ECONNABORTED)),
        ("blocked local-firewall local", handshake(fact::SYN_DROPPED_ALL, ECONNABORTED)),
        ("cancelled process-exit none", handshake(quit | fact::EXITING, 0)),
        ("unreachable no-neighbour local", handshake(fact::NEIGH_FAILED, EHOSTUNREACH)),
        ("unreachable no-neighbour local", handshake(fact::SYN_FREED, EHOSTUNREACH)),
        ("blocked local-firewall local", handshake(fact::SYN_DROPPED_ALL, ETIMEDOUT)),
        ("blocked local-firewall local", handshake(fact::SYN_DROPPED_ALL | quit | fact::ONE_SECOND, 0)),
        ("blocked local-firewall local active", handshake(fact::SYN_DROPPED_ALL | fact::RST, ECONNREFUSED)),
        ("blocked local-firewall local active", handshake(fact::SYN_DROPPED_ALL | fact::ICMP_SENT_HERE | quit, 0)),
        ("blocked ports-exhausted local", handshake(fact::NO_SEGS_OUT, 0)),
        ("unreachable no-route local", connect(ENETUNREACH)),
        ("unreachable no-route local", connect(EINVAL)),
        ("unreachable route-prohibited local", connect(EACCES)),
        ("blocked permission-denied local active", connect(EPERM)),
        ("blocked security-policy local active", EndCode { facts: fact::BEFORE_ROUTE, ..connect(EACCES) }),
        ("unreachable route-prohibited local", EndCode { facts: fact::AFTER_ROUTE, ..connect(EACCES) }),
        ("blocked no-source-address local", EndCode { facts: fact::SOURCE_UNUSABLE, ..connect(EINVAL) }),
        ("blocked no-source-address local", handshake(fact::SOURCE_UNUSABLE, ETIMEDOUT)),
        ("cancelled early none", handshake(fact::SOURCE_UNUSABLE | quit, 0)),
        ("blocked no-source-address local", connect(EADDRNOTAVAIL)),
        ("reset before-banner remote active", session(fact::RST, end::CLOSE, 104)),
        ("reset mid-session remote active", session(fact::RST | fact::BYTES_RECEIVED, end::CLOSE, 104)),
        ("timeout stalled none", session(fact::BYTES_RECEIVED, end::CLOSE, ETIMEDOUT)),
        ("timeout stalled none", session(fact::BYTES_RECEIVED | fact::UNACKED, end::LOCAL_FIN, 0)),
        ("reset mid-session remote active", session(fact::RST | fact::BYTES_RECEIVED | fact::UNACKED, end::CLOSE, 104)),
        ("reset before-banner local active", session(fact::RST | fact::ANSWER_FROM_LOOPBACK, end::CLOSE, 104)),
        ("closed before-banner local", session(fact::ANSWER_FROM_LOOPBACK, end::PEER_FIN, 0)),
        ("refused rst local active", handshake(fact::RST | fact::ANSWER_FROM_LOOPBACK, ECONNREFUSED)),
        ("closed before-banner remote", session(0, end::PEER_FIN, 0)),
        ("silent no-banner none", session(0, end::LOCAL_FIN, 0)),
        ("connected - -", session(fact::BYTES_RECEIVED, end::PEER_FIN, 0)),
        ("connected - -", session(fact::BYTES_RECEIVED, end::LOCAL_FIN, 0)),
        ("timeout unknown none", EndCode { end: end::DESTROYED, ..handshake(fact::ONE_SECOND, 0) }),
        ("timeout unknown none", EndCode { end: end::DESTROYED, ..handshake(fact::ONE_SECOND | fact::NO_SEGS_OUT, 0) }),
        (
            "blocked no-source-address local",
            EndCode {
                end: end::DESTROYED,
                ..handshake(fact::SOURCE_UNUSABLE | fact::ONE_SECOND | fact::NO_SEGS_OUT, 0)
            },
        ),
        (
            "blocked no-source-address local",
            handshake(fact::SYN_DROPPED_SOME | fact::SOURCE_UNUSABLE | quit | fact::ONE_SECOND, 0),
        ),
    ];
    for (expected, code) in rows {
        assert_eq!(short(code), *expected, "{code:?}");
    }
}

#[test]
fn a_rst_after_some_local_drops_is_the_remote_hosts() {
    let code = handshake(fact::RST | fact::SYN_DROPPED_SOME | fact::SYN_RETRANSMITTED, ECONNREFUSED);
    assert_eq!(short(&code), "refused rst remote active");
}

#[test]
fn a_refusal_by_icmp_from_this_host_after_some_local_drops_is_its_firewalls() {
    let of = |facts, icmp_code| {
        let facts = facts | fact::ICMP | fact::ICMP_SENDER | fact::SYN_DROPPED_SOME | fact::SYN_RETRANSMITTED;
        EndCode { icmp_type: 3, icmp_code, ..handshake(facts, EHOSTUNREACH) }
    };
    assert_eq!(short(&of(fact::ICMP_FROM_SOURCE, 13)), "blocked local-firewall local active");
    assert_eq!(short(&of(0, 13)), "refused icmp-admin-prohibited network active");
    assert_eq!(short(&of(fact::ICMP_FROM_SOURCE, 1)), "unreachable no-neighbour local");
}

#[test]
fn an_icmp_error_explains_a_socket_that_looks_abandoned() {
    let code = EndCode { soft_err: ECONNREFUSED as u8, ..handshake(fact::SHUTDOWN | fact::ONE_SECOND, 0) };
    assert_eq!(short(&code), "refused icmp-port-unreachable unknown active");
}

#[test]
fn the_sender_of_an_icmp_error_decides_the_origin() {
    let from = |facts| {
        let code = icmp(FAMILY_V4, 3, 13);
        label(&EndCode { facts: code.facts | facts, ..code }).origin
    };
    assert_eq!(from(0), Some(Origin::Network));
    assert_eq!(from(fact::ICMP_FROM_DESTINATION), Some(Origin::Remote));
    assert_eq!(from(fact::ICMP_FROM_SOURCE), Some(Origin::Local));
}

proptest! {
    /// Total: any facts get one verdict, and it does not contradict itself.
    #[test]
    fn any_facts_get_a_verdict(
        facts: u32, sk_err: u16, phase in 0_u8..4, end in 0_u8..7, icmp_type: u8, icmp_code: u8, soft_err: u8, family in 0_u8..9,
    ) {
        let verdict = label(&EndCode { facts, sk_err, phase, end, icmp_type, icmp_code, soft_err, family });
        prop_assert_eq!(verdict.is_failure(), verdict.reason.is_some());
        prop_assert_eq!(verdict.is_failure(), verdict.origin.is_some());
        if verdict.active_refusal {
            prop_assert!(matches!(verdict.label, Label::Refused | Label::Blocked | Label::Reset));
        }
    }
}

#[test]
fn the_documentation_has_the_meanings_that_help_and_reports_have() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    for label in Label::ALL {
        let meaning = label.help().unwrap();
        let (first, rest) = meaning.split_at(1);
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}` |", label.as_str()))).unwrap();
        assert!(row.contains(&format!("{}{rest}", first.to_lowercase())), "{meaning}\n{row}");
    }
}
