//! Scopes over time.

use super::*;
use crate::scope::{Change, EndCause, OpenScope, ScopeChange};
use crate::steady::Now;

fn told(changes: &[ScopeChange]) -> Vec<String> {
    changes.iter().map(|change| format!("{:?} {}", change.kind, change.verdict.scope)).collect()
}

#[derive(Default)]
struct Watch {
    host: Host,
    tracker: ScopeTracker,
}

impl Watch {
    /// Every ten seconds from `from` to `to`, attempts as `outcome` gives them;
    /// what is told, with the second.
    fn run(
        &mut self,
        from: i64,
        to: i64,
        attempts: impl Fn(i64) -> Vec<(&'static str, Outcome)>,
    ) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        for at in (from..to).step_by(10) {
            for (daddr, outcome) in attempts(at) {
                let saddr = if daddr.contains(':') { "2001:db8:9::1" } else { "192.0.2.10" };
                self.host.add(saddr, daddr, outcome, 1, at);
            }
            let changes = self.tracker.update(&self.host.tallies, after(at));
            all.extend(told(&changes).into_iter().map(|told| (at, told)));
        }
        all
    }
}

const GOOD: &str = "198.51.100.1";
const BAD: &str = "203.0.113.1";
const BESIDE: &str = "203.0.113.2";

#[test]
fn begins_widens_and_ends() {
    let mut watch = Watch::default();
    let one = |_| vec![(GOOD, CONNECTED), (BAD, REFUSED)];
    assert_eq!(watch.run(0, 300, one), [(40, format!("Began destination {BAD}:25"))]);
    let both = |_| vec![(GOOD, CONNECTED), (BAD, REFUSED), (BESIDE, TIMED_OUT)];
    assert_eq!(watch.run(300, 600, both), [(300, "Widened prefix 203.0.113.0/24 on port 25".to_owned())]);
    let OpenScope { verdict, since } = watch.tracker.active(after(600)).next().unwrap();
    assert_eq!((verdict.scope.as_str(), since), ("prefix", after(40)));
    let none = |_| vec![(GOOD, CONNECTED), (BAD, CONNECTED), (BESIDE, CONNECTED)];
    let changes = watch.run(600, 2_000, none);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].1, "Ended prefix 203.0.113.0/24 on port 25");
    assert!((720..1_200).contains(&changes[0].0), "{changes:?}");
}

#[test]
fn a_share_that_wavers_is_one_alert() {
    let mut watch = Watch::default();
    // 9 of 10 fail, now and then 8 of 10.
    let wavering = |at: i64| {
        let succeeds = at % 100 == 0 || (at / 600 % 2 == 1 && at % 100 == 50);
        vec![(GOOD, CONNECTED), (BAD, if succeeds { CONNECTED } else { REFUSED })]
    };
    assert_eq!(watch.run(0, 7_200, wavering).len(), 1);
}

#[test]
fn silence_is_no_recovery_until_the_hour_is_over() {
    let mut watch = Watch::default();
    watch.run(0, 300, |_| vec![(GOOD, CONNECTED), (BAD, REFUSED)]);
    assert_eq!(watch.run(300, 3_000, |_| vec![(GOOD, CONNECTED)]), []);
    assert_eq!(watch.run(3_000, 5_000, |_| vec![(GOOD, CONNECTED)]).len(), 1);
}

#[test]
fn few_attempts_are_judged_by_the_hour() {
    let mut watch = Watch::default();
    let rare = |at: i64| if at % 300 == 0 { vec![(GOOD, CONNECTED), (BAD, TIMED_OUT)] } else { Vec::new() };
    assert_eq!(watch.run(0, 3_000, rare), [(1_200, format!("Began destination {BAD}:25"))]);
}

#[test]
fn a_rate_limit_is_one_alert() {
    let mut watch = Watch::default();
    // Six a minute, of which the first four succeed, in every other minute.
    let limited = |at: i64| {
        let (minute, second) = (at / 60, at % 60);
        let outcome = if second < 40 { CONNECTED } else { REFUSED };
        let is_busy = minute % 2 == 0;
        if is_busy || second < 30 { vec![(GOOD, CONNECTED), (BAD, outcome), (BAD, outcome)] } else { Vec::new() }
    };
    let changes = watch.run(-7, 7_200, limited);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(
        watch
            .tracker
            .active(after(0))
            .all(|OpenScope { verdict, .. }| matches!(verdict.scope, Scope::Intermittent { connections: 6..=9, .. }))
    );
}

