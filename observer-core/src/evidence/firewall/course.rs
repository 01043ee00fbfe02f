//! The way of a SYN through chains of rules, whatever tool wrote them.
//!
//! An accept ends its own base chain, a drop ends everything. Where a rule may accept, or
//! may return, what follows is uncertain, and says on what it depends.

use std::net::IpAddr;

use super::condition::{Condition, Conditions, Known, Match};
use super::packet::Packet;
use super::{AT_MOST, Finding, cut};

/// Chains in chains that are followed; the tools themselves forbid loops.
const DEPTH: usize = 64;
/// Rules that are looked at, each as often as a chain leads to it.
const RULES: usize = 200_000;
/// Members of sets that are compared with.
const MEMBERS: usize = 2_000_000;
/// Bytes of rules that are taken apart, each as often as it is looked at.
const BYTES: usize = 64 << 20;
/// Bytes of sets that are taken apart.
const BYTES_OF_SETS: usize = 512 << 20;

/// A set of chains in one language.
pub(super) trait Rules {
    type Chain<'c>: Copy
    where
        Self: 'c;
    type Rule;

    /// How long a rule is, in bytes.
    fn size(rule: &Self::Rule) -> usize;

    /// The rules of a chain, in order; none: it is not listed.
    fn rules<'c>(&'c self, chain: Self::Chain<'c>) -> Option<&'c [Self::Rule]>;

    /// Does what a rule does to the packet.
    fn apply<'c>(
        &'c self,
        chain: Self::Chain<'c>,
        rule: &'c Self::Rule,
        walk: &mut Walk<'_>,
        frame: &mut Frame,
    ) -> Step;
}

/// A chain that is being followed.
pub(super) struct Frame {
    /// On what it depends that it is reached.
    entry: Conditions,
    /// On what it depends that a rule before returned.
    returned: Conditions,
    depth: usize,
}

/// What comes after a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next rule.
    Next,
    /// What comes after the chain.
    Return,
    /// Nothing: it was accepted or dropped.
    End,
}

/// How a walk through a chain ended, if the chain was reached at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What comes after the chain may be reached.
    Through,
    /// It was accepted or dropped.
    Decided,
}

