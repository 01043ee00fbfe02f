//! Rules as `nft -j list ruleset` lists them: libnftables-json(5).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{DEPTH, End, Finding, Flow, Match, cut, owner, spend};

/// iptables' own tables, which iptables-save lists in words that its users know.
const OF_IPTABLES: [&str; 5] = ["filter", "mangle", "nat", "raw", "security"];

/// A table's family and name, and what is in it.
type Place<'a> = (&'a str, &'a str, &'a str);

struct Ruleset<'a> {
    /// Base chains on the way out: priority, place, policy.
    hooks: Vec<(i64, Place<'a>, Option<&'a str>)>,
    /// Rules by chain, in order.
    rules: BTreeMap<Place<'a>, Vec<&'a Value>>,
    /// Elements of sets, by place.
    sets: BTreeMap<Place<'a>, &'a Vec<Value>>,
    /// The rules' own words, by chain and handle.
    texts: BTreeMap<(String, u64), &'a str>,
}

pub(super) fn findings(
    json: &str,
    text: &str,
    of_iptables: &[String],
    flow: &Flow,
    left: &mut usize,
) -> Result<Vec<Finding>, serde_json::Error> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value = serde_json::from_str(json)?;
    let ruleset = Ruleset::read(&value, text, of_iptables, flow);
    let mut found = Vec::new();
    for &(_, place, policy) in &ruleset.hooks {
        let mut walk = Walk { ruleset: &ruleset, flow, found: &mut found, left };
        if walk.chain(place, Match::Yes, 0) == End::Through && *walk.left > 0 && policy == Some("drop") {
            walk.find(place, "policy drop", "drop", Match::Yes);
        }
    }
    Ok(found)
}

impl<'a> Ruleset<'a> {
    fn read(value: &'a Value, text: &'a str, of_iptables: &[String], flow: &Flow) -> Self {
        let mut ruleset = Self { hooks: Vec::new(), rules: BTreeMap::new(), sets: BTreeMap::new(), texts: texts(text) };
        let families: [&str; 3] = ["inet", if flow.dst.is_ipv4() { "ip" } else { "ip6" }, "netdev"];
        let objects = value.get("nftables").and_then(Value::as_array).into_iter().flatten();
        for object in objects {
            let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else { continue };
            let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
            let (family, table) = (word("family"), word("table"));
            let is_iptables = family != "inet" && OF_IPTABLES.contains(&table);
            if !families.contains(&family) || is_iptables && of_iptables.iter().any(|name| name == table) {
                continue;
            }
            match kind.as_str() {
                "chain" if matches!(word("hook"), "output" | "postrouting") && word("type") != "nat" => {
                    let priority = body.get("prio").and_then(Value::as_i64).unwrap_or_default();
                    let late = if word("hook") == "output" { 0 } else { 1 << 32 };
                    let policy = body.get("policy").and_then(Value::as_str);
                    ruleset.hooks.push((priority + late, (family, table, word("name")), policy));
                }
                "rule" => ruleset.rules.entry((family, table, word("chain"))).or_default().push(body),
                "set" => {
                    if let Some(elements) = body.get("elem").and_then(Value::as_array) {
                        ruleset.sets.insert((family, table, word("name")), elements);
                    }
                }
                _ => {}
            }
        }
        ruleset.hooks.sort();
        ruleset
    }
}

/// The lines of `nft -a list ruleset` that end in a handle.
fn texts(text: &str) -> BTreeMap<(String, u64), &str> {
    let mut texts = BTreeMap::new();
    let (mut table, mut chain) = (String::new(), String::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, "{", ..] => table = format!("{family} {name}"),
            ["chain", name, "{", ..] => chain = format!("{table} {name}"),
            [.., "#", "handle", handle] => {
                if let (Ok(handle), Some((rule, _))) = (handle.parse(), line.rsplit_once(" # handle")) {
                    texts.insert((chain.clone(), handle), rule.trim());
                }
            }
            _ => {}
        }
    }
    texts
}

