//! CPU time of the whole machine: what a tool costs, wherever it is spent.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// `USER_HZ`, the same on every Linux that observer runs on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that all CPUs together have worked since boot.
pub(crate) fn busy() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u32> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user.
    let worked = [0, 1, 2, 5, 6].into_iter().filter_map(|index| fields.get(index)).sum::<u32>();
    Ok(TICK * worked)
}

/// The middle of some values, and the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// `None` of no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self { median: *values.get(values.len() / 2)?, least: *values.first()?, greatest: *values.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_least_and_greatest() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.median, spread.greatest), (1.0, 2.0, 3.0));
        assert!(Spread::of(Vec::new()).is_none());
    }

    #[test]
    fn time_goes_on() {
        let before = busy().unwrap();
        assert!(before > Duration::ZERO && busy().unwrap() >= before);
    }
}