/// What a rule does where it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Accept,
    /// It goes no further, by this word.
    Stop(&'a str),
    Return,
    /// A program accepts or drops it.
    Ask(&'a str),
    /// What it does is not understood.
    Any(&'a str),
}

/// Which rule it is, for people.
pub(super) trait Named {
    fn finding(&self) -> Finding;
}

/// Whether the destination and the port become these.
type Change = (Match, Option<Known<IpAddr>>, Option<Known<u16>>);

pub(super) struct Walk<'a> {
    pub(super) packet: Packet<'a>,
    pub(super) found: Vec<Finding>,
    pub(super) redirects: Vec<Finding>,
    /// A rule stopped it for certain.
    pub(super) is_stopped: bool,
    /// More was to be looked at than may be.
    pub(super) is_cut_short: bool,
    /// On what it depends that a rule of this base chain accepted it.
    accepted: Conditions,
    /// What becomes of the destination once this base chain is left.
    pending: Vec<Change>,
    rules: usize,
    bytes: usize,
    members: usize,
    bytes_of_sets: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(packet: Packet<'a>) -> Self {
        Self {
            packet,
            found: Vec::new(),
            redirects: Vec::new(),
            is_stopped: false,
            is_cut_short: false,
            accepted: Conditions::NONE,
            pending: Vec::new(),
            rules: RULES,
            bytes: BYTES,
            members: MEMBERS,
            bytes_of_sets: BYTES_OF_SETS,
        }
    }

    /// False if as many members of sets have been compared with as there may be.
    pub(super) fn spend_member(&mut self) -> bool {
        match self.members.checked_sub(1) {
            Some(less) => self.members = less,
            None => self.is_cut_short = true,
        }
        !self.is_cut_short
    }

    /// False if as much of sets has been taken apart as may be.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> bool {
        match self.bytes_of_sets.checked_sub(bytes) {
            Some(less) => self.bytes_of_sets = less,
            None => self.is_cut_short = true,
        }
        !self.is_cut_short
    }

    /// Goes through a base chain. `stops` is its policy, if that drops.
    pub(super) fn base<'c, R: Rules>(
        &mut self,
        rules: &'c R,
        chain: R::Chain<'c>,
        entry: Match,
        stops: Option<&dyn Named>,
    ) {
        self.accepted = Conditions::NONE;
        if entry == Match::No {
            return;
        }
        let entry = entry.conditions();
        let end = self.chain(rules, chain, entry, 0);
        for (matches, dst, port) in std::mem::take(&mut self.pending) {
            self.packet.redirect(matches, dst, port);
        }
        if end == End::Decided || self.is_stopped {
            return;
        }
        if let Some(policy) = stops {
            let frame = Frame { entry, returned: Conditions::NONE, depth: 0 };
            self.find(&frame, Match::Yes, "drop", policy);
        }
    }

    fn chain<'c, R: Rules>(&mut self, rules: &'c R, chain: R::Chain<'c>, entry: Conditions, depth: usize) -> End {
        let mut frame = Frame { entry, returned: Conditions::NONE, depth };
        for rule in rules.rules(chain).unwrap_or_default() {
            let less = self.rules.checked_sub(1).zip(self.bytes.checked_sub(R::size(rule)));
            let Some((rules_left, bytes_left)) = less.filter(|_| !self.is_cut_short) else {
                self.give_up();
                return End::Through;
            };
            (self.rules, self.bytes) = (rules_left, bytes_left);
            match rules.apply(chain, rule, self, &mut frame) {
                Step::Next => {}
                Step::Return => return End::Through,
                Step::End if frame.returned.is_empty() => return End::Decided,
                Step::End => return End::Through,
            }
        }
        End::Through
    }

    /// What follows is uncertain, as what came before is not known in full.
    fn give_up(&mut self) {
        self.is_cut_short = true;
        self.accepted = self.accepted.with(Condition::Listing.into());
    }

    /// Follows a jump, or a goto.
    pub(super) fn jump<'c, R: Rules>(
        &mut self,
        rules: &'c R,
        chain: R::Chain<'c>,
        frame: &mut Frame,
        matches: Match,
        is_goto: bool,
    ) -> Step {
        if matches == Match::No {
            return Step::Next;
        }
        if frame.depth >= DEPTH {
            self.give_up();
            return Step::Next;
        }
        let entry = frame.entry.with(frame.returned).with(matches.conditions());
        let end = self.chain(rules, chain, entry, frame.depth + 1);
        match (matches, end) {
            (Match::Yes, End::Decided) => Step::End,
            (Match::Yes, End::Through) if is_goto => Step::Return,
            (Match::Maybe(why), _) if is_goto => {
                frame.returned = frame.returned.with(why);
                Step::Next
            }
            _ => Step::Next,
        }
    }

    /// Does what a rule says.
    pub(super) fn verdict(
        &mut self,
        frame: &mut Frame,
        matches: Match,
        verdict: Verdict<'_>,
        rule: &dyn Named,
    ) -> Step {
        match (verdict, matches) {
            (_, Match::No) => return Step::Next,
            (Verdict::Return, Match::Yes) => return Step::Return,
            (Verdict::Return, Match::Maybe(why)) => {
                frame.returned = frame.returned.with(why);
                return Step::Next;
            }
            (Verdict::Accept, _) => self.may_be_accepted(frame, matches.conditions()),
            (Verdict::Stop(word), _) => self.find(frame, matches, word, rule),
            (Verdict::Ask(word), _) => {
                let matches = matches.and(Match::maybe(Condition::Program));
                self.find(frame, matches, word, rule);
                self.may_be_accepted(frame, matches.conditions());
            }
            (Verdict::Any(word), _) => {
                let matches = matches.and(Match::maybe(Condition::Extension));
                self.find(frame, matches, word, rule);
                self.may_be_accepted(frame, matches.conditions());
                return Step::Next;
            }
        }
        if matches == Match::Yes { Step::End } else { Step::Next }
    }

    /// Where it goes instead: the destination or the port that become others.
    pub(super) fn redirect(
        &mut self,
        frame: &mut Frame,
        matches: Match,
        (dst, port): (Option<Known<IpAddr>>, Option<Known<u16>>),
        word: &str,
        rule: &dyn Named,
    ) -> Step {
        if let Some(change) = self.change(frame, matches, (dst, port), word, rule) {
            self.pending.push(change);
        }
        self.verdict(frame, matches, Verdict::Accept, rule)
    }

    /// The same at once, and the next rule follows.
    pub(super) fn rewrite(
        &mut self,
        frame: &Frame,
        matches: Match,
        to: (Option<Known<IpAddr>>, Option<Known<u16>>),
        word: &str,
        rule: &dyn Named,
    ) {
        if let Some((matches, dst, port)) = self.change(frame, matches, to, word, rule) {
            self.packet.redirect(matches, dst, port);
        }
    }

    fn change(
        &mut self,
        frame: &Frame,
        matches: Match,
        (dst, port): (Option<Known<IpAddr>>, Option<Known<u16>>),
        word: &str,
        rule: &dyn Named,
    ) -> Option<Change> {
        let all = self.reach(frame, matches);
        let is_changed =
            dst.is_some_and(|dst| dst != self.packet.dst) || port.is_some_and(|port| port != self.packet.port);
        if all == Match::No || !is_changed {
            return None;
        }
        let certain = self.redirects.iter().filter(|redirect| redirect.is_certain).count();
        if self.redirects.len() < AT_MOST || all == Match::Yes && certain < AT_MOST {
            self.redirects.push(finding(rule, word, all));
        }
        Some((all, dst, port))
    }

    /// The source becomes another.
    pub(super) fn masquerade(
        &mut self,
        frame: &mut Frame,
        matches: Match,
        src: Known<IpAddr>,
        rule: &dyn Named,
    ) -> Step {
        let all = self.reach(frame, matches);
        self.packet.masquerade(all, src);
        self.verdict(frame, matches, Verdict::Accept, rule)
    }

    /// Whether a rule is reached and matches.
    pub(super) fn reach(&self, frame: &Frame, matches: Match) -> Match {
        let before = frame.entry.with(frame.returned).with(self.accepted);
        if before.is_empty() { matches } else { matches.and(Match::Maybe(before)) }
    }

    fn may_be_accepted(&mut self, frame: &Frame, why: Conditions) {
        self.accepted = self.accepted.with(frame.entry).with(frame.returned).with(why);
    }

    fn find(&mut self, frame: &Frame, matches: Match, word: &str, rule: &dyn Named) {
        let all = self.reach(frame, matches);
        self.is_stopped |= all == Match::Yes;
        if all == Match::Yes || all != Match::No && self.found.len() < AT_MOST {
            self.found.push(finding(rule, word, all));
        }
    }
}

fn finding(rule: &dyn Named, word: &str, matches: Match) -> Finding {
    let found = rule.finding();
    Finding {
        verdict: word.to_lowercase(),
        is_certain: matches == Match::Yes,
        conditions: matches.conditions().list(),
        rule: cut(&found.rule),
        ..found
    }
}
