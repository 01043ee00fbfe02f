//! From lines to deliveries, and from deliveries to what they say of an attempt.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::delivery::{DeliveryId, Found, MailDelivery, Place, Step, goes_on, whole};
use super::lane::{At, Mention};
use super::{Attempt, Settings, add, subtract};
use crate::event::Mta;
use crate::mta::{DeliveryStatus, Line, MtaKind, Said};

/// Hosts of one delivery: Postfix tries five addresses (`smtp_mx_address_limit`).
const STEPS_MAX: usize = 32;
/// `delays` are rounded to whole seconds where they are long.
const ROUNDING: Duration = Duration::from_millis(1_000);

/// What the following lines may belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Process(Option<u32>),
    Message(String),
    Session(String),
}

/// Deliveries that wait.
#[derive(Debug)]
pub(super) struct Deliveries {
    settings: Settings,
    all: BTreeMap<DeliveryId, MailDelivery>,
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
        if line.kind == MtaKind::OpenSmtpd && !line.status.is_final() && line.relay.is_none() {
            delivery.take_outcome(line);
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
            is_serial: line.kind == MtaKind::Postfix && self.settings.are_pids_ours && line.pid.is_some(),
            is_in_order: line.kind == MtaKind::Exim,
            is_shared: line.kind == MtaKind::KumoMta,
            port: relay.port,
            source: line.source,
            time: line.time,
            precision: line.precision,
            is_accepted: accepted(&line),
            at: at.unwrap_or(At::End),
            // Its last host alone is logged when it has failed.
            is_late: line.kind == MtaKind::KumoMta && !line.status.is_final(),
            doubt: 0,
        };
        delivery.steps.push(Step { relay, said: line.said, words: line.words, is_accepted: false, found });
        at.map(|_| (ip, mention))
    }

    /// The delivery that a line belongs to, perhaps a new one.
    fn delivery_of(&mut self, line: &Line) -> DeliveryId {
        let key = match line.kind {
            MtaKind::Postfix => Some(Key::Process(line.pid)),
            MtaKind::Exim => line.queue_id.clone().map(Key::Message),
            MtaKind::OpenSmtpd => line.session.clone().map(Key::Session),
            MtaKind::KumoMta => line.queue_id.clone().map(Key::Message),
        };
        let open = key.as_ref().and_then(|key| self.open.get(key)).copied();
        if let Some(id) = open.filter(|id| self.all.get(id).is_some_and(|delivery| goes_on(delivery, line))) {
            return id;
        }
        let id = self.next;
        self.next += 1;
        self.all.insert(id, MailDelivery::of(line, id));
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
        self.all.get(&place.delivery).is_none_or(MailDelivery::is_settled)
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
        let is_at_it = |delivery: &&MailDelivery| {
            let Some(took) = delivery.took.filter(|_| delivery.said != Said::Suspended) else { return false };
            let begin = subtract(subtract(delivery.last, took), ROUNDING);
            begin <= attempt.started && attempt.started <= add(delivery.last, delivery.precision + settings.early)
        };
        of_pid.iter().filter_map(|id| self.all.get(id)).filter(is_at_it).map(|delivery| delivery.id).collect()
    }

    /// Takes those about which nothing more is to come.
    pub(super) fn take(&mut self, until: Timestamp) -> Vec<MailDelivery> {
        let settings = self.settings;
        let is_over = |delivery: &MailDelivery| {
            let wait = if delivery.is_settled() { settings.patience + settings.late } else { settings.longest_session };
            !delivery.is_waiting() && add(delivery.last, wait) <= until
        };
        let over: Vec<_> = self.all.values().filter(|delivery| is_over(delivery)).map(|delivery| delivery.id).collect();
        self.remove(&over)
    }

    /// Takes the oldest, where there are too many.
    pub(super) fn crowded_out(&mut self) -> Vec<MailDelivery> {
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

    fn remove(&mut self, ids: &[DeliveryId]) -> Vec<MailDelivery> {
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

/// The process that made the connection, where it is the one that logs.
fn pid(line: &Line, settings: &Settings) -> Option<u32> {
    let is_connecting = match line.kind {
        MtaKind::Postfix | MtaKind::OpenSmtpd => true,
        MtaKind::Exim => line.status == DeliveryStatus::Failed,
        MtaKind::KumoMta => false,
    };
    line.pid.filter(|_| is_connecting && settings.are_pids_ours)
}

/// When a line is written, as seen from the attempt; `None` where that is not known.
fn at(line: &Line) -> Option<At> {
    match line.kind {
        MtaKind::Postfix if line.said.is_not_connected() => Some(At::End),
        MtaKind::Postfix => Some(At::Within),
        // Its parent logs when the process that connected has ended, but for a connection that is kept for the next
        // message: not one that failed. One that was cut it shuts down after the line, and waits a while to close.
        MtaKind::Exim if matches!(line.said, Said::Nothing | Said::Answered | Said::LostInSession) => Some(At::Within),
        MtaKind::Exim => Some(At::End),
        MtaKind::OpenSmtpd => (line.status == DeliveryStatus::Trying).then_some(At::Start),
        MtaKind::KumoMta if line.source.is_some() => Some(At::Within),
        // Of a connect that failed it does not log this end. A connection that was made through a proxy has none
        // here either.
        MtaKind::KumoMta => (line.said != Said::Nothing && line.said != Said::Answered).then_some(At::End),
    }
}

/// Whether the handshake was completed, if the line tells.
fn accepted(line: &Line) -> Option<bool> {
    match line.said {
        _ if line.status == DeliveryStatus::Sent => Some(true),
        // An ICMP error can come between two looks at the socket: then it is the read that fails, and Postfix says
        // the same of a handshake that was never completed.
        Said::LostBeforeGreeting => None,
        // By TCP Fast Open it waits for the greeting as soon as the SYN is out.
        Said::NoGreeting if line.kind == MtaKind::Exim => None,
        Said::NoGreeting | Said::LostInSession | Said::TlsFailed | Said::Answered => Some(true),
        said if said.is_not_connected() => Some(false),
        _ => None,
    }
}
