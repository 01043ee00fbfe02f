//! What is written, and that it reads back.

use proptest::prelude::*;

use super::*;
use crate::join::Waiting;
use crate::join::attach::Tallies;
use crate::label::{Label, Reason};
use crate::mta::LogCounts;
use crate::sample::{any_event, hostile};

#[test]
fn everything_that_is_told() {
    let mut metrics = Metrics::new(time() - Duration::from_hours(1), 1);
    metrics.event(&event(Label::Refused, Some(Reason::Rst)));
    let outcomes = [(outcome(1, 25, REFUSED), 30), (outcome(2, 25, CONNECTED), 12)];
    metrics.missing(&missing(&outcomes));
    let mut reading = reading(totals(&outcomes));
    reading.sinks.push(sink("siem"));
    let dropped = BTreeMap::from([("disk full".to_owned(), 6)]);
    reading.history = Some(HistoryMetrics {
        written: 36,
        dropped,
        is_failing: true,
        queue_bytes: 1_000,
        queue_limit_bytes: 64 << 20,
    });
    reading.limits = vec![("readers", 3), ("open alerts", 0)];
    reading.readers = Some(ReaderMetrics {
        connected: 2,
        events_lost: 9,
        queue_bytes: 2_000,
        queue_limit_bytes: 32 << 20,
        dropped: ReadersDropped { events: 5, deliveries: 4, alerts: 3 },
    });
    reading.mta = Some(MtaMetrics {
        is_read: true,
        is_not_understood: false,
        counts: LogCounts {
            lines: 900,
            understood: 850,
            deliveries: 60,
            too_long: 1,
            rotations: 2,
            unread_files: 3,
            ..LogCounts::default()
        },
        tallies: Tallies { joined: 20, unlogged: 4, ambiguous: 2, nothing: 3, unsought: 1 },
        waiting: Waiting { attempts: 5, mentions: 6, deliveries: 7, early_attempts: 1, early_lines: 8, other_pids: 0 },
    });
    let text = metrics.render(&reading).unwrap();
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn a_failure_without_a_label_of_its_own_is_counted() {
    let mut metrics = Metrics::new(time(), 1);
    let mut left_out = |outcomes: &[(OutcomeKey, u64)]| {
        metrics.missing(&missing(outcomes));
        metrics.render(&reading(totals(&[]))).unwrap();
        let samples = parse(&metrics.render(&reading(totals(&[]))).unwrap());
        get(&samples, "observer_limit_reached_total", &[("limit", "destinations with a label")])
    };
    assert_eq!(left_out(&[(outcome(1, 25, REFUSED), 9), (outcome(2, 25, CONNECTED), 5)]), Some(0.0));
    assert_eq!(left_out(&[(outcome(3, 25, REFUSED), 4), (outcome(4, 25, CONNECTED), 5)]), Some(4.0));
    // The label is taken.
    assert_eq!(left_out(&[(outcome(3, 25, REFUSED), 2)]), Some(6.0));
}

#[test]
fn nothing_is_told_of_what_there_is_not() {
    let text = Metrics::new(time(), 0).render(&reading(totals(&[]))).unwrap();
    for absent in ["observer_sink", "observer_history", "observer_readers", "observer_mta", "observer_destination_"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
}

#[test]
fn a_lost_event_is_counted_and_has_no_duration() {
    let mut metrics = Metrics::new(time(), 0);
    metrics.event(&event(Label::Refused, Some(Reason::Rst)));
    let samples = parse(&metrics.render(&reading(totals(&[(outcome(1, 25, REFUSED), 3)]))).unwrap());
    let connects = [("outcome", "refused"), ("reason", "rst"), ("dst_port", "25")];
    assert_eq!(get(&samples, "observer_tcp_connects_total", &connects), Some(3.0));
    let durations = [("outcome", "refused"), ("until", "failure")];
    assert_eq!(get(&samples, "observer_tcp_connect_duration_seconds_count", &durations), Some(1.0));
    assert_eq!(get(&samples, "observer_tcp_connect_duration_seconds_sum", &durations), Some(0.031402));
    assert_eq!(get(&samples, "observer_events_dropped_total", &[("cause", "ring buffer full")]), Some(2.0));
    assert_eq!(get(&samples, "observer_ledger_imbalance", &[]), Some(0.0));
}

#[test]
fn a_session_that_stalled_counts_with_its_handshake() {
    let mut stalled = event(Label::Timeout, Some(Reason::Stalled));
    stalled.handshake = Some(Duration::from_millis(20));
    stalled.elapsed = Some(Duration::from_mins(15));
    // Accepted, and when is not known: nothing can be said.
    let mut unknown = event(Label::Reset, Some(Reason::MidSession));
    unknown.evidence.bytes_received = Some(12);
    let mut metrics = Metrics::new(time(), 0);
    metrics.event(&stalled);
    metrics.event(&unknown);
    let samples = parse(&metrics.render(&reading(totals(&[]))).unwrap());
    let labels = [("outcome", "timeout"), ("until", "handshake")];
    assert_eq!(get(&samples, "observer_tcp_connect_duration_seconds_sum", &labels), Some(0.02));
    assert!(!samples.keys().any(|(_, labels)| labels.iter().any(|(_, value)| value == "reset")));
}

#[test]
fn mail_servers_timeouts_fall_into_buckets_of_their_own() {
    let mut metrics = Metrics::new(time(), 0);
    for seconds in [30.02, 60.05, 127.5, 135.0] {
        let mut timeout = event(Label::Timeout, Some(Reason::Abandoned));
        timeout.elapsed = Some(Duration::from_secs_f64(seconds));
        metrics.event(&timeout);
    }
    let samples = parse(&metrics.render(&reading(totals(&[]))).unwrap());
    let up_to = |bound| {
        let labels = [("outcome", "timeout"), ("until", "failure"), ("le", bound)];
        get(&samples, "observer_tcp_connect_duration_seconds_bucket", &labels)
    };
    let counts = ["20", "31", "61", "130", "+Inf"].map(up_to);
    assert_eq!(counts, [0.0, 1.0, 2.0, 3.0, 4.0].map(Some));
}

#[test]
fn a_clock_set_back_makes_no_age_negative() {
    let mut reading = reading(totals(&[]));
    reading.sinks.push(sink("siem"));
    reading.now = time() - Duration::from_hours(1);
    let samples = parse(&Metrics::new(time(), 0).render(&reading).unwrap());
    assert_eq!(get(&samples, "observer_sink_trouble_seconds", &[("sink", "siem")]), Some(0.0));
    assert_eq!(get(&samples, "observer_sink_spool_oldest_age_seconds", &[("sink", "siem")]), Some(0.0));
}

#[test]
fn a_name_that_two_sinks_have_is_one_sample() {
    let mut reading = reading(totals(&[]));
    reading.sinks = vec![sink("siem"), sink("siem")];
    let samples = parse(&Metrics::new(time(), 0).render(&reading).unwrap());
    assert_eq!(get(&samples, "observer_sink_messages_delivered_total", &[("sink", "siem")]), Some(34.0));
}

proptest! {
    #[test]
    fn hostile_labels_read_back(name in hostile(), cause in hostile(), hook in hostile(), event in any_event()) {
        let mut reading = reading(totals(&[]));
        reading.hooks = vec![HookMetrics { name: hook.clone(), group: "core".to_owned(), is_attached: true }];
        let dropped = BTreeMap::from([(cause.clone(), 1)]);
        reading.sinks.push(SinkMetrics { name: name.clone(), dropped, ..SinkMetrics::default() });
        let mut metrics = Metrics::new(time(), 3);
        metrics.event(&event);
        let samples = parse(&metrics.render(&reading).unwrap());
        let dropped = [("sink", &*name), ("cause", &*cause)];
        prop_assert_eq!(get(&samples, "observer_sink_messages_dropped_total", &dropped), Some(1.0));
        prop_assert_eq!(get(&samples, "observer_sink_up", &[("sink", &name)]), Some(1.0));
        let hook = [("hook", &*hook), ("group", "core")];
        prop_assert_eq!(get(&samples, "observer_kernel_hook_attached", &hook), Some(1.0));
    }
}
