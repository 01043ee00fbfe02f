//! Numbers in few characters.

use std::time::Duration;

use jiff::Timestamp;

/// A count in at most six characters: 99999, 123k, 45M, 7G.
pub(super) fn count(count: u64) -> String {
    match count {
        0..=99_999 => count.to_string(),
        100_000..=9_999_999 => format!("{}k", count / 1_000),
        10_000_000..=9_999_999_999 => format!("{}M", count / 1_000_000),
        10_000_000_000..=9_999_999_999_999 => format!("{}G", count / 1_000_000_000),
        _ => ">9999G".to_owned(),
    }
}

/// A share in percent: 100 and 0 are exact.
pub(super) fn percent(ratio: Option<f64>) -> String {
    match ratio {
        None => String::new(),
        Some(ratio) if ratio <= 0.0 => "0".to_owned(),
        Some(ratio) if ratio >= 1.0 => "100".to_owned(),
        Some(ratio) => format!("{:.1}", (ratio * 100.0).clamp(0.1, 99.9)),
    }
}

/// A latency in at most six characters.
pub(super) fn latency(latency: Option<Duration>) -> String {
    let Some(latency) = latency else { return String::new() };
    let seconds = latency.as_secs_f64();
    match seconds {
        ..0.000_1 => "<.1ms".to_owned(),
        ..0.009_95 => format!("{:.1}ms", seconds * 1e3),
        ..0.999_5 => format!("{:.0}ms", seconds * 1e3),
        ..99.95 => format!("{seconds:.1}s"),
        ..5_970.0 => format!("{:.0}min", seconds / 60.0),
        _ => format!("{:.0}h", seconds / 3_600.0),
    }
}

/// How long ago, in at most four characters.
pub(super) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return String::new() };
    match now.as_second().saturating_sub(at.as_second()).max(0) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds @ ..86_400_000 => format!("{}d", seconds / 86_400),
        _ => ">2y".to_owned(),
    }
}

/// A time of the day, in UTC.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

/// A time with its day, in UTC.
pub(super) fn date(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| at.strftime("%m-%d %H:%M:%SZ").to_string())
}
