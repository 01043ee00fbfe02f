//! From lines to deliveries.
//!
//! Postfix: one smtp(8) process works on one delivery at a time, so its lines belong
//! to the next recipients that it names. Exim: lines belong to the message that they
//! name, up to its recipients. OpenSMTPD: lines of one session. KumoMTA: each record
//! is a delivery of its own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::lane::{At, Mention};
use super::{Attempt, Settings, add, subtract};
use crate::event::Mta;
use crate::mta::{Kind, Line, Relay, Said, Status};

/// Number of a delivery, in the order of their first lines.
pub type DeliveryId = u64;

/// More recipients are counted alone: enough to know whether they share a domain.
const DOMAINS_MAX: usize = 8;
/// Hosts of one delivery: Postfix tries five addresses (`smtp_mx_address_limit`).
const STEPS_MAX: usize = 32;
/// `delays` are rounded to whole seconds where they are long.
const ROUNDING: Duration = Duration::from_millis(1_000);

/// Which attempt a step was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not known yet.
    Waiting,
    /// This one, by its id.
    One(String),
    /// One of so many.
    Many(u32),
    /// None that was seen.
    Nothing,
    /// None of its own: the connection had been made for an earlier message.
    Reused,
    /// Not looked for, for want of room.
    Unsought,
}

/// A host that a delivery names.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The host, as the log names it.
    pub relay: Relay,
    /// What the log says of the connection.
    pub said: Said,
    /// The server's own words.
    pub words: String,
    /// The attempt.
    pub found: Found,
}

/// What the log says of one delivery, to one recipient or several at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its number.
    pub id: DeliveryId,
    /// Who delivered.
    pub kind: Kind,
    /// The process that logged it.
    pub pid: Option<u32>,
    /// The message; of a session with several the first.
    pub queue_id: Option<String>,
    /// Lines on recipients.
    pub recipients: u32,
    /// Domains of recipients, and the address that the line names: the first ones.
    domains: Vec<(String, Option<IpAddr>)>,
    /// What became of the recipients: the last word. [`Status::Failed`] before any.
    pub status: Status,
    /// What the last word says of the connection.
    pub said: Said,
    /// The last word.
    pub words: String,
    /// The last line.
    pub last: Timestamp,
    /// How exact that is.
    pub precision: Duration,
    /// How long the process worked on it.
    pub took: Option<Duration>,
    /// Each host that was named, in the order of the lines.
    pub steps: Vec<Step>,
}

impl Delivery {
    /// The domain, if all recipients share one.
    pub fn recipient_domain(&self) -> Option<&str> {
        let (first, _) = self.domains.first()?;
        let is_alone = self.domains.iter().all(|(domain, _)| domain == first);
        (is_alone && self.domains.len() < DOMAINS_MAX || self.recipients == 1).then_some(first)
    }

    /// True for a last word without any connect behind it.
    pub fn is_without_connect(&self) -> bool {
        self.status.is_final() && self.steps.is_empty()
    }

    fn of(line: &Line, id: DeliveryId) -> Self {
        Self {
            id,
            kind: line.kind,
            pid: line.pid,
            queue_id: None,
            recipients: 0,
            domains: Vec::new(),
            status: Status::Failed,
            said: Said::Nothing,
            words: String::new(),
            last: line.time,
            precision: line.precision,
            took: None,
            steps: Vec::new(),
        }
    }

    fn is_waiting(&self) -> bool {
        self.steps.iter().any(|step| step.found == Found::Waiting)
    }

    /// The domain of the recipients for whom this host was tried.
    fn domain_at(&self, ip: Option<IpAddr>) -> Option<&str> {
        let mut here =
            self.domains.iter().filter(|(_, at)| at.is_some() && *at == ip).map(|(domain, _)| domain.as_str());
        let first = here.next();
        first.filter(|first| here.all(|domain| domain == *first)).or_else(|| self.recipient_domain())
    }