#[test]
fn a_change_as_json_and_in_words() {
    let mut host = Host::default();
    host.healthy().to("203.0.113.1", REFUSED, 50);
    let mut tracker = ScopeTracker::default();
    let changes = tracker.update(&host.tallies, after(0));
    let json = serde_json::to_value(&changes[0]).unwrap();
    assert_eq!(
        (&json["change"], &json["scope"], &json["ip"]),
        (&"began".into(), &"destination".into(), &"203.0.113.1".into())
    );
    assert_eq!((&json["time"], &json["since"]), (&"2026-11-23T16:07:01.123456789Z".into(), &json["time"]));
    assert!(json.get("from").is_none());
    assert_eq!(changes[0].to_string(), host.lines()[0]);
    host.to("203.0.113.2", REFUSED, 50);
    let changes = tracker.update(&host.tallies, after(0));
    assert!(
        changes[0]
            .to_string()
            .starts_with("Wider now, and failing since 2026-11-23T16:07:01Z: Fails for prefix 203.0.113.0/24")
    );
    assert_eq!(serde_json::to_value(&changes[0]).unwrap()["from"][0]["scope"], "destination");
    let later = tracker.update(&host.tallies, after(90_000));
    assert_eq!(
        later[0].to_string(),
        "Over: prefix 203.0.113.0/24 on port 25, which had failed since 2026-11-23T16:07:01Z"
    );
}

#[test]
fn so_many_scopes_are_followed() {
    let mut host = Host::default();
    host.healthy();
    (0..=255).for_each(|net| _ = host.to(&format!("203.0.{net}.1"), REFUSED, 5));
    (0..=9).for_each(|net| _ = host.to(&format!("203.1.{net}.1"), REFUSED, 5));
    let mut tracker = ScopeTracker::default();
    host.to("198.51.100.1", CONNECTED, 5_000);
    // Not everything, by a tenth of the destinations that work.
    (0..40).for_each(|net| _ = host.to(&format!("198.18.{net}.1"), CONNECTED, 5));
    assert_eq!(tracker.update(&host.tallies, after(0)).len(), 256);
    assert_eq!((tracker.active(after(0)).count(), tracker.untracked()), (256, 10));
}

#[test]
fn what_fails_when_observer_stops_is_ended_with_that_cause() {
    let mut watch = Watch::default();
    watch.run(0, 300, |_| vec![(GOOD, CONNECTED), (BAD, REFUSED)]);
    let ended: Vec<_> = watch.tracker.active(after(300)).map(|open| open.stopped(after(300))).collect();
    assert_eq!(told(&ended), [format!("Ended destination {BAD}:25")]);
    assert_eq!((ended[0].cause, ended[0].since), (Some(EndCause::ObserverStopped), after(40)));
    assert_eq!(
        ended[0].to_string(),
        "No longer watched, observer stopped: destination 203.0.113.1:25, which had failed since 2026-11-23T16:07:41Z"
    );
}

proptest! {
    /// Whatever the wall clock is set to: the same scopes begin, widen and end at the same
    /// seconds, told in the time that it shows then.
    #[test]
    fn a_wall_clock_that_is_set_changes_no_verdict(
        runs in prop::collection::vec((any_run(), prop_oneof![
            4 => Just(0i64),
            1 => Just(-3_600),
            1 => Just(86_400),
            1 => Just(-86_400),
            1 => -4_000_000i64..4_000_000,
        ]), 0..80),
    ) {
        let (mut even, mut jumping) = (Tallies::default(), Tallies::default());
        let (mut tracker, mut again) = (ScopeTracker::default(), ScopeTracker::default());
        let (mut passed, mut set) = (0, 0);
        for ((seen, step), set_by) in runs {
            passed += step;
            set += set_by;
            let now = Now { wall: after(passed + set), steady: after(passed) };
            even.add(&Seen { at: after(passed), ..seen }, after(passed));
            jumping.add(&Seen { at: now.wall, ..seen }, now);
            let expected = tracker.update(&even, after(passed));
            let found = again.update(&jumping, now);
            let shifted: Vec<_> = expected.into_iter().map(|change| ScopeChange {
                time: now.wall_of(change.time),
                since: now.wall_of(change.since),
                ..change
            }).collect();
            prop_assert_eq!(found, shifted);
        }
    }

    #[test]
    fn what_is_active_is_what_was_told(runs in prop::collection::vec(any_run(), 0..80)) {
        let (mut tallies, mut tracker, mut again) = (Tallies::default(), ScopeTracker::default(), ScopeTracker::default());
        let (mut now, mut active) = (0, Vec::new());
        for (seen, step) in runs {
            now += step;
            tallies.add(&Seen { at: after(now), ..seen }, after(now));
            let changes = tracker.update(&tallies, after(now));
            prop_assert_eq!(&changes, &again.update(&tallies, after(now)));
            for change in changes {
                prop_assert!(change.since <= change.time);
                let scope = change.verdict.scope.identity();
                prop_assert_eq!(active.contains(&scope), change.kind == Change::Ended);
                prop_assert_eq!(!change.from.is_empty(), change.kind == Change::Widened);
                let gone: Vec<_> = change.from.iter().map(Scope::identity).collect();
                prop_assert!(gone.iter().all(|gone| active.contains(gone) && scope.covers(gone)));
                active.retain(|scope| !gone.contains(scope));
                match change.kind {
                    Change::Ended => active.retain(|active| *active != scope),
                    Change::Began | Change::Widened => active.push(scope),
                }
            }
            assert_apart(&active)?;
            active.sort();
            let mut tracked: Vec<_> = tracker.active(after(now)).map(|open| open.verdict.scope.identity()).collect();
            tracked.sort();
            prop_assert_eq!(&active, &tracked);
        }
    }
}
