//! What this host's own firewall does with a SYN, read from its rules: evidence, never a
//! change.
//!
//! A rule can match on what cannot be known here, such as a rate or a mark: then it may
//! stop the SYN, and that is what is said.

mod iptables;
mod nft;

use std::net::IpAddr;

use serde::Serialize;

/// A SYN on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where from, where it is known.
    pub src: Option<IpAddr>,
    /// Where to.
    pub dst: IpAddr,
    /// Destination port.
    pub port: u16,
    /// The interface by which it leaves, where it is known.
    pub interface: Option<String>,
}

/// What the tools list.
#[derive(Clone, Debug, Default)]
pub struct Listings {
    /// `nft -j list ruleset`.
    pub nft_json: String,
    /// `nft -a list ruleset`, for the rules' own words.
    pub nft_text: String,
    /// `iptables-save`.
    pub iptables: String,
    /// `ip6tables-save`.
    pub ip6tables: String,
}

/// A rule that stops the SYN, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `nft`, `iptables` or `ip6tables`.
    pub tool: &'static str,
    /// The table and the chain.
    pub chain: String,
    /// The rule as the tool lists it, or the chain's policy.
    pub rule: String,
    /// What it does: `drop`, `reject`...
    pub verdict: String,
    /// False if it also matches on what cannot be known here.
    pub is_certain: bool,
    /// The program that keeps these rules, where their names tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'static str>,
}

/// Rules that are reported at most.
const AT_MOST: usize = 8;
/// A rule's text is cut here, in characters.
const TEXT: usize = 300;

/// Every rule that stops this SYN, or may, those that surely do first. Listings that
/// cannot be read have none: the second value says so.
pub fn findings(listings: &Listings, flow: &Flow) -> (Vec<Finding>, Vec<String>) {
    let mut unreadable = Vec::new();
    let save = if flow.dst.is_ipv4() { &listings.iptables } else { &listings.ip6tables };
    let mut left = RULES;
    let mut found = iptables::findings(save, flow, &mut left);
    match nft::findings(&listings.nft_json, &listings.nft_text, &iptables::tables(save), flow, &mut left) {
        Ok(more) => found.extend(more),
        Err(error) => unreadable.push(format!("nft -j list ruleset: {error}")),
    }
    if left == 0 {
        unreadable
            .push(format!("the firewall's chains lead into each other: {RULES} rules were followed, and not all"));
    }
    found.sort_by_key(|finding| !finding.is_certain);
    found.truncate(AT_MOST);
    (found, unreadable)
}

/// Chains in chains that are followed; the tools themselves forbid loops.
const DEPTH: usize = 16;

/// Rules that are looked at, each as often as a chain leads to it.
const RULES: usize = 100_000;

/// False if as many rules have been looked at as there may be.
fn spend(left: &mut usize) -> bool {
    let Some(less) = left.checked_sub(1) else { return false };
    *left = less;
    true
}

/// How a walk through a chain ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// No rule decided for certain.
    Through,
    /// It was accepted, dropped or rejected for certain.
    Decided,
}

/// Whether something matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// It depends on what cannot be known here.
    Maybe,
}

impl Match {
    fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    fn negated_if(self, is_negated: bool) -> Self {
        match self {
            Self::Yes if is_negated => Self::No,
            Self::No if is_negated => Self::Yes,
            same => same,
        }
    }
}

/// How a rule's text begins with, or its chain is called, tells who wrote it.
fn owner(table: &str, chain: &str) -> Option<&'static str> {
    const CSF: [&str; 6] = ["LOCALOUTPUT", "SMTPOUTPUT", "DENYOUT", "ALLOWOUT", "LOGDROPOUT", "GDENYOUT"];
    if chain.starts_with("ufw-") || chain.starts_with("ufw6-") {
        Some("ufw")
    } else if table == "firewalld" || chain.starts_with("filter_OUT") || chain.ends_with("_direct") {
        Some("firewalld")
    } else if CSF.contains(&chain) {
        Some("CSF")
    } else if chain.starts_with("f2b-") {
        Some("fail2ban")
    } else if chain.starts_with("DOCKER") {
        Some("Docker")
    } else {
        None
    }
}

fn cut(text: &str) -> String {
    let text = text.trim();
    text.char_indices().nth(TEXT).map_or_else(|| text.to_owned(), |(at, _)| format!("{}...", &text[..at]))
}

#[cfg(test)]
mod tests;