    fn take_line(&mut self, line: &Line) {
        (self.last, self.precision) = (line.time, line.precision);
        if self.queue_id.is_none() {
            self.queue_id.clone_from(&line.queue_id);
        }
        if line.status.is_final() {
            self.recipients = self.recipients.saturating_add(1);
            let at = line.relay.as_ref().and_then(|relay| relay.ip);
            if let Some(domain) = line.recipient_domain.as_ref().filter(|_| self.domains.len() < DOMAINS_MAX) {
                self.domains.push((domain.clone(), at));
            }
            (self.status, self.said) = (line.status, line.said);
            self.took = line.took;
            self.words.clone_from(&line.words);
        }
    }

    /// True if a line only says again what a step said.
    fn has_step(&self, line: &Line, relay: &Relay) -> bool {
        let is_same = |step: &Step| step.relay.ip == relay.ip && is_same_port(step.relay.port, relay.port);
        let is_alike = |step: &Step| step.said.is_not_connected() == line.said.is_not_connected();
        let is_last = self.steps.last().is_some_and(|step| is_same(step) && is_alike(step));
        match line.kind {
            // Each connect that failed has a line, which the last word only says again.
            Kind::Postfix if line.said.is_not_connected() => line.status.is_final() && is_last,
            // One session, several recipients.
            Kind::Postfix if line.status.is_final() => self.steps.iter().any(|step| is_same(step) && is_alike(step)),
            Kind::Postfix => is_last,
            _ => line.status.is_final() && self.steps.iter().any(is_same),
        }
    }
}

fn is_same_port(one: Option<u16>, other: Option<u16>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// What the following lines may belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Process(Option<u32>),
    Message(String),
    Session(String),
}

/// A step of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its place in [`Delivery::steps`].
    pub step: usize,
}

/// Deliveries that wait.
#[derive(Debug)]
pub(super) struct Deliveries {
    settings: Settings,
    all: BTreeMap<DeliveryId, Delivery>,
    open: HashMap<Key, DeliveryId>,
    by_pid: HashMap<u32, Vec<DeliveryId>>,
    next: DeliveryId,
    lines: u64,
}

