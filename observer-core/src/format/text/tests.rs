use anstyle::Style;
use insta::assert_snapshot;
use proptest::prelude::*;

use super::{append, append_delivery, label_style};
use crate::event::{Destination, Endpoint, Event, Mta};
use crate::label::{Label, Reason};
use crate::mta::{DeliveryStatus, MtaKind, Said};
use crate::sample;
use crate::sanitize::is_visible;
use crate::wire::Joined;

fn line(event: &Event, is_coloured: bool) -> String {
    let mut out = Vec::new();
    append(event, is_coloured, &mut out);
    String::from_utf8(out).unwrap()
}

fn refused() -> Event {
    sample::event(Label::Refused, Some(Reason::Rst))
}

#[test]
fn one_line_tells_all() {
    assert_snapshot!(line(&refused(), false), @"16:07:01.123Z refused     203.0.113.5:25      refused by the remote host: RST after 31 ms  smtp[1203] from 192.0.2.10");
}

#[test]
fn ipv6_and_a_streak() {
    let mut event = refused();
    event.src.ip = Some(sample::ip("2001:db8::10"));
    event.dst.ip = Some(sample::ip("2001:db8::1"));
    event.destination =
        Some(Destination { attempts: 50, established: 3, refused: 41, timeout: 0, first_failed: None, streak: 41 });
    assert_snapshot!(line(&event, false), @"16:07:01.123Z refused     [2001:db8::1]:25    refused by the remote host: RST after 31 ms; 41 failures in a row  smtp[1203] from 2001:db8::10");
}

fn mta() -> Mta {
    Mta {
        kind: MtaKind::Postfix,
        queue_id: Some("4WxYz".to_owned()),
        recipient_domain: Some("example.net".to_owned()),
        host: Some("mx.example.net".to_owned()),
        status: Some(DeliveryStatus::Deferred),
        said: Some(Said::Refused),
        words: Some("Connection refused".to_owned()),
        unlogged: false,
        candidates: None,
    }
}

fn delivered(mta: Mta) -> String {
    let event = refused();
    let delivery = Joined { id: event.id, time: event.time, dst: event.dst, mta };
    let mut out = Vec::new();
    append_delivery(&delivery, false, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_the_log_says_is_behind_the_event_or_in_a_line_of_its_own() {
    let event = Event { mta: Some(mta()), ..refused() };
    assert_snapshot!(line(&event, false), @"16:07:01.123Z refused     203.0.113.5:25      refused by the remote host: RST after 31 ms  smtp[1203] from 192.0.2.10, 4WxYz for example.net deferred");
    assert_snapshot!(delivered(mta()), @"16:07:01.123Z delivery    203.0.113.5:25      postfix 4WxYz for example.net at mx.example.net: Connection refused; in the end deferred");
    let unlogged = Mta { unlogged: true, said: None, words: None, status: None, ..mta() };
    assert_snapshot!(delivered(unlogged), @"16:07:01.123Z delivery    203.0.113.5:25      postfix 4WxYz for example.net at mx.example.net, without a line on this attempt");
}

#[test]
fn what_was_not_seen_is_left_out() {
    let mut event = refused();
    (event.process, event.src, event.elapsed) = (None, Endpoint::default(), None);
    assert_snapshot!(line(&event, false), @"16:07:01.123Z refused     203.0.113.5:25      refused by the remote host: RST  process not seen");
}

#[test]
fn columns_align_for_every_label() {
    for label in Label::ALL {
        let line = line(&sample::event(label, Some(Reason::Unknown)), false);
        assert_eq!(line.find("203.0.113.5:25"), Some(26), "{line}");
    }
}

#[test]
fn colour_only_when_asked_for() {
    let coloured = line(&refused(), true);
    assert!(coloured.contains(&label_style(Label::Refused).render().to_string()), "{coloured:?}");
    assert!(!line(&refused(), false).contains('\x1b'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), line(&refused(), false));
}

#[test]
fn every_label_has_a_style() {
    for label in Label::ALL {
        assert_ne!(label_style(label), Style::new(), "{label:?}");
    }
}

proptest! {
    #[test]
    fn no_hostile_string_gets_out(event in sample::any_event()) {
        let line = line(&event, false);
        let body = line.strip_suffix('\n').unwrap();
        prop_assert!(body.chars().all(is_visible), "{body:?}");
    }

    #[test]
    fn no_hostile_log_gets_out(mta in sample::any_mta()) {
        let line = delivered(mta);
        let body = line.strip_suffix('\n').unwrap();
        prop_assert!(body.chars().all(is_visible), "{body:?}");
    }
}
