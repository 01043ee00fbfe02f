//! The likely causes of failures, ranked, with what speaks for and against each.
//!
//! [`diagnose`] is pure: [`Evidence`] in, [`Diagnosis`] out. What is known is the
//! table in `rules.rs`, and the words for people are in `cause.rs`.

mod cause;
mod evidence;
mod grounds;
mod group;
mod home;
mod mail;
mod rules;
mod seen;
mod sender;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

pub use self::cause::Cause;
use self::cause::Words;
pub use self::evidence::{Evidence, Firewall, Operator, Reach, Sample, Traced};
pub use self::group::together;
pub use self::mail::{Answers, Mail, Told};
use self::rules::RULES;
pub use self::seen::{Durations, Ending, Facts, FirstAndLast, Followed, Seen, Share, Sign, Times};
pub use self::sender::Sender;
use crate::evidence::dns::finding::Finding;
use crate::evidence::probe::Probe;
use crate::label::Label;

/// Value of [`Diagnosis::schema`].
pub const SCHEMA: &str = "observer.diagnosis.v1";

/// Fewer failures are no ground for more than a guess.
const ENOUGH: u64 = 3;
/// Points of a cause from which on it is named.
const NAMED: i32 = 30;
/// Hints, however many, are no proof: a cause is certain only by a line of so many points.
const PROOF: i32 = 65;
/// Two causes that are nearer to each other than this cannot be told apart.
const APART: i32 = 20;

/// What is likely wrong. Its JSON form is documented by
/// `schema/observer.diagnosis.v1.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was asked about.
    pub asked: String,
    /// When.
    pub time: Timestamp,
    /// Port of the attempts.
    pub port: u16,
    /// The attempts in question.
    pub attempts: Share,
    /// Attempts to this host itself, which say nothing of the outside and were left out.
    #[serde(skip_serializing_if = "is_none")]
    pub local: Share,
    /// Attempts that this host redirected to itself, those to the destination in question among
    /// them that went well so: they say nothing of the outside and were left out.
    #[serde(skip_serializing_if = "is_none")]
    pub redirected: Share,
    /// Attempts to private networks, left out where the destination is in none.
    #[serde(skip_serializing_if = "is_none")]
    pub inner: Share,
    /// When they ended.
    pub times: Times,
    /// To which addresses, as far as they were told apart.
    pub destinations: Vec<String>,
    /// From which of this host's addresses.
    pub sources: Vec<String>,
    /// How they ended, most frequent first.
    pub endings: Vec<Count>,
    /// The causes, likeliest first; empty if nothing fails, or nothing is known.
    pub causes: Vec<LikelyCause>,
    /// True if the first two causes cannot be told apart.
    pub is_open: bool,
    /// True if the destination is this host itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_own: bool,
    /// True if several destinations were tried, and none answered at all.
    #[serde(skip)]
    pub reaches_nobody: bool,
    /// What this host's own firewall does with such a connection, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    /// What probes found, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<crate::evidence::probe::Probe>,
    /// Where the answers to SYNs are born, if probes were asked for and one failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traced: Vec<Traced>,
    /// Who operates the destinations' networks, if a database was named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<Operator>,
    /// What the mail server's log says, if one was read.
    #[serde(skip_serializing_if = "Mail::is_empty")]
    pub mail: Mail,
    /// What is remarkable in DNS, if it was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Finding>,
    /// Single attempts that failed: some of the first, and of the last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// What could not be looked at, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_seen: Vec<String>,
}

/// How many attempts ended in a way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Count {
    /// The label.
    pub label: crate::label::Label,
    /// The mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<crate::label::Reason>,
    /// Who said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<crate::label::Origin>,
    /// How many.
    pub count: u64,
}

