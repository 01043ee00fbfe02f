//! What a rule of nft does, statement by statement.

use std::net::IpAddr;

use serde_json::Value;
use serde_json::value::RawValue;

use super::compare::{mapped, matched};
use super::expression::{Seen, evaluate, number};
use super::{Line, Place, Rule, Ruleset, Text};
use crate::evidence::firewall::condition::{Condition, Conditions, Known, Match};
use crate::evidence::firewall::course::{Frame, Step, Verdict, Walk};
use crate::evidence::firewall::iptables;
use crate::evidence::firewall::packet::{Bits, Tracking};

/// Statements after which the next one follows, whatever they do beside.
const GO_ON: [&str; 14] = [
    "counter",
    "log",
    "comment",
    "dup",
    "flow",
    "secmark",
    "last",
    "ct helper",
    "ct timeout",
    "ct expectation",
    "reset",
    "optstrip",
    "map",
    "continue",
];

/// Statements that may take their object from a map.
const OF_MAPS: [&str; 8] =
    ["counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "synproxy", "secmark"];

/// The statements of a rule.
fn statements(raw: &str) -> Vec<Value> {
    serde_json::from_str(raw).unwrap_or_default()
}

fn parts(statement: &Value) -> Option<(&str, &Value)> {
    statement.as_object()?.iter().next().map(|(kind, body)| (kind.as_str(), body))
}

/// The sets that a rule adds to or takes from.
pub(super) fn changed_sets(raw: &RawValue) -> Vec<String> {
    let raw = raw.get();
    if !["\"add\"", "\"update\"", "\"delete\""].iter().any(|operation| raw.contains(operation)) {
        return Vec::new();
    }
    let all = statements(raw);
    let names = all.iter().filter_map(parts).filter_map(|(kind, body)| match kind {
        "set" => body.get("set"),
        "map" => body.get("map"),
        _ => None,
    });
    names.filter_map(|name| name.as_str()?.strip_prefix('@').map(str::to_owned)).collect()
}

/// The chains that a rule leads to.
pub(super) fn targets(raw: &str) -> Vec<String> {
    fn collect(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
            Value::Object(object) => object.iter().for_each(|(key, value)| match value.as_str() {
                Some(name) if key == "target" => names.push(name.to_owned()),
                _ => collect(value, names),
            }),
            _ => {}
        }
    }
    let mut names = Vec::new();
    if raw.contains("\"target\"") {
        statements(raw).iter().for_each(|statement| collect(statement, &mut names));
    }
    names
}

/// Does what a rule says.
pub(super) fn apply<'c>(
    ruleset: &'c Ruleset<'_>,
    place: &'c Place,
    rule: &'c Rule<'_>,
    walk: &mut Walk<'_>,
    frame: &mut Frame,
) -> Step {
    let line = Line { ruleset, place, text: Text::Rule(rule) };
    let mut at = At { ruleset, place, line, walk, frame };
    let all = match rule.statements.map(|raw| serde_json::from_str::<Vec<Value>>(raw.get())) {
        Some(Ok(all)) => all,
        None => return Step::Next,
        Some(Err(_)) => return at.verdict(Match::maybe(Condition::Listing), Verdict::Any("unreadable")),
    };
    let mut matches = Match::Yes;
    for statement in &all {
        match parts(statement) {
            Some((kind, body)) => match at.statement(kind, body, matches) {
                Next::Matches(now) => matches = now,
                Next::Step(step) => return step,
            },
            None => matches = matches.and(Match::maybe(Condition::Extension)),
        }
        if matches == Match::No {
            break;
        }
    }
    Step::Next
}

/// After a statement.
enum Next {
    /// The next statement, if the packet still matches.
    Matches(Match),
    /// The rule is over.
    Step(Step),
}

struct At<'w, 'c, 'r, 'p> {
    ruleset: &'c Ruleset<'r>,
    place: &'c Place,
    line: Line<'c, 'r>,
    walk: &'w mut Walk<'p>,
    frame: &'w mut Frame,
}

