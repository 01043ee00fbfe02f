//! Any screen can be drawn, and nothing hostile reaches it.

use jiff::Timestamp;
use observer_core::sample::any_event;
use observer_core::sanitize::is_visible;
use observer_core::tally::Prefixes;
use proptest::prelude::*;

use super::super::input::Change;
use super::super::snapshot::{Stretch, View};
use super::{Account, Look, Model, now, terminal, text};

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Back),
        Just(Change::Open),
        (-40isize..40).prop_map(Change::Move),
        (-3isize..3).prop_map(Change::Page),
        Just(Change::First),
        Just(Change::Last),
        any::<bool>().prop_map(Change::SortNext),
        Just(Change::Reverse),
        (0..View::ALL.len()).prop_map(|index| Change::Show(View::ALL[index])),
        any::<bool>().prop_map(Change::ShowNext),
        (0..Stretch::ALL.len()).prop_map(|index| Change::Over(Stretch::ALL[index])),
        Just(Change::OverNext),
        Just(Change::Filter),
        any::<char>().prop_map(Change::Type),
        prop::sample::select(vec!['2', '0', ':', '/', 'r']).prop_map(Change::Type),
        Just(Change::Erase),
        Just(Change::EraseAll),
        Just(Change::Accept),
        Just(Change::Pause),
        Just(Change::Help),
    ]
}

fn any_account() -> impl Strategy<Value = Account> {
    any::<[u64; 6]>().prop_map(|[attempts, outcomes, in_flight, lost, events_lost, malformed]| Account {
        attempts,
        outcomes,
        in_flight,
        lost,
        events_lost,
        malformed,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn drawing_never_panics_and_shows_visible_characters_only(
        events in prop::collection::vec(any_event(), 0..30),
        changes in prop::collection::vec(any_change(), 0..12),
        account in any_account(),
        late in 0i64..200_000,
        (width, height) in (1u16..=300, 1u16..=100),
        (is_coloured, is_unicode) in any::<(bool, bool)>(),
    ) {
        let mut model = Model::new("port 25".to_owned(), Prefixes::default(), now());
        let at = Timestamp::from_second(now().as_second() + late).unwrap();
        for event in &events {
            model.add(event, at);
        }
        model.settle(account);
        model.settle(account);
        model.refresh(at);
        let look = Look { is_coloured, is_unicode };
        for change in changes {
            let _ = model.apply(change, at);
            let shown = text(&terminal(&mut model, width, height, look));
            prop_assert!(shown.chars().all(|c| c == '\n' || is_visible(c)), "{shown:?}");
        }
        let shown = text(&terminal(&mut model, width, height, look));
        prop_assert!(shown.chars().all(|c| c == '\n' || is_visible(c)), "{shown:?}");
    }
}

#[test]
fn hostile_names_come_out_harmless() {
    let mut model = super::mixed();
    let mut event = super::event(
        "203.0.113.5",
        observer_core::label::Label::Timeout,
        Some(observer_core::label::Reason::Abandoned),
        0,
    );
    let process = event.process.as_mut().unwrap();
    process.comm = "\x1b[2Jsm\u{202e}tp".to_owned();
    process.cgroup = Some("/a\nb\x1b]0;x\x07<script>".to_owned());
    event.evidence.route_iface = Some("eth\r0".to_owned());
    model.add(&event, now());
    super::press(&mut model, &[Change::Open]);
    let shown = super::screen(&mut model, 160, 50);
    assert!(shown.contains("\\x1b[2Jsm\\u{202e}tp"), "{shown}");
    assert!(shown.contains("/a\\x0ab\\x1b]0;x\\x07<script>") && shown.contains("eth\\x0d0"), "{shown}");
}
