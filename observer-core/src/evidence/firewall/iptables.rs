//! Rules as `iptables-save` and `ip6tables-save` list them: iptables-save(8),
//! iptables-extensions(8).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{DEPTH, End, Finding, Flow, Match, cut, owner, spend};

/// Tables that a SYN on its way out passes, in this order; nat's rules drop nothing.
const TABLES: [&str; 4] = ["raw", "mangle", "filter", "security"];

struct Chain<'a> {
    policy: Option<&'a str>,
    rules: Vec<&'a str>,
}

type Chains<'a> = BTreeMap<&'a str, Chain<'a>>;

/// The tables that are listed.
pub(super) fn tables(save: &str) -> Vec<String> {
    save.lines().filter_map(|line| line.strip_prefix('*')).map(|name| name.trim().to_owned()).collect()
}

pub(super) fn findings(save: &str, flow: &Flow, left: &mut usize) -> Vec<Finding> {
    let tables = parse(save);
    let tool = if flow.dst.is_ipv4() { "iptables" } else { "ip6tables" };
    let mut found = Vec::new();
    for table in TABLES {
        let Some(chains) = tables.get(table) else { continue };
        for hook in ["OUTPUT", "POSTROUTING"] {
            let Some(chain) = chains.get(hook) else { continue };
            let mut walk = Walk { table, tool, chains, flow, found: &mut found, left };
            if walk.chain(hook, Match::Yes, 0) == End::Through
                && *walk.left > 0
                && let Some(policy @ ("DROP" | "REJECT")) = chain.policy
            {
                walk.find(hook, &format!("policy {policy}"), policy, Match::Yes);
            }
        }
    }
    found
}

fn parse(save: &str) -> BTreeMap<&str, Chains<'_>> {
    let mut tables: BTreeMap<&str, Chains<'_>> = BTreeMap::new();
    let mut table = "";
    for line in save.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let (Some(name), Some(policy)) = (words.next(), words.next()) else { continue };
            let policy = (policy != "-").then_some(policy);
            tables.entry(table).or_default().insert(name, Chain { policy, rules: Vec::new() });
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split_whitespace().next().unwrap_or_default();
            if let Some(chain) = tables.entry(table).or_default().get_mut(name) {
                chain.rules.push(line);
            }
        }
    }
    tables
}

struct Walk<'a> {
    table: &'a str,
    tool: &'static str,
    chains: &'a Chains<'a>,
    flow: &'a Flow,
    found: &'a mut Vec<Finding>,
    /// Rules that may still be looked at.
    left: &'a mut usize,
}

impl Walk<'_> {
    fn chain(&mut self, name: &str, so_far: Match, depth: usize) -> End {
        let Some(chain) = self.chains.get(name).filter(|_| depth < DEPTH) else { return End::Through };
        for rule in &chain.rules {
            if !spend(self.left) {
                return End::Through;
            }
            let (matches, target) = examine(rule, self.flow);
            let matches = so_far.and(matches);
            if matches == Match::No {
                continue;
            }
            let is_certain = matches == Match::Yes;
            match target {
                Some(("ACCEPT", _)) if is_certain => return End::Decided,
                Some((target @ ("DROP" | "REJECT"), _)) => {
                    self.find(name, rule, target, matches);
                    if is_certain {
                        return End::Decided;
                    }
                }
                Some(("RETURN", _)) if is_certain => return End::Through,
                Some((target, is_goto)) if self.chains.contains_key(target) => {
                    if self.chain(target, matches, depth + 1) == End::Decided && is_certain {
                        return End::Decided;
                    }
                    if is_goto && is_certain {
                        return End::Through;
                    }
                }
                _ => {}
            }
        }
        End::Through
    }

    fn find(&mut self, chain: &str, rule: &str, verdict: &str, matches: Match) {
        self.found.push(Finding {
            tool: self.tool,
            chain: format!("{} {chain}", self.table),
            rule: cut(rule),
            verdict: verdict.to_lowercase(),
            is_certain: matches == Match::Yes,
            owner: owner(self.table, chain),
        });
    }
}

/// Whether a rule matches, and its target, and whether that is `-g`.
fn examine<'a>(rule: &'a str, flow: &Flow) -> (Match, Option<(&'a str, bool)>) {
    let mut words = rule.split_whitespace().skip(2);
    let (mut matches, mut target, mut is_negated) = (Match::Yes, None, false);
    while let Some(word) = words.next() {
        let is_this_negated = std::mem::take(&mut is_negated);
        let matched = match word {
            "!" => {
                is_negated = true;
                continue;
            }
            // What belongs to the target comes after it, and says nothing of a match.
            "-j" | "-g" => {
                target = words.next().map(|name| (name, word == "-g"));
                break;
            }
            // Its options follow; tcp, udp and comment have no other condition.
            "-m" => match words.next() {
                Some("tcp" | "udp" | "multiport" | "comment" | "conntrack" | "state" | "iprange") => continue,
                _ => Match::Maybe,
            },
            "--comment" => {
                skip_quoted(&mut words);
                continue;
            }
            "-p" => {
                words.next().map_or(Match::Maybe, |protocol| Match::of(matches!(protocol, "tcp" | "all" | "6" | "0")))
            }
            "-d" => address(words.next(), Some(flow.dst)),
            "-s" => address(words.next(), flow.src),
            "-o" => interface(words.next(), flow),
            // On the way out there is none.
            "-i" => Match::No,
            "--dport" | "--dports" => ports(words.next(), flow.port),
            "--ctstate" | "--state" => {
                words.next().map_or(Match::Maybe, |states| Match::of(states.split(',').any(|state| state == "NEW")))
            }
            _ => Match::Maybe,
        };
        matches = matches.and(matched.negated_if(is_this_negated));
    }
    (matches, target)
}

fn skip_quoted<'a>(words: &mut impl Iterator<Item = &'a str>) {
    let Some(first) = words.next() else { return };
    if first.starts_with('"') && (first.len() == 1 || !first.ends_with('"')) {
        while words.next().is_some_and(|word| !word.ends_with('"')) {}
    }
}

fn address(word: Option<&str>, address: Option<IpAddr>) -> Match {
    let (Some(word), Some(address)) = (word, address) else { return Match::Maybe };
    let network = word.parse::<IpNet>().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from));
    network.map_or(Match::Maybe, |network| Match::of(network.contains(&address)))
}

fn interface(word: Option<&str>, flow: &Flow) -> Match {
    let (Some(word), Some(interface)) = (word, flow.interface.as_deref()) else { return Match::Maybe };
    let prefix = word.strip_suffix('+');
    Match::of(prefix.map_or(word == interface, |prefix| interface.starts_with(prefix)))
}

/// `25`, `25,587`, `1:1024`.
fn ports(word: Option<&str>, port: u16) -> Match {
    let Some(word) = word else { return Match::Maybe };
    let within = |part: &str| -> Option<bool> {
        match part.split_once(':') {
            Some((low, high)) => {
                let low = if low.is_empty() { 0 } else { low.parse().ok()? };
                let high = if high.is_empty() { u16::MAX } else { high.parse().ok()? };
                Some((low..=high).contains(&port))
            }
            None => Some(part.parse::<u16>().ok()? == port),
        }
    };
    let parts: Option<Vec<bool>> = word.split(',').map(within).collect();
    parts.map_or(Match::Maybe, |parts| Match::of(parts.contains(&true)))
}
