//! Each view at 80x24 and 160x50.

use insta::assert_snapshot;
use observer_core::label::{Label, Reason};

use super::super::input::Change;
use super::super::snapshot::{Stretch, View};
use super::{Account, Look, empty, event, mixed, now, press, screen, terminal, text, typed};

/// Both sizes, named apart.
macro_rules! assert_screens {
    ($name:literal, $model:expr) => {{
        let mut model = $model;
        assert_snapshot!(concat!($name, "-80x24"), screen(&mut model, 80, 24));
        assert_snapshot!(concat!($name, "-160x50"), screen(&mut model, 160, 50));
    }};
}

/// Where 80 columns are too many, parts are left out, and no word is cut.
#[test]
fn at_60_columns() {
    let help = |model: &mut super::Model| press(model, &[Change::Help]);
    for (name, apply) in [
        ("destinations-60x24", (|_| {}) as fn(&mut super::Model)),
        ("detail-60x24", |model| press(model, &[Change::Open])),
        ("help-60x24", help),
    ] {
        let mut model = mixed();
        apply(&mut model);
        assert_snapshot!(name, screen(&mut model, 60, 24));
    }
}

#[test]
fn nothing_yet() {
    assert_screens!("empty", empty());
}

#[test]
fn destinations() {
    assert_screens!("destinations", mixed());
}

#[test]
fn prefixes() {
    let mut model = mixed();
    press(&mut model, &[Change::Show(View::Prefixes)]);
    assert_screens!("prefixes", model);
}

#[test]
fn sources() {
    let mut model = mixed();
    press(&mut model, &[Change::Show(View::Sources), Change::Over(Stretch::All)]);
    assert_screens!("sources", model);
}

#[test]
fn one_destination() {
    let mut model = mixed();
    press(&mut model, &[Change::Open, Change::Move(2)]);
    assert_screens!("detail", model);
}

#[test]
fn one_source() {
    let mut model = mixed();
    press(&mut model, &[Change::Show(View::Sources), Change::Open]);
    assert_screens!("source", model);
}

#[test]
fn help() {
    let mut model = mixed();
    press(&mut model, &[Change::Help]);
    assert_screens!("help", model);
}

#[test]
fn a_filter_being_typed() {
    let mut model = mixed();
    typed(&mut model, "2001:db8:25::/48");
    assert_screens!("typing", model);
}

#[test]
fn a_filter_that_is_kept() {
    let mut model = mixed();
    typed(&mut model, "refused");
    press(&mut model, &[Change::Accept]);
    assert_screens!("filtered", model);
}

#[test]
fn paused() {
    let mut model = mixed();
    press(&mut model, &[Change::Pause]);
    model.add(&event("203.0.113.99", Label::Refused, Some(Reason::Rst), 0), now());
    model.refresh(now());
    assert_screens!("paused", model);
}

#[test]
fn more_than_fit() {
    let mut model = empty();
    for index in 0..1_500_u32 {
        let to = std::net::Ipv4Addr::from(0xcb00_7100 + index).to_string();
        model.add(&event(&to, Label::Refused, Some(Reason::Rst), u64::from(index % 500)), now());
    }
    let lost = Account { attempts: 1_512, outcomes: 1_505, in_flight: 4, lost: 3, events_lost: 5, malformed: 0 };
    model.settle(lost);
    press(&mut model, &[Change::Page(1), Change::Move(20)]);
    assert_screens!("many", model);
}

#[test]
fn an_ascii_terminal_gets_ascii() {
    let mut model = mixed();
    let ascii = Look { is_coloured: true, is_unicode: false };
    for changes in [vec![], vec![Change::Reverse], vec![Change::Open], vec![Change::Help]] {
        press(&mut model, &changes);
        let shown = text(&terminal(&mut model, 160, 50, ascii));
        assert!(shown.is_ascii(), "{shown}");
    }
}
