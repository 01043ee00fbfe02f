//! Which attempt belongs to which delivery.
//!
//! Lines are first put together to deliveries, see [`delivery`]: what one process,
//! message or session logs about a number of recipients. Each host that a delivery
//! names is a *mention*. Mentions and attempts of the same address meet in a lane,
//! see the module `lane`, by process id, time, port and source, as far as they are known.
//! A mention that could be of several attempts, or an attempt that several mentions
//! fit equally well, is called ambiguous: there is no guess.
//!
//! Lines come in the order of their log. Attempts come in any order, and both mix
//! in any way, if only all of a moment is there before [`Joiner::settle`] passes it.

pub mod attach;
mod deliveries;
pub mod delivery;
pub mod hash;
mod lane;
pub mod row;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use self::deliveries::Deliveries;
use self::delivery::{Found, MailDelivery};
use self::lane::{Lane, Match};
use crate::event::{Event, Mta};
use crate::mta::Line;

/// How lines and attempts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A line may seem so much earlier than the attempt's end that it tells of:
    /// clocks are read one after the other.
    pub early: Duration,
    /// It may be so much later: the server has to be scheduled to write it.
    pub late: Duration,
    /// An attempt waits so long for the delivery that it belongs to: until the last
    /// line of which nobody knows the message.
    pub patience: Duration,
    /// A line on a connection that was accepted, or is only being made, waits so
    /// long for that connection's end.
    pub longest_session: Duration,
    /// Process ids in the log are those of the host. Not so where the server has a
    /// process id namespace of its own, and the host logs for it.
    pub are_pids_ours: bool,
    /// Attempts, and apart from them mentions and deliveries, that may wait; some
    /// 300 bytes each, and up to 2,000 more where the server has much to say.
    pub max_waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            early: Duration::from_millis(50),
            late: Duration::from_secs(2),
            patience: Duration::from_secs(5),
            longest_session: Duration::from_mins(10),
            are_pids_ours: true,
            max_waiting: 16_384,
        }
    }
}

/// What the join needs of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// [`Event::id`].
    pub id: String,
    /// Process that connected.
    pub pid: Option<u32>,
    /// Local end.
    pub source: Option<SocketAddr>,
    /// Destination.
    pub ip: IpAddr,
    /// Port of the destination.
    pub port: u16,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The handshake was completed.
    pub is_accepted: bool,
}

impl Attempt {
    /// `None` for an event without a destination.
    pub fn of(event: &Event) -> Option<Self> {
        let local = event.src.ip.zip(event.src.port);
        Some(Self {
            id: event.id.clone(),
            pid: event.process.as_ref().map(|process| process.pid),
            source: local.map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port)),
            ip: event.dst.ip?.to_canonical(),
            port: event.dst.port?,
            started: event.started.unwrap_or(event.time),
            ended: event.time,
            // Its time can be unknown: a hook missed it, and the outcome tells all the same.
            is_accepted: event.handshake.is_some() || event.label.is_answered(event.reason),
        })
    }
}

/// How sure a join is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a line of its own, and no other attempt fits that.
    Joined,
    /// It has no line of its own, but was made by a process in the course of exactly
    /// one delivery.
    Unlogged,
    /// So many fit equally well.
    Ambiguous(u32),
    /// Nothing fits.
    Nothing,
    /// Nothing was looked for, for want of room.
    Unsought,
}

/// An attempt, and what the log says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// [`Attempt::id`].
    pub id: String,
    /// [`Attempt::ended`].
    pub ended: Timestamp,
    /// How sure the rest is.
    pub verdict: Verdict,
    /// For the event: all that is known for sure. Where the verdict is ambiguous,
    /// what all that fit agree on.
    pub mta: Option<Mta>,
}

/// What has been settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// In the order of their ends.
    pub attempts: Vec<Judged>,
    /// In the order of their lines. One without a step had no connect behind it.
    pub deliveries: Vec<MailDelivery>,
}

/// How much there is, and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Attempts that wait.
    pub attempts: usize,
    /// Mentions that wait.
    pub mentions: usize,
    /// Deliveries that wait.
    pub deliveries: usize,
    /// Attempts settled too early, for want of room.
    pub early_attempts: u64,
    /// Mentions and deliveries settled too early, for want of room.
    pub early_lines: u64,
    /// Mentions that fitted nothing, and would have fitted an attempt of another process: those in the log
    /// may be of a process id namespace of its own.
    pub other_pids: u64,
}

