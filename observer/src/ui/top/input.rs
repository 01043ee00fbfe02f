//! Keys, and what they change.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::snapshot::{Stretch, View};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// End.
    Quit,
    /// One step back: out of help, detail or filter, and at last end.
    Back,
    /// Open what is chosen.
    Open,
    /// Move the cursor by so many rows.
    Move(isize),
    /// Move the cursor by so many screens.
    Page(isize),
    /// Move the cursor to the first row.
    First,
    /// Move the cursor to the last row.
    Last,
    /// Sort by the next column to the right, or to the left.
    SortNext(bool),
    /// Sort the other way round.
    Reverse,
    /// List something else.
    Show(View),
    /// List the next thing, or the one before it.
    ShowNext(bool),
    /// Count over another time.
    Over(Stretch),
    /// Count over the next longer time, all around.
    OverNext,
    /// Begin to type a filter.
    Filter,
    /// Add a letter to the filter.
    Type(char),
    /// Take the last letter off the filter.
    Erase,
    /// Take all letters off the filter.
    EraseAll,
    /// The filter is as wanted.
    Accept,
    /// Hold the numbers still, or let them go on.
    Pause,
    /// Show the help, or put it away.
    Help,
}

/// What keys mean depends on what is in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A list, or one subject's detail.
    Look,
    /// A filter is typed.
    Type,
    /// The help.
    Help,
}

/// The change that a key asks for; `None` for a key without a meaning.
pub fn change(key: KeyEvent, mode: Mode) -> Option<Change> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if is_control {
        return control(key.code, mode);
    }
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    match mode {
        Mode::Type => typed(key.code),
        Mode::Help => help(key.code),
        Mode::Look => look(key.code),
    }
}

fn control(code: KeyCode, mode: Mode) -> Option<Change> {
    match (code, mode) {
        (KeyCode::Char('c'), _) => Some(Change::Quit),
        (KeyCode::Char('u'), Mode::Type) => Some(Change::EraseAll),
        (KeyCode::Char('h'), Mode::Type) => Some(Change::Erase),
        (KeyCode::Char('d'), Mode::Look) => Some(Change::Page(1)),
        (KeyCode::Char('u'), Mode::Look) => Some(Change::Page(-1)),
        _ => None,
    }
}

fn typed(code: KeyCode) -> Option<Change> {
    match code {
        KeyCode::Esc => Some(Change::Back),
        KeyCode::Enter => Some(Change::Accept),
        KeyCode::Backspace => Some(Change::Erase),
        KeyCode::Up => Some(Change::Move(-1)),
        KeyCode::Down => Some(Change::Move(1)),
        KeyCode::Char(letter) => Some(Change::Type(letter)),
        _ => None,
    }
}

fn help(code: KeyCode) -> Option<Change> {
    match code {
        KeyCode::Char('q') => Some(Change::Quit),
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('?' | ' ') => Some(Change::Help),
        KeyCode::Up | KeyCode::Char('k') => Some(Change::Move(-1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Change::Move(1)),
        KeyCode::PageUp => Some(Change::Page(-1)),
        KeyCode::PageDown => Some(Change::Page(1)),
        _ => None,
    }
}

fn look(code: KeyCode) -> Option<Change> {
    Some(match code {
        KeyCode::Char('q') => Change::Quit,
        KeyCode::Esc | KeyCode::Backspace => Change::Back,
        KeyCode::Enter => Change::Open,
        KeyCode::Up | KeyCode::Char('k') => Change::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Change::Move(1),
        KeyCode::PageUp => Change::Page(-1),
        KeyCode::PageDown => Change::Page(1),
        KeyCode::Home | KeyCode::Char('g') => Change::First,
        KeyCode::End | KeyCode::Char('G') => Change::Last,
        KeyCode::Left | KeyCode::Char('<' | 'h') => Change::SortNext(false),
        KeyCode::Right | KeyCode::Char('>' | 'l') => Change::SortNext(true),
        KeyCode::Char('r') => Change::Reverse,
        KeyCode::Char('d') => Change::Show(View::Destinations),
        KeyCode::Char('p') => Change::Show(View::Prefixes),
        KeyCode::Char('s') => Change::Show(View::Sources),
        KeyCode::Tab => Change::ShowNext(true),
        KeyCode::BackTab => Change::ShowNext(false),
        KeyCode::Char('w') => Change::OverNext,
        KeyCode::Char(digit @ '1'..='5') => Change::Over(Stretch::ALL[digit as usize - '1' as usize]),
        KeyCode::Char('/') => Change::Filter,
        KeyCode::Char(' ') => Change::Pause,
        KeyCode::Char('?') | KeyCode::F(1) => Change::Help,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