impl<'c, 'r> At<'_, 'c, 'r, '_> {
    fn verdict(&mut self, matches: Match, verdict: Verdict<'_>) -> Step {
        self.walk.verdict(self.frame, matches, verdict, &self.line)
    }

    fn statement(&mut self, kind: &str, body: &Value, matches: Match) -> Next {
        let maybe = |condition| Next::Matches(matches.and(Match::maybe(condition)));
        if let Some(map) = body.get("map").filter(|_| OF_MAPS.contains(&kind)) {
            // Where the map has no object for the packet, the rule does not match.
            let found = self.mapped(map).0;
            let matched =
                if matches!(kind, "limit" | "quota") { found.and(Match::maybe(Condition::Rate)) } else { found };
            return Next::Matches(matches.and(matched));
        }
        match kind {
            "match" => Next::Matches(matches.and(matched(self.ruleset, self.place, body, self.walk))),
            "vmap" => self.verdict_map(body, matches),
            "accept" | "drop" | "reject" | "return" | "jump" | "goto" => Next::Step(self.decide(kind, body, matches)),
            "continue" => Next::Step(Step::Next),
            "queue" => Next::Step(self.verdict(matches, Verdict::Ask("queue"))),
            "limit" | "quota" | "ct count" | "meter" => maybe(Condition::Rate),
            "set" => self.update(body, matches),
            "mangle" => self.mangle(body, matches),
            "notrack" => {
                if self.walk.packet.tracking == Tracking::Before {
                    let all = self.walk.reach(self.frame, matches);
                    self.walk.packet.is_untracked = self.walk.packet.is_untracked.or(all);
                }
                Next::Matches(matches)
            }
            "redirect" | "dnat" | "tproxy" => Next::Step(self.redirect(kind, body, matches)),
            "snat" | "masquerade" => {
                let src = body.get("addr").and_then(Value::as_str).and_then(|addr| addr.parse().ok());
                let src = src.ok_or(Condition::SourceAddress.into());
                let matches = matches.and(self.is_of_family(body));
                Next::Step(self.walk.masquerade(self.frame, matches, src, &self.line))
            }
            "xt" => self.xtables(body, matches),
            kind if GO_ON.contains(&kind) => Next::Matches(matches),
            // What it does is not known, and whether the rest is reached.
            kind => {
                self.verdict(matches, Verdict::Any(kind));
                maybe(Condition::Extension)
            }
        }
    }

    fn decide(&mut self, kind: &str, body: &Value, matches: Match) -> Step {
        let verdict = match kind {
            "accept" => Verdict::Accept,
            "return" => Verdict::Return,
            "jump" | "goto" => {
                let name = body.get("target").and_then(Value::as_str).unwrap_or_default();
                let target = (self.place.0.clone(), self.place.1.clone(), name.to_owned());
                let ruleset = self.ruleset;
                return match ruleset.chains.get_key_value(&target) {
                    Some((target, _)) => self.walk.jump(ruleset, target, self.frame, matches, kind == "goto"),
                    None => self.verdict(matches.and(Match::maybe(Condition::Listing)), Verdict::Any(kind)),
                };
            }
            word => Verdict::Stop(word),
        };
        self.verdict(matches, verdict)
    }

    fn verdict_map(&mut self, body: &Value, matches: Match) -> Next {
        let (Some(key), Some(data)) = (body.get("key"), body.get("data")) else {
            return Next::Matches(matches.and(Match::maybe(Condition::Extension)));
        };
        for (found, verdict) in mapped(self.ruleset, self.place, key, data, self.walk) {
            let Some((kind, body)) = parts(&verdict) else { continue };
            let all = matches.and(found);
            let step = match kind {
                "continue" => Step::Next,
                "accept" | "drop" | "reject" | "return" | "jump" | "goto" => self.decide(kind, body, all),
                "queue" => self.verdict(all, Verdict::Ask("queue")),
                kind => self.verdict(all, Verdict::Any(kind)),
            };
            if all == Match::Yes {
                return Next::Step(step);
            }
        }
        Next::Step(Step::Next)
    }

