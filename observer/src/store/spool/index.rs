//! What lies where in a spool: in memory, and never locked for longer than it takes to
//! count.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::position::Position;
use super::record::MAGIC;
use super::segment::Segment;
use super::{Limits, SpoolStatus, WhenFull};

/// Segments, and how far reading and delivery have come.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) limits: Limits,
    /// In their order; the last one is written to. Never empty.
    segments: VecDeque<Segment>,
    /// Of all segments.
    bytes: u64,
    records: u64,
    /// Up to here everything is acknowledged.
    pub(super) acknowledged: Position,
    pub(super) acknowledged_time: Option<Timestamp>,
    /// Up to here everything is taken.
    pub(super) next: Position,
    pub(super) dropped: u64,
    pub(super) too_long: u64,
    pub(super) corrupt_records: u64,
}

impl Index {
    /// Of these segments, in their order and not none, of which so much was delivered.
    pub(super) fn new(
        segments: Vec<Segment>,
        delivered: Option<Position>,
        limits: Limits,
        corrupt_records: u64,
    ) -> Self {
        let oldest = segments[0];
        let is_within = |at: &Position| at.segment == oldest.number && at.records <= oldest.records;
        let acknowledged = delivered.filter(is_within).unwrap_or(Position::start_of(&oldest));
        Self {
            limits,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            records: segments.iter().map(|segment| segment.records).sum(),
            segments: segments.into(),
            acknowledged,
            acknowledged_time: None,
            next: acknowledged,
            dropped: 0,
            too_long: 0,
            corrupt_records,
        }
    }

    pub(super) fn oldest(&self) -> Segment {
        self.segments[0]
    }

    pub(super) fn newest(&self) -> Segment {
        self.segments[self.segments.len() - 1]
    }

    /// A segment, and the one behind it.
    pub(super) fn segment(&self, number: u64) -> Option<(Segment, Option<Segment>)> {
        let nth = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        Some((self.segments[nth], self.segments.get(nth + 1).copied()))
    }

    pub(super) fn is_full(&self, more: u64) -> bool {
        self.bytes + more > self.limits.bytes
    }

    /// True if another segment is to be begun for so many bytes.
    pub(super) fn needs_segment(&self, more: u64) -> bool {
        let newest = self.newest();
        let is_segment_full = newest.bytes + more > self.limits.segment_bytes;
        // The only segment can be dropped no other way.
        let is_in_the_way = self.drops_oldest() && self.segments.len() == 1 && self.is_full(more);
        newest.records > 0 && (is_segment_full || is_in_the_way)
    }

    pub(super) fn drops_oldest(&self) -> bool {
        self.limits.when_full == WhenFull::DropOldest
    }

    /// A new segment is written to from now on.
    pub(super) fn begin(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        self.records += segment.records;
        self.segments.push_back(segment);
    }

    /// So much was written to the newest segment.
    pub(super) fn grow(&mut self, bytes: u64, records: u64, now: Timestamp) {
        let newest = self.segments.len() - 1;
        let newest = &mut self.segments[newest];
        newest.bytes += bytes;
        newest.records += records;
        if records > 0 {
            newest.first.get_or_insert(now);
        }
        self.bytes += bytes;
        self.records += records;
    }

    /// Takes the oldest segments out for which so many bytes find no room, and counts
    /// what was not taken of them. What was taken may have been delivered: that is
    /// seen when it is acknowledged, or taken back.
    pub(super) fn drop_oldest(&mut self, more: u64) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.drops_oldest() && self.is_full(more) && self.segments.len() > 1 {
            let oldest = self.oldest();
            if self.next.segment == oldest.number {
                self.dropped += oldest.records.saturating_sub(self.next.records);
                self.next = Position::start_of(&self.segments[1]);
            }
            gone.extend(self.pop());
        }
        gone
    }

    /// Takes the segments out that end before `needed`.
    pub(super) fn drop_before(&mut self, needed: u64) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.segments.len() > 1 && self.oldest().number < needed {
            gone.extend(self.pop());
        }
        gone
    }

    fn pop(&mut self) -> Option<Segment> {
        let oldest = self.segments.pop_front()?;
        self.bytes -= oldest.bytes;
        self.records -= oldest.records;
        Some(oldest)
    }

    /// Puts a segment back whose file could not be removed. Nothing of it is read again.
    pub(super) fn restore(&mut self, segment: Segment) {
        if let Err(place) = self.segments.binary_search_by_key(&segment.number, |segment| segment.number) {
            // Its records count as delivered, or as dropped.
            let empty = Segment { records: 0, first: None, ..segment };
            self.bytes += empty.bytes;
            self.segments.insert(place, empty);
        }
    }

    /// Moves `acknowledged` to the oldest segment if it lies before that.
    pub(super) fn follow_oldest(&mut self) {
        if self.acknowledged.segment < self.oldest().number {
            self.acknowledged = Position::start_of(&self.oldest());
        }
    }

    pub(super) fn status(&self) -> SpoolStatus {
        let is_there = self.segment(self.acknowledged.segment).is_some();
        let messages = self.records.saturating_sub(if is_there { self.acknowledged.records } else { 0 });
        let first = self.segments.iter().find_map(|segment| segment.first);
        SpoolStatus {
            messages,
            bytes: self.bytes,
            oldest: first.max(self.acknowledged_time).filter(|_| messages > 0),
            dropped: self.dropped,
            too_long: self.too_long,
            corrupt_records: self.corrupt_records,
        }
    }
}

impl Position {
    /// Before the first record of a segment.
    pub(super) fn start_of(segment: &Segment) -> Self {
        Self { segment: segment.number, offset: MAGIC.len() as u64, records: 0 }
    }
}