/// A cause, and why it is or is not likely.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LikelyCause {
    /// The cause.
    pub cause: Cause,
    /// In a sentence.
    pub verdict: String,
    /// True if it is the cause of a part of the failures alone, which the verdict counts.
    #[serde(skip)]
    pub is_of_part: bool,
    /// How sure it is.
    pub confidence: Confidence,
    /// Points, out of a hundred.
    pub score: i32,
    /// What speaks for it.
    pub evidence: Vec<Line>,
    /// What speaks against it.
    pub against: Vec<Line>,
    /// What to do.
    pub next_step: String,
    /// How to check it by hand.
    pub by_hand: String,
    /// What would make it surer.
    pub surer: String,
}

/// A line of evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The rule's name.
    pub rule: &'static str,
    /// What was seen, with its numbers.
    pub text: String,
    /// Points that the rule gives or takes.
    pub weight: i32,
    /// Why it can be concluded.
    pub source: &'static str,
}

/// How sure a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// One of several that are left.
    Possible,
    /// More likely than all others.
    Likely,
    /// What was seen leaves no other.
    Certain,
}

impl Confidence {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// Weighs the evidence.
pub fn diagnose(evidence: &Evidence, now: Timestamp) -> Diagnosis {
    let subject = &evidence.subject;
    let mut causes = if troubles(evidence) == 0 && !is_misdirected(evidence) { Vec::new() } else { findings(evidence) };
    causes.sort_by_key(|finding| (-finding.score, finding.cause));
    let is_open = matches!(causes.as_slice(), [first, second, ..] if first.score - second.score < APART);
    if is_open {
        causes.iter_mut().for_each(|finding| finding.confidence = Confidence::Possible);
    }
    let mut endings: Vec<Count> = subject
        .endings
        .iter()
        .map(|(&(label, reason, origin), &count)| Count { label, reason, origin, count })
        .collect();
    endings.sort_by_key(|ending| std::cmp::Reverse(ending.count));
    let mut of_subject = Share::default();
    of_subject.add_many((Label::Connected, None, None), subject.redirected);
    Diagnosis {
        schema: SCHEMA,
        asked: evidence.asked.clone(),
        time: now,
        port: evidence.port,
        attempts: subject.all,
        local: evidence.local,
        redirected: evidence.redirected.and(of_subject),
        inner: evidence.inner,
        times: subject.times,
        destinations: subject.destinations.keys().map(ToString::to_string).collect(),
        sources: subject.sources.keys().map(ToString::to_string).collect(),
        endings,
        causes,
        is_open,
        is_own: home::is_home(evidence),
        reaches_nobody: grounds::nobody_is_reached(evidence),
        firewall: evidence.firewall.clone(),
        probes: evidence.probes.clone(),
        traced: evidence.traced.clone(),
        operators: evidence.operators.clone(),
        mail: evidence.mail.clone(),
        dns: evidence.dns.clone(),
        samples: evidence.samples.clone(),
        not_seen: evidence.not_seen.clone(),
    }
}

fn is_none(share: &Share) -> bool {
    share.attempts == 0
}

impl Diagnosis {
    /// Whether it was probed, and every probe was greeted as mail should be.
    pub fn is_served_now(&self) -> bool {
        !self.probes.is_empty() && self.probes.iter().all(Probe::is_welcome)
    }

