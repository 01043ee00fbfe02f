//! What the log says of one delivery.
//!
//! Postfix: one smtp(8) process works on one delivery at a time, so its lines belong
//! to the next recipients that it names. Exim: lines belong to the message that they
//! name, up to its recipients. OpenSMTPD: lines of one session. KumoMTA: each record
//! is a delivery of its own.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::Mta;
use crate::mta::{DeliveryStatus, Line, MtaKind, Relay, Said};

/// Number of a delivery, in the order of their first lines.
pub type DeliveryId = u64;

/// Postfix's last word where a socket could not be bound to `smtp_bind_address`.
const NOT_CONFIGURED: &str = "server configuration error";

/// More recipients are counted alone: enough to know whether they share a domain.
const DOMAINS_MAX: usize = 8;

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
    /// Not looked for, for want of room, or because the log named the host too late.
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
    /// A line of its own says that the handshake was completed.
    pub(super) is_accepted: bool,
    /// The attempt.
    pub found: Found,
}

/// What the log says of one delivery, to one recipient or several at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct MailDelivery {
    /// Its number.
    pub id: DeliveryId,
    /// Who delivered.
    pub kind: MtaKind,
    /// The process that logged it.
    pub pid: Option<u32>,
    /// The message; of a session with several the first.
    pub queue_id: Option<String>,
    /// Lines on recipients.
    pub recipients: u32,
    /// Domains of recipients, and the address that the line names: the first ones.
    domains: Vec<(String, Option<IpAddr>)>,
    /// What became of the recipients: the last word. [`DeliveryStatus::Failed`] before any.
    pub status: DeliveryStatus,
    /// What the last word says of the connection.
    pub said: Said,
    /// The last word.
    pub words: String,
    /// Why a socket could not be bound to its address: Postfix says so before the last word.
    not_bound: Option<(Said, String)>,
    /// The last line is on a session that failed before it took a message.
    is_broken_off: bool,
    /// The last line.
    pub last: Timestamp,
    /// How exact that is.
    pub precision: Duration,
    /// How long the process worked on it.
    pub took: Option<Duration>,
    /// Each host that was named, in the order of the lines.
    pub steps: Vec<Step>,
}

impl MailDelivery {
    /// The domain, if all recipients share one.
    pub fn recipient_domain(&self) -> Option<&str> {
        let (first, _) = self.domains.first()?;
        let is_alone = self.domains.iter().all(|(domain, _)| domain == first);
        (is_alone && self.domains.len() < DOMAINS_MAX || self.recipients == 1).then_some(first)
    }

    /// True for a last word, and no host named before it.
    pub fn is_without_host(&self) -> bool {
        self.status.is_final() && self.steps.is_empty()
    }

    /// True for a last word without any connect behind it.
    pub fn is_without_connect(&self) -> bool {
        self.is_without_host() && !self.is_untold()
    }

    /// True for a last word on connects of which the log does not say that they were for
    /// this message.
    pub fn is_untold(&self) -> bool {
        self.is_without_host() && self.kind == MtaKind::OpenSmtpd && self.said != Said::Suspended
    }

    /// True if nothing more is expected to be said of it, but for other recipients.
    pub(super) fn is_settled(&self) -> bool {
        self.status.is_final() || self.is_broken_off
    }

