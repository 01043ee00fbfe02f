//! Counts over the last minute, ten minutes, hour and day.
//!
//! # What a window holds
//! Time is cut into ticks of ten seconds. A window has a resolution and a
//! number of buckets of that resolution, and holds exactly the attempts whose
//! tick lies in the running bucket or in the `n - 1` before it:
//!
//! | window | resolution | buckets | so it covers |
//! |--------|-----------|---------|--------------|
//! | 1 min  | 10 s      | 6       | 50 to 60 s   |
//! | 10 min | 10 s      | 60      | 590 to 600 s |
//! | 1 h    | 1 min     | 60      | 59 to 60 min |
//! | 24 h   | 10 min    | 144     | 1430 to 1440 min |
//!
//! Ticks that no finer window needs any more are merged into the next coarser
//! bucket; since buckets are aligned, a merge moves no attempt in or out of a
//! window. A group keeps at most 61 + 61 + 145 buckets, of 8 bytes for each
//! label that occurred in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Tick;
use super::sparse::Sparse;
use super::{Outcome, is_established};
use crate::label::Label;

const MINUTE: u32 = 6;
const TEN_MINUTES: u32 = 60;

/// A stretch of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Window {
    /// 1 minute.
    #[serde(rename = "1m")]
    Minute,
    /// 10 minutes.
    #[serde(rename = "10m")]
    TenMinutes,
    /// 1 hour.
    #[serde(rename = "1h")]
    Hour,
    /// 24 hours.
    #[serde(rename = "24h")]
    Day,
}

impl Window {
    /// Every window, shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    /// The window as tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
            Self::Day => "24h",
        }
    }

    /// Ticks in a bucket.
    const fn resolution(self) -> u32 {
        match self {
            Self::Minute | Self::TenMinutes => 1,
            Self::Hour => MINUTE,
            Self::Day => TEN_MINUTES,
        }
    }

    /// Buckets in the window, the running one included.
    pub const fn buckets(self) -> usize {
        match self {
            Self::Minute => 6,
            Self::TenMinutes | Self::Hour => 60,
            Self::Day => 144,
        }
    }

    /// The most time that the window covers.
    pub const fn length(self) -> Duration {
        Duration::from_secs(self.buckets() as u64 * self.resolution() as u64 * Tick::SECONDS)
    }

    /// How many buckets before the running one a tick lies; `None` outside of
    /// the window. A tick to come counts as now.
    fn age(self, tick: u32, now: Tick) -> Option<usize> {
        let age = (now.0 / self.resolution()).saturating_sub(tick / self.resolution()) as usize;
        (age < self.buckets()).then_some(age)
    }
}

/// One bucket of one label, in one word: 25 bits of the first tick, the label,
/// whether the handshake was completed, and the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell(u32);

/// Widths of buckets in ticks, by the last two bits of a [`Cell`].
const WIDTHS: [Window; 3] = [Window::TenMinutes, Window::Hour, Window::Day];

impl Cell {
    const ESTABLISHED: u32 = 1 << 2;

    /// The cell of a tick, as fine as the windows at `now` need it; `None` where
    /// none needs it.
    fn new(tick: u32, label: Label, is_established: bool, now: Tick) -> Option<Self> {
        let width = WIDTHS.iter().position(|window| window.age(tick, now).is_some())?;
        let start = tick - tick % WIDTHS[width].resolution();
        let established = if is_established { Self::ESTABLISHED } else { 0 };
        Some(Self(start << 7 | (label as u32) << 3 | established | width as u32))
    }

    /// The first tick: the last one at or before `now` that ends in these bits.
    /// They come again after ten years, and no cell is older than a day.
    fn start(self, now: Tick) -> u32 {
        let since = (now.0 << 7).wrapping_sub(self.0 & !0x7f) >> 7;
        now.0 - since
    }

    fn label(self) -> Label {
        Label::READ.get((self.0 >> 3 & 0xf) as usize).copied().unwrap_or(Label::Unknown)
    }

    fn is_established(self) -> bool {
        self.0 & Self::ESTABLISHED != 0
    }
}

/// A label, whether the handshake was completed, and buckets by their first tick and count.
pub(super) type LabelBuckets = (Label, bool, Vec<(u32, u64)>);

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    labels: [u64; Label::COUNT],
    /// Attempts with a completed handshake.
    pub established: u64,
}

