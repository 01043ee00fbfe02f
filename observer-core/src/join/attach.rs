//! Events on their way, each with what the log says of it.
//!
//! An event waits until its delivery is known, at most for [`Settings::patience`], and
//! those after it wait behind it: nothing is lost, and the order stays. The log's lines
//! come with their own times, so that a caller has to hand over the events and lines of
//! a moment before that moment is settled.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::delivery::MailDelivery;
use super::hash::DomainKey;
use super::{Attempt, Joiner, Settings, Verdict, Waiting};
use crate::event::{Event, Mta};
use crate::mta::Line;
use crate::steady::Steady;

/// Events that wait for their deliveries.
#[derive(Debug)]
pub struct Attacher {
    joiner: Joiner,
    waiting: VecDeque<Event>,
    /// Of each event that waits, by its id.
    states: HashMap<String, State>,
    max_waiting: usize,
    /// What hides names in all that is handed out.
    key: Option<DomainKey>,
    tallies: Tallies,
    clock: Option<Steady>,
}

#[derive(Debug)]
enum State {
    Open,
    /// It waits behind others alone.
    Settled(Option<Mta>),
}

/// Attempts whose delivery was looked for, by what was found: see [`Verdict`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// A line of its own.
    pub joined: u64,
    /// A delivery that says nothing of it.
    pub unlogged: u64,
    /// Several lines or deliveries that fit equally well.
    pub ambiguous: u64,
    /// Nothing.
    pub nothing: u64,
    /// Not looked for, for want of room.
    pub unsought: u64,
}

impl Tallies {
    fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Joined => &mut self.joined,
            Verdict::Unlogged => &mut self.unlogged,
            Verdict::Ambiguous(_) => &mut self.ambiguous,
            Verdict::Nothing => &mut self.nothing,
            Verdict::Unsought => &mut self.unsought,
        } += 1;
    }
}

/// What can go on.
#[derive(Debug, Default, PartialEq)]
pub struct Ready {
    /// In the order in which they came.
    pub events: Vec<Event>,
    /// Deliveries about which no more is to come, in the order of their lines.
    pub deliveries: Vec<MailDelivery>,
}

impl Attacher {
    /// One without events.
    pub fn new(settings: Settings) -> Self {
        let max_waiting = settings.max_waiting.max(1);
        Self {
            joiner: Joiner::new(settings),
            waiting: VecDeque::new(),
            states: HashMap::new(),
            max_waiting,
            key: None,
            tallies: Tallies::default(),
            clock: None,
        }
    }

    /// What the times of events and lines that come now are read by. With it, the times to
    /// settle by are steady ones, and a wall clock that is set parts no event from its lines.
    pub fn set_clock(&mut self, clock: Steady) {
        self.clock = Some(clock);
    }

    /// The same, which hands out names of domains and hosts as hashes by this key.
    #[must_use]
    pub fn hiding(self, key: Option<DomainKey>) -> Self {
        Self { key, ..self }
    }

    /// Takes an event.
    pub fn event(&mut self, event: Event) {
        let mut attempt = Attempt::of(&event);
        if let Some((attempt, clock)) = attempt.as_mut().zip(self.clock) {
            let steady = |time| clock.now().steady_of(time);
            (attempt.started, attempt.ended) = (steady(attempt.started), steady(attempt.ended));
        }
        let state = if attempt.is_some() { State::Open } else { State::Settled(None) };
        self.states.insert(event.id.clone(), state);
        attempt.into_iter().for_each(|attempt| self.joiner.attempt(attempt));
        self.waiting.push_back(event);
    }

    /// Takes a line, in the order of its log.
    pub fn line(&mut self, mut line: Line) {
        if let Some(clock) = self.clock {
            line.time = clock.steady_of_stamp(line.time);
        }
        self.joiner.line(line);
    }

