//! The latest lines, for readers that are behind.

use std::collections::VecDeque;
use std::rc::Rc;

use observer_core::wire::{Line, Request, v0};

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

/// How much was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) events: u64,
    /// Attempts of which no event came.
    pub(super) missing: u64,
}

/// A line as it is sent: written once for all.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) sort: Sort,
    /// What was told before it, by which a reader finds how much it lost.
    pub(super) before: Before,
    /// Attempts of which no event came, that it tells of.
    pub(super) missing: u64,
    json: Rc<str>,
    /// The same for readers of protocol 0, if it is another; `None` if they are not told.
    v0: Option<Rc<str>>,
}

impl Told {
    fn new(sort: Sort, before: Before, missing: u64, line: &Line) -> Option<Self> {
        let json: Rc<str> = line.to_json().ok()?.into();
        let v0 = match v0::line(line) {
            Some(std::borrow::Cow::Borrowed(_)) => Some(Rc::clone(&json)),
            Some(std::borrow::Cow::Owned(line)) => line.to_json().ok().map(Rc::from),
            None => None,
        };
        Some(Self { sort, before, missing, json, v0 })
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
    /// Told so far.
    told: Before,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { lines: VecDeque::new(), first: 0, bytes: 0, max_bytes, told: Before::default() }
    }

    /// Tells a line to those who read, of so many attempts without an event.
    pub(super) fn tell(&mut self, sort: Sort, missing: u64, line: &Line) {
        // Plain values are always written.
        let Some(told) = Told::new(sort, self.told, missing, line) else { return };
        self.bytes += told.bytes();
        self.lines.push_back(told);
        self.skip(Before { events: u64::from(sort.is_event()), missing });
        while self.bytes > self.max_bytes && self.lines.len() > 1 {
            self.drop_first();
        }
    }

    /// Lets a line pass, as nobody reads.
    pub(super) fn pass(&mut self, sort: Sort, missing: u64) {
        self.first = self.end() + 1;
        self.lines.clear();
        self.bytes = 0;
        self.skip(Before { events: u64::from(sort.is_event()), missing });
    }

    /// Counts what no line is made of: there was no room for it on its way here.
    pub(super) fn skip(&mut self, more: Before) {
        self.told.events += more.events;
        self.told.missing += more.missing;
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

    /// Told so far.
    pub(super) fn told(&self) -> Before {
        self.told
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
    use observer_core::wire::Account;

    fn before(events: u64) -> Before {
        Before { events, missing: 0 }
    }

    fn account() -> Line {
        Line::Account(Account::default())
    }

    #[test]
    fn the_oldest_lines_go_and_numbers_stay() {
        let mut backlog = Backlog::new(1_000);
        for _ in 0..100 {
            backlog.tell(Sort::Failure, 0, &account());
        }
        assert_eq!((backlog.end(), backlog.told()), (100, before(100)));
        let (first, told) = backlog.get(0).unwrap();
        assert!(first > 90 && told.before == before(first), "{first}");
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
        backlog.tell(Sort::Failure, 0, &account());
        backlog.pass(Sort::Success, 0);
        backlog.pass(Sort::Missing, 3);
        backlog.skip(Before { events: 5, missing: 2 });
        assert!(backlog.get(0).is_none());
        let told = Before { events: 7, missing: 5 };
        assert_eq!((backlog.end(), backlog.told()), (3, told));
        backlog.tell(Sort::Account, 0, &account());
        let (number, line) = backlog.get(0).unwrap();
        assert_eq!((number, line.before), (3, told));
    }

    #[test]
    fn a_line_that_is_larger_than_all_is_kept_alone() {
        let mut backlog = Backlog::new(1);
        backlog.tell(Sort::Account, 0, &account());
        backlog.tell(Sort::Account, 0, &account());
        assert_eq!(backlog.get(0).unwrap().0, 1);
    }
}