    /// The names in it: domains of recipients, and hosts.
    pub(super) fn names_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let domains = self.domains.iter_mut().map(|(domain, _)| domain);
        domains.chain(self.steps.iter_mut().filter_map(|step| step.relay.host.as_mut()))
    }

    /// What the server says in its own words.
    pub(super) fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        std::iter::once(&mut self.words).chain(self.steps.iter_mut().map(|step| &mut step.words))
    }

    pub(super) fn of(line: &Line, id: DeliveryId) -> Self {
        Self {
            id,
            kind: line.kind,
            pid: line.pid,
            queue_id: None,
            recipients: 0,
            domains: Vec::new(),
            status: DeliveryStatus::Failed,
            said: Said::Nothing,
            words: String::new(),
            not_bound: None,
            is_broken_off: false,
            last: line.time,
            precision: line.precision,
            took: None,
            steps: Vec::new(),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.steps.iter().any(|step| step.found == Found::Waiting)
    }

    /// The domain of the recipients for whom this host was tried.
    pub fn domain_at(&self, ip: Option<IpAddr>) -> Option<&str> {
        let mut here =
            self.domains.iter().filter(|(_, at)| at.is_some() && *at == ip).map(|(domain, _)| domain.as_str());
        let first = here.next();
        first.filter(|first| here.all(|domain| domain == *first)).or_else(|| self.recipient_domain())
    }

    pub(super) fn take_line(&mut self, line: &Line) {
        (self.last, self.precision) = (line.time, line.precision);
        self.is_broken_off = line.kind == MtaKind::OpenSmtpd && line.status == DeliveryStatus::Failed;
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
            if let Some((said, words)) = self.not_bound.take().filter(|_| line.words == NOT_CONFIGURED) {
                self.said = said;
                self.words = format!("{NOT_CONFIGURED}: {words}");
            }
        } else if line.kind == MtaKind::Postfix && line.relay.is_none() {
            self.not_bound = Some((line.said, line.words.clone()));
        }
    }

    /// What a line without an address says of the connection of the line before it.
    pub(super) fn take_outcome(&mut self, line: Line) {
        let Some(step) = self.steps.last_mut() else { return };
        if line.status == DeliveryStatus::Trying {
            step.is_accepted = true;
            return;
        }
        // It has the same words for a SYN and for a greeting without an answer.
        step.said = if step.is_accepted && line.said == Said::TimedOut { Said::LostInSession } else { line.said };
        step.words = line.words;
    }

    /// True if a line only says again what a step said.
    pub(super) fn has_step(&self, line: &Line, relay: &Relay) -> bool {
        let is_same = |step: &Step| step.relay.ip == relay.ip && is_same_port(step.relay.port, relay.port);
        // Where TLS failed, the next connection is without it.
        let is_as_secure = |step: &Step| (step.said == Said::TlsFailed) == (line.said == Said::TlsFailed);
        let is_alike = |step: &Step| step.said.is_not_connected() == line.said.is_not_connected() && is_as_secure(step);
        let is_last = self.steps.last().is_some_and(|step| is_same(step) && is_alike(step));
        match line.kind {
            // Each connect that failed has a line, which the last word only says again.
            MtaKind::Postfix if line.said.is_not_connected() => line.status.is_final() && is_last,
            // One session, several recipients.
            MtaKind::Postfix if line.status.is_final() => self.steps.iter().any(|step| is_same(step) && is_alike(step)),
            MtaKind::Postfix => is_last,
            // Its TLS library says it, and then the one that had called that.
            MtaKind::Exim if line.said == Said::TlsFailed => {
                self.steps.iter().any(|step| is_same(step) && is_as_secure(step))
            }
            MtaKind::Exim => {
                line.status.is_final() && self.steps.iter().any(|step| is_same(step) && is_as_secure(step))
            }
            _ => line.status.is_final() && self.steps.iter().any(is_same),
        }
    }
}

fn is_same_port(one: Option<u16>, other: Option<u16>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// A step of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its place in [`MailDelivery::steps`].
    pub step: usize,
}

/// What is the same for all steps.
pub(super) fn whole(delivery: &MailDelivery) -> Mta {
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
pub(super) fn goes_on(delivery: &MailDelivery, line: &Line) -> bool {
    match line.kind {
        MtaKind::OpenSmtpd => return true,
        // Each record is one.
        MtaKind::KumoMta => return !delivery.status.is_final(),
        MtaKind::Postfix | MtaKind::Exim => {}
    }
    let is_same_message = delivery.queue_id.is_none() || line.queue_id.is_none() || delivery.queue_id == line.queue_id;
    // After the first recipient come the others, and nothing else.
    let is_before_recipients = !delivery.status.is_final();
    is_same_message && (is_before_recipients || line.status.is_final())
}