struct Walk<'a> {
    ruleset: &'a Ruleset<'a>,
    flow: &'a Flow,
    found: &'a mut Vec<Finding>,
    /// Rules that may still be looked at.
    left: &'a mut usize,
}

impl Walk<'_> {
    fn chain(&mut self, place: Place<'_>, so_far: Match, depth: usize) -> End {
        let rules = self.ruleset.rules.get(&place).filter(|_| depth < DEPTH);
        for rule in rules.into_iter().flatten() {
            if !spend(self.left) {
                return End::Through;
            }
            match self.rule(place, rule, so_far, depth) {
                Step::Next => {}
                Step::Return => return End::Through,
                Step::Decided => return End::Decided,
            }
        }
        End::Through
    }

    fn rule(&mut self, place: Place<'_>, rule: &Value, so_far: Match, depth: usize) -> Step {
        let mut matches = so_far;
        for statement in rule.get("expr").and_then(Value::as_array).into_iter().flatten() {
            let Some((kind, body)) = statement.as_object().and_then(|object| object.iter().next()) else { continue };
            let is_certain = matches == Match::Yes;
            match kind.as_str() {
                "match" => matches = matches.and(self.matched(place, body)),
                "counter" | "log" | "comment" => {}
                "drop" | "reject" => {
                    self.find(place, &self.text(place, rule), kind, matches);
                    return if is_certain { Step::Decided } else { Step::Next };
                }
                "accept" => return if is_certain { Step::Decided } else { Step::Next },
                "return" => return if is_certain { Step::Return } else { Step::Next },
                "jump" | "goto" => {
                    let target = body.get("target").and_then(Value::as_str).unwrap_or_default();
                    let end = self.chain((place.0, place.1, target), matches, depth + 1);
                    return match end {
                        End::Decided if is_certain => Step::Decided,
                        End::Through if is_certain && kind == "goto" => Step::Return,
                        _ => Step::Next,
                    };
                }
                // A limit, a map, a statement of iptables': what it does is not known.
                _ => matches = matches.and(Match::Maybe),
            }
            if matches == Match::No {
                return Step::Next;
            }
        }
        Step::Next
    }

    fn matched(&self, place: Place<'_>, body: &Value) -> Match {
        let (left, right) = (body.get("left"), body.get("right"));
        let (Some(left), Some(right)) = (left, right) else { return Match::Maybe };
        let is_negated = body.get("op").and_then(Value::as_str) == Some("!=");
        let pair = |name: &str, first: &str, second: &str| {
            let inner = left.get(name)?;
            Some((inner.get(first)?.as_str()?, inner.get(second)?.as_str()?))
        };
        let key = |name: &str| left.get(name)?.get("key")?.as_str();
        let matched = match (pair("payload", "protocol", "field"), key("meta"), key("ct")) {
            (Some(("ip" | "ip6", "daddr")), ..) => self.address(place, right, Some(self.flow.dst)),
            (Some(("ip" | "ip6", "saddr")), ..) => self.address(place, right, self.flow.src),
            (Some(("tcp" | "th", "dport")), ..) => self.number(place, right, self.flow.port),
            (Some(("udp" | "icmp" | "icmpv6" | "sctp", _)), ..) => Match::No,
            (Some(("ip", "protocol") | ("ip6", "nexthdr")), ..) | (_, Some("l4proto"), _) => {
                self.word(place, right, &["tcp", "6"])
            }
            (_, Some("nfproto"), _) => {
                self.word(place, right, if self.flow.dst.is_ipv4() { &["ipv4"] } else { &["ipv6"] })
            }
            (_, Some("oifname" | "oif"), _) => match self.flow.interface.as_deref() {
                Some(interface) => self.word(place, right, &[interface]),
                None => Match::Maybe,
            },
            (_, _, Some("state")) => self.word(place, right, &["new"]),
            _ => Match::Maybe,
        };
        matched.negated_if(is_negated)
    }

    /// Whether any of the alternatives that `right` stands for is what is meant.
    fn any(&self, place: Place<'_>, right: &Value, is_meant: &dyn Fn(&Value) -> Match) -> Match {
        let alternatives: Option<&Vec<Value>> = match right {
            Value::Array(alternatives) => Some(alternatives),
            Value::Object(object) => object.get("set").and_then(Value::as_array),
            Value::String(name) if name.starts_with('@') => {
                let set = self.ruleset.sets.get(&(place.0, place.1, &name[1..]));
                let Some(elements) = set else { return Match::No };
                Some(elements)
            }
            _ => None,
        };
        let Some(alternatives) = alternatives else { return is_meant(right) };
        let mut matched = Match::No;
        for alternative in alternatives {
            // An element with a timeout, a counter or a comment.
            let alternative = alternative.get("elem").and_then(|element| element.get("val")).unwrap_or(alternative);
            match is_meant(alternative) {
                Match::Yes => return Match::Yes,
                Match::Maybe => matched = Match::Maybe,
                Match::No => {}
            }
        }
        matched
    }

    fn address(&self, place: Place<'_>, right: &Value, address: Option<IpAddr>) -> Match {
        let Some(address) = address else { return Match::Maybe };
        self.any(place, right, &|value| {
            let parse = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
            if let Some(single) = parse(value) {
                return Match::of(single == address);
            }
            if let Some(prefix) = value.get("prefix") {
                let network = prefix.get("addr").and_then(parse).zip(prefix.get("len").and_then(Value::as_u64));
                let network = network.and_then(|(addr, len)| IpNet::new(addr, u8::try_from(len).ok()?).ok());
                return network.map_or(Match::Maybe, |network| Match::of(network.contains(&address)));
            }
            match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
                Some([low, high]) => match (parse(low), parse(high)) {
                    (Some(low), Some(high)) => Match::of((low..=high).contains(&address)),
                    _ => Match::Maybe,
                },
                _ => Match::Maybe,
            }
        })
    }

    fn number(&self, place: Place<'_>, right: &Value, number: u16) -> Match {
        let number = u64::from(number);
        // Service names are those of /etc/services; nft lists numbers unless asked.
        let read = |value: &Value| match value.as_str() {
            Some("smtp") => Some(25),
            Some("submission") => Some(587),
            Some("submissions" | "urd") => Some(465),
            _ => value.as_u64(),
        };
        self.any(place, right, &|value| {
            if let Some(single) = read(value) {
                return Match::of(single == number);
            }
            match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
                Some([low, high]) => match (read(low), read(high)) {
                    (Some(low), Some(high)) => Match::of((low..=high).contains(&number)),
                    _ => Match::Maybe,
                },
                _ => Match::Maybe,
            }
        })
    }

    fn word(&self, place: Place<'_>, right: &Value, words: &[&str]) -> Match {
        self.any(place, right, &|value| {
            let word = value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()));
            word.map_or(Match::Maybe, |word| {
                let prefix = word.strip_suffix('*');
                let is_meant = |meant: &&str| prefix.map_or(word == **meant, |prefix| meant.starts_with(prefix));
                Match::of(words.iter().any(is_meant))
            })
        })
    }

    fn text(&self, place: Place<'_>, rule: &Value) -> String {
        let handle = rule.get("handle").and_then(Value::as_u64).unwrap_or_default();
        let key = (format!("{} {} {}", place.0, place.1, place.2), handle);
        self.ruleset.texts.get(&key).map_or_else(|| format!("handle {handle}"), |text| (*text).to_owned())
    }

    fn find(&mut self, place: Place<'_>, rule: &str, verdict: &str, matches: Match) {
        self.found.push(Finding {
            tool: "nft",
            chain: format!("{} {} {}", place.0, place.1, place.2),
            rule: cut(rule),
            verdict: verdict.to_owned(),
            is_certain: matches == Match::Yes,
            owner: owner(place.1, place.2),
        });
    }
}

/// What comes after a rule.
enum Step {
    Next,
    Return,
    Decided,
}
