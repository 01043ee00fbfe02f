use proptest::prelude::*;

use super::{Window, Windows};
use crate::label::{Label, Reason};
use crate::tally::clock::Tick;
use crate::tally::{Outcome, is_established};

const OUTCOMES: [Outcome; 4] = [
    (Label::Connected, None),
    (Label::Refused, Some(Reason::Rst)),
    (Label::Timeout, Some(Reason::Stalled)),
    (Label::Timeout, Some(Reason::SynTimeout)),
];

/// When it was added, how long before that it ended, what, how many.
type Add = (u32, u32, usize, u64);

/// By the definition alone: floor to buckets, and count those that lie in the
/// last `n`.
fn holds(window: Window, tick: u32, now: u32) -> bool {
    let (resolution, buckets) = match window {
        Window::Minute => (1, 6),
        Window::TenMinutes => (1, 60),
        Window::Hour => (6, 60),
        Window::Day => (60, 144),
    };
    tick / resolution + buckets > now / resolution
}

fn adds() -> impl Strategy<Value = Vec<Add>> {
    // Steps of every size that matters: within a bucket, across, across days.
    let step = prop_oneof![4 => 0u32..3, 3 => 0u32..90, 2 => 0u32..700, 1 => 0u32..10_000];
    let late = prop_oneof![5 => Just(0u32), 3 => 0u32..4, 1 => 0u32..12_000];
    let add = (step, late, 0usize..OUTCOMES.len(), 1u64..4);
    // Also where the bits of a cell's tick come again.
    let first = prop_oneof![Just(20_000), 0x01ff_0000u32..0x0201_0000];
    (first, prop::collection::vec(add, 1..120)).prop_map(|(mut now, adds)| {
        let at = |(step, late, outcome, count)| {
            now += step;
            (now, late, outcome, count)
        };
        adds.into_iter().map(at).collect()
    })
}

fn fill(adds: &[Add]) -> Windows {
    let mut windows = Windows::default();
    for &(now, late, outcome, count) in adds {
        windows.add(OUTCOMES[outcome], count, Tick(now - late), Tick(now));
    }
    windows
}

fn last(adds: &[Add]) -> u32 {
    adds.last().map_or(0, |add| add.0)
}

proptest! {
    #[test]
    fn a_window_counts_each_once(adds in adds(), later in prop_oneof![Just(0u32), 0u32..10_000]) {
        let (windows, now) = (fill(&adds), last(&adds) + later);
        for window in Window::ALL {
            let held = || adds.iter().filter(|&&(at, late, ..)| holds(window, at - late, now));
            let sum = |is: &dyn Fn(Outcome) -> bool| -> u64 {
                held().filter(|add| is(OUTCOMES[add.2])).map(|add| add.3).sum()
            };
            let counts = windows.count(window, Tick(now));
            prop_assert_eq!(counts.attempts(), sum(&|_| true), "{:?}", window);
            prop_assert_eq!(counts.established, sum(&is_established));
            prop_assert_eq!(counts.failures(), sum(&|outcome| outcome.0 != Label::Connected));
            for label in Label::ALL {
                prop_assert_eq!(counts.of(label), sum(&|outcome| outcome.0 == label));
            }
        }
    }

    #[test]
    fn a_series_is_its_window(adds in adds(), columns in 1usize..200) {
        let (windows, now) = (fill(&adds), Tick(last(&adds)));
        for window in Window::ALL {
            let (series, counts) = (windows.series(window, columns, now), windows.count(window, now));
            prop_assert_eq!(series.len(), columns.min(window.buckets()));
            prop_assert_eq!(series.iter().map(|column| column.0).sum::<u64>(), counts.attempts());
            prop_assert_eq!(series.iter().map(|column| column.1).sum::<u64>(), counts.failures());
        }
    }

    #[test]
    fn a_merge_counts_both(adds in adds(), split in any::<u64>()) {
        let is_left = |index: usize| split >> (index % 64) & 1 == 1;
        let part = |left: bool| -> Vec<Add> {
            adds.iter().enumerate().filter(|(index, _)| is_left(*index) == left).map(|(_, add)| *add).collect()
        };
        let (mut merged, now) = (fill(&part(true)), Tick(last(&adds)));
        merged.merge(&fill(&part(false)));
        for window in Window::ALL {
            prop_assert_eq!(merged.count(window, now), fill(&adds).count(window, now));
        }
    }
}

#[test]
fn memory_is_bounded() {
    let mut windows = Windows::default();
    for now in 10_000..40_000 {
        OUTCOMES.iter().for_each(|&outcome| windows.add(outcome, 1, Tick(now), Tick(now)));
    }
    assert!(windows.cells.iter().count() <= (61 + 61 + 145) * OUTCOMES.len());
    assert_eq!(windows.count(Window::TenMinutes, Tick(39_999)).attempts(), 60 * 4);
}

#[test]
fn the_running_bucket_is_the_newest_column() {
    let mut windows = Windows::default();
    windows.add(OUTCOMES[1], 2, Tick(995), Tick(1_000));
    windows.add(OUTCOMES[0], 1, Tick(1_000), Tick(1_000));
    assert_eq!(windows.series(Window::Minute, 6, Tick(1_000)), [(2, 2), (0, 0), (0, 0), (0, 0), (0, 0), (1, 0)]);
    assert_eq!(windows.series(Window::Minute, 0, Tick(1_000)), []);
}
