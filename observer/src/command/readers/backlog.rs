//! The latest lines, for readers that are behind.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::wire::{Line, Request, v0};

/// Bytes of lines that a reader may be behind.
pub(super) const BEHIND: usize = 16 << 20;

/// What a line is, for whoever wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Failure,
    Success,
    Missing,
    Alert,
    Account,
    Delivery,
    /// Nothing comes after it.
    End,
}

impl Sort {
    pub(super) fn is_event(self) -> bool {
        matches!(self, Self::Failure | Self::Success)
    }

    fn is_wanted(self, request: &Request) -> bool {
        match self {
            Self::Failure | Self::Delivery | Self::End => true,
            Self::Success => request.successes,
            Self::Missing => request.protocol > 0,
            Self::Alert => request.alerts,
            Self::Account => request.accounts,
        }
    }
}

/// A line as it is sent: written once for all.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) sort: Sort,
    /// Events told before it, by which a reader finds how many it lost.
    pub(super) before: u64,
    json: Rc<str>,
    /// The same for readers of protocol 0, if it is another; `None` if they are not told.
    v0: Option<Rc<str>>,
}

impl Told {
    fn new(sort: Sort, before: u64, line: &Line) -> Option<Self> {
        let json: Rc<str> = line.to_json().ok()?.into();
        let v0 = match v0::line(line) {
            Some(std::borrow::Cow::Borrowed(_)) => Some(Rc::clone(&json)),
            Some(std::borrow::Cow::Owned(line)) => line.to_json().ok().map(Rc::from),
            None => None,
        };
        Some(Self { sort, before, json, v0 })
    }

    /// What this reader gets; `None` if it did not ask for it, or cannot read it.
    pub(super) fn line_for(&self, request: &Request) -> Option<&str> {
        let line = if request.protocol == 0 { self.v0.as_deref() } else { Some(&*self.json) };
        line.filter(|_| self.sort.is_wanted(request))
    }

    fn bytes(&self) -> usize {
        let other = self.v0.as_ref().filter(|v0| !Rc::ptr_eq(v0, &self.json)).map_or(0, |v0| v0.len());
        size_of::<Self>() + self.json.len() + other
    }
}

/// The latest lines, each with a number.
#[derive(Debug)]
pub(super) struct Backlog {
    lines: VecDeque<Told>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    max_bytes: usize,
    /// Events told so far.
    events: u64,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { lines: VecDeque::new(), first: 0, bytes: 0, max_bytes, events: 0 }
    }

    /// Tells a line to those who read.
    pub(super) fn tell(&mut self, sort: Sort, line: &Line) {
        // Plain values are always written.
        let Some(told) = Told::new(sort, self.events, line) else { return };
        self.bytes += told.bytes();
        self.lines.push_back(told);
        self.events += u64::from(sort.is_event());
        while self.bytes > self.max_bytes && self.lines.len() > 1 {
            self.drop_first();
        }
    }

    /// Lets a line pass, as nobody reads.
    pub(super) fn pass(&mut self, sort: Sort) {
        self.first = self.end() + 1;
        self.lines.clear();
        self.bytes = 0;
        self.events += u64::from(sort.is_event());
    }

    /// Events that no line was made of, because there was no room for them on their way here.
    pub(super) fn skip(&mut self, events: u64) {
        self.events += events;
    }

    /// Forgets what has been read by all.
    pub(super) fn keep_from(&mut self, number: u64) {
        while self.first < number && !self.lines.is_empty() {
            self.drop_first();
        }
    }

    /// The line of this number, or the first one that is still there, and its number.
    pub(super) fn get(&self, number: u64) -> Option<(u64, &Told)> {
        let number = number.max(self.first);
        let index = usize::try_from(number - self.first).ok()?;
        self.lines.get(index).map(|told| (number, told))
    }

    /// The number of the next line.
    pub(super) fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    /// Events told so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    fn drop_first(&mut self) {
        if let Some(told) = self.lines.pop_front() {
            self.bytes -= told.bytes();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Account;

    fn account() -> Line {
        Line::Account(Account::default())
    }

    #[test]
    fn the_oldest_lines_go_and_numbers_stay() {
        let mut backlog = Backlog::new(1_000);
        for _ in 0..100 {
            backlog.tell(Sort::Failure, &account());
        }
        assert_eq!((backlog.end(), backlog.events()), (100, 100));
        let (first, told) = backlog.get(0).unwrap();
        assert!(first > 90 && told.before == first, "{first}");
        assert!(backlog.bytes <= 1_000);
        backlog.keep_from(99);
        assert_eq!(backlog.get(0).unwrap().0, 99);
        backlog.keep_from(1_000);
        assert!(backlog.get(0).is_none() && backlog.bytes == 0);
        assert_eq!(backlog.end(), 100);
    }

    #[test]
    fn nothing_is_kept_while_nobody_reads() {
        let mut backlog = Backlog::new(1_000);
        backlog.tell(Sort::Failure, &account());
        backlog.pass(Sort::Success);
        backlog.skip(5);
        assert!(backlog.get(0).is_none());
        assert_eq!((backlog.end(), backlog.events()), (2, 7));
        backlog.tell(Sort::Account, &account());
        let (number, told) = backlog.get(0).unwrap();
        assert_eq!((number, told.before), (2, 7));
    }

    #[test]
    fn a_line_that_is_larger_than_all_is_kept_alone() {
        let mut backlog = Backlog::new(1);
        backlog.tell(Sort::Account, &account());
        backlog.tell(Sort::Account, &account());
        assert_eq!(backlog.get(0).unwrap().0, 1);
    }
}
