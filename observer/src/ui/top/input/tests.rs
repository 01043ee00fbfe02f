use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use observer_core::tally::Window;

use super::{Change, Mode, change};
use crate::ui::top::snapshot::{Stretch, View};

fn press(code: KeyCode, mode: Mode) -> Option<Change> {
    change(KeyEvent::new(code, KeyModifiers::NONE), mode)
}

fn control(letter: char, mode: Mode) -> Option<Change> {
    change(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL), mode)
}

#[test]
fn keys_of_a_list() {
    for (code, expected) in [
        (KeyCode::Char('q'), Change::Quit),
        (KeyCode::Esc, Change::Back),
        (KeyCode::Backspace, Change::Back),
        (KeyCode::Enter, Change::Open),
        (KeyCode::Up, Change::Move(-1)),
        (KeyCode::Char('j'), Change::Move(1)),
        (KeyCode::PageDown, Change::Page(1)),
        (KeyCode::PageUp, Change::Page(-1)),
        (KeyCode::Home, Change::First),
        (KeyCode::Char('G'), Change::Last),
        (KeyCode::Left, Change::SortNext(false)),
        (KeyCode::Char('>'), Change::SortNext(true)),
        (KeyCode::Char('r'), Change::Reverse),
        (KeyCode::Char('d'), Change::Show(View::Destinations)),
        (KeyCode::Char('p'), Change::Show(View::Prefixes)),
        (KeyCode::Char('s'), Change::Show(View::Sources)),
        (KeyCode::Tab, Change::ShowNext(true)),
        (KeyCode::BackTab, Change::ShowNext(false)),
        (KeyCode::Char('1'), Change::Over(Stretch::Last(Window::Minute))),
        (KeyCode::Char('4'), Change::Over(Stretch::Last(Window::Day))),
        (KeyCode::Char('5'), Change::Over(Stretch::All)),
        (KeyCode::Char('w'), Change::OverNext),
        (KeyCode::Char('/'), Change::Filter),
        (KeyCode::Char(' '), Change::Pause),
        (KeyCode::Char('?'), Change::Help),
    ] {
        assert_eq!(press(code, Mode::Look), Some(expected), "{code:?}");
    }
    for code in [KeyCode::Char('6'), KeyCode::Char('0'), KeyCode::Char('x'), KeyCode::Insert, KeyCode::Null] {
        assert_eq!(press(code, Mode::Look), None, "{code:?}");
    }
}

#[test]
fn a_filter_takes_letters_that_are_keys_elsewhere() {
    for letter in ['q', '?', ' ', '/', 'r', '1', 'é'] {
        assert_eq!(press(KeyCode::Char(letter), Mode::Type), Some(Change::Type(letter)));
    }
    assert_eq!(press(KeyCode::Esc, Mode::Type), Some(Change::Back));
    assert_eq!(press(KeyCode::Enter, Mode::Type), Some(Change::Accept));
    assert_eq!(press(KeyCode::Backspace, Mode::Type), Some(Change::Erase));
    assert_eq!(control('u', Mode::Type), Some(Change::EraseAll));
    assert_eq!(control('x', Mode::Type), None);
}

#[test]
fn help_is_put_away_by_what_called_it() {
    for code in [KeyCode::Char('?'), KeyCode::Esc, KeyCode::Enter] {
        assert_eq!(press(code, Mode::Help), Some(Change::Help), "{code:?}");
    }
    assert_eq!(press(KeyCode::Char('q'), Mode::Help), Some(Change::Quit));
    assert_eq!(press(KeyCode::Char('r'), Mode::Help), None);
}

#[test]
fn control_c_quits_everywhere() {
    for mode in [Mode::Look, Mode::Type, Mode::Help] {
        assert_eq!(control('c', mode), Some(Change::Quit), "{mode:?}");
    }
}

#[test]
fn a_key_counts_when_pressed_and_not_when_let_go() {
    let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    key.kind = KeyEventKind::Release;
    assert_eq!(change(key, Mode::Look), None);
    key.kind = KeyEventKind::Repeat;
    assert_eq!(change(key, Mode::Look), Some(Change::Quit));
    assert_eq!(change(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT), Mode::Look), None);
}
