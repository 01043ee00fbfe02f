//! What nft writes, taken apart as far as every walk needs it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Place;
use crate::evidence::firewall::condition::{Condition, Match};

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow, default)]
    nftables: Vec<&'a RawValue>,
}

/// An object with one key.
#[derive(Deserialize)]
pub(super) struct Object<'a> {
    pub(super) table: Option<TableObject<'a>>,
    #[serde(borrow)]
    pub(super) chain: Option<ChainObject<'a>>,
    #[serde(borrow)]
    pub(super) rule: Option<RuleObject<'a>>,
    #[serde(borrow)]
    pub(super) set: Option<SetObject<'a>>,
    #[serde(borrow)]
    pub(super) map: Option<SetObject<'a>>,
}

#[derive(Deserialize)]
pub(super) struct TableObject<'a> {
    pub(super) family: String,
    pub(super) name: String,
    #[serde(borrow)]
    flags: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct ChainObject<'a> {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) hook: Option<String>,
    #[serde(borrow)]
    pub(super) prio: Option<&'a RawValue>,
    pub(super) policy: Option<String>,
    #[serde(borrow)]
    pub(super) dev: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct RuleObject<'a> {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) handle: Option<u64>,
    #[serde(borrow)]
    pub(super) expr: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct SetObject<'a> {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) name: String,
    #[serde(borrow)]
    pub(super) elem: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) flags: Option<&'a RawValue>,
}

/// # Errors
/// If it is no JSON of this form.
pub(super) fn objects(json: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str::<Listing<'_>>(json).map(|listing| listing.nftables)
}

/// `"eth0"`, `["eth0", "eth1"]`.
pub(super) fn names(json: &str) -> Vec<String> {
    match serde_json::from_str(json) {
        Ok(Value::String(name)) => vec![name],
        Ok(Value::Array(names)) => names.into_iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

impl TableObject<'_> {
    /// Whether the table is asleep. nft up to 1.0.6 writes a wrong word for its flags;
    /// then the text tells.
    pub(super) fn is_dormant(&self, texts: &Texts<'_>) -> Match {
        let Some(flags) = self.flags else { return Match::No };
        let flags = names(flags.get());
        if flags.iter().any(|flag| flag == "dormant") {
            return Match::Yes;
        }
        if flags.iter().all(|flag| matches!(flag.as_str(), "owner" | "persist")) {
            return Match::No;
        }
        match texts.flags.get(&format!("{} {}", self.family, self.name)) {
            Some(flags) => Match::of(flags.split(',').any(|flag| flag.trim() == "dormant")),
            None => Match::maybe(Condition::Listing),
        }
    }
}

/// What only the text has, or has better.
#[derive(Default)]
pub(super) struct Texts<'a> {
    /// The lines that end in a handle, by chain.
    rules: BTreeMap<String, BTreeMap<u64, &'a str>>,
    /// By table.
    flags: BTreeMap<String, &'a str>,
    /// What comes after `hook HOOK`, by chain.
    hooks: BTreeMap<String, &'a str>,
}

impl<'a> Texts<'a> {
    /// Reads `nft -a list ruleset`.
    pub(super) fn read(text: &'a str) -> Self {
        let mut texts = Self::default();
        let (mut table, mut chain) = (String::new(), String::new());
        for line in text.lines() {
            let indent = line.bytes().take_while(|byte| *byte == b'\t').count();
            let line = line.trim();
            if indent == 0
                && let Some(header) = line.strip_prefix("table ")
            {
                table = header.split(" {").next().unwrap_or_default().to_owned();
                chain.clear();
            } else if indent == 1
                && let Some(header) = line.strip_prefix("chain ")
            {
                chain = format!("{table} {}", header.split(" {").next().unwrap_or_default());
            } else if indent == 1
                && let Some(flags) = line.strip_prefix("flags ")
            {
                texts.flags.insert(table.clone(), flags);
            } else if indent == 1 {
                chain.clear();
            } else if indent == 2 && !chain.is_empty() {
                if let Some((rule, handle)) = line.rsplit_once(" # handle ")
                    && let Ok(handle) = handle.parse()
                {
                    texts.rules.entry(chain.clone()).or_default().insert(handle, rule);
                } else if line.starts_with("type ")
                    && let Some((_, rest)) = line.split_once(" hook ")
                {
                    texts.hooks.entry(chain.clone()).or_insert(rest);
                }
            }
        }
        texts
    }

    pub(super) fn rule(&self, (family, table, chain): &Place, handle: u64) -> Option<&'a str> {
        self.rules.get(&format!("{family} {table} {chain}"))?.get(&handle).copied()
    }

    /// `egress device "eth0" priority`, `egress devices = { "eth0", "eth1" } priority`.
    pub(super) fn devices(&self, (family, table, chain): &Place) -> Vec<String> {
        let Some(hook) = self.hooks.get(&format!("{family} {table} {chain}")) else { return Vec::new() };
        let words = hook.split(" priority ").next().unwrap_or_default();
        let words = words.split(|sign: char| sign.is_whitespace() || matches!(sign, '"' | ',' | '{' | '}' | '=' | ';'));
        words
            .skip(1)
            .filter(|word| !word.is_empty() && !matches!(*word, "device" | "devices"))
            .map(str::to_owned)
            .collect()
    }
}
