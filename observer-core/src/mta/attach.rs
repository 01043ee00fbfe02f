//! Events on their way, each with what the log says of it.
//!
//! An event waits until its delivery is known, at most for [`Settings::patience`], and
//! those after it wait behind it: nothing is lost, and the order stays. The log's lines
//! come with their own times, so that a caller has to hand over the events and lines of
//! a moment before that moment is settled.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::Line;
use super::join::delivery::Delivery;
use super::join::{Attempt, Joiner, Settings, Verdict, Waiting};
use crate::event::{Event, Mta};

/// Events that wait for their deliveries.
#[derive(Debug)]
pub struct Attacher {
    joiner: Joiner,
    waiting: VecDeque<Event>,
    /// Of each event that waits, by its id.
    states: HashMap<String, State>,
    max_waiting: usize,
    tallies: Tallies,
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
    pub deliveries: Vec<Delivery>,
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
            tallies: Tallies::default(),
        }
    }

    /// Takes an event.
    pub fn event(&mut self, event: Event) {
        let attempt = Attempt::of(&event);
        let state = if attempt.is_some() { State::Open } else { State::Settled(None) };
        self.states.insert(event.id.clone(), state);
        attempt.into_iter().for_each(|attempt| self.joiner.attempt(attempt));
        self.waiting.push_back(event);
    }

    /// Takes a line, in the order of its log.
    pub fn line(&mut self, line: Line) {
        self.joiner.line(line);
    }

    /// The events that can go on, if all up to `until` has come in.
    pub fn settle(&mut self, until: Timestamp) -> Ready {
        let settled = self.joiner.settle(until);
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

    use super::{Attacher, Settings, Tallies};
    use crate::event::Event;
    use crate::label::{Label, Reason};
    use crate::mta::stamp::Clock;
    use crate::mta::{Kind, Line, parse};
    use crate::sample;

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
        parse(Kind::Postfix, line.as_bytes(), &clock).unwrap()
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
}
