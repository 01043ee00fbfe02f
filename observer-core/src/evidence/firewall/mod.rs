//! What this host's own firewall does with a SYN, read from its rules: evidence, never a
//! change.
//!
//! [`walk`] follows one flow through every chain on its way, in the kernel's order, and has
//! three answers: it passes, a rule stops it, or that cannot be known, and on what it
//! depends. A rule that may accept makes what follows uncertain.

mod condition;
mod course;
mod hook;
mod ipset;
mod iptables;
mod nft;
mod owner;
mod packet;

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

pub use self::condition::Condition;
use self::condition::Match;
use self::course::Walk;
use self::hook::{Base, TRACKING};
use self::ipset::IpSets;
use self::iptables::Save;
use self::nft::Ruleset;
use self::packet::{Packet, Tracking};
use crate::sanitize::sanitize;

/// A SYN on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Where from, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<IpAddr>,
    /// Where to.
    pub dst: IpAddr,
    /// Destination port.
    pub port: u16,
    /// The interface by which it leaves, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The user whose socket it is, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group whose socket it is, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Which way it takes.
    pub way: Way,
}

/// Which way a SYN takes through a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A program of the host itself sends it.
    #[default]
    Out,
    /// The host forwards it for a container or another network namespace.
    Through {
        /// The interface by which it comes in, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
}

/// What the tools list.
#[derive(Clone, Debug, Default)]
pub struct Listings {
    /// `nft -j list ruleset`.
    pub nft_json: String,
    /// `nft -a list ruleset`: the rules' own words, and what the JSON lacks.
    pub nft_text: String,
    /// `iptables-save`.
    pub iptables: String,
    /// `iptables-legacy-save`.
    pub iptables_legacy: String,
    /// `ip6tables-save`.
    pub ip6tables: String,
    /// `ip6tables-legacy-save`.
    pub ip6tables_legacy: String,
    /// `ipset save`.
    pub ipset: String,
    /// What could not be listed: then nothing passes for certain.
    pub not_listed: Vec<String>,
}

impl Listings {
    /// Whether rules ask about sets of ipset(8).
    pub fn has_sets(&self) -> bool {
        [&self.iptables, &self.iptables_legacy, &self.ip6tables, &self.ip6tables_legacy]
            .iter()
            .any(|save| save.contains("--match-set "))
    }
}

/// What becomes of a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// No rule stops it.
    Passes,
    /// A rule stops it.
    Stopped,
    /// It depends on what cannot be known here.
    #[default]
    Unknown,
}

/// What the rules say of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// What becomes of it.
    pub answer: Answer,
    /// The rules that stop it, or may; those that surely do first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The rules that send it elsewhere, or may; those that surely do first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<Finding>,
    /// Listings that could not be read, and why.
    #[serde(skip)]
    pub unreadable: Vec<String>,
}

/// A rule that stops the SYN or sends it elsewhere, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `nft`, `iptables`, `iptables-legacy`, `ip6tables` or `ip6tables-legacy`.
    pub tool: &'static str,
    /// The table and the chain.
    pub chain: String,
    /// The rule as the tool lists it, or the chain's policy.
    pub rule: String,
    /// What it does: `drop`, `reject`, `redirect to port 2525`...
    pub verdict: String,
    /// False if that depends on what cannot be known here.
    pub is_certain: bool,
    /// On what it depends; none if it is certain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The program that keeps these rules, where their names tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'static str>,
}

