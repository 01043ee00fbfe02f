//! Rules as `nft -j list ruleset` lists them: libnftables-json(5). Members of sets and
//! expressions of rules are read where a walk comes to them.

mod compare;
mod expression;
mod listing;
mod statement;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use self::listing::{ChainObject, Object, RuleObject, SetObject};
use super::condition::{Condition, Match};
use super::course::{Frame, Named, Rules, Step, Walk};
use super::hook::{Base, Hook};
use super::{Finding, owner};

/// Priorities that nft may be made to write as words.
const PRIORITIES: [(&str, i64); 7] =
    [("raw", -300), ("mangle", -150), ("dstnat", -100), ("filter", 0), ("security", 50), ("srcnat", 100), ("out", 100)];

/// A table's family and name, and what is in it.
pub(super) type Place = (String, String, String);

/// A listing.
pub(super) struct Ruleset<'a> {
    chains: BTreeMap<Place, Chain<'a>>,
    sets: BTreeMap<Place, Set<'a>>,
    /// Tables whose chains are asleep; and those of which it is not known.
    dormant: BTreeMap<(String, String), Match>,
    /// Sets that rules change.
    changed: BTreeSet<Place>,
    texts: listing::Texts<'a>,
    /// What was found in a set, by what was looked for.
    looked_up: RefCell<BTreeMap<String, Match>>,
    /// Objects that could not be read.
    pub(super) is_unread: bool,
}

#[derive(Default)]
struct Chain<'a> {
    hook: Option<Hook>,
    is_nat: bool,
    /// Marks that it sets may lead to another route.
    is_route: bool,
    priority: i64,
    drops: bool,
    /// The interfaces that it hangs at; none: not said.
    devices: Vec<String>,
    rules: Vec<Rule<'a>>,
}

pub(super) struct Rule<'a> {
    handle: u64,
    statements: Option<&'a RawValue>,
}

struct Set<'a> {
    members: Option<&'a RawValue>,
    /// Members may end by themselves, or come by packets.
    is_dynamic: bool,
}

impl<'a> Ruleset<'a> {
    /// # Errors
    /// If it is no JSON of this form.
    pub(super) fn read(json: &'a str, text: &'a str) -> Result<Self, serde_json::Error> {
        let mut ruleset = Self {
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            dormant: BTreeMap::new(),
            changed: BTreeSet::new(),
            texts: listing::Texts::read(text),
            looked_up: RefCell::default(),
            is_unread: false,
        };
        for object in listing::objects(json)? {
            match serde_json::from_str::<Object<'_>>(object.get()) {
                Ok(object) => ruleset.add(object),
                Err(_) => ruleset.is_unread = true,
            }
        }
        Ok(ruleset)
    }

    fn add(&mut self, object: Object<'a>) {
        let Object { table, chain, rule, set, map } = object;
        if let Some(table) = table {
            let asleep = table.is_dormant(&self.texts);
            self.dormant.insert((table.family, table.name), asleep);
        }
        if let Some(chain) = chain {
            self.add_chain(chain);
        }
        if let Some(RuleObject { family, table, chain, handle, expr }) = rule {
            for set in expr.map(statement::changed_sets).into_iter().flatten() {
                self.changed.insert((family.clone(), table.clone(), set));
            }
            let chain = self.chains.entry((family, table, chain)).or_default();
            chain.rules.push(Rule { handle: handle.unwrap_or_default(), statements: expr });
        }
        for set in set.into_iter().chain(map) {
            let SetObject { family, table, name, elem, flags } = set;
            let is_dynamic = flags.is_some_and(|flags| flags.get().contains("dynamic"));
            self.sets.insert((family, table, name), Set { members: elem, is_dynamic });
        }
    }

    fn add_chain(&mut self, object: ChainObject<'_>) {
        let place = (object.family, object.table, object.name);
        let from_text = || self.texts.devices(&place);
        let devices = object.dev.as_ref().map_or_else(from_text, |dev| listing::names(dev.get()));
        let hook = object.hook.as_deref().and_then(|hook| Hook::of_nft(&place.0, hook));
        let chain = self.chains.entry(place).or_default();
        chain.hook = hook;
        chain.is_nat = object.kind.as_deref() == Some("nat");
        chain.is_route = object.kind.as_deref() == Some("route");
        chain.priority = object.prio.map_or(0, |prio| priority(prio.get()));
        chain.drops = object.policy.as_deref() == Some("drop");
        chain.devices = devices;
    }

    /// The base chains on the way of this family's packets, except those that another
    /// tool lists.
    pub(super) fn bases(&self, is_v4: bool, source: usize, is_listed: &dyn Fn(&str, &str) -> bool) -> Vec<Base<'_>> {
        let mut bases = Vec::new();
        for ((family, table, name), chain) in &self.chains {
            let is_of_family = match family.as_str() {
                "inet" | "netdev" | "bridge" => true,
                "ip" => is_v4,
                "ip6" => !is_v4,
                _ => false,
            };
            let (Some(hook), true) = (chain.hook, is_of_family) else { continue };
            if matches!(family.as_str(), "ip" | "ip6") && is_listed(table, name) {
                continue;
            }
            let position = hook.position(chain.priority, chain.is_nat);
            bases.push(Base { hook, position, is_nat: chain.is_nat, source, family, table, chain: name });
        }
        bases
    }

    pub(super) fn walk(&self, base: &Base<'_>, entry: Match, walk: &mut Walk<'_>) {
        let place = (base.family.to_owned(), base.table.to_owned(), base.chain.to_owned());
        let Some((place, chain)) = self.chains.get_key_value(&place) else { return };
        let dormant = self.dormant.get(&(place.0.clone(), place.1.clone())).copied().unwrap_or(Match::No);
        let entry = entry.and(dormant.negated_if(true)).and(is_at(chain, base.hook, walk));
        let policy = chain.drops.then_some(Line { ruleset: self, place, text: Text::Policy });
        walk.base(self, place, entry, policy.as_ref().map(|policy| policy as &dyn Named));
    }

    /// Whether rules of the chain are those of a hook that sees marks before a route is
    /// chosen.
    fn is_route(&self, place: &Place) -> bool {
        // A chain that is jumped to may be reached from one.
        self.chains.get(place).is_some_and(|chain| chain.is_route || chain.hook.is_none())
    }
}

