//! No counter falls, whatever order destinations fail in.

use proptest::prelude::*;

use super::*;

const NAME: &str = "observer_destination_connects_total";

fn to<'a>(destination: &'a str, outcome: &'a str) -> [(&'a str, &'a str); 3] {
    [("destination", destination), ("dst_port", "25"), ("outcome", outcome)]
}

fn ip(last: u8) -> IpAddr {
    [203, 0, 113, last].into()
}

fn samples(metrics: &mut Metrics) -> Samples {
    parse(&metrics.render(&reading(totals(&[]))).unwrap())
}

#[test]
fn the_worst_get_the_labels_and_keep_them() {
    let mut metrics = Metrics::new(time(), 2);
    metrics.missing(&missing(&[(outcome(1, 25, REFUSED), 5), (outcome(2, 25, REFUSED), 9)]));
    metrics.missing(&missing(&[(outcome(3, 25, REFUSED), 7)]));
    let first = samples(&mut metrics);
    assert_eq!(get(&first, NAME, &to("203.0.113.2", "refused")), Some(9.0));
    assert_eq!(get(&first, NAME, &to("203.0.113.3", "refused")), Some(7.0));
    assert_eq!(get(&first, NAME, &to("other", "refused")), Some(5.0));

    metrics.missing(&missing(&[(outcome(1, 25, REFUSED), 495)]));
    let later = samples(&mut metrics);
    assert_eq!(get(&later, NAME, &to("203.0.113.1", "refused")), None);
    assert_eq!(get(&later, NAME, &to("203.0.113.2", "refused")), Some(9.0));
    assert_eq!(get(&later, NAME, &to("other", "refused")), Some(500.0));
}

#[test]
fn successes_that_were_told_under_other_stay_there() {
    let mut metrics = Metrics::new(time(), 2);
    metrics.missing(&missing(&[(outcome(1, 25, CONNECTED), 8)]));
    samples(&mut metrics);
    metrics.missing(&missing(&[(outcome(1, 25, CONNECTED), 1), (outcome(1, 25, REFUSED), 2)]));
    let samples = samples(&mut metrics);
    assert_eq!(get(&samples, NAME, &to("other", "connected")), Some(8.0));
    assert_eq!(get(&samples, NAME, &to("203.0.113.1", "connected")), Some(1.0));
    assert_eq!(get(&samples, NAME, &to("203.0.113.1", "refused")), Some(2.0));
}

#[test]
fn what_finds_no_room_between_two_readings_is_other() {
    let mut metrics = Metrics::new(time(), 2);
    let key = |host: u32| {
        let daddr = Address::mapped(u32::from_ne_bytes(host.to_be_bytes()));
        let of_one = outcome(1, 25, REFUSED);
        OutcomeKey { destination: DestinationKey { daddr, ..of_one.destination }, ..of_one }
    };
    let all: Vec<_> = (0..10_000).map(|host| (key(host), 1)).collect();
    metrics.missing(&missing(&all));
    let samples = samples(&mut metrics);
    assert_eq!(get(&samples, NAME, &to("other", "refused")), Some(9_998.0));
}

proptest! {
    /// Each step is a few more ends of some destinations, and a reading.
    #[test]
    fn counters_rise_and_nothing_is_told_twice(
        cap in 0usize..4,
        steps in prop::collection::vec(prop::collection::vec((0u8..6, any::<bool>(), 1u64..9), 0..5), 1..8),
    ) {
        let mut metrics = Metrics::new(time(), cap);
        let mut ends: BTreeMap<OutcomeKey, u64> = BTreeMap::new();
        let mut told = Samples::new();
        for step in steps {
            for (last, is_failure, count) in step {
                let key = outcome(last, 25, if is_failure { REFUSED } else { CONNECTED });
                *ends.entry(key).or_default() += count;
                metrics.missing(&missing(&[(key, count)]));
            }
            let outcomes: Vec<_> = ends.iter().map(|(&key, &count)| (key, count)).collect();
            let samples = parse(&metrics.render(&reading(totals(&outcomes))).unwrap());
            for (sample, value) in told.iter().filter(|((name, _), _)| name.ends_with("_total")) {
                prop_assert!(samples.get(sample).is_some_and(|now| now >= value), "{:?} fell from {}", sample, value);
            }
            let of_destinations = samples.iter().filter(|((name, _), _)| name == NAME);
            let total: f64 = of_destinations.clone().map(|(_, value)| value).sum();
            prop_assert_eq!(total, if cap == 0 { 0.0 } else { ends.values().sum::<u64>() as f64 });
            let labels = of_destinations.map(|((_, labels), _)| labels[0].1.clone());
            let named: std::collections::BTreeSet<_> = labels.filter(|name| name != "other").collect();
            prop_assert!(named.len() <= cap);
            prop_assert!(named.iter().all(|name| (0..6).any(|last| ip(last).to_string() == *name)));
            told = samples;
        }
    }
}