    /// The events that can go on, if all up to `until` has come in.
    pub fn settle(&mut self, until: Timestamp) -> Ready {
        let mut settled = self.joiner.settle(until);
        if let Some(clock) = self.clock {
            settled.deliveries.iter_mut().for_each(|delivery| delivery.last = clock.now().wall_of(delivery.last));
        }
        if let Some(key) = &self.key {
            settled.attempts.iter_mut().filter_map(|judged| judged.mta.as_mut()).for_each(|mta| key.hide_mta(mta));
            settled.deliveries.iter_mut().for_each(|delivery| key.hide_delivery(delivery));
        }
        for judged in settled.attempts {
            self.tallies.add(judged.verdict);
            // An event that could not wait has gone.
            if let Some(state) = self.states.get_mut(&judged.id) {
                *state = State::Settled(judged.mta);
            }
        }
        let mut events = Vec::new();
        while let Some(event) = self.waiting.front() {
            let is_open = matches!(self.states.get(&event.id), Some(State::Open));
            // More than the join can hold need not wait for it.
            if is_open && self.waiting.len() <= self.max_waiting {
                break;
            }
            let Some(mut event) = self.waiting.pop_front() else { break };
            event.mta = match self.states.remove(&event.id) {
                Some(State::Settled(mta)) => mta,
                _ => None,
            };
            events.push(event);
        }
        Ready { events, deliveries: settled.deliveries }
    }

    /// All that is left.
    pub fn finish(mut self) -> Ready {
        self.settle(Timestamp::MAX)
    }

    /// What was found so far.
    pub fn tallies(&self) -> Tallies {
        self.tallies
    }

