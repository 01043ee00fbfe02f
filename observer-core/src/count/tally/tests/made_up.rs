//! What the kernel counted and no event told.

use super::*;
use crate::count::Ended;

fn ended(host: u8, (label, reason): Outcome) -> Ended {
    let dst_ip = IpAddr::from([203, 0, 113, host]);
    Ended { src_ip: Some(sample::ip("192.0.2.10")), dst_ip, dst_port: sample::PORT, label, reason, redirected: false }
}

#[test]
fn attempts_without_an_event_count_like_all_others() {
    let mut tallies = Tallies::default();
    tallies.add(&seen("203.0.113.1", REFUSED, 1, after(0)), after(0));
    tallies.make_up(&[(ended(1, REFUSED), 4), (ended(2, TIMED_OUT), 2)], after(5));
    assert_eq!((tallies.made_up(), tallies.total().attempts(), tallies.len()), (6, 7, 2));
    let known = tallies.destination((sample::ip("203.0.113.1"), sample::PORT)).unwrap();
    assert_eq!((known.failures(), known.streak()), (5, 5));
    assert_eq!(known.last_failed().unwrap().as_second(), after(5).as_second());
    assert_eq!(tallies.split(known).len(), 1);
}

#[test]
fn a_success_that_came_to_light_late_ends_the_streak() {
    let mut tallies = Tallies::default();
    tallies.make_up(&[(ended(1, CONNECTED), 1), (ended(1, REFUSED), 3)], after(5));
    assert_eq!(tallies.destination((sample::ip("203.0.113.1"), sample::PORT)).unwrap().streak(), 0);
}
