//! Every table stays within its room.

use super::*;

fn hosts(tallies: &Tallies) -> Vec<String> {
    tallies.destinations().map(|((addr, _), _)| addr.to_string()).collect()
}

fn add(tallies: &mut Tallies, daddr: &str, outcome: Outcome) {
    tallies.add(&seen(daddr, outcome, 1, after(0)), after(0));
}

#[test]
fn the_least_recently_failed_goes_first() {
    let mut tallies = tight(3);
    add(&mut tallies, "203.0.113.1", REFUSED);
    add(&mut tallies, "203.0.113.2", REFUSED);
    add(&mut tallies, "203.0.113.3", CONNECTED);
    // A success neither moves a destination forward nor makes room.
    add(&mut tallies, "203.0.113.1", CONNECTED);
    add(&mut tallies, "203.0.113.9", CONNECTED);
    assert_eq!(hosts(&tallies), ["203.0.113.2", "203.0.113.1", "203.0.113.3"]);
    assert_eq!((tallies.unremembered(), tallies.evicted()[0]), (1, 0));
    // Those that never failed go before all others.
    add(&mut tallies, "203.0.113.4", REFUSED);
    assert_eq!(hosts(&tallies), ["203.0.113.4", "203.0.113.2", "203.0.113.1"]);
    add(&mut tallies, "203.0.113.5", TIMED_OUT);
    assert_eq!(hosts(&tallies), ["203.0.113.5", "203.0.113.4", "203.0.113.2"]);
    assert_eq!((tallies.evicted()[0], tallies.forgotten().attempts()), (2, 4));
}

#[test]
fn bytes_are_limited_too() {
    let budget = Budget { destinations: (1_000, 40_000), ..Budget::default() };
    let mut tallies = Tallies::new(budget, Prefixes::default());
    for step in 0..20_000i64 {
        let daddr = format!("203.0.113.{}", step % 250);
        tallies.add(&seen(&daddr, OUTCOMES[step as usize % 4], 1, after(step)), after(step));
        assert!(tallies.destination_bytes() <= 40_000);
    }
    assert!(tallies.len() > 5, "{}", tallies.len());
    assert!(tallies.evicted()[0] > 0);
    assert_eq!(roll_ups(&tallies)[1], facts(tallies.total()));
}

/// 100,000 destinations in 64 MB, each with three outcomes, a few latencies, a
/// dozen buckets of time.
#[test]
fn a_hundred_thousand_typical_destinations_fit() {
    let mut tallies = Tallies::default();
    for round in 0..4i64 {
        for host in 0..100_000u32 {
            let at = after(round * 5_000 + i64::from(host % 7) * 10);
            for step in 0..3u64 {
                let outcome = [REFUSED, TIMED_OUT, CONNECTED][step as usize];
                let daddr = IpAddr::from(((100 << 24) | ((host / 16) << 8) | (host % 16)).to_be_bytes());
                let elapsed = Some(Duration::from_millis(20 + u64::from(host % 50) + round as u64 * 30));
                let handshake = elapsed.filter(|_| outcome == CONNECTED);
                let at = at - (step as i64 * 60).seconds();
                let one = Seen { daddr, elapsed, handshake, at, ..seen("203.0.113.1", outcome, 1, at) };
                tallies.add(&one, after(round * 5_000 + 200));
            }
        }
    }
    assert_eq!((tallies.len(), tallies.evicted()[0]), (100_000, 0));
    let (_, any) = tallies.destinations().nth(50_000).unwrap();
    assert_eq!((any.outcomes().count(), any.windows.cells_len()), (3, 12));
    assert!(tallies.bytes() < 64_000_000, "{}", tallies.bytes());
}