/// Puts attempts and lines together.
#[derive(Debug)]
pub struct Joiner {
    settings: Settings,
    lanes: HashMap<IpAddr, Lane>,
    deliveries: Deliveries,
    waiting: Waiting,
    /// Settled for want of room, to be handed out with the next that are settled.
    crowded_out: Settled,
}

impl Joiner {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        let settings = Settings { max_waiting: settings.max_waiting.max(1), ..settings };
        Self {
            deliveries: Deliveries::new(settings),
            lanes: HashMap::new(),
            waiting: Waiting::default(),
            crowded_out: Settled::default(),
            settings,
        }
    }

    /// Takes an attempt, in any order.
    pub fn attempt(&mut self, attempt: Attempt) {
        if self.waiting.attempts >= self.settings.max_waiting {
            self.waiting.early_attempts += 1;
            let judged = Judged { id: attempt.id, ended: attempt.ended, verdict: Verdict::Unsought, mta: None };
            self.crowded_out.attempts.push(judged);
            return;
        }
        self.waiting.attempts += 1;
        self.lanes.entry(attempt.ip).or_default().add_attempt(attempt);
    }

    /// Takes a line, in the order of its log.
    pub fn line(&mut self, line: Line) {
        if let Some((ip, mention)) = self.deliveries.add(line) {
            if self.waiting.mentions >= self.settings.max_waiting {
                self.waiting.early_lines += 1;
                self.deliveries.found(mention.place, Found::Unsought);
            } else {
                self.waiting.mentions += 1;
                self.lanes.entry(ip).or_default().add_mention(mention);
            }
        }
        let crowded_out = self.deliveries.crowded_out();
        self.waiting.early_lines += crowded_out.len() as u64;
        self.crowded_out.deliveries.extend(crowded_out);
    }

    /// What waits, and what could not.
    pub fn waiting(&self) -> Waiting {
        Waiting { deliveries: self.deliveries.len(), ..self.waiting }
    }

    /// Settles what no line or attempt up to `until` can change any more: to be
    /// called with a time up to which all has come in.
    pub fn settle(&mut self, until: Timestamp) -> Settled {
        let mut settled = std::mem::take(&mut self.crowded_out);
        let Self { settings, lanes, deliveries, waiting, .. } = self;
        lanes.retain(|_, lane| {
            lane.settle(until, settings, |mention, found| {
                waiting.mentions -= 1;
                deliveries.found(mention.place, found);
            });
            waiting.other_pids += lane.take_other_pids();
            for (attempt, mentions) in lane.take_attempts(until, settings, |place| deliveries.is_known(place)) {
                waiting.attempts -= 1;
                settled.attempts.push(judge(&attempt, &mentions, deliveries));
            }
            !lane.is_empty()
        });
        settled.deliveries.extend(deliveries.take(until));
        settled.attempts.sort_by(|a, b| (a.ended, &a.id).cmp(&(b.ended, &b.id)));
        settled.deliveries.sort_by_key(|delivery| delivery.id);
        settled
    }

    /// Settles all that is left.
    pub fn finish(mut self) -> Settled {
        self.settle(Timestamp::MAX)
    }
}

/// The verdict on an attempt, from the mentions that fit it: one if it was joined.
fn judge(attempt: &Attempt, mentions: &Match, deliveries: &Deliveries) -> Judged {
    let (verdict, mta) = match mentions {
        Match::One(place) => match deliveries.mta(*place) {
            Some(mta) => (Verdict::Joined, Some(mta)),
            // It had to go.
            None => (Verdict::Unsought, None),
        },
        Match::Many { places, are_enough } => {
            let agreed = deliveries.agreed(places).filter(|_| *are_enough);
            (Verdict::Ambiguous(count(places.len())), agreed)
        }
        Match::None => match deliveries.in_the_course_of(attempt).as_slice() {
            [] => (Verdict::Nothing, None),
            [delivery] => (Verdict::Unlogged, deliveries.unlogged(*delivery)),
            several => (Verdict::Ambiguous(count(several.len())), None),
        },
    };
    Judged { id: attempt.id.clone(), ended: attempt.ended, verdict, mta }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A time that may lie at the end of all times.
fn add(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn subtract(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_sub(wait).unwrap_or(Timestamp::MIN)
}
