mod hostile;
mod names;
mod page;
mod schema;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{Account, Builder, Frame, Period, Report, Selection, Source, html, json, sample, table, words};
use crate::label::{Label, Reason};
use crate::ledger::{Ledger, Outcome};
use crate::tally::Seen;

/// What a live capture says when something went wrong.
fn live() -> Account {
    Account::live(&Ledger {
        attempts: 650,
        in_flight: 6,
        outcomes_unlabelled: 640,
        lost: vec![("attempt table full", 3)],
        events_delivered: 630,
        events_lost: vec![("ring buffer full", 10), ("not read before the end", 0)],
        remarks: vec![("attempts whose beginning was not seen", 2)],
        unseen: vec!["connect() that fails before a SYN".to_owned()],
        ..Ledger::default()
    })
}

fn empty() -> Report {
    sample::build(sample::frame(), &[])
}

#[test]
fn the_table_at_80_columns() {
    let text = table::render(&sample::report(), 80, &TimeZone::UTC);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
    insta::assert_snapshot!(text);
}

#[test]
fn an_empty_table_still_says_what_it_is_of() {
    insta::assert_snapshot!(table::render(&empty(), 80, &TimeZone::UTC), @"
    observer report for mx1: 2026-11-23 16:00 to 17:00 UTC
    No connection attempt ended in this period.
    from /var/lib/observer/history.sqlite
    0 attempts to 0 destinations

    SCOPE
    Nothing stands out at the end of the period

    LEDGER
    attempts 0 = events 0 + counted only 0 (event lost, or not kept any more)
    ");
}

#[test]
fn a_live_ledger_says_what_was_lost_and_whether_it_balances() {
    insta::assert_snapshot!(words::account(&live()).join("\n"), @"
    attempts 650 = outcomes 640 + in flight 6 + lost 3 (attempt table full 3): DOES NOT BALANCE by 1
    events: 630 delivered, 10 lost (ring buffer full 10)
    cannot see: connect() that fails before a SYN
    note: attempts whose beginning was not seen: 2
    ");
}

#[test]
fn periods_are_said_briefly_and_without_doubt() {
    let tz = TimeZone::get("Europe/Berlin").unwrap();
    let period = |since: &str, until: &str| {
        let parse = |text: &str| text.parse().unwrap();
        words::period(super::Period { since: parse(since), until: parse(until) }, &tz)
    };
    assert_eq!(period("2026-11-23T15:00:00Z", "2026-11-23T16:00:00Z"), "2026-11-23 16:00 to 17:00 CET");
    assert_eq!(
        period("2026-11-23T15:00:00.5Z", "2026-11-24T16:00:00Z"),
        "2026-11-23 16:00:00 to 2026-11-24 17:00:00 CET"
    );
    assert_eq!(period("2026-10-24T15:00:00Z", "2026-10-26T15:00:00Z"), "2026-10-24 17:00 CEST to 2026-10-26 16:00 CET");
}

#[test]
fn lengths_are_said_in_their_unit() {
    for (seconds, said) in [
        (1, "1 s"),
        (30, "30 s"),
        (60, "1 min"),
        (1_800, "30 min"),
        (7_200, "2 h"),
        (86_400, "1 day"),
        (1_209_600, "2 weeks"),
    ] {
        assert_eq!(words::length(seconds), said);
    }
}

#[test]
fn a_selection_holds_what_it_names() {
    let selection = Selection {
        labels: vec![Label::Refused],
        destinations: vec!["203.0.113.0/24".parse().unwrap()],
        ports: vec![25],
    };
    let report = sample::build(Frame { selection: selection.clone(), ..sample::frame() }, &sample::attempts());
    assert_eq!((report.overview.attempts, report.overview.failures), (140, 140));
    // Of failures alone it cannot be told how far they reach.
    assert_eq!(report.scopes, []);
    let text = table::render(&report, 80, &TimeZone::UTC);
    assert!(text.contains("only label refused, destination 203.0.113.0/24, port 25\n"), "{text}");
    assert!(text.contains("Not judged"), "{text}");
    let seen = sample::attempts()[1].0;
    assert!(selection.admits(&seen));
    assert!(!selection.admits(&Seen { dport: 587, ..seen }));
    assert!(Selection::default().admits(&seen));
}

#[test]
fn a_capture_that_was_cut_short_ends_when_it_ended() {
    let mut builder = Builder::new(sample::frame());
    sample::attempts().iter().take(50).for_each(|(seen, comm)| _ = builder.add(seen, Some(comm)));
    let end = sample::since() + SignedDuration::from_mins(10);
    builder.end(end);
    let report = builder.finish(sample::about(), live());
    assert_eq!((report.period.until, report.timeline.buckets.len()), (end, 10));
}

#[test]
fn many_dead_hosts_leave_room_for_the_rest() {
    let attempts: Vec<_> = (0..200)
        .flat_map(|host| {
            let outcome = if host < 40 { (Label::Refused, Some(Reason::Rst)) } else { (Label::Connected, None) };
            (0..6).map(move |n| (sample::seen(n, "192.0.2.10", &format!("203.0.{host}.1"), outcome, 5), "smtp"))
        })
        .collect();
    let report = sample::build(sample::frame(), &attempts);
    assert_eq!((report.scopes.len(), report.scopes_omitted), (10, 30));
}

/// A host that fails a day long, with more hosts in the last hour.
fn a_day(failing: &[(&str, i64)]) -> Report {
    const RST: Outcome = (Label::Refused, Some(Reason::Rst));
    let day = SignedDuration::from_hours(24);
    let frame = Frame {
        period: super::Period {
            since: sample::since() + SignedDuration::from_hours(1) - day,
            ..sample::frame().period
        },
        ..sample::frame()
    };
    let mut attempts = Vec::new();
    for hour in -20..=0 {
        for n in 0..6 {
            let second = hour * 3_600 + n * 600;
            let healthy = (0..5).map(|net| format!("198.51.{net}.7"));
            attempts.extend(
                healthy.map(|to| (sample::seen(second, "192.0.2.10", &to, (Label::Connected, None), 900), "smtp")),
            );
            let failing = failing.iter().filter(|(_, since)| *since <= hour);
            attempts.extend(failing.map(|(to, _)| (sample::seen(second + 1, "192.0.2.10", to, RST, 21), "smtp")));
        }
    }
    sample::build(frame, &attempts)
}

#[test]
fn a_scope_of_two_windows_is_said_once() {
    assert_eq!(
        words::scopes(&a_day(&[("203.0.113.11", -20)])),
        [
            "Fails for destination 203.0.113.11:25 alone: 6 of 6 attempts failed in the last hour, and 126 of 126 in the \
          last day, mostly refused; 30 of 30, and 630 of 630 elsewhere succeeded"
        ]
    );
    assert_eq!(
        words::scopes(&a_day(&[("203.0.113.11", 0)])),
        ["Fails for destination 203.0.113.11:25 alone: 6 of 6 attempts failed in the last hour, and the last day, \
          mostly refused; 30 of 30, and 630 of 630 elsewhere succeeded"]
    );
}

#[test]
fn ten_destinations_share_a_sentence_and_none_is_alone() {
    let to: Vec<String> = (0..10).map(|net| format!("203.0.{net}.1")).collect();
    let failing: Vec<_> = to.iter().enumerate().map(|(nth, to)| (to.as_str(), if nth < 8 { 0 } else { -20 })).collect();
    let report = a_day(&failing);
    let mut listed: Vec<String> = (1..8).map(|net| format!("203.0.{net}.1:25 (6 of 6, mostly refused)")).collect();
    listed.extend((8..10).map(|net| format!("203.0.{net}.1:25 (6 of 6, and 126 of 126, mostly refused)")));
    assert_eq!(
        words::scopes(&report),
        [format!(
            "Fails for 10 destinations in the last hour, and the last day: 203.0.0.1:25 (6 of 6 attempts, mostly refused), \
             {}; 30 of 30, and 630 of 630 elsewhere succeeded",
            listed.join(", ")
        )]
    );
    let mut scopes: Vec<_> = report.scopes.iter().map(|reach| &reach.verdict.scope).collect();
    scopes.dedup();
    assert_eq!((scopes.len(), report.scopes_omitted), (10, 0), "{scopes:?}");
    assert!(report.scopes.iter().all(|reach| reach.longer.len() == 1));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(crate::sample::against_schema("observer.report.v1", &json), Vec::<String>::new());
}

#[test]
fn invented_names_take_no_more_room() {
    let mut builder = Builder::new(sample::frame());
    let (seen, _) = sample::attempts()[1];
    (0..5_000).for_each(|n| _ = builder.add(&seen, Some(&format!("{n}{}", "x".repeat(100)))));
    let report = builder.finish(sample::about(), sample::account(5_000));
    let listed: u64 = report.processes.iter().map(|process| process.attempts).sum();
    assert_eq!((listed, report.processes_omitted.entries), (10, 1_014));
    assert_eq!(report.processes_omitted.attempts, 4_990);
    assert!(report.processes.iter().all(|process| process.comm.chars().count() == 45));
}

proptest! {
    /// Each list and what it omits add up to everything.
    #[test]
    fn the_parts_are_the_whole(
        attempts in prop::collection::vec((0i64..3_600, 0u8..30, 0usize..9, prop::option::of(0u8..4)), 0..120),
        top in 0usize..12,
    ) {
        let all: Vec<_> = attempts.iter().map(|&(second, host, label, from)| {
            let seen = sample::seen(second, "192.0.2.1", &format!("203.0.113.{host}"), (Label::ALL[label], None), 5);
            let saddr = from.map(|from| format!("192.0.2.{from}").parse().unwrap());
            (Seen { saddr, ..seen }, ["a", "b", "c"][usize::from(host) % 3])
        }).collect();
        let report = sample::build(Frame { top, ..sample::frame() }, &all);
        let (attempts, failures) = (report.overview.attempts, report.overview.failures);
        prop_assert_eq!(attempts, all.len() as u64);
        prop_assert_eq!(failures, all.iter().filter(|(seen, _)| seen.outcome.0 != Label::Connected).count() as u64);
        prop_assert_eq!(report.overview.outcomes.iter().map(|of| of.count).sum::<u64>(), attempts);
        prop_assert_eq!(report.timeline.buckets.iter().map(|of| of.labels.attempts()).sum::<u64>(), attempts);
        prop_assert_eq!(report.timeline.buckets.iter().map(|of| of.labels.failures()).sum::<u64>(), failures);
        prop_assert_eq!(report.sources.iter().map(|of| of.labels.attempts()).sum::<u64>(), attempts);
        let listed: u64 = report.destinations.iter().map(|of| of.attempts).sum();
        prop_assert_eq!(listed + report.destinations_omitted.attempts, attempts);
        prop_assert_eq!(report.destinations.len() as u64 + report.destinations_omitted.entries, report.overview.destinations);
        let listed: u64 = report.processes.iter().map(|of| of.failures).sum();
        prop_assert_eq!(listed + report.processes_omitted.failures, failures);
        let refused = report.overview.outcomes.iter().filter(|of| of.label == Label::Refused).map(|of| of.count).sum::<u64>();
        prop_assert_eq!(report.refusal_times.iter().map(|of| of.count).sum::<u64>(), refused);
    }
}

#[test]
fn json_is_one_line() {
    let text = json::render(&sample::report()).unwrap();
    assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 1);
    assert_eq!(text.last(), Some(&b'\n'));
}

#[test]
fn attempts_to_this_host_itself_are_shown_apart() {
    let mut attempts: Vec<_> = (0..10)
        .map(|second| (sample::seen(second, "127.0.0.1", "127.0.0.1", (Label::Connected, None), 1), "php"))
        .collect();
    for second in 10..30 {
        let to = format!("203.0.{second}.5");
        attempts
            .push((sample::seen(second, "192.0.2.10", &to, (Label::Timeout, Some(Reason::Abandoned)), 30_000), "smtp"));
    }
    let report = sample::build(sample::frame(), &attempts);
    assert_eq!(
        words::summary(&report),
        "30 attempts to 21 destinations: 20 failed (66.7%), 10 went well. 10 of them are to this host itself, 0 of which \
         failed; without these, 20 of 20 failed (100.0%)"
    );
    assert_eq!(report.sources.len(), 1, "{:?}", report.sources);
    assert_eq!(report.scopes[0].verdict.scope.as_str(), "everything", "{:?}", report.scopes);
}

#[test]
fn where_all_are_to_this_host_itself_nothing_is_left_to_tell() {
    let attempts: Vec<_> = (0..10)
        .map(|second| (sample::seen(second, "127.0.0.1", "127.0.0.1", (Label::Connected, None), 1), "php"))
        .collect();
    assert_eq!(
        words::summary(&sample::build(sample::frame(), &attempts)),
        "10 attempts to 1 destinations: 0 failed (0.0%), 10 went well. All of them are to this host itself"
    );
}

/// Of one destination each: how many attempts there were, and how many failed.
fn outside(destinations: &[(u64, u64)]) -> Report {
    let mut attempts = Vec::new();
    for (nth, &(all, failed)) in destinations.iter().enumerate() {
        for attempt in 0..all {
            let outcome = if attempt < failed { (Label::Refused, Some(Reason::Rst)) } else { (Label::Connected, None) };
            attempts
                .push((sample::seen(attempt as i64, "192.0.2.10", &format!("203.0.113.{nth}"), outcome, 5), "smtp"));
        }
    }
    sample::build(sample::frame(), &attempts)
}

#[test]
fn one_sentence_says_what_matters() {
    let own = (sample::seen(9, "127.0.0.1", "127.0.0.1", (Label::Refused, Some(Reason::Rst)), 1), "php");
    let mut partly = outside(&[(4, 1), (6, 0)]);
    let Source::History { holds, .. } = &mut partly.source else { panic!("{:?}", partly.source) };
    *holds = Some(Period { since: sample::since() + SignedDuration::from_mins(9), until: partly.period.until });
    let mut forgetful = outside(&[(4, 1), (6, 0)]);
    forgetful.outside.attempts_forgotten = 3;
    let selected =
        Frame { selection: Selection { labels: vec![Label::Refused], ..Selection::default() }, ..sample::frame() };
    let all = [
        empty(),
        sample::build(sample::frame(), &[own]),
        outside(&[(1, 0)]),
        outside(&[(4, 0), (6, 0)]),
        outside(&[(4, 1), (6, 0)]),
        outside(&[(4, 1), (6, 2), (1, 0)]),
        outside(&[(4, 4), (6, 0)]),
        outside(&[(4, 4), (6, 6)]),
        outside(&[(4, 4), (6, 1), (2, 2), (9, 0)]),
        outside(&[(4, 4), (6, 1)]),
        outside(&[(3, 3)]),
        partly,
        forgetful,
        sample::build(selected, &sample::attempts()),
    ];
    insta::assert_snapshot!(all.iter().map(words::headline).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_table_that_does_not_add_up_says_why() {
    let seen = |second, to| sample::seen(second, "192.0.2.10", to, (Label::Connected, None), 1);
    let mut builder = Builder::new(sample::frame());
    builder.add(&sample::seen(1, "127.0.0.1", "127.0.0.1", (Label::Connected, None), 1), Some("php"));
    builder.add(&seen(2, "203.0.113.5"), Some("smtp"));
    builder.add(&seen(3, "203.0.113.5"), None);
    let report = builder.finish(sample::about(), sample::account(3));
    let (sources, processes) =
        ("Not in this table: 1 attempt to this host itself", "Not in this table: 1 attempt whose process is not known");
    for text in [table::render(&report, 80, &TimeZone::UTC), html::render(&report, &TimeZone::UTC).unwrap()] {
        assert!(text.contains(sources) && text.contains(processes), "{text}");
    }
    let whole = table::render(&sample::report(), 80, &TimeZone::UTC);
    assert!(!whole.contains("Not in this table"), "{whole}");
}

#[test]
fn history_that_begins_within_the_period_is_said_so() {
    let minute = |minutes| sample::since() + SignedDuration::from_mins(minutes);
    let of = |since, until| {
        let mut report = sample::report();
        let Source::History { holds, .. } = &mut report.source else { panic!("{:?}", report.source) };
        *holds = Some(Period { since: minute(since), until: minute(until) });
        report
    };
    let later = of(59, 60);
    let text = table::render(&later, 80, &TimeZone::UTC);
    assert!(text.contains("\nhistory holds 2026-11-23 16:59 to 17:00 UTC\n"), "{text}");
    let page = html::render(&later, &TimeZone::UTC).unwrap();
    assert!(page.contains("; history holds 2026-11-23 16:59 to 17:00 UTC;"));
    let json = serde_json::to_value(&later).unwrap();
    let holds = serde_json::json!({ "since": "2026-11-23T16:59:00Z", "until": "2026-11-23T17:00:00Z" });
    assert_eq!(json["source"]["holds"], holds);
    assert_eq!(crate::sample::against_schema("observer.report.v1", &json), Vec::<String>::new());
    // One that covers the whole period needs no word.
    assert!(!table::render(&of(0, 60), 80, &TimeZone::UTC).contains("history holds"));
    assert!(!html::render(&of(-60, 60), &TimeZone::UTC).unwrap().contains("history holds"));
}