impl WindowCounts {
    /// Attempts that ended.
    pub fn attempts(&self) -> u64 {
        self.labels.iter().sum()
    }

    /// Attempts that ended with a label.
    pub fn of(&self, label: Label) -> u64 {
        self.labels[label as usize]
    }

    /// Attempts that ended as `connected`.
    pub fn connected(&self) -> u64 {
        self.of(Label::Connected)
    }

    /// Attempts that ended in any other way.
    pub fn failures(&self) -> u64 {
        self.attempts() - self.connected()
    }

    fn add(&mut self, cell: Cell, count: u64) {
        self.labels[cell.label() as usize] += count;
        self.established += if cell.is_established() { count } else { 0 };
    }
}

/// The counts of one group over every [`Window`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    cells: Sparse<Cell, u32>,
    /// The latest `now`; no cell is older than a day before it.
    now: Tick,
}

impl Windows {
    /// Counts `count` attempts that ended at `at`, not after `now`. What is
    /// older than every window is in none.
    pub fn add(&mut self, outcome: Outcome, count: u64, at: Tick, now: Tick) {
        self.advance(now);
        if let Some(cell) = Cell::new(at.0, outcome.0, is_established(outcome), self.now) {
            self.cells.add(cell, count);
        }
    }

    /// What `window` holds at `now`, not before the last `now` that was added.
    pub fn count(&self, window: Window, now: Tick) -> WindowCounts {
        let mut counts = WindowCounts::default();
        self.held(window, now).for_each(|(cell, _, count)| counts.add(cell, count));
        counts
    }

    /// `window` in at most `columns` columns, oldest first, as (attempts,
    /// failures). No column is shorter than the window's resolution.
    pub fn series(&self, window: Window, columns: usize, now: Tick) -> Vec<(u64, u64)> {
        let columns = columns.min(window.buckets());
        let mut series = vec![(0, 0); columns];
        for (cell, age, count) in self.held(window, now) {
            let bucket = window.buckets() - 1 - age;
            if let Some((attempts, failures)) = series.get_mut(bucket * columns / window.buckets()) {
                *attempts += count;
                *failures += if cell.label() == Label::Connected { 0 } else { count };
            }
        }
        series
    }

    /// Adds everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.advance(other.now);
        for (cell, count) in other.cells.iter() {
            let start = cell.start(other.now);
            if let Some(cell) = Cell::new(start, cell.label(), cell.is_established(), self.now) {
                self.cells.add(cell, count);
            }
        }
    }

    /// The buckets by label and whether the handshake was completed, each by its first tick and
    /// its count, for [`Self::load`].
    pub(super) fn parts(&self) -> Vec<LabelBuckets> {
        let mut parts: Vec<LabelBuckets> = Vec::new();
        for (cell, count) in self.cells.iter() {
            let (label, is_established) = (cell.label(), cell.is_established());
            let bucket = (cell.start(self.now), count);
            match parts.iter_mut().find(|part| (part.0, part.1) == (label, is_established)) {
                Some(part) => part.2.push(bucket),
                None => parts.push((label, is_established, vec![bucket])),
            }
        }
        parts
    }

    /// Adds buckets as [`Self::parts`] gave them at `now`. None is later than that.
    pub(super) fn load(&mut self, now: Tick, parts: &[LabelBuckets]) {
        self.advance(now);
        for (label, is_established, buckets) in parts {
            for &(start, count) in buckets.iter().filter(|&&(start, _)| start <= now.0) {
                if let Some(cell) = Cell::new(start, *label, *is_established, self.now) {
                    self.cells.add(cell, count);
                }
            }
        }
    }

    /// Merges what only coarser windows hold at `now`, and forgets what none
    /// does.
    fn advance(&mut self, now: Tick) {
        if now <= self.now {
            return;
        }
        let was = self.now;
        self.cells.rename(|cell| Cell::new(cell.start(was), cell.label(), cell.is_established(), now));
        self.now = now;
    }

    /// Cells within a window with their age in buckets.
    fn held(&self, window: Window, now: Tick) -> impl Iterator<Item = (Cell, usize, u64)> {
        let aged = move |(cell, count): (Cell, u64)| Some((cell, window.age(cell.start(self.now), now)?, count));
        self.cells.iter().filter_map(aged)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.heap_bytes()
    }

    #[cfg(test)]
    pub(super) fn cells_len(&self) -> usize {
        self.cells.iter().count()
    }
}

#[cfg(test)]
mod tests;
