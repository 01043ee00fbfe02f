//! Columns and cells stay within their room.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::cells::{ago, count, latency, percent};
use super::super::columns::{Column, ORDER, fit};
use super::PLAIN;

#[test]
fn what_matters_fits_into_80_columns() {
    let fitted: Vec<_> = fit(80, Column::Failures, 0)
        .into_iter()
        .map(|(column, _)| column.title(super::super::snapshot::View::Destinations))
        .collect();
    assert_eq!(fitted, ["destination", "graph", "attempts", "failed", "fail%", "refused", "timeout", "streak", "last"]);
    assert_eq!(fit(240, Column::Failures, 47).len(), ORDER.len());
}

proptest! {
    #[test]
    fn columns_never_exceed_the_width(width in 0usize..400, sorted in 0..ORDER.len(), longest in 0usize..80) {
        let columns = fit(width, ORDER[sorted], longest);
        let used: usize = columns.iter().map(|(_, width)| width + 1).sum();
        prop_assert!(used <= width + 1, "{columns:?}");
        prop_assert_eq!(columns[0].0, Column::Name);
        prop_assert!(width < 52 || columns.iter().any(|(column, _)| *column == ORDER[sorted]));
    }

    #[test]
    fn numbers_fit_their_columns(number: u64, ratio in 0.0f64..=1.0, us: u64, seconds in -377_705_023_201i64..253_402_207_200) {
        prop_assert!(count(number).len() <= 6);
        prop_assert!(percent(Some(ratio)).len() <= 5);
        prop_assert!(latency(Some(Duration::from_micros(us % 360_000_000_000))).len() <= 6);
        let now: Timestamp = "2026-11-23T16:07:01Z".parse().unwrap();
        prop_assert!(ago(Timestamp::from_second(seconds).ok(), now).len() <= 4);
    }

    #[test]
    fn bars_are_as_wide_as_asked_and_hide_nothing(values in prop::collection::vec(0u64.., 0..80), width in 0usize..100) {
        let bars = PLAIN.bars(&values, width);
        prop_assert_eq!(bars.chars().count(), width.min(values.len()));
        if width > 0 {
            prop_assert_eq!(bars.trim().is_empty(), values.iter().all(|&value| value == 0));
        }
    }

    #[test]
    fn shortened_text_keeps_both_ends(text in "[a-z]{0,60}", width in 0usize..70) {
        let short = PLAIN.shorten(&text, width);
        prop_assert!(short.chars().count() <= width);
        if width >= 3 && text.len() > width {
            prop_assert!(short.starts_with(&text[..1]) && short.ends_with(&text[text.len() - 1..]), "{}", short);
        }
    }
}

#[test]
fn cells_read_well() {
    assert_eq!([0, 99_999, 100_000, 9_999_999, 10_000_000].map(count), ["0", "99999", "100k", "9999k", "10M"]);
    assert_eq!(
        [0.0, 0.000_01, 0.5, 0.9999, 1.0].map(|ratio| percent(Some(ratio))),
        ["0", "0.1", "50.0", "99.9", "100"]
    );
    let spans = [50, 400, 31_400, 999_600, 30_000_000, 131_000_000, 7_300_000_000];
    assert_eq!(
        spans.map(|us| latency(Some(Duration::from_micros(us)))),
        ["<.1ms", "0.4ms", "31ms", "1.0s", "30.0s", "2min", "2h"]
    );
}