    /// A set to which the packet adds. A limit in it decides.
    fn update(&self, body: &Value, matches: Match) -> Next {
        let elem = body.get("elem").unwrap_or(&Value::Null);
        if matches!(evaluate(elem, &self.walk.packet), Seen::Nothing) {
            return Next::Matches(Match::No);
        }
        let mut inner = body.get("stmt").and_then(Value::as_array).into_iter().flatten();
        let has_limit =
            inner.any(|statement| parts(statement).is_none_or(|(kind, _)| !matches!(kind, "counter" | "last")));
        let matched = if has_limit { Match::maybe(Condition::Rate) } else { Match::Yes };
        Next::Matches(matches.and(matched))
    }

    fn mangle(&mut self, body: &Value, matches: Match) -> Next {
        let (key, value) = (body.get("key").unwrap_or(&Value::Null), body.get("value").unwrap_or(&Value::Null));
        let (found, value) = self.resolve(value);
        let has_none = |value: &Value| matches!(evaluate(value, &self.walk.packet), Seen::Nothing);
        if value.as_ref().is_some_and(|value| value.is_object() && has_none(value)) {
            return Next::Matches(Match::No);
        }
        let matches = matches.and(found);
        let all = self.walk.reach(self.frame, matches);
        let name = |kind: &str, name: &str| key.get(kind).and_then(|inner| inner.get(name)).and_then(Value::as_str);
        let bits = || match &value {
            Some(value) => match number(value, &[]) {
                Some(number) => Bits::of(number),
                None => match evaluate(value, &self.walk.packet) {
                    Seen::Bits(bits, ..) => bits,
                    Seen::Number(Ok(number)) => Bits::of(number),
                    _ => Bits::UNKNOWN,
                },
            },
            None => Bits::UNKNOWN,
        };
        match (name("meta", "key"), name("ct", "key"), name("payload", "field")) {
            (Some("mark"), ..) => {
                let bits = bits();
                self.walk.packet.set_mark(all, bits, self.ruleset.is_route(self.place));
            }
            (_, Some("mark"), _) => {
                let bits = bits();
                self.walk.packet.set_ct_mark(all, bits);
            }
            (.., Some(field @ ("daddr" | "dport"))) => {
                let to = destination(value.as_ref(), value.as_ref());
                let to = if field == "daddr" { (to.0, None) } else { (None, to.1) };
                self.walk.rewrite(self.frame, matches, to, &format!("{field} set"), &self.line);
            }
            (.., Some("saddr")) => self.walk.packet.masquerade(all, Err(Condition::SourceAddress.into())),
            _ => {}
        }
        Next::Matches(matches)
    }

    /// A value; where a map has it, whether it has one.
    fn resolve(&mut self, value: &Value) -> (Match, Option<Value>) {
        match value.get("map") {
            Some(map) => self.mapped(map),
            None => (Match::Yes, Some(value.clone())),
        }
    }

    /// What a map has for the packet, and whether it has it.
    fn mapped(&mut self, map: &Value) -> (Match, Option<Value>) {
        let (Some(key), Some(data)) = (map.get("key"), map.get("data")) else {
            return (Match::maybe(Condition::Extension), None);
        };
        let found = mapped(self.ruleset, self.place, key, data, self.walk);
        match found.as_slice() {
            [] => (Match::No, None),
            [(matched, value)] => (*matched, Some(value.clone())),
            // One of them it is, or none.
            [.., (matched, value)] => match *matched {
                Match::Yes => (Match::Yes, Some(value.clone())),
                other => (other, None),
            },
        }
    }

    fn is_of_family(&self, body: &Value) -> Match {
        let is_v4 = self.walk.packet.flow.dst.is_ipv4();
        Match::of(match body.get("family").and_then(Value::as_str) {
            Some("ip") => is_v4,
            Some("ip6") => !is_v4,
            _ => true,
        })
    }

