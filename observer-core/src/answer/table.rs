//! `answers.toml`, read and matched.
//!
//! All phrases of all entries are looked for at once, by Aho and Corasick's automaton: a
//! text is walked through once, whatever is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Deserialize;

use super::reply::{Enhanced, Reply, Stage};
use super::wait::wait;
use super::{AnswerKind, KnownBy, Meaning};

/// What separates the parts of a phrase that stand in this order with anything between.
const GAP: &str = " .. ";
/// Places of a part that are remembered.
const PLACES: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    kind: BTreeMap<AnswerKind, RawKind>,
    answer: Vec<RawAnswer>,
    status: Vec<RawCode>,
    code: Vec<RawCode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKind {
    next: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnswer {
    name: String,
    provider: Option<String>,
    kind: AnswerKind,
    #[serde(default)]
    guess: bool,
    #[serde(default)]
    wait: bool,
    #[serde(default)]
    code: Vec<String>,
    #[serde(default)]
    enhanced: Vec<String>,
    #[serde(default)]
    at: Vec<Stage>,
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    meaning: String,
    next: Option<String>,
    ask: Option<String>,
    examples: Vec<String>,
    #[serde(default)]
    before: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCode {
    code: String,
    #[serde(default)]
    at: Vec<Stage>,
    kind: AnswerKind,
    meaning: String,
    next: Option<String>,
}

/// The table, ready to be asked.
pub(super) struct Table {
    entries: Vec<Entry>,
    statuses: Vec<Code<StatusPattern>>,
    codes: Vec<Code<CodePattern>>,
    next: BTreeMap<AnswerKind, String>,
    parts: AhoCorasick,
    /// Of each part in `parts`.
    edges: Vec<Edges>,
}

/// What is known of one answer.
pub(super) struct Entry {
    pub(super) name: String,
    provider: Option<String>,
    pub(super) kind: AnswerKind,
    is_guess: bool,
    has_wait: bool,
    codes: Vec<CodePattern>,
    statuses: Vec<StatusPattern>,
    stages: Vec<Stage>,
    phrases: Vec<Phrase>,
    unless: Vec<Phrase>,
    meaning: String,
    next: Option<String>,
    ask: Option<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test of the table"))]
    pub(super) examples: Vec<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test of the table"))]
    pub(super) before: Vec<String>,
}

struct Code<P> {
    name: String,
    pattern: P,
    stages: Vec<Stage>,
    kind: AnswerKind,
    meaning: String,
    next: Option<String>,
}

/// Parts that follow each other.
struct Phrase {
    text: String,
    parts: Vec<usize>,
}

/// Which ends of a part have to be ends of words.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Edges {
    start: bool,
    end: bool,
}

/// `4xx` or `421`: of each digit the one that it has to be.
#[derive(Clone, Copy, Debug)]
struct CodePattern([Option<u8>; 3]);

impl CodePattern {
    fn read(text: &str) -> Result<Self, String> {
        let mut digits = text.bytes().map(|byte| match byte {
            b'x' => Some(None),
            b'0'..=b'9' => Some(Some(byte - b'0')),
            _ => None,
        });
        match (digits.next().flatten(), digits.next().flatten(), digits.next().flatten(), digits.next()) {
            (Some(a), Some(b), Some(c), None) => Ok(Self([a, b, c])),
            _ => Err(format!("invalid code {text:?}: expected three digits, or x for any")),
        }
    }

    fn fits(self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        self.0.iter().zip(digits).all(|(want, digit)| want.is_none_or(|want| u16::from(want) == digit))
    }
}

/// `x.7.1`, `5.7.606-649` or `4.x.x`: of each number the least and the largest.
#[derive(Clone, Copy, Debug)]
struct StatusPattern([(u16, u16); 3]);

impl StatusPattern {
    fn read(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid status {text:?}: expected x.7.1, 5.7.606-649 or the like");
        let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
        let range = |text: &str| match text.split_once('-') {
            _ if text == "x" => Ok::<(u16, u16), String>((0, u16::MAX)),
            Some((least, largest)) => Ok((number(least)?, number(largest)?)),
            None => Ok((number(text)?, number(text)?)),
        };
        match text.split('.').map(range).collect::<Result<Vec<_>, _>>()?.as_slice() {
            &[class, subject, detail] => Ok(Self([class, subject, detail])),
            _ => Err(invalid()),
        }
    }

    fn fits(self, status: Enhanced) -> bool {
        let numbers = [u16::from(status.class), status.subject, status.detail];
        self.0.iter().zip(numbers).all(|(&(least, largest), number)| (least..=largest).contains(&number))
    }
}

/// Collects the parts of all phrases.
#[derive(Default)]
struct Parts {
    texts: Vec<String>,
    edges: Vec<Edges>,
}

impl Parts {
    fn add(&mut self, part: &str) -> Result<usize, String> {
        let (text, start) = part.strip_prefix('*').map_or((part, true), |text| (text, false));
        let (text, end) = text.strip_suffix('*').map_or((text, true), |text| (text, false));
        let is_plain = text == text.trim() && !text.contains("  ") && !text.contains("..") && !text.contains('*');
        if text.len() < 2 || !is_plain || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("invalid words {part:?}: expected lower case, at least two letters, single blanks"));
        }
        let edges = Edges { start, end };
        let known = (0..self.texts.len()).find(|&at| self.texts[at] == text && self.edges[at] == edges);
        Ok(known.unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.edges.push(edges);
            self.texts.len() - 1
        }))
    }

    fn phrases(&mut self, texts: &[String]) -> Result<Vec<Phrase>, String> {
        let phrase = |text: &String| {
            let parts = text.split(GAP).map(|part| self.add(part)).collect::<Result<_, _>>()?;
            Ok(Phrase { text: text.clone(), parts })
        };
        texts.iter().map(phrase).collect()
    }
}

