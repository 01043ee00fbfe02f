//! Durations as people say them.

use std::time::Duration;

const MICRO_PER_MS: u128 = 1_000;
const MICRO_PER_S: u128 = 1_000_000;

/// Two or three significant digits: `<0.1 ms`, `0.4 ms`, `31 ms`, `30.0 s`,
/// `2 min 11 s`, `2 h 5 min`. Rounds half up.
pub fn span(duration: Duration) -> String {
    let micros = duration.as_micros();
    let rounded = |unit: u128| (micros + unit / 2) / unit;
    let tenths_of_ms = rounded(MICRO_PER_MS / 10);
    let tenths_of_s = rounded(MICRO_PER_S / 10);
    let seconds = rounded(MICRO_PER_S);
    let minutes = rounded(60 * MICRO_PER_S);
    if tenths_of_ms == 0 {
        "<0.1 ms".to_owned()
    } else if tenths_of_ms < 100 {
        format!("{}.{} ms", tenths_of_ms / 10, tenths_of_ms % 10)
    } else if rounded(MICRO_PER_MS) < 1_000 {
        format!("{} ms", rounded(MICRO_PER_MS))
    } else if tenths_of_s < 1_000 {
        format!("{}.{} s", tenths_of_s / 10, tenths_of_s % 10)
    } else if seconds < 3_600 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::span;

    #[test]
    fn units_change_where_rounding_says() {
        for (micros, expected) in [
            (0, "<0.1 ms"),
            (49, "<0.1 ms"),
            (50, "0.1 ms"),
            (402, "0.4 ms"),
            (9_949, "9.9 ms"),
            (9_950, "10 ms"),
            (31_402, "31 ms"),
            (999_499, "999 ms"),
            (999_500, "1.0 s"),
            (30_000_000, "30.0 s"),
            (99_949_999, "99.9 s"),
            (99_950_000, "1 min 40 s"),
            (131_200_000, "2 min 11 s"),
            (3_599_499_999, "59 min 59 s"),
            (3_599_500_000, "1 h 0 min"),
            (7_500_000_000, "2 h 5 min"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), expected, "{micros}");
        }
    }
}