    fn redirect(&mut self, kind: &str, body: &Value, matches: Match) -> Step {
        let (is_addr, addr) = body.get("addr").map_or((Match::Yes, None), |addr| {
            let (found, value) = self.resolve(addr);
            (found, Some(value.unwrap_or(Value::Null)))
        });
        let (is_port, port) = body.get("port").map_or((Match::Yes, None), |port| {
            let (found, value) = self.resolve(port);
            (found, Some(value.unwrap_or(Value::Null)))
        });
        let matches = matches.and(self.is_of_family(body)).and(is_addr).and(is_port);
        let (mut dst, mut to_port) = destination(addr.as_ref(), port.as_ref());
        // An address and a port of one map.
        if let Some([one, other]) = addr.as_ref().and_then(|addr| addr.get("concat")?.as_array()).map(Vec::as_slice) {
            (dst, to_port) = destination(Some(one), Some(other));
        }
        if kind == "redirect" {
            let loopback = self.walk.packet.loopback();
            dst = Some(if self.walk.packet.has_socket() { Ok(loopback) } else { Err(Condition::Redirect.into()) });
        }
        let mut word = kind.to_owned();
        if let (Some(Ok(dst)), true) = (dst, kind != "redirect") {
            word.push_str(&format!(" to {dst}"));
        }
        if let Some(Ok(port)) = to_port {
            word.push_str(&format!(" to port {port}"));
        }
        self.walk.redirect(self.frame, matches, (dst, to_port), &word, &self.line)
    }

    /// What iptables left in a table that it does not list itself.
    fn xtables(&mut self, body: &Value, matches: Match) -> Next {
        let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = word("name");
        let all = self.walk.reach(self.frame, matches);
        match word("type") {
            "match" if iptables::lacks_header(name) => Next::Matches(Match::No),
            "match" if matches!(name, "comment" | "tcp" | "udp") => Next::Matches(matches),
            "match" => {
                let condition = iptables::module(name).unwrap_or(Condition::Extension);
                Next::Matches(matches.and(Match::maybe(condition)))
            }
            "watcher" => Next::Matches(matches),
            _ => match name {
                "REJECT" | "TARPIT" => Next::Step(self.verdict(matches, Verdict::Stop(name))),
                "MARK" => {
                    self.walk.packet.set_mark(all, Bits::UNKNOWN, true);
                    Next::Matches(matches)
                }
                "CONNMARK" => {
                    self.walk.packet.set_mark(all, Bits::UNKNOWN, true);
                    self.walk.packet.set_ct_mark(all, Bits::UNKNOWN);
                    Next::Matches(matches)
                }
                "REDIRECT" | "DNAT" | "TPROXY" | "NETMAP" => {
                    const UNKNOWN: Conditions = Conditions::of(Condition::Redirect);
                    let to = (Some(Err(UNKNOWN)), Some(Err(UNKNOWN)));
                    Next::Step(self.walk.redirect(self.frame, matches, to, name, &self.line))
                }
                "SNAT" | "MASQUERADE" => {
                    let src = Err(Condition::SourceAddress.into());
                    Next::Step(self.walk.masquerade(self.frame, matches, src, &self.line))
                }
                name if iptables::goes_on(name) => Next::Matches(matches),
                name => {
                    self.verdict(matches, Verdict::Any(if name.is_empty() { "xt" } else { name }));
                    Next::Matches(matches.and(Match::maybe(Condition::Extension)))
                }
            },
        }
    }
}

/// Where it goes instead.
fn destination(addr: Option<&Value>, port: Option<&Value>) -> (Option<Known<IpAddr>>, Option<Known<u16>>) {
    let unknown = Condition::Redirect.into();
    let addr = addr.map(|addr| addr.as_str().and_then(|addr| addr.parse().ok()).ok_or(unknown));
    let port = port.map(|port| number(port, &[]).and_then(|port| u16::try_from(port).ok()).ok_or(unknown));
    (addr, port)
}
