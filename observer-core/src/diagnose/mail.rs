//! What the mail server's log says of deliveries to the destinations in question.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::cause::Cause;
use crate::answer::{self, AnswerKind, KnownBy, Meaning, Reply};
use crate::format::span::span;
use crate::join::row::{Connect, DeliveryRow};
use crate::mta::{DeliveryStatus, MtaKind, Said};

/// Domains and hosts that are told apart; what comes after is counted in the sums alone.
const KEPT: usize = 256;

/// It, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// Whose log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<MtaKind>,
    /// Hosts that deliveries tried, each as often as it was tried.
    pub tried: u64,
    /// Of those, whose attempt is known.
    pub matched: u64,
    /// Attempts that the log has no line on, and whose delivery is known.
    pub unlogged: u64,
    /// Deliveries that were put off without a connect.
    pub without_connect: u64,
    /// Tries of deliveries that were put off or given up in the end.
    pub undelivered: u64,
    /// Recipients' domains, each as often as a host was tried for it.
    pub domains: BTreeMap<String, u64>,
    /// Hosts by the names that the server knows.
    pub hosts: BTreeMap<String, u64>,
    /// What the server says of connections.
    pub said: BTreeMap<Said, u64>,
    /// The last words of each kind.
    pub words: BTreeMap<Said, String>,
    /// Sessions that were cut while the message was sent, and the last words of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_while_sending: Option<Told>,
    /// Answers that are no replies of SMTP, and the last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_smtp: Option<Told>,
    /// What the other side answered, by its meaning, most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answers>,
}

/// How often something was said, and the last words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// How often.
    pub count: u64,
    /// The last words.
    pub last: String,
}

impl Told {
    fn add(told: &mut Option<Self>, words: &str) {
        let told = told.get_or_insert_default();
        told.count += 1;
        words.clone_into(&mut told.last);
    }
}

/// Answers of one meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// What they are about.
    pub kind: AnswerKind,
    /// Name of what they were found by: an entry of the table, or a code.
    pub name: &'static str,
    /// What the meaning rests on.
    pub known_by: KnownBy,
    /// Who answers so, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
    /// What they mean.
    pub meaning: &'static str,
    /// What to do.
    pub next_step: &'static str,
    /// Where to ask for delisting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<&'static str>,
    /// How many.
    pub count: u64,
    /// Seconds that the last one asks to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
    /// Codes of the last: `421 4.7.28`.
    pub codes: String,
    /// Text of the last, its lines joined.
    pub last: String,
}

impl Answers {
    fn new(meaning: &Meaning<'static>) -> Self {
        let &Meaning { name, known_by, kind, provider, meaning, next_step, ask, wait: _, matched: _ } = meaning;
        let (codes, last) = (String::new(), String::new());
        Self { kind, name, known_by, provider, meaning, next_step, ask, count: 0, wait_s: None, codes, last }
    }

    /// True where the answer leaves no doubt about what it is about.
    pub(super) const fn is_sure(&self) -> bool {
        matches!(self.known_by, KnownBy::Words | KnownBy::Status) && !self.is_vague()
    }

    /// True where it does not say what it is about.
    const fn is_vague(&self) -> bool {
        matches!(self.kind, AnswerKind::Policy | AnswerKind::Unclear | AnswerKind::Temporary)
    }

    /// True where it is to be tried again.
    pub(super) fn is_transient(&self) -> bool {
        self.codes.starts_with('4')
    }

    /// The cause that it speaks for most.
    pub(super) fn cause(&self) -> Cause {
        match self.kind {
            AnswerKind::Reputation | AnswerKind::PtrHelo => Cause::AddressBlocked,
            AnswerKind::Rate | AnswerKind::Temporary => Cause::RateLimited,
            AnswerKind::Greylisting => Cause::Greylisting,
            AnswerKind::Unclear if self.is_transient() => Cause::RateLimited,
            AnswerKind::Authentication
            | AnswerKind::Content
            | AnswerKind::Mailbox
            | AnswerKind::Size
            | AnswerKind::Recipients
            | AnswerKind::Configuration
            | AnswerKind::Policy
            | AnswerKind::Unclear => Cause::MessageRefused,
        }
    }
}