impl fmt::Display for Finding {
    /// `by nft, inet filter output, of ufw: tcp dport 25 drop`. The rule's words are
    /// hostile.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may = if self.is_certain { "" } else { "perhaps " };
        write!(f, "{may}by {}, {}", self.tool, sanitize(&self.chain))?;
        if let Some(owner) = self.owner {
            write!(f, ", of {owner}")?;
        }
        write!(f, ": {}", sanitize(&self.rule))?;
        for (nth, condition) in self.conditions.iter().enumerate() {
            write!(f, "{}{condition}", if nth == 0 { " (it depends on " } else { ", " })?;
        }
        if self.conditions.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// Rules that are reported at most, of each kind.
const AT_MOST: usize = 8;
/// A rule's text is cut here, in characters.
const TEXT: usize = 300;

/// Follows a flow through the rules.
pub fn walk(listings: &Listings, flow: &Flow) -> Walked {
    let mut unreadable = not_listed(listings, flow);
    let sets = IpSets::read(&listings.ipset);
    let saves = saves(listings, flow, &sets);
    let ruleset = match Ruleset::read(&listings.nft_json, &listings.nft_text) {
        Ok(ruleset) => {
            if ruleset.is_unread {
                unreadable.push("nft -j list ruleset: an object that is not understood".to_owned());
            }
            Some(ruleset)
        }
        Err(error) => {
            unreadable.push(format!("nft -j list ruleset: {error}"));
            None
        }
    };
    let is_listed = |table: &str, chain: &str| saves.iter().any(|save| save.has_of_nft(table, chain));
    let mut bases: Vec<Base<'_>> = saves.iter().enumerate().flat_map(|(source, save)| save.bases(source)).collect();
    bases.extend(ruleset.iter().flat_map(|ruleset| ruleset.bases(flow.dst.is_ipv4(), saves.len(), &is_listed)));
    bases.retain_mut(|base| base.hook.on(&flow.way).map(|hook| base.hook = hook).is_some());
    bases.sort_by_key(|base| (base.hook, base.position));

    let mut walk = Walk::new(Packet::new(flow));
    let mut hook = None;
    for base in &bases {
        if hook != Some(base.hook) {
            enter(&mut walk.packet, base);
            hook = Some(base.hook);
        }
        if base.hook.tracks() && base.position.0 >= TRACKING && walk.packet.tracking == Tracking::Before {
            walk.packet.track();
        }
        let entry = entry(base, &walk.packet);
        match (saves.get(base.source), &ruleset) {
            (Some(save), _) => save.walk(base, entry, &mut walk),
            (None, Some(ruleset)) => ruleset.walk(base, entry, &mut walk),
            (None, None) => {}
        }
        if walk.is_stopped || walk.is_cut_short {
            break;
        }
    }
    if walk.is_cut_short {
        unreadable.push("the firewall's rules are too many, or lead into each other: not all were followed".to_owned());
    }
    walked(walk, unreadable)
}

/// What is not listed and could stop the flow.
fn not_listed(listings: &Listings, flow: &Flow) -> Vec<String> {
    let (other_family, text, legacy, tool) = match flow.dst {
        IpAddr::V4(_) => ("ip6tables", &listings.iptables, &listings.iptables_legacy, "iptables-legacy-save"),
        IpAddr::V6(_) => ("iptables", &listings.ip6tables, &listings.ip6tables_legacy, "ip6tables-legacy-save"),
    };
    let mut all: Vec<String> =
        listings.not_listed.iter().filter(|what| !what.starts_with(other_family)).cloned().collect();
    let has_legacy =
        || text.lines().any(|line| line.starts_with("# Warning: ") && line.contains("-legacy tables present"));
    if legacy.trim().is_empty() && has_legacy() {
        all.push(format!("{tool}: not listed, and its tables are in use"));
    }
    if listings.nft_json.trim().is_empty() && listings.nft_text.lines().any(|line| line.starts_with("table ")) {
        all.push("nft -j list ruleset: empty, and nft -a list ruleset lists tables".to_owned());
    }
    all
}

/// The listings of iptables for this family.
fn saves<'a>(listings: &'a Listings, flow: &Flow, sets: &'a IpSets<'a>) -> Vec<Save<'a>> {
    let (names, texts) = match flow.dst {
        IpAddr::V4(_) => (["iptables", "iptables-legacy"], [&listings.iptables, &listings.iptables_legacy]),
        IpAddr::V6(_) => (["ip6tables", "ip6tables-legacy"], [&listings.ip6tables, &listings.ip6tables_legacy]),
    };
    names.into_iter().zip(texts).map(|(name, text)| Save::read(name, text, sets)).collect()
}

/// A hook's rules see interfaces; tracking began in a hook before.
fn enter(packet: &mut Packet<'_>, base: &Base<'_>) {
    packet.enter(base.hook.sees_out(), base.hook.is_of_bridge());
    if base.hook.is_local() {
        packet.come_back();
    }
    if base.hook.is_tracked() && packet.tracking == Tracking::Before {
        packet.track();
    }
}

/// The first chain that changes a destination is the last of them that is asked.
fn entry(base: &Base<'_>, packet: &Packet<'_>) -> Match {
    match base.hook {
        // The destination was settled on the way out.
        hook if hook.is_local() && base.is_nat => Match::No,
        hook if hook.is_local() => packet.is_for_this_host(),
        hook if hook.is_of_bridge() => packet.is_bridged(hook.sees_out()),
        _ if !base.is_nat => Match::Yes,
        hook::Hook::Postrouting => packet.is_masqueraded.negated_if(true),
        _ => packet.is_redirected.negated_if(true),
    }
}

fn walked(walk: Walk<'_>, unreadable: Vec<String>) -> Walked {
    let best = |mut found: Vec<Finding>| {
        found.sort_by_key(|finding| !finding.is_certain);
        found.truncate(AT_MOST);
        found
    };
    let (findings, redirects) = (best(walk.found), best(walk.redirects));
    let answer = if walk.is_stopped {
        Answer::Stopped
    } else if findings.is_empty() && unreadable.is_empty() {
        Answer::Passes
    } else {
        Answer::Unknown
    };
    Walked { answer, findings, redirects, unreadable }
}

fn cut(text: &str) -> String {
    let text = text.trim();
    text.char_indices().nth(TEXT).map_or_else(|| text.to_owned(), |(at, _)| format!("{}...", &text[..at]))
}

#[cfg(test)]
mod tests;