/// What was found in a text.
struct Found {
    /// Start and end of the first places of each part.
    places: Vec<Vec<(usize, usize)>>,
    /// How long it asks to wait.
    wait: Option<Duration>,
}

impl Found {
    /// True if the parts of the phrase stand in the text in their order.
    fn has(&self, phrase: &Phrase) -> bool {
        let mut from = 0;
        phrase.parts.iter().all(|&part| match self.places[part].iter().find(|(start, _)| *start >= from) {
            Some((_, end)) => {
                from = *end;
                true
            }
            None => false,
        })
    }
}

impl Table {
    /// Reads it. The error says what is wrong with which entry.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut parts = Parts::default();
        let mut entries = Vec::with_capacity(raw.answer.len());
        for answer in raw.answer {
            let name = answer.name.clone();
            entries.push(Entry::read(answer, &mut parts).map_err(|error| format!("{name}: {error}"))?);
        }
        let statuses = raw.status.into_iter().map(|code| Code::read(code, StatusPattern::read));
        let codes = raw.code.into_iter().map(|code| Code::read(code, CodePattern::read));
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&parts.texts);
        Ok(Self {
            entries,
            statuses: statuses.collect::<Result<_, _>>()?,
            codes: codes.collect::<Result<_, _>>()?,
            next: raw.kind.into_iter().map(|(kind, raw)| (kind, raw.next)).collect(),
            parts: automaton.map_err(|error| error.to_string())?,
            edges: parts.edges,
        })
    }

    /// What the answer means; `None` for one that refuses nothing.
    pub(super) fn meaning(&self, reply: &Reply) -> Option<Meaning<'_>> {
        if reply.code < 400 {
            return None;
        }
        let found = self.find(&reply.text);
        let wait = found.wait.filter(|_| reply.code < 500);
        if let Some(entry) = self.entries.iter().find(|entry| entry.fits(reply, &found)) {
            let known_by = if entry.is_guess { KnownBy::Guess } else { KnownBy::Words };
            return Some(Meaning {
                name: &entry.name,
                known_by,
                kind: entry.kind,
                provider: entry.provider.as_deref(),
                meaning: &entry.meaning,
                next_step: entry.next.as_deref().unwrap_or_else(|| self.next(entry.kind)),
                ask: entry.ask.as_deref(),
                wait,
                matched: entry.phrases.iter().find(|phrase| found.has(phrase)).map_or("", |phrase| &phrase.text),
            });
        }
        let by_status = reply
            .enhanced
            .and_then(|status| self.statuses.iter().find(|code| code.pattern.fits(status) && code.is_at(reply.stage)));
        if let Some(code) = by_status {
            return Some(self.of_code(code, KnownBy::Status, wait));
        }
        let code = self.codes.iter().find(|code| code.pattern.fits(reply.code) && code.is_at(reply.stage))?;
        Some(self.of_code(code, KnownBy::Code, wait))
    }

    fn of_code<'table, P>(
        &'table self,
        code: &'table Code<P>,
        known_by: KnownBy,
        wait: Option<Duration>,
    ) -> Meaning<'table> {
        Meaning {
            name: &code.name,
            known_by,
            kind: code.kind,
            provider: None,
            meaning: &code.meaning,
            next_step: code.next.as_deref().unwrap_or_else(|| self.next(code.kind)),
            ask: None,
            wait,
            matched: "",
        }
    }

    fn next(&self, kind: AnswerKind) -> &str {
        self.next.get(&kind).map_or("", String::as_str)
    }

    /// Where the parts are, at ends of words where they have to be.
    fn find(&self, text: &str) -> Found {
        let lower = without_addresses(text).to_ascii_lowercase();
        let mut places = vec![Vec::new(); self.edges.len()];
        for part in self.parts.find_overlapping_iter(&lower) {
            let (which, start, end) = (part.pattern().as_usize(), part.start(), part.end());
            let edges = self.edges[which];
            let is_whole = (!edges.start || is_edge(text, start)) && (!edges.end || is_edge(text, end));
            if is_whole && places[which].len() < PLACES {
                places[which].push((start, end));
            }
        }
        Found { places, wait: wait(&lower) }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The names of all entries that fit.
    #[cfg(test)]
    pub(super) fn all_that_fit(&self, reply: &Reply) -> Vec<&Entry> {
        let found = self.find(&reply.text);
        self.entries.iter().filter(|entry| entry.fits(reply, &found)).collect()
    }

    #[cfg(test)]
    pub(super) fn has_next(&self, kind: AnswerKind) -> bool {
        !self.next(kind).is_empty()
    }
}