impl Mail {
    /// Adds a row of history.
    pub fn add(&mut self, delivery: &DeliveryRow) {
        self.kind = Some(delivery.kind);
        let is_put_off = matches!(delivery.status, Some(DeliveryStatus::Deferred | DeliveryStatus::Bounced));
        match delivery.connect {
            Connect::None => {
                // A bounce by this host's own rules tried no host either.
                if delivery.status == Some(DeliveryStatus::Deferred) {
                    self.without_connect += 1;
                    self.add_words(delivery);
                }
                return;
            }
            // Whose connects those were is not known, nor to what host.
            Connect::Untold => return,
            Connect::Unlogged => self.unlogged += 1,
            Connect::Seen | Connect::Reused => self.matched += 1,
            Connect::Ambiguous | Connect::Unseen | Connect::Unsought => {}
        }
        self.tried += u64::from(delivery.connect != Connect::Unlogged);
        self.undelivered += u64::from(is_put_off);
        count(&mut self.domains, delivery.recipient_domain.as_ref());
        count(&mut self.hosts, delivery.host.as_ref());
        self.add_words(delivery);
    }

    fn add_words(&mut self, delivery: &DeliveryRow) {
        if delivery.said != Said::Nothing {
            *self.said.entry(delivery.said).or_default() += 1;
            self.words.insert(delivery.said, delivery.words.clone());
        }
        let words = delivery.words.as_str();
        if delivery.said == Said::LostInSession && CUT_WHILE_SENDING.iter().any(|phrase| words.contains(phrase)) {
            Told::add(&mut self.cut_while_sending, words);
        }
        if is_not_smtp(words) {
            Told::add(&mut self.not_smtp, words);
        }
        // What is put off without a connect repeats an earlier answer.
        if matches!(delivery.said, Said::Answered | Said::Suspended)
            && let Some(reply) = Reply::in_words(&delivery.words)
            && let Some(meaning) = answer::meaning(&reply)
        {
            self.add_answer(&reply, &meaning);
        }
    }

    /// There are no more of them than the table has entries.
    fn add_answer(&mut self, reply: &Reply, meaning: &Meaning<'static>) {
        let same = |answers: &Answers| (answers.name, answers.known_by) == (meaning.name, meaning.known_by);
        let mut at = self.answers.iter().position(same).unwrap_or_else(|| {
            self.answers.push(Answers::new(meaning));
            self.answers.len() - 1
        });
        let answers = &mut self.answers[at];
        answers.count += 1;
        answers.wait_s = meaning.wait.map(|wait| wait.as_secs());
        answers.codes = reply.codes();
        answers.last.clone_from(&reply.text);
        while at > 0 && self.answers[at - 1].count < self.answers[at].count {
            self.answers.swap(at - 1, at);
            at -= 1;
        }
    }

    /// True if the log has nothing on the destinations.
    pub fn is_empty(&self) -> bool {
        self.tried == 0 && self.unlogged == 0 && self.without_connect == 0
    }

    /// How often the other side answered, and said no.
    pub fn answered_no(&self) -> u64 {
        self.said.get(&Said::Answered).copied().unwrap_or(0)
    }

    /// Answers that said no, those among them that an earlier one stands in for.
    pub fn refusals(&self) -> u64 {
        self.answers.iter().map(|answers| answers.count).sum::<u64>().max(self.answered_no())
    }

    /// Sessions that were cut while the message was sent, answers that are no replies, and
    /// connects that this host did not permit.
    pub(super) fn troubles(&self) -> u64 {
        let told = [&self.cut_while_sending, &self.not_smtp].into_iter().flatten().map(|told| told.count);
        told.sum::<u64>() + self.said.get(&Said::NotPermitted).copied().unwrap_or(0)
    }

    /// What to do about the answer that speaks for a cause most often.
    pub(super) fn advice(&self, cause: Cause) -> Option<String> {
        let answers = self.answers.iter().find(|answers| answers.cause() == cause)?;
        let mut advice = answers.next_step.to_owned();
        if let Some(wait) = answers.wait_s {
            advice.push_str(&format!(". The answer asks to wait {}", span(Duration::from_secs(wait))));
        }
        if let Some(ask) = answers.ask {
            advice.push_str(&format!(". Where to ask: {ask}"));
        }
        Some(advice)
    }

    /// Domains whose mail went there, most of it first.
    pub fn top_domains(&self) -> Vec<&str> {
        let mut domains: Vec<_> = self.domains.iter().collect();
        domains.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        domains.into_iter().map(|(domain, _)| domain.as_str()).collect()
    }
}

/// What servers log when the message itself does not get through.
const CUT_WHILE_SENDING: [&str; 6] = [
    // Postfix.
    "timed out while sending message body",
    "timed out while sending end of data",
    "lost connection while sending message body",
    // Exim.
    "SMTP timeout after sending data block",
    "SMTP timeout after end of data",
    // KumoMTA.
    "Timed Out sending message payload data",
];
/// What stands before an answer in the place of a greeting.
const BEFORE_GREETING: [&str; 3] = ["refused to talk to me: ", "after initial connection: ", "non-SMTP response from "];

