mod behaviour;
mod fitting;
mod screens;
mod sizes;

use std::time::Duration;

use jiff::Timestamp;
use observer_core::event::Event;
use observer_core::label::{Label, Reason};
use observer_core::sample::{self, ip};
use observer_core::tally::Prefixes;
use observer_core::wire::Account;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::input::Change;
use super::{Look, Model, Next, draw};

pub(super) const PLAIN: Look = Look { is_coloured: false, is_unicode: true };

/// Some seconds after the sample's events.
fn now() -> Timestamp {
    sample::time() + Duration::from_secs(5)
}

fn empty() -> Model {
    let mut model = Model::new("port 25".to_owned(), Prefixes::default(), now());
    model.resize(80, 24);
    model.refresh(now());
    model
}

/// An event to `to`, so many seconds before the sample's.
fn event(to: &str, label: Label, reason: Option<Reason>, seconds_before: u64) -> Event {
    let mut event = sample::event(label, reason);
    event.dst.ip = Some(ip(to));
    if ip(to).is_ipv6() {
        event.src.ip = Some(ip("2001:db8::10"));
    }
    event.time -= Duration::from_secs(seconds_before);
    event
}

/// Every label, IPv4 and IPv6, two sources.
fn mixed() -> Model {
    let mut model = empty();
    let mut add = |to, label, reason, times| {
        for index in 0..times {
            let mut event = event(to, label, reason, 2 * (times - index));
            if index % 3 == 0 && event.src.ip == Some(ip("192.0.2.10")) {
                event.src.ip = Some(ip("192.0.2.11"));
            }
            event.elapsed = Some(Duration::from_millis(20 + index));
            event.handshake = (label == Label::Connected).then_some(Duration::from_millis(9));
            model.add(&event, now());
        }
    };
    add("203.0.113.5", Label::Connected, None, 12);
    add("203.0.113.5", Label::Refused, Some(Reason::Rst), 40);
    add("203.0.113.9", Label::Connected, None, 150);
    add("203.0.113.77", Label::Timeout, Some(Reason::Abandoned), 25);
    add("198.51.100.20", Label::Refused, Some(Reason::IcmpAdminProhibited), 9);
    add("2001:db8:25:1234:5678:9abc:def0:1", Label::Unreachable, Some(Reason::IcmpNetUnreachable), 14);
    add("2001:db8:25::2", Label::Reset, Some(Reason::BeforeBanner), 3);
    add("198.51.100.21", Label::Closed, Some(Reason::BeforeBanner), 2);
    add("198.51.100.22", Label::Silent, Some(Reason::NoBanner), 4);
    add("198.51.100.23", Label::Blocked, Some(Reason::LocalFirewall), 1);
    add("198.51.100.23", Label::Cancelled, Some(Reason::Early), 2);
    model.settle(Account { attempts: 268, outcomes: 262, in_flight: 6, ..Account::default() });
    model.refresh(now());
    model
}

fn press(model: &mut Model, changes: &[Change]) {
    for &change in changes {
        assert_eq!(model.apply(change, now()), Next::Stay, "{change:?}");
    }
}

fn typed(model: &mut Model, text: &str) {
    press(model, &[Change::Filter]);
    for letter in text.chars() {
        press(model, &[Change::Type(letter)]);
    }
}

fn terminal(model: &mut Model, width: u16, height: u16, look: Look) -> Terminal<TestBackend> {
    model.resize(width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, look)).unwrap();
    terminal
}

fn screen(model: &mut Model, width: u16, height: u16) -> String {
    text(&terminal(model, width, height, PLAIN))
}

/// The lines without what is blank at their ends.
fn text(terminal: &Terminal<TestBackend>) -> String {
    let buffer = terminal.backend().buffer();
    let lines = (0..buffer.area.height).map(|y| {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