/// The text with blanks in the place of each `<a@example.net>`: a domain says nothing of
/// what the answer is about.
fn without_addresses(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        clean.push_str(before);
        let end = after.find(|c: char| c == '>' || c == '<' || c.is_ascii_whitespace()).unwrap_or(after.len());
        if after[..end].contains('@') {
            clean.extend(std::iter::repeat_n(' ', 1 + end));
        } else {
            clean.push('<');
            clean.push_str(&after[..end]);
        }
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

/// Whether a word ends or begins here. OpenSMTPD joins lines without a blank: `listedSee`.
fn is_edge(text: &str, at: usize) -> bool {
    let (Some(before), Some(after)) = (text[..at].bytes().next_back(), text[at..].bytes().next()) else { return true };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric();
    !(is_word(before) && is_word(after)) || before.is_ascii_lowercase() && after.is_ascii_uppercase()
}

impl Entry {
    fn read(raw: RawAnswer, parts: &mut Parts) -> Result<Self, String> {
        if raw.words.is_empty() && raw.enhanced.is_empty() {
            return Err("missing words: expected words, or an enhanced code".to_owned());
        }
        let codes = raw.code.iter().map(|code| CodePattern::read(code));
        let statuses = raw.enhanced.iter().map(|code| StatusPattern::read(code));
        Ok(Self {
            name: raw.name,
            provider: raw.provider,
            kind: raw.kind,
            is_guess: raw.guess,
            has_wait: raw.wait,
            codes: codes.collect::<Result<_, _>>()?,
            statuses: statuses.collect::<Result<_, _>>()?,
            stages: raw.at,
            phrases: parts.phrases(&raw.words)?,
            unless: parts.phrases(&raw.unless)?,
            meaning: raw.meaning,
            next: raw.next,
            ask: raw.ask,
            examples: raw.examples,
            before: raw.before,
        })
    }

    fn fits(&self, reply: &Reply, found: &Found) -> bool {
        let any = |phrases: &[Phrase]| phrases.iter().any(|phrase| found.has(phrase));
        (self.codes.is_empty() || self.codes.iter().any(|code| code.fits(reply.code)))
            && (self.statuses.is_empty()
                || reply.enhanced.is_some_and(|status| self.statuses.iter().any(|pattern| pattern.fits(status))))
            && (self.stages.is_empty() || reply.stage.is_some_and(|stage| self.stages.contains(&stage)))
            && (!self.has_wait || found.wait.is_some())
            && (self.phrases.is_empty() || any(&self.phrases))
            && !any(&self.unless)
    }
}

impl<P> Code<P> {
    fn read(raw: RawCode, read: fn(&str) -> Result<P, String>) -> Result<Self, String> {
        let pattern = read(&raw.code)?;
        let RawCode { code, at, kind, meaning, next } = raw;
        Ok(Self { name: code, pattern, stages: at, kind, meaning, next })
    }

    /// True if it is meant for this command, or for any.
    fn is_at(&self, stage: Option<Stage>) -> bool {
        self.stages.is_empty() || stage.is_some_and(|stage| self.stages.contains(&stage))
    }
}