/// Whether the packet passes the interface that a chain hangs at.
fn is_at(chain: &Chain<'_>, hook: Hook, walk: &Walk<'_>) -> Match {
    let interface = match hook {
        Hook::Ingress => walk.packet.came_in.as_ref(),
        Hook::Egress => walk.packet.out.as_ref(),
        _ => return Match::Yes,
    };
    let unknown = Match::maybe(Condition::Interface);
    if chain.devices.is_empty() {
        return unknown;
    }
    match interface {
        Some(Ok(name)) if chain.devices.iter().any(|device| device == name) => Match::Yes,
        // What is sent by these is sent by another interface below.
        Some(Ok(name))
            if ["bond", "br", "team", "vlan", "macvlan", "ipvlan"].iter().any(|kind| name.starts_with(kind)) =>
        {
            unknown
        }
        Some(Ok(name)) if name.contains(['.', '@']) => unknown,
        Some(Ok(_)) => Match::No,
        Some(Err(why)) => Match::Maybe(*why),
        None => unknown,
    }
}

fn priority(json: &str) -> i64 {
    let text = json.trim().trim_matches('"');
    text.parse()
        .ok()
        .or_else(|| PRIORITIES.iter().find(|(name, _)| *name == text).map(|(_, at)| *at))
        .unwrap_or_default()
}

/// Which rule it is.
enum Text<'a> {
    Policy,
    Rule(&'a Rule<'a>),
}

struct Line<'r, 'a> {
    ruleset: &'r Ruleset<'a>,
    place: &'r Place,
    text: Text<'r>,
}

impl Named for Line<'_, '_> {
    fn finding(&self) -> Finding {
        let (family, table, chain) = self.place;
        let rule = match &self.text {
            Text::Policy => "policy drop".to_owned(),
            Text::Rule(rule) => match self.ruleset.texts.rule(self.place, rule.handle) {
                Some(text) => text.to_owned(),
                None => format!("handle {}", rule.handle),
            },
        };
        let targets = || {
            let rules = self.ruleset.chains.get(self.place).into_iter().flat_map(|chain| &chain.rules);
            rules.filter_map(|rule| rule.statements).flat_map(|raw| statement::targets(raw.get())).collect::<Vec<_>>()
        };
        let owner = owner::named(table, chain).or_else(|| {
            let targets = targets();
            owner::of_base(table, targets.iter().map(String::as_str))
        });
        Finding {
            tool: "nft",
            chain: format!("{family} {table} {chain}"),
            rule,
            verdict: String::new(),
            is_certain: false,
            conditions: Vec::new(),
            owner,
        }
    }
}

impl<'a> Rules for Ruleset<'a> {
    type Chain<'c>
        = &'c Place
    where
        Self: 'c;
    type Rule = Rule<'a>;

    fn size(rule: &Rule<'a>) -> usize {
        rule.statements.map_or(0, |statements| statements.get().len())
    }

    fn rules<'c>(&'c self, chain: &'c Place) -> Option<&'c [Rule<'a>]> {
        self.chains.get(chain).map(|chain| chain.rules.as_slice())
    }

    fn apply<'c>(&'c self, chain: &'c Place, rule: &'c Rule<'a>, walk: &mut Walk<'_>, frame: &mut Frame) -> Step {
        statement::apply(self, chain, rule, walk, frame)
    }
}