    /// How much waits, and what could not.
    pub fn waiting(&self) -> Waiting {
        self.joiner.waiting()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use jiff::tz::TimeZone;

    use super::{Attacher, DomainKey, Settings, Tallies};
    use crate::attempt::ClockOffset;
    use crate::event::Event;
    use crate::label::{Label, Reason};
    use crate::mta::stamp::Clock;
    use crate::mta::{Line, MtaKind, parse};
    use crate::sample;
    use crate::steady::Steady;

    fn event(id: &str, after_ms: i64) -> Event {
        let mut event = sample::event(Label::Refused, Some(Reason::Rst));
        id.clone_into(&mut event.id);
        let after = SignedDuration::from_millis(after_ms);
        (event.time, event.started) = (event.time + after, event.started.map(|started| started + after));
        event
    }

    fn line(text: &str) -> Line {
        let clock = Clock { now: sample::time(), zone: TimeZone::UTC };
        let line = format!("2026-11-23T16:07:01.124Z mx1 postfix/smtp[1203]: {text}");
        parse(MtaKind::Postfix, line.as_bytes(), &clock).unwrap()
    }

    const STEP: &str = "connect to mx.example.net[203.0.113.5]:25: Connection refused";
    const LAST: &str = "AAAAAA: to=<john@example.net>, relay=none, delay=1, delays=0/0/0.1/0, dsn=4.4.1, status=deferred \
                        (connect to mx.example.net[203.0.113.5]:25: Connection refused)";

    #[test]
    fn an_event_waits_for_its_line_and_others_behind_it() {
        let mut attacher = Attacher::new(Settings::default());
        attacher.event(event("a", 0));
        attacher.event(event("b", 3_000));
        assert!(attacher.settle(sample::time()).events.is_empty());
        attacher.line(line(STEP));
        attacher.line(line(LAST));
        let ready = attacher.settle(sample::time() + Duration::from_secs(5));
        assert_eq!(ready.events.len(), 1);
        assert_eq!(attacher.tallies(), Tallies { joined: 1, ..Tallies::default() });
        let mta = ready.events[0].mta.as_ref().unwrap();
        assert_eq!((mta.queue_id.as_deref(), mta.recipient_domain.as_deref()), (Some("AAAAAA"), Some("example.net")));
        let rest = attacher.finish();
        assert_eq!((rest.events.len(), rest.events[0].id.as_str(), rest.deliveries.len()), (1, "b", 1));
        assert_eq!(rest.events[0].mta, None);
    }

    #[test]
    fn with_a_key_the_line_without_a_recipient_names_no_host() {
        let mut attacher = Attacher::new(Settings::default()).hiding(Some(DomainKey::new(b"0123456789abcdef")));
        attacher.event(event("a", 0));
        attacher.line(line(STEP));
        attacher.line(line(LAST));
        let ready = attacher.finish();
        assert!(!format!("{ready:?}").contains("example.net"), "{ready:?}");
        let hash = |name| Some(DomainKey::new(b"0123456789abcdef").hash(name));
        let mta = ready.events[0].mta.as_ref().unwrap();
        assert_eq!((&mta.host, &mta.recipient_domain), (&hash("mx.example.net"), &hash("example.net")));
    }

    #[test]
    fn no_event_waits_longer_than_patience_and_none_is_lost() {
        let mut attacher = Attacher::new(Settings { max_waiting: 4, ..Settings::default() });
        for nth in 0..100 {
            attacher.event(event(&format!("e{nth}"), nth));
        }
        let ready = attacher.settle(sample::time());
        assert_eq!(ready.events.len(), 100);
        attacher.settle(sample::time() + Duration::from_secs(6));
        for nth in 100..103 {
            attacher.event(event(&format!("e{nth}"), 10_000 + nth));
        }
        assert!(attacher.settle(sample::time() + Duration::from_secs(12)).events.is_empty());
        let rest = attacher.settle(sample::time() + Duration::from_secs(16));
        let ids: Vec<_> = ready.events.iter().chain(&rest.events).map(|event| event.id.clone()).collect();
        assert_eq!(ids, (0..103).map(|nth| format!("e{nth}")).collect::<Vec<_>>());
    }

    /// What twenty attempts, one each second, join to by a daemon that looks ten times a
    /// second, while the wall clock is set by `by` after ten and back after fifteen; and how
    /// many wait in the end.
    fn with_a_clock_that_is_set(by: i64) -> (Tallies, usize) {
        const SECOND: u64 = 1_000;
        let set = |boot_ms: u64| if (10_500..15_500).contains(&boot_ms) { by } else { 0 };
        let begin = sample::time();
        let wall = |boot_ms: u64, set: i64| {
            begin + SignedDuration::from_millis(boot_ms.cast_signed()) + SignedDuration::from_secs(set)
        };
        let offset = |boot_ms: u64| ClockOffset::new(boot_ms * 1_000_000, wall(boot_ms, set(boot_ms)));
        let mut steady = Steady::new(0, offset(0));
        let mut attacher = Attacher::new(Settings::default());
        for look in (0..30 * SECOND).step_by(100) {
            steady.read(look * 1_000_000, offset(look));
            attacher.set_clock(steady);
            // An attempt ends 40 ms, its lines are written 30 ms before the look.
            if look % SECOND == 500 && look < 20 * SECOND {
                let mut event = event(&look.to_string(), 0);
                let ended = offset(look).wall((look - 40) * 1_000_000);
                (event.time, event.started) = (ended, Some(ended - SignedDuration::from_millis(2)));
                attacher.event(event);
                for text in [STEP, LAST] {
                    let written = wall(look - 30, set(look - 30));
                    let clock = Clock { now: written, zone: TimeZone::UTC };
                    let text = format!("{written} mx1 postfix/smtp[1203]: {text}");
                    attacher.line(parse(MtaKind::Postfix, text.as_bytes(), &clock).unwrap());
                }
            }
            attacher.settle(steady.now().steady - Duration::from_secs(2));
        }
        (attacher.tallies(), attacher.waiting().attempts)
    }

    #[test]
    fn a_wall_clock_that_is_set_parts_no_attempt_from_its_lines() {
        for by in [0, -3_600, 3_600, 86_400, -86_400, 2, -2, -31_536_000] {
            let expected = (Tallies { joined: 20, ..Tallies::default() }, 0);
            assert_eq!(with_a_clock_that_is_set(by), expected, "set by {by} s");
        }
    }
}