impl Deliveries {
    pub(super) fn new(settings: Settings) -> Self {
        let (all, open, by_pid) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { settings, all, open, by_pid, next: 0, lines: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes a line; returns what it says of a host, with the address of that.
    pub(super) fn add(&mut self, line: Line) -> Option<(IpAddr, Mention)> {
        self.lines += 1;
        let id = self.delivery_of(&line);
        let delivery = self.all.get_mut(&id)?;
        delivery.take_line(&line);
        if line.kind == Kind::OpenSmtpd && line.status == Status::Failed {
            // What went wrong with the connection of the line before it.
            if let Some(step) = delivery.steps.last_mut() {
                (step.said, step.words) = (line.said, line.words);
            }
            return None;
        }
        let relay = line.relay.clone().filter(|_| line.said != Said::Suspended)?;
        let ip = relay.ip?;
        if delivery.has_step(&line, &relay) || delivery.steps.len() >= STEPS_MAX {
            return None;
        }
        let at = if line.is_reused { None } else { at(&line) };
        let found = match at {
            Some(_) => Found::Waiting,
            None if line.is_reused => Found::Reused,
            None => Found::Nothing,
        };
        let mention = Mention {
            place: Place { delivery: id, step: delivery.steps.len() },
            serial: self.lines,
            pid: pid(&line, &self.settings),
            is_serial: line.kind == Kind::Postfix && self.settings.are_pids_ours && line.pid.is_some(),
            is_shared: line.kind == Kind::KumoMta,
            port: relay.port,
            source: line.source,
            time: line.time,
            precision: line.precision,
            is_accepted: accepted(&line),
            at: at.unwrap_or(At::End),
        };
        delivery.steps.push(Step { relay, said: line.said, words: line.words, found });
        at.map(|_| (ip, mention))
    }

    /// The delivery that a line belongs to, perhaps a new one.
    fn delivery_of(&mut self, line: &Line) -> DeliveryId {
        let key = match line.kind {
            Kind::Postfix => Some(Key::Process(line.pid)),
            Kind::Exim => line.queue_id.clone().map(Key::Message),
            Kind::OpenSmtpd => line.session.clone().map(Key::Session),
            Kind::KumoMta => None,
        };
        let open = key.as_ref().and_then(|key| self.open.get(key)).copied();
        if let Some(id) = open.filter(|id| self.all.get(id).is_some_and(|delivery| goes_on(delivery, line))) {
            return id;
        }
        let id = self.next;
        self.next += 1;
        self.all.insert(id, Delivery::of(line, id));
        if let Some(key) = key {
            self.open.insert(key, id);
        }
        if let Some(pid) = line.pid {
            self.by_pid.entry(pid).or_default().push(id);
        }
        id
    }

    /// Notes which attempt a step was.
    pub(super) fn found(&mut self, place: Place, found: Found) {
        if let Some(step) = self.all.get_mut(&place.delivery).and_then(|delivery| delivery.steps.get_mut(place.step)) {
            step.found = found;
        }
    }

    /// True if the last word on a step's delivery has come, or never will.
    pub(super) fn is_known(&self, place: Place) -> bool {
        self.all.get(&place.delivery).is_none_or(|delivery| delivery.status.is_final())
    }

    /// What is known of a step.
    pub(super) fn mta(&self, place: Place) -> Option<Mta> {
        let delivery = self.all.get(&place.delivery)?;
        let step = delivery.steps.get(place.step)?;
        Some(Mta {
            recipient_domain: delivery.domain_at(step.relay.ip).map(str::to_owned),
            host: step.relay.host.clone(),
            said: Some(step.said).filter(|said| *said != Said::Nothing),
            words: Some(step.words.clone()).filter(|words| !words.is_empty()),
            ..whole(delivery)
        })
    }

    /// What is known of a delivery for an attempt without a line of its own.
    pub(super) fn unlogged(&self, id: DeliveryId) -> Option<Mta> {
        let delivery = self.all.get(&id)?;
        let recipient_domain = delivery.recipient_domain().map(str::to_owned);
        Some(Mta { recipient_domain, unlogged: true, ..whole(delivery) })
    }

    /// What is the same for all of these.
    pub(super) fn agreed(&self, places: &[Place]) -> Option<Mta> {
        let mut all = places.iter().filter_map(|place| self.mta(*place));
        let first = all.next()?;
        let mut agreed = all.fold(first, |agreed, other| Mta {
            kind: agreed.kind,
            queue_id: agreed.queue_id.filter(|id| other.queue_id.as_ref() == Some(id)),
            recipient_domain: agreed.recipient_domain.filter(|domain| other.recipient_domain.as_ref() == Some(domain)),
            host: agreed.host.filter(|host| other.host.as_ref() == Some(host)),
            status: agreed.status.filter(|status| other.status == Some(*status)),
            said: agreed.said.filter(|said| other.said == Some(*said)),
            words: agreed.words.filter(|words| other.words.as_ref() == Some(words)),
            ..agreed
        });
        agreed.candidates = u32::try_from(places.len()).ok();
        Some(agreed)
    }

    /// The deliveries that a process worked on when it made an attempt.
    pub(super) fn in_the_course_of(&self, attempt: &Attempt) -> Vec<DeliveryId> {
        let settings = &self.settings;
        let Some(of_pid) = attempt.pid.filter(|_| settings.are_pids_ours).and_then(|pid| self.by_pid.get(&pid)) else {
            return Vec::new();
        };
        let is_at_it = |delivery: &&Delivery| {
            let Some(took) = delivery.took.filter(|_| delivery.said != Said::Suspended) else { return false };
            let begin = subtract(subtract(delivery.last, took), ROUNDING);
            begin <= attempt.started && attempt.started <= add(delivery.last, delivery.precision + settings.early)
        };
        of_pid.iter().filter_map(|id| self.all.get(id)).filter(is_at_it).map(|delivery| delivery.id).collect()
    }

    /// Takes those about which nothing more is to come.
    pub(super) fn take(&mut self, until: Timestamp) -> Vec<Delivery> {
        let settings = self.settings;
        let is_over = |delivery: &Delivery| {
            let wait =
                if delivery.status.is_final() { settings.patience + settings.late } else { settings.longest_session };
            !delivery.is_waiting() && add(delivery.last, wait) <= until
        };
        let over: Vec<_> = self.all.values().filter(|delivery| is_over(delivery)).map(|delivery| delivery.id).collect();
        self.remove(&over)
    }

    /// Takes the oldest, where there are too many.
    pub(super) fn crowded_out(&mut self) -> Vec<Delivery> {
        let Some(excess) = self.all.len().checked_sub(self.settings.max_waiting + 1) else { return Vec::new() };
        // Several at a time: each time the tables of keys are gone through.
        let count = excess + 1 + self.settings.max_waiting / 16;
        let oldest: Vec<_> = self.all.keys().take(count).copied().collect();
        let mut removed = self.remove(&oldest);
        for step in removed.iter_mut().flat_map(|delivery| &mut delivery.steps) {
            if step.found == Found::Waiting {
                step.found = Found::Unsought;
            }
        }
        removed
    }

    fn remove(&mut self, ids: &[DeliveryId]) -> Vec<Delivery> {
        let removed: Vec<_> = ids.iter().filter_map(|id| self.all.remove(id)).collect();
        if !removed.is_empty() {
            let all = &self.all;
            self.open.retain(|_, id| all.contains_key(id));
            self.by_pid.retain(|_, ids| {
                ids.retain(|id| all.contains_key(id));
                !ids.is_empty()
            });
        }
        removed
    }
}

fn whole(delivery: &Delivery) -> Mta {
    Mta {
        kind: delivery.kind,
        queue_id: delivery.queue_id.clone(),
        recipient_domain: None,
        host: None,
        status: Some(delivery.status).filter(|status| status.is_final()),
        said: None,
        words: None,
        unlogged: false,
        candidates: None,
    }
}

/// True if a line continues a delivery, rather than beginning the next one.
fn goes_on(delivery: &Delivery, line: &Line) -> bool {
    if line.kind == Kind::OpenSmtpd {
        return true;
    }
    let is_same_message = delivery.queue_id.is_none() || line.queue_id.is_none() || delivery.queue_id == line.queue_id;
    // After the first recipient come the others, and nothing else.
    let is_before_recipients = !delivery.status.is_final();
    is_same_message && (is_before_recipients || line.status.is_final())
}

/// The process that made the connection, where it is the one that logs.
fn pid(line: &Line, settings: &Settings) -> Option<u32> {
    let is_connecting = match line.kind {
        Kind::Postfix | Kind::OpenSmtpd => true,
        Kind::Exim => line.status == Status::Failed,
        Kind::KumoMta => false,
    };
    line.pid.filter(|_| is_connecting && settings.are_pids_ours)
}

/// When a line is written, as seen from the attempt; `None` where that is not known.
fn at(line: &Line) -> Option<At> {
    match line.kind {
        Kind::Postfix if line.said.is_not_connected() || line.said == Said::Other => Some(At::End),
        Kind::Postfix => Some(At::Within),
        // Its parent logs when the process that connected has ended.
        Kind::Exim => Some(At::End),
        Kind::OpenSmtpd => (line.status == Status::Trying).then_some(At::Start),
        Kind::KumoMta => line.source.map(|_| At::Within),
    }
}

/// Whether the handshake was completed, if the line tells.
fn accepted(line: &Line) -> Option<bool> {
    match line.said {
        _ if line.status == Status::Sent => Some(true),
        Said::LostBeforeGreeting | Said::NoGreeting | Said::LostInSession | Said::Answered => Some(true),
        said if said.is_not_connected() => Some(false),
        _ => None,
    }
}
