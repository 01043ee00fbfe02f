use insta::assert_snapshot;
use observer_core::label::{Label, Reason};
use observer_core::ledger::{DestinationSummary, Ledger};
use observer_core::sample;

use super::{TOP, render};

fn destination(ip: &str, failures: u64) -> DestinationSummary {
    DestinationSummary {
        ip: sample::ip(ip),
        port: 25,
        attempts: failures + 3,
        established: 3,
        failures,
        dominant: Some(((Label::Refused, Some(Reason::Rst)), failures)),
    }
}

fn ledger() -> Ledger {
    let outcomes = [
        ((Label::Refused, Some(Reason::Rst)), 1000),
        ((Label::Refused, Some(Reason::IcmpAdminProhibited)), 30),
        ((Label::Timeout, Some(Reason::Abandoned)), 60),
        ((Label::Connected, None), 100),
    ];
    Ledger {
        attempts: 1203,
        established: 100,
        outcomes: outcomes.into(),
        in_flight: 12,
        lost: vec![("attempt table full", 1)],
        events_delivered: 1088,
        events_lost: vec![("ring buffer full", 2), ("not read before the end", 0)],
        destinations: vec![
            destination("203.0.113.5", 90),
            destination("2001:db8::1", 1000),
            destination("192.0.2.1", 0),
        ],
        ..Ledger::default()
    }
}

#[test]
fn a_run_that_balances() {
    assert_snapshot!(render(&ledger()), @"

    outcome    reason                 count  share of attempts
    refused    rst                     1000              83.1%
               icmp-admin-prohibited     30               2.5%
    timeout    abandoned                 60               5.0%
    connected                           100               8.3%

    destination       attempts  established  failures  mostly
    [2001:db8::1]:25      1003            3      1000  refused/rst (1000)
    203.0.113.5:25          93            3        90  refused/rst (90)

    ledger: attempts 1203 = outcomes 1190 + in flight 12 + lost 1 (attempt table full 1): balances
    events: 1088 delivered, 2 lost (ring buffer full 2); handshakes completed: 100
    ");
}

#[test]
fn nothing_happened() {
    assert_snapshot!(render(&Ledger::default()), @"

    ledger: attempts 0 = outcomes 0 + in flight 0 + lost 0: balances
    events: 0 delivered, 0 lost; handshakes completed: 0
    ");
}

#[test]
fn what_went_wrong_is_said() {
    let ledger = Ledger {
        attempts: 10,
        outcomes: [((Label::Refused, Some(Reason::Rst)), 3)].into(),
        outcomes_unlabelled: 4,
        remarks: vec![("attempts whose beginning was not seen", 4), ("never", 0)],
        ..Ledger::default()
    };
    assert_snapshot!(render(&ledger), @"

    outcome    reason                 count  share of attempts
    refused    rst                        3              30.0%
    not known  counted in total only      4              40.0%

    ledger: attempts 10 = outcomes 7 + in flight 0 + lost 0: DOES NOT BALANCE by 3
    events: 0 delivered, 0 lost; handshakes completed: 0
    note:   attempts whose beginning was not seen: 4
    ");
    let twice = Ledger { attempts: 5, ..ledger };
    assert!(render(&twice).contains("DOES NOT BALANCE by -2"));
}

#[test]
fn what_cannot_be_seen_is_said() {
    let ledger =
        Ledger { unseen: vec!["sendto(MSG_FASTOPEN) that fails before a SYN".to_owned()], ..Ledger::default() };
    assert_snapshot!(render(&ledger), @"

    ledger: attempts 0 = outcomes 0 + in flight 0 + lost 0: balances, without what cannot be seen
    events: 0 delivered, 0 lost; handshakes completed: 0
    cannot see: sendto(MSG_FASTOPEN) that fails before a SYN
    ");
}

#[test]
fn the_most_failing_destinations_come_first_and_are_few() {
    let destinations = (1..=12).map(|n| destination(&format!("203.0.113.{n}"), n)).collect();
    let text = render(&Ledger { destinations, ..Ledger::default() });
    let shown: Vec<_> = text.lines().filter(|line| line.starts_with("203.")).collect();
    assert_eq!(shown.len(), TOP);
    assert!(shown[0].starts_with("203.0.113.12:25"), "{text}");
    assert!(shown[TOP - 1].starts_with("203.0.113.3:25"), "{text}");
}

#[test]
fn of_as_many_failures_the_address_decides() {
    let destinations = ["203.0.113.2", "203.0.113.1", "2001:db8::1"].map(|ip| destination(ip, 7));
    let mut turned = destinations.to_vec();
    turned.reverse();
    let text = |destinations| render(&Ledger { destinations, ..Ledger::default() });
    assert_eq!(text(destinations.to_vec()), text(turned));
}