/// Whether the words hold an answer that does not begin with a reply code.
fn is_not_smtp(words: &str) -> bool {
    BEFORE_GREETING.iter().any(|before| {
        let Some((_, answer)) = words.split_once(before) else { return false };
        let code = answer.trim_start().get(..3);
        !answer.trim().is_empty() && !code.is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn count(counts: &mut BTreeMap<String, u64>, name: Option<&String>) {
    let Some(name) = name else { return };
    if counts.len() < KEPT || counts.contains_key(name) {
        *counts.entry(name.clone()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn delivery(connect: Connect, said: Said, words: &str) -> DeliveryRow {
        DeliveryRow {
            time: sample::time(),
            kind: MtaKind::Postfix,
            queue_id: Some("4Wx".to_owned()),
            recipient_domain: Some("example.net".to_owned()),
            status: Some(DeliveryStatus::Deferred),
            host: (connect != Connect::None).then(|| "mx.example.net".to_owned()),
            ip: (connect != Connect::None).then(|| sample::ip("203.0.113.5")),
            said,
            words: words.to_owned(),
            connect,
            attempt: None,
        }
    }

    #[test]
    fn rows_are_counted_by_what_they_are() {
        let mut mail = Mail::default();
        assert!(mail.is_empty());
        for (connect, said) in [
            (Connect::Seen, Said::Refused),
            (Connect::Unseen, Said::Answered),
            (Connect::Unlogged, Said::Nothing),
            (Connect::None, Said::Suspended),
        ] {
            mail.add(&delivery(connect, said, said.as_str()));
        }
        assert_eq!((mail.tried, mail.matched, mail.unlogged, mail.without_connect), (2, 1, 1, 1));
        assert_eq!((mail.undelivered, mail.answered_no()), (3, 1));
        assert_eq!(mail.words[&Said::Refused], "refused");
        assert_eq!(mail.top_domains(), ["example.net"]);
        assert_eq!(mail.hosts["mx.example.net"], 3);
    }

    #[test]
    fn answers_are_counted_by_their_meaning_and_what_to_do_follows() {
        let mut mail = Mail::default();
        for words in [
            "host mx[203.0.113.5] said: 550 5.1.1 <*@example.net>: user unknown (in reply to RCPT TO command)",
            "host mx[203.0.113.5] said: 450 4.2.0 Greylisted, please try again in 300 s (in reply to RCPT TO command)",
            "host mx[203.0.113.5] said: 450 4.2.0 Greylisted for 120 seconds (in reply to RCPT TO command)",
            "host mx[203.0.113.5] refused to talk to me: 554-one 554-192.0.2.10 is listed at bl.spamcop.net 554 end",
            "Connection refused",
        ] {
            mail.add(&delivery(Connect::Seen, Said::Answered, words));
        }
        let suspended =
            "delivery temporarily suspended: host mx[203.0.113.5] refused to talk to me: 421 too many connections";
        mail.add(&delivery(Connect::None, Said::Suspended, suspended));
        let brief: Vec<_> =
            mail.answers.iter().map(|of| (of.kind.as_str(), of.count, of.wait_s, of.codes.as_str())).collect();
        assert_eq!(
            brief,
            [
                ("greylisting", 2, Some(120), "450 4.2.0"),
                ("mailbox", 1, None, "550 5.1.1"),
                ("reputation", 1, None, "554"),
                ("rate", 1, None, "421"),
            ]
        );
        assert_eq!(mail.answers[2].last, "one 192.0.2.10 is listed at bl.spamcop.net end");
        assert_eq!(mail.refusals(), 5);
        let advice = mail.advice(Cause::Greylisting).unwrap();
        assert!(advice.starts_with("wait: ") && advice.ends_with("The answer asks to wait 2 min 0 s"), "{advice}");
        let advice = mail.advice(Cause::AddressBlocked).unwrap();
        assert!(advice.ends_with("Where to ask: https://www.spamcop.net/bl.shtml"), "{advice}");
        assert_eq!(mail.advice(Cause::ServerDown), None);
    }

    #[test]
    fn however_many_domains_there_are_memory_is_bounded() {
        let mut mail = Mail::default();
        for number in 0..2 * KEPT {
            let recipient_domain = Some(format!("d{number}.example"));
            mail.add(&DeliveryRow { recipient_domain, ..delivery(Connect::Seen, Said::Refused, "x") });
        }
        assert_eq!((mail.domains.len(), mail.tried), (KEPT, 2 * KEPT as u64));
    }
}
