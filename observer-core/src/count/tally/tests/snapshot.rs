//! A snapshot, written as JSON and loaded, against the tallies that it was cut from.

use proptest::prelude::*;

use super::*;
use crate::tally::{Latency, Limit, Loader, Part, Snapshot, Window};

const ALL: Limit = Limit { destinations: usize::MAX, bytes: usize::MAX };

fn load(snapshot: Snapshot, lengths: Prefixes, ports: &[u16]) -> Tallies {
    let head = serde_json::from_str(&serde_json::to_string(snapshot.head()).unwrap()).unwrap();
    let mut loader = Loader::new(head, Budget::default(), lengths, ports).unwrap();
    for part in snapshot {
        let json = serde_json::to_string(&part).unwrap();
        let read: Part = serde_json::from_str(&json).unwrap();
        assert_eq!(read, part);
        loader.take(&read);
    }
    loader.finish()
}

/// All that a screen shows of a group, streaks aside.
fn shown(tallies: &Tallies, tally: &Tally, now: Timestamp) -> impl PartialEq + std::fmt::Debug + use<> {
    let tick = tallies.tick(now);
    let latencies =
        [Latency::Connect, Latency::Refusal].map(|what| tally.latencies().distribution(what).collect::<Vec<_>>());
    (
        tally.outcomes().collect::<Vec<_>>(),
        Window::ALL.map(|window| tally.window(window, tick)),
        Window::ALL.map(|window| tally.series(window, 60, tick)),
        latencies,
        (tally.first_failed(), tally.last_failed(), tally.last_succeeded()),
    )
}

fn ensure_same(own: &Tallies, loaded: &Tallies, now: Timestamp) {
    assert_eq!(shown(own, own.total(), now), shown(loaded, loaded.total(), now));
    assert_eq!(own.total().streak(), loaded.total().streak());
    for family in Family::ALL {
        assert_eq!(shown(own, own.family(family), now), shown(loaded, loaded.family(family), now));
    }
    let groups = |tallies: &Tallies| {
        let mut groups: Vec<String> = Vec::new();
        for (key, tally) in tallies.destinations() {
            let split = tallies.split(tally);
            groups.push(format!("{key:?} {:?} {} {split:?}", shown(tallies, tally, now), tally.streak()));
        }
        for (net, tally) in tallies.prefixes() {
            groups.push(format!("{net:?} {:?} {}", shown(tallies, tally, now), tally.streak()));
        }
        for (saddr, tally) in tallies.sources() {
            groups.push(format!("{saddr:?} {:?} {}", shown(tallies, tally, now), tally.streak()));
        }
        groups
    };
    for (own, loaded) in groups(own).iter().zip(&groups(loaded)) {
        assert_eq!(own, loaded);
    }
    assert_eq!(groups(own).len(), groups(loaded).len());
    assert_eq!((own.evicted(), own.made_up()), (loaded.evicted(), loaded.made_up()));
}

proptest! {
    #[test]
    fn what_is_loaded_is_what_was_cut_and_goes_on_as_it_does(
        mut before in prop::collection::vec(any_seen(), 0..60),
        mut after in prop::collection::vec(any_seen(), 0..20),
        room in 1usize..40,
    ) {
        before.sort_by_key(|seen| seen.at);
        let mut own = tight(room);
        before.iter().for_each(|seen| own.add(seen, seen.at));
        let mut loaded = load(own.snapshot(ALL), Prefixes::default(), &[]);
        let now = before.last().map_or(super::after(0), |seen| seen.at);
        ensure_same(&own, &loaded, now);
        for roll_up in roll_ups(&loaded) {
            prop_assert_eq!(roll_up, facts(loaded.total()));
        }
        after.sort_by_key(|seen| seen.at);
        // With the same room for all, both go on alike.
        let mut own = Tallies::default();
        before.iter().for_each(|seen| own.add(seen, seen.at));
        loaded = load(own.snapshot(ALL), Prefixes::default(), &[]);
        for seen in &after {
            own.add(seen, seen.at);
            loaded.add(seen, seen.at);
        }
        ensure_same(&own, &loaded, after.last().map_or(now, |seen| seen.at.max(now)));
    }

    #[test]
    fn prefixes_of_another_length_and_single_ports_add_up(
        all in prop::collection::vec(any_seen(), 0..60),
        v4 in 0u8..=32,
        v6 in 0u8..=128,
    ) {
        let (mut own, mut one) = (Tallies::default(), Tallies::default());
        for seen in &all {
            own.add(seen, seen.at);
            // The clock goes on for all.
            one.add(&Seen { count: if seen.dport == 25 { seen.count } else { 0 }, ..*seen }, seen.at);
        }
        let lengths = Prefixes { v4, v6 };
        let loaded = load(own.snapshot(ALL), lengths, &[]);
        prop_assert_eq!(sum(loaded.prefixes().map(|(_, tally)| tally)).attempts(), own.total().attempts());
        prop_assert!(loaded.prefixes().all(|(net, _)| net == loaded.prefix_of(net.addr())));
        let loaded = load(own.snapshot(ALL), lengths, &[25]);
        prop_assert_eq!(loaded.total().attempts(), one.total().attempts());
        prop_assert!(loaded.destinations().all(|((_, port), _)| port == 25));
        prop_assert_eq!(sum(loaded.prefixes().map(|(_, tally)| tally)).attempts(), one.total().attempts());
    }

    #[test]
    fn whatever_comes_in_is_loaded_or_refused(text in "[\\[{\"a-z:0-9,}\\]]{0,64}", start: u32, count: u64) {
        let _ = serde_json::from_str::<Part>(&text);
        let json = format!(r#"{{"of":"total","windows":[["refused",false,[[{start},{count}],[{start},{count}]]]],"streak":{count},"first_failed":{}}}"#, i64::MAX);
        let part: Part = serde_json::from_str(&json).unwrap();
        let mut loader = Loader::new(Tallies::default().snapshot(ALL).head().clone(), Budget::default(), Prefixes::default(), &[]).unwrap();
        loader.take(&part);
        let loaded = loader.finish();
        let tick = loaded.tick(after(0));
        prop_assert_eq!(loaded.total().first_failed(), None);
        let _ = loaded.total().window(Window::Day, tick);
    }
}

#[test]
fn a_snapshot_stays_within_its_limit_and_says_what_is_left_out() {
    let mut own = Tallies::default();
    for host in 0..100u8 {
        own.add(&seen(&format!("203.0.113.{host}"), REFUSED, 1, after(host.into())), after(host.into()));
    }
    for limit in [Limit { destinations: 7, ..ALL }, Limit { bytes: 4_000, ..ALL }] {
        let loaded = load(own.snapshot(limit), Prefixes::default(), &[]);
        assert_eq!(loaded.total().attempts(), 100);
        assert!(loaded.len() >= 5 && loaded.len() <= 20, "{}", loaded.len());
        assert_eq!(loaded.in_total_only() + loaded.len() as u64, 100);
        // The latest failures come first.
        assert_eq!(loaded.destinations().next().unwrap().0, (sample::ip("203.0.113.99"), sample::PORT));
    }
}

#[test]
fn a_snapshot_of_another_version_is_not_loaded() {
    let head = serde_json::to_string(Tallies::default().snapshot(ALL).head()).unwrap();
    let later = head.replace("\"version\":1", "\"version\":2");
    assert_ne!(head, later);
    let head = serde_json::from_str(&later).unwrap();
    assert!(Loader::new(head, Budget::default(), Prefixes::default(), &[]).is_none());
}
