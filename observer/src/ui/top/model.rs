//! The state behind the screen.

use jiff::Timestamp;
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::sanitize::is_visible;
use observer_core::tally::{Prefixes, Seen, Tallies, Window};
use observer_core::wire::Account;

use super::columns::Column;
use super::input::{Change, Mode};
use super::recent::Recent;
use super::snapshot::{Asked, Detail, Snapshot, Sort, Stretch, Subject, View};

/// Letters that a filter can have.
const MAX_FILTER: usize = 64;
/// Lines of a list's screen that are no rows, about.
const FRAME_LINES: u16 = 7;

/// Whether to go on after a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Go on.
    Stay,
    /// End.
    Leave,
}

/// The beginning of what is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    /// `None` if it is not known.
    pub(super) at: Option<Timestamp>,
    /// Who began then.
    pub(super) who: &'static str,
}

/// A list that another one was opened from.
#[derive(Debug)]
struct Origin {
    view: View,
    filter: String,
    chosen: Option<Subject>,
}

/// The state behind the screen.
#[derive(Debug)]
pub struct Model {
    tallies: Tallies,
    recent: Recent,
    /// As a person reads it: `port 25`.
    pub(super) scope: String,
    /// Since when is counted.
    pub(super) began: Began,
    account: Account,
    imbalance: i128,
    /// What must be known of all numbers.
    pub(super) remark: Option<String>,
    pub(super) view: View,
    pub(super) stretch: Stretch,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) is_help: bool,
    pub(super) is_paused: bool,
    open: Option<Subject>,
    /// The list of prefixes, while one of them is open.
    origin: Option<Origin>,
    /// The filter before another one is typed.
    last_filter: String,
    /// Where the cursor is: on this row wherever it goes, or on a line.
    chosen: Option<Subject>,
    pub(super) cursor: usize,
    /// The cursor in what is open.
    pub(super) attempt: usize,
    pub(super) help_line: usize,
    page: usize,
    /// Lines of the help, as wide as the terminal is.
    help_lines: usize,
    pub(super) shown: Snapshot,
}

impl Model {
    /// Nothing counted yet. `scope` is what is watched, such as `port 25`.
    pub fn new(scope: String, prefixes: Prefixes, now: Timestamp) -> Self {
        Self {
            tallies: Tallies::new(observer_core::tally::Budget::default(), prefixes),
            recent: Recent::default(),
            scope,
            began: Began { at: Some(now), who: "top" },
            account: Account::default(),
            imbalance: 0,
            remark: None,
            view: View::default(),
            stretch: Stretch::Last(Window::TenMinutes),
            sort: Sort::by(Column::Failures),
            filter: String::new(),
            is_typing: false,
            is_help: false,
            is_paused: false,
            open: None,
            origin: None,
            last_filter: String::new(),
            chosen: None,
            cursor: 0,
            attempt: 0,
            help_line: 0,
            page: 16,
            help_lines: 0,
            shown: Snapshot::empty(now),
        }
    }

    /// Counts an event.
    pub fn add(&mut self, event: &Event, now: Timestamp) {
        if let Some(seen) = Seen::from_event(event) {
            self.tallies.add(&seen, now);
        }
        self.recent.add(event);
    }

    /// Counts attempts of which no event came.
    pub fn make_up(&mut self, missing: &[(Ended, u64)], at: Timestamp) {
        self.tallies.make_up(missing, at);
    }

    /// Goes on from what `observer run` has counted since it began; what was counted here is in it.
    pub fn load(&mut self, tallies: Tallies, began: Option<Timestamp>) {
        self.tallies = tallies;
        self.began = Began { at: began, who: "observer run" };
    }

    /// What must be known of all numbers.
    pub fn remark(&mut self, remark: Option<String>) {
        self.remark = remark;
    }

    /// Takes note of the ledger.
    pub fn settle(&mut self, account: Account) {
        let (before, now) = (self.account.imbalance(), account.imbalance());
        // The counters are read one after the other, while attempts come and go:
        // only what is off by as much twice in a row is off.
        self.imbalance = if before == now { now } else { 0 };
        self.account = account;
    }

