//! What keys do, and what colours say.

use std::time::Duration;

use observer_core::count::Ended;
use observer_core::label::{Label, Reason};
use observer_core::sample;
use ratatui::style::{Color, Modifier};

use super::super::columns::{Column, ORDER};
use super::super::input::{Change, Mode};
use super::super::snapshot::{Sort, Stretch, View};
use super::{Account, Look, Next, PLAIN, empty, event, mixed, now, press, screen, terminal, typed};
use crate::ui::top::Model;

fn names(model: &Model) -> Vec<&str> {
    model.shown.rows.iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn most_failures_come_first() {
    let model = mixed();
    assert_eq!(names(&model)[..3], ["203.0.113.5:25", "203.0.113.77:25", "[2001:db8:25:1234:5678:9abc:def0:1]:25"]);
    assert_eq!(names(&model).last(), Some(&"203.0.113.9:25"));
}

#[test]
fn every_column_sorts_both_ways() {
    for column in ORDER {
        let mut model = mixed();
        model.sort = Sort::by(column);
        press(&mut model, &[Change::Over(Stretch::All)]);
        let value = |row: &super::super::snapshot::Row| match column {
            Column::Name => None,
            Column::Graph | Column::Failures => Some(row.counts.failures()),
            Column::Attempts => Some(row.counts.attempts()),
            Column::Established => Some(row.counts.established),
            Column::Ratio => row.counts.ratio().map(|ratio| (ratio * 1e6) as u64),
            Column::Of(label) => Some(row.counts.of(label)),
            Column::Streak => Some(row.streak),
            Column::LastFailed => Some(row.last_failed.map_or(0, |at| at.as_microsecond() as u64)),
            Column::P50 => Some(row.p50.map_or(0, |latency| latency.as_micros() as u64)),
            Column::P95 => Some(row.p95.map_or(0, |latency| latency.as_micros() as u64)),
            Column::Mostly => Some(20 - row.dominant.map_or(20, |(label, _)| label as u64)),
        };
        let values: Vec<_> = model.shown.rows.iter().map(value).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{column:?} {values:?}");
        press(&mut model, &[Change::Reverse]);
        let values: Vec<_> = model.shown.rows.iter().map(value).collect();
        assert!(values.is_sorted(), "{column:?} {values:?}");
    }
}

#[test]
fn the_sorted_column_is_always_seen() {
    for column in ORDER {
        let mut model = mixed();
        model.sort = Sort::by(column);
        press(&mut model, &[Change::Move(0)]);
        let shown = screen(&mut model, 80, 24);
        let title = column.title(View::Destinations);
        assert!(shown.contains(&format!("{title}▼")) || shown.contains(&format!("{title}▲")), "{shown}");
    }
}

#[test]
fn the_cursor_follows_its_row_and_the_first_line_stays_first() {
    let mut model = mixed();
    press(&mut model, &[Change::Move(1)]);
    let chosen = names(&model)[1].to_owned();
    for _ in 0..100 {
        model.add(&event("198.51.100.99", Label::Refused, Some(Reason::Rst), 0), now());
    }
    model.refresh(now());
    assert_eq!((model.cursor, names(&model)[2]), (2, chosen.as_str()));
    press(&mut model, &[Change::First]);
    for _ in 0..200 {
        model.add(&event("198.51.100.98", Label::Refused, Some(Reason::Rst), 0), now());
    }
    model.refresh(now());
    assert_eq!((model.cursor, names(&model)[0]), (0, "198.51.100.98:25"));
    press(&mut model, &[Change::Last]);
    assert_eq!(model.cursor, model.shown.rows.len() - 1);
}

#[test]
fn windows_forget_and_all_does_not() {
    let mut model = empty();
    model.add(&event("203.0.113.5", Label::Refused, Some(Reason::Rst), 300), now());
    for (stretch, attempts) in Stretch::ALL.into_iter().zip([0, 1, 1, 1, 1]) {
        press(&mut model, &[Change::Over(stretch)]);
        assert_eq!((model.shown.total.attempts(), model.shown.rows.len() as u64), (attempts, attempts), "{stretch:?}");
    }
    let later = now() + Duration::from_secs(2 * 86_400);
    let _ = model.apply(Change::Over(Stretch::ALL[3]), later);
    assert_eq!(model.shown.total.attempts(), 0);
    let _ = model.apply(Change::Over(Stretch::All), later);
    assert_eq!(model.shown.total.attempts(), 1);
}

#[test]
fn filters_by_text_network_and_outcome() {
    for (text, expected) in [
        ("", 9),
        ("203.0", 3),
        ("203.0.113.0/24", 3),
        ("2001:DB8::/32", 2),
        ("198.51.100.20", 1),
        ("timeout", 1),
        ("admin", 1),
        (" refused ", 2),
        (":25", 9),
        ("nobody", 0),
    ] {
        let mut model = mixed();
        typed(&mut model, text);
        assert_eq!((model.shown.matching, model.shown.active), (expected, 9), "{text:?}");
    }
}

#[test]
fn escape_goes_one_step_back_at_a_time() {
    let mut model = mixed();
    typed(&mut model, "203");
    press(&mut model, &[Change::Accept, Change::Open]);
    assert!(model.shown.detail.is_some());
    press(&mut model, &[Change::Help]);
    assert_eq!(model.mode(), Mode::Help);
    press(&mut model, &[Change::Back]);
    assert!(model.mode() == Mode::Look && model.shown.detail.is_some());
    press(&mut model, &[Change::Back]);
    assert!(model.shown.detail.is_none() && model.filter == "203");
    press(&mut model, &[Change::Back]);
    assert_eq!(model.filter, "");
    assert_eq!(model.apply(Change::Back, now()), Next::Leave);
    assert_eq!(mixed().apply(Change::Quit, now()), Next::Leave);
}

#[test]
fn a_prefix_opens_as_its_destinations() {
    let mut model = mixed();
    press(&mut model, &[Change::Show(View::Prefixes), Change::Open]);
    assert_eq!((model.view, model.filter.as_str()), (View::Destinations, "203.0.113.0/24"));
    assert_eq!(model.shown.rows.len(), 3);
    press(&mut model, &[Change::Open]);
    assert!(model.shown.detail.is_some());
    press(&mut model, &[Change::Back]);
    assert_eq!(model.shown.rows.len(), 3);
    press(&mut model, &[Change::Back]);
    assert_eq!((model.view, model.filter.as_str(), model.cursor), (View::Prefixes, "", 0));
    assert_eq!(model.apply(Change::Back, now()), Next::Leave);
}

#[test]
fn escape_gives_the_filter_before_back() {
    let mut model = mixed();
    typed(&mut model, "203");
    press(&mut model, &[Change::Accept]);
    typed(&mut model, "x");
    assert_eq!(model.filter, "203x");
    press(&mut model, &[Change::Back]);
    assert_eq!((model.filter.as_str(), model.mode()), ("203", Mode::Look));
}

#[test]
fn counts_that_began_later_than_asked_for_say_so() {
    let mut model = mixed();
    let shown = |model: &mut Model, stretch, seconds| {
        let _ = model.apply(Change::Over(stretch), now() + Duration::from_secs(seconds));
        let shown = screen(model, 160, 24);
        shown.lines().nth(1).unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(shown(&mut model, Stretch::ALL[1], 5), "port 25, since top began 5s ago");
    assert_eq!(shown(&mut model, Stretch::ALL[0], 90), "port 25");
    assert_eq!(shown(&mut model, Stretch::All, 90), "port 25, since top began 1m ago");
    let narrow = screen(&mut model, 44, 24);
    assert!(narrow.contains("port 25: 262 attempts, 100 failed"), "{narrow}");
    model.load(observer_core::tally::Tallies::default(), Some(now() - Duration::from_secs(7_200)));
    assert_eq!(shown(&mut model, Stretch::ALL[2], 0), "port 25");
    assert_eq!(shown(&mut model, Stretch::All, 0), "port 25, since observer run began 2h ago");
}

#[test]
fn wide_screens_are_used() {
    let mut model = mixed();
    for width in [160, 200, 220] {
        let shown = screen(&mut model, width, 24);
        let longest = shown.lines().skip(3).map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(longest + 30 > usize::from(width), "{width}:\n{shown}");
    }
}

#[test]
fn a_destination_shows_its_own_attempts_old_and_new() {
    let mut model = mixed();
    press(&mut model, &[Change::Open]);
    let attempts = |model: &Model| model.shown.detail.as_ref().unwrap().attempts.len();
    assert_eq!(attempts(&model), 52);
    model.add(&event("203.0.113.77", Label::Refused, Some(Reason::Rst), 0), now());
    model.add(&event("203.0.113.5", Label::Connected, None, 0), now());
    model.refresh(now());
    assert_eq!(attempts(&model), 53);
    assert_eq!(model.shown.detail.as_ref().unwrap().attempts[0].label, Label::Connected);
}

#[test]
fn attempts_kept_are_bounded() {
    let mut model = mixed();
    press(&mut model, &[Change::Open]);
    for _ in 0..5_000 {
        model.add(&event("203.0.113.5", Label::Refused, Some(Reason::Rst), 0), now());
    }
    model.refresh(now());
    assert_eq!(model.shown.detail.as_ref().unwrap().attempts.len(), super::super::recent::MAX_OPEN);
    assert_eq!(model.shown.total.failures(), 5_100);
}

#[test]
fn what_is_paused_stands_still_and_is_counted() {
    let mut model = mixed();
    let before = screen(&mut model, 80, 24);
    press(&mut model, &[Change::Pause]);
    model.add(&event("203.0.113.5", Label::Refused, Some(Reason::Rst), 0), now());
    model.refresh(now() + Duration::from_secs(9));
    let paused = screen(&mut model, 80, 24);
    assert_eq!(paused.lines().skip(1).collect::<Vec<_>>(), before.lines().skip(1).collect::<Vec<_>>());
    press(&mut model, &[Change::Pause]);
    assert_eq!(model.shown.total.failures(), 101);
}

/// Outcomes of lost events come from the kernel's counters, and are said to.
#[test]
fn lost_events_are_made_up_for_and_shown() {
    let mut model = empty();
    model.add(&event("203.0.113.5", Label::Refused, Some(Reason::Rst), 0), now());
    let (label, reason) = (Label::Refused, Some(Reason::Rst));
    let (src_ip, dst_ip) = (Some(sample::ip("192.0.2.10")), sample::ip("203.0.113.5"));
    model.make_up(&[(Ended { src_ip, dst_ip, dst_port: 25, label, reason, redirected: false }, 7)], now());
    model.settle(Account { attempts: 8, outcomes: 8, events_lost: 7, ..Account::default() });
    model.refresh(now());
    assert_eq!(model.shown.rows[0].counts.of(Label::Refused), 8);
    let shown = screen(&mut model, 120, 24);
    let status = "in flight 0; attempts lost 0; events lost 7; 7 made up for by counters";
    assert!(shown.contains(status), "{shown}");
}

#[test]
fn only_an_imbalance_that_stays_is_one() {
    let mut model = empty();
    for (in_flight, expected) in [(0, false), (1, false), (3, false), (3, true), (10, false), (3, false)] {
        model.settle(Account { attempts: 10, outcomes: 0, in_flight, ..Account::default() });
        model.refresh(now());
        let shown = screen(&mut model, 80, 24);
        assert_eq!(shown.contains("OFF BY 7"), expected, "{in_flight}");
    }
}

#[test]
fn colours_are_those_of_watch_or_none() {
    let mut model = mixed();
    let is_coloured = |terminal: &ratatui::Terminal<ratatui::backend::TestBackend>| {
        let cells = terminal.backend().buffer().content.clone();
        let colours: Vec<Color> = cells.iter().flat_map(|cell| [cell.fg, cell.bg]).collect();
        let is_dim = cells.iter().any(|cell| cell.modifier.contains(Modifier::DIM));
        (
            colours.iter().any(|&colour| colour != Color::Reset),
            is_dim,
            cells.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)),
        )
    };
    for changes in [vec![], vec![Change::Open], vec![Change::Pause]] {
        press(&mut model, &changes);
        assert_eq!(is_coloured(&terminal(&mut model, 160, 50, PLAIN)), (false, false, true), "{changes:?}");
    }
    let look = Look { is_coloured: true, is_unicode: true };
    assert_eq!(is_coloured(&terminal(&mut model, 160, 50, look)), (true, true, true));
    for (label, colour) in [
        (Label::Refused, Some(Color::Red)),
        (Label::Timeout, Some(Color::Yellow)),
        (Label::Blocked, Some(Color::Magenta)),
        (Label::Connected, Some(Color::Green)),
        (Label::Cancelled, None),
    ] {
        assert_eq!(look.label(label).fg, colour, "{label:?}");
    }
}