    /// Whether it is for the other side to look into, so that a letter makes sense.
    ///
    /// # Errors
    /// Why not, in a line.
    pub fn is_theirs(&self) -> Result<(), String> {
        if self.attempts.failed() == 0 {
            return Err(format!("no attempt to {} failed", self.asked));
        }
        if self.is_own {
            return Err(format!("{} is this host itself", self.asked));
        }
        if self.is_served_now() {
            return Err(format!("probed now, {} serves from every address that was tried", self.asked));
        }
        // Of two that cannot be told apart, one at this end is to be looked into first.
        let shown = if self.is_open { 2 } else { 1 };
        match self.causes.iter().take(shown).find(|likely| likely.cause.is_ours()) {
            Some(ours) if self.is_open => Err(format!("the cause may be at this end: {}", ours.verdict)),
            Some(ours) => Err(format!("the cause is at this end: {}", ours.verdict)),
            None if self.reaches_nobody => {
                Err("nothing that was tried from this host got an answer in this period, by \
                                                IPv4 or by IPv6: look at its own way out first"
                    .to_owned())
            }
            None => Ok(()),
        }
    }
}

fn findings(evidence: &Evidence) -> Vec<LikelyCause> {
    let mut lines: BTreeMap<Cause, (Vec<Line>, Vec<Line>)> = BTreeMap::new();
    let is_home = home::is_home(evidence);
    let of_others = RULES.iter().filter(|rule| !is_home || home::is_at_home(rule.cause));
    let of_home = home::RULES.iter().filter(|_| is_home);
    for rule in of_others.chain(of_home) {
        if let Some(text) = (rule.holds)(evidence) {
            let (evidence, against) = lines.entry(rule.cause).or_default();
            let side = if rule.weight > 0 { evidence } else { against };
            side.push(Line { rule: rule.name, text, weight: rule.weight, source: rule.source });
        }
    }
    let finding = |(cause, (lines_for, against)): (Cause, (Vec<Line>, Vec<Line>))| {
        let score: i32 = lines_for.iter().chain(&against).map(|line| line.weight).sum();
        let score = score.min(100);
        let words = words_of(cause, evidence);
        let part = part(cause, evidence);
        (score >= NAMED).then(|| LikelyCause {
            cause,
            is_of_part: part.is_some(),
            verdict: part.unwrap_or_else(|| Cause::fill(words.verdict, evidence)),
            confidence: confidence(score, &lines_for, evidence),
            score,
            evidence: lines_for,
            against,
            next_step: next_step(cause, words.next_step, evidence),
            by_hand: Cause::fill(words.by_hand, evidence),
            surer: Cause::fill(words.surer, evidence),
        })
    };
    lines.into_iter().filter_map(finding).collect()
}

/// What a person reads about the cause of this evidence.
fn words_of(cause: Cause, evidence: &Evidence) -> Words {
    let at_home = home::is_home(evidence).then(|| home::words(cause)).flatten();
    at_home.unwrap_or_else(|| cause.words())
}

/// The verdict where it is of a part of the failures.
fn part(cause: Cause, evidence: &Evidence) -> Option<String> {
    let part = grounds::stopped_in_part(evidence).filter(|_| cause == Cause::LocalFirewall)?;
    Some(format!("{}: {part}", cause::in_part(evidence.port)))
}

fn next_step(cause: Cause, text: &str, evidence: &Evidence) -> String {
    if cause == Cause::WrongSourceAddress && has_its_sources(evidence) {
        return Cause::fill(cause::FROM_ELSEWHERE, evidence);
    }
    let next_step = || Cause::fill(text, evidence);
    if home::is_home(evidence) && home::words(cause).is_some() {
        return next_step();
    }
    evidence.mail.advice(cause).unwrap_or_else(next_step)
}

/// Whether every address that was tried from is this host's.
fn has_its_sources(evidence: &Evidence) -> bool {
    let mut sources = evidence.subject.sources.keys().peekable();
    sources.peek().is_some() && sources.all(|source| evidence.own.contains(*source))
}

/// Attempts that failed, and answers that said no.
fn troubles(evidence: &Evidence) -> u64 {
    evidence.subject.all.failed() + evidence.mail.refusals().max(evidence.mail.troubles())
}

/// Whether mail cannot arrive, whatever connections do.
fn is_misdirected(evidence: &Evidence) -> bool {
    evidence.dns.iter().any(|finding| matches!(finding, Finding::NullMx { .. } | Finding::NoSuchDomain { .. }))
}

fn confidence(score: i32, lines: &[Line], evidence: &Evidence) -> Confidence {
    let is_proven = lines.iter().any(|line| line.weight >= PROOF);
    match score {
        _ if troubles(evidence) < ENOUGH && !is_misdirected(evidence) => Confidence::Possible,
        85.. if is_proven => Confidence::Certain,
        60.. => Confidence::Likely,
        _ => Confidence::Possible,
    }
}

#[cfg(test)]
mod tests;