    /// The terminal has so many columns and lines.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.help_lines = super::help::lines(usize::from(columns)).len();
        self.page = usize::from(lines.saturating_sub(FRAME_LINES).max(1));
    }

    /// What keys mean now.
    pub fn mode(&self) -> Mode {
        if self.is_help {
            Mode::Help
        } else if self.is_typing {
            Mode::Type
        } else {
            Mode::Look
        }
    }

    /// Takes new numbers, unless they are held still.
    pub fn refresh(&mut self, now: Timestamp) {
        if !self.is_paused {
            self.look(now);
        }
    }

    /// Does what a key asked for.
    pub fn apply(&mut self, change: Change, now: Timestamp) -> Next {
        match change {
            Change::Quit => return Next::Leave,
            Change::Back if self.is_at_the_outermost() => return Next::Leave,
            Change::Back => self.back(),
            Change::Open => self.open(),
            Change::Move(by) => return self.step(by),
            Change::Page(by) => return self.step(by.saturating_mul(self.page as isize)),
            Change::First => return self.step(isize::MIN),
            Change::Last => return self.step(isize::MAX),
            Change::Help => {
                self.is_help = !self.is_help;
                self.help_line = 0;
            }
            Change::Pause => self.is_paused = !self.is_paused,
            Change::Filter => self.begin_filter(),
            Change::Accept => self.is_typing = false,
            Change::Type(_) | Change::Erase | Change::EraseAll => self.edit(change),
            Change::SortNext(_) | Change::Reverse => self.resort(change),
            Change::Show(_) | Change::ShowNext(_) => self.turn(change),
            Change::Over(stretch) => self.stretch = stretch,
            Change::OverNext => self.stretch = next(&Stretch::ALL, self.stretch, true),
        }
        self.look(now);
        Next::Stay
    }

    fn is_at_the_outermost(&self) -> bool {
        let is_first_list = self.origin.is_none() && self.filter.is_empty();
        !self.is_help && !self.is_typing && self.open.is_none() && is_first_list
    }

    fn back(&mut self) {
        if self.is_help {
            self.is_help = false;
        } else if self.is_typing {
            self.is_typing = false;
            self.filter = std::mem::take(&mut self.last_filter);
        } else if self.open.is_some() {
            self.close();
        } else if let Some(Origin { view, filter, chosen }) = self.origin.take() {
            (self.view, self.filter, self.chosen) = (view, filter, chosen);
        } else {
            self.filter.clear();
        }
    }

    fn open(&mut self) {
        if self.open.is_some() {
            return;
        }
        match self.shown.rows.get(self.cursor).map(|row| row.subject) {
            Some(subject @ Subject::Prefix(net)) => {
                let filter = std::mem::replace(&mut self.filter, net.to_string());
                self.origin = Some(Origin { view: self.view, filter, chosen: Some(subject) });
                self.view = View::Destinations;
                self.choose_first();
            }
            Some(subject) => {
                self.recent.open(subject);
                self.chosen = Some(subject);
                self.open = Some(subject);
                self.attempt = 0;
            }
            None => (),
        }
    }

    fn close(&mut self) {
        self.open = None;
        self.recent.close();
    }

    fn begin_filter(&mut self) {
        self.close();
        self.last_filter.clone_from(&self.filter);
        self.is_typing = true;
    }

    fn edit(&mut self, change: Change) {
        match change {
            Change::Type(letter) if self.filter.chars().count() < MAX_FILTER && is_visible(letter) => {
                self.filter.push(letter);
            }
            Change::Erase => _ = self.filter.pop(),
            Change::EraseAll => self.filter.clear(),
            _ => (),
        }
        self.choose_first();
    }

    fn resort(&mut self, change: Change) {
        match change {
            Change::SortNext(is_right) => self.sort = Sort::by(self.sort.column.neighbour(is_right)),
            _ => self.sort.is_descending = !self.sort.is_descending,
        }
        self.choose_first();
    }

    fn turn(&mut self, change: Change) {
        self.close();
        self.origin = None;
        self.view = match change {
            Change::Show(view) => view,
            Change::ShowNext(is_forward) => next(&View::ALL, self.view, is_forward),
            _ => self.view,
        };
        self.choose_first();
    }

    fn choose_first(&mut self) {
        self.chosen = None;
        self.cursor = 0;
    }

    /// Moves a cursor. Numbers stay as they are.
    fn step(&mut self, by: isize) -> Next {
        let moved = |from: usize, len: usize| from.saturating_add_signed(by).min(len.saturating_sub(1));
        if self.is_help {
            self.help_line = moved(self.help_line, self.help_lines);
        } else if let Some(detail) = &self.shown.detail {
            self.attempt = moved(self.attempt, detail.attempts.len());
        } else {
            self.cursor = moved(self.cursor, self.shown.rows.len());
            // On the first line it stays there, whoever comes first.
            self.chosen = self.shown.rows.get(self.cursor).map(|row| row.subject).filter(|_| self.cursor > 0);
        }
        Next::Stay
    }

    fn look(&mut self, now: Timestamp) {
        let asked = Asked { view: self.view, stretch: self.stretch, sort: self.sort, filter: &self.filter };
        let mut shown = Snapshot::new(&self.tallies, &asked, now);
        (shown.account, shown.imbalance) = (self.account, self.imbalance);
        shown.detail = self.open.map(|subject| {
            let tick = self.tallies.tick(now);
            let attempts = self.recent.opened();
            Detail { attempts, ..Detail::new(&self.tallies, subject, self.stretch, tick) }
        });
        let followed = self.chosen.and_then(|subject| shown.rows.iter().position(|row| row.subject == subject));
        self.cursor = followed.unwrap_or(self.cursor).min(shown.rows.len().saturating_sub(1));
        let attempts = shown.detail.as_ref().map_or(0, |detail| detail.attempts.len());
        self.attempt = self.attempt.min(attempts.saturating_sub(1));
        self.shown = shown;
    }
}

fn next<T: Copy + PartialEq>(all: &[T], now: T, is_forward: bool) -> T {
    let index = all.iter().position(|&one| one == now).unwrap_or(0);
    let step = if is_forward { 1 } else { all.len() - 1 };
    all[(index + step) % all.len()]
}
