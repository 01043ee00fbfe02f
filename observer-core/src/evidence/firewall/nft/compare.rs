//! Whether a value is one of those that a rule or a set names.

use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::IpNet;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::expression::{Seen, evaluate, number};
use super::{Place, Ruleset};
use crate::evidence::firewall::condition::{Condition, Known, Match};
use crate::evidence::firewall::course::Walk;

/// Whether `{"op", "left", "right"}` holds.
pub(super) fn matched(ruleset: &Ruleset<'_>, place: &Place, body: &Value, walk: &mut Walk<'_>) -> Match {
    let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else {
        return Match::maybe(Condition::Extension);
    };
    let operator = body.get("op").and_then(Value::as_str).unwrap_or("==");
    let seen = evaluate(left, &walk.packet);
    match (&seen, operator) {
        (Seen::Nothing, _) => Match::No,
        (Seen::Unknown(why), _) => Match::Maybe(*why),
        (Seen::Bits(bits, names, why), "in" | "!") if !is_set(right) => match number(right, names) {
            Some(of) => bits.have_any(of, *why).negated_if(operator == "!"),
            None => Match::maybe(Condition::Extension),
        },
        (_, "==" | "in") => is(ruleset, place, (&seen, left), right, walk),
        (_, "!=" | "!") => is(ruleset, place, (&seen, left), right, walk).negated_if(true),
        (_, "<" | ">" | "<=" | ">=") => order(&seen, operator, right),
        _ => Match::maybe(Condition::Extension),
    }
}

/// Whether it stands for several values.
fn is_set(right: &Value) -> bool {
    right.get("set").is_some() || right.as_str().is_some_and(|name| name.starts_with('@'))
}

fn order(seen: &Seen, operator: &str, right: &Value) -> Match {
    let known = match seen {
        Seen::Number(known) => *known,
        Seen::Bits(bits, _, why) => bits.number(*why),
        Seen::Address(known) => {
            let Some(right) = address(right) else { return Match::maybe(Condition::Extension) };
            return Match::known(*known, |address| ordered(&address, operator, &right));
        }
        _ => return Match::maybe(Condition::Extension),
    };
    match number(right, &[]) {
        Some(right) => Match::known(known, |number| ordered(&number, operator, &right)),
        None => Match::maybe(Condition::Extension),
    }
}

fn ordered<T: Ord>(left: &T, operator: &str, right: &T) -> bool {
    match operator {
        "<" => left < right,
        ">" => left > right,
        "<=" => left <= right,
        _ => left >= right,
    }
}

/// Whether a value is what `right` says, or one of the several that it stands for.
fn is(
    ruleset: &Ruleset<'_>,
    place: &Place,
    (seen, left): (&Seen, &Value),
    right: &Value,
    walk: &mut Walk<'_>,
) -> Match {
    if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        return in_named(ruleset, place, (seen, left), name, walk);
    }
    match right.get("set").and_then(Value::as_array) {
        Some(members) => members.iter().fold(Match::No, |all, member| {
            if all == Match::Yes || !walk.spend_member() { all } else { all.or(is_member(seen, member)) }
        }),
        None => equals(seen, right),
    }
}

/// In a set with a name.
fn in_named(
    ruleset: &Ruleset<'_>,
    place: &Place,
    (seen, left): (&Seen, &Value),
    name: &str,
    walk: &mut Walk<'_>,
) -> Match {
    let set_place = (place.0.clone(), place.1.clone(), name.to_owned());
    let Some(set) = ruleset.sets.get(&set_place) else { return Match::maybe(Condition::Set) };
    if set.is_dynamic || ruleset.changed.contains(&set_place) {
        return Match::maybe(Condition::Set);
    }
    let asked = format!("{} {} {name} {} {left}", place.0, place.1, walk.packet.version);
    if let Some(found) = ruleset.looked_up.borrow().get(&asked) {
        return *found;
    }
    let mut found = Match::No;
    if !walk.spend_bytes(set.members.map_or(0, |members| members.get().len())) {
        return Match::maybe(Condition::Listing);
    }
    let is_read = each(set.members.map_or("[]", |members| members.get()), &mut |member| {
        if !walk.spend_member() {
            found = found.or(Match::maybe(Condition::Listing));
            return ControlFlow::Break(());
        }
        found = found.or(is_member(seen, &member));
        if found == Match::Yes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !is_read {
        found = found.or(Match::maybe(Condition::Listing));
    }
    ruleset.looked_up.borrow_mut().insert(asked, found);
    found
}

/// What a map has for a value: the verdicts, each with whether it is the one.
pub(super) fn mapped(
    ruleset: &Ruleset<'_>,
    place: &Place,
    key: &Value,
    data: &Value,
    walk: &mut Walk<'_>,
) -> Vec<(Match, Value)> {
    /// Verdicts that are kept of a map whose key is not known.
    const KEPT: usize = 256;
    let seen = evaluate(key, &walk.packet);
    let mut found: Vec<(Match, Value)> = Vec::new();
    let (mut other, mut all) = (None, Match::No);
    let mut add = |pair: &Value, walk: &mut Walk<'_>| {
        if !walk.spend_member() {
            all = all.or(Match::maybe(Condition::Listing));
            return ControlFlow::Break(());
        }
        let Some([member, verdict]) = pair.as_array().map(Vec::as_slice) else { return ControlFlow::Continue(()) };
        let member_value = member.get("elem").and_then(|element| element.get("val")).unwrap_or(member);
        if member_value.as_str() == Some("*") {
            other = Some(verdict.clone());
            return ControlFlow::Continue(());
        }
        let matched = match &seen {
            Seen::Nothing => Match::No,
            Seen::Unknown(why) => Match::Maybe(*why),
            seen => is_member(seen, member),
        };
        all = all.or(matched);
        // One that says the same adds nothing.
        let is_new = |(other, word): &(Match, Value)| *other != matched || word != verdict;
        if matched != Match::No && found.len() < KEPT && found.iter().all(is_new) {
            found.push((matched, verdict.clone()));
        }
        if matched == Match::Yes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut is_dynamic = false;
    match data.as_str().and_then(|name| name.strip_prefix('@')) {
        Some(name) => {
            let map_place = (place.0.clone(), place.1.clone(), name.to_owned());
            match ruleset.sets.get(&map_place) {
                Some(map) => {
                    is_dynamic = map.is_dynamic || ruleset.changed.contains(&map_place);
                    let size = map.members.map_or(0, |members| members.get().len());
                    is_dynamic |= !walk.spend_bytes(size);
                    each(map.members.map_or("[]", |members| members.get()), &mut |pair| add(&pair, walk));
                }
                None => is_dynamic = true,
            }
        }
        None => {
            for pair in data.get("set").and_then(Value::as_array).into_iter().flatten() {
                if add(pair, walk).is_break() {
                    break;
                }
            }
        }
    }
    if matches!(seen, Seen::Nothing) {
        return Vec::new();
    }
    let unknown = Match::maybe(Condition::Set);
    if is_dynamic {
        // What it has now it may not have had, and it may have had more.
        found.iter_mut().for_each(|(matched, _)| *matched = matched.and(unknown));
        found.push((unknown, json!({ "map": null })));
    }
    if let Some(verdict) = other {
        let matched = match all {
            Match::Yes => Match::No,
            Match::No => Match::Yes,
            maybe @ Match::Maybe(_) => maybe,
        };
        found.push((if is_dynamic { matched.and(unknown) } else { matched }, verdict));
    }
    found
}

/// A member with what nft writes beside it: a limit in it decides too.
fn is_member(seen: &Seen, member: &Value) -> Match {
    let Some(element) = member.get("elem") else { return equals(seen, member) };
    let value = element.get("val").unwrap_or(element);
    let has_limit = ["limit", "ct count", "quota"].iter().any(|name| element.get(name).is_some());
    let matched = equals(seen, value);
    if has_limit { matched.and(Match::maybe(Condition::Rate)) } else { matched }
}

/// Whether a value is the one, or within the range or network.
fn equals(seen: &Seen, right: &Value) -> Match {
    let not_understood = Match::maybe(Condition::Extension);
    if right.as_str() == Some("*") && !matches!(seen, Seen::Interface(_)) {
        return Match::Yes;
    }
    match seen {
        Seen::Nothing => Match::No,
        Seen::Unknown(why) => Match::Maybe(*why),
        Seen::All(parts) => {
            let Some(values) = right.get("concat").and_then(Value::as_array).filter(|all| all.len() == parts.len())
            else {
                return not_understood;
            };
            parts.iter().zip(values).fold(Match::Yes, |all, (part, value)| all.and(equals(part, value)))
        }
        Seen::Address(known) => of_address(*known, right),
        Seen::Number(known) => match range(right) {
            Some((low, high)) => match (number(low, &[]), number(high, &[])) {
                (Some(low), Some(high)) => within(*known, low, high),
                _ => not_understood,
            },
            None => number(right, &[]).map_or(not_understood, |right| Match::known(*known, |number| number == right)),
        },
        Seen::Bits(bits, names, why) => match range(right) {
            Some((low, high)) => match (number(low, names), number(high, names)) {
                (Some(low), Some(high)) => within(bits.number(*why), low, high),
                _ => not_understood,
            },
            None => number(right, names).map_or(not_understood, |right| bits.are(right, *why)),
        },
        Seen::Words(words) => {
            let is_one = |value: &Value| match value {
                Value::String(word) => Some(words.contains(&word.as_str())),
                Value::Number(number) => Some(words.contains(&number.to_string().as_str())),
                _ => None,
            };
            match right {
                Value::Array(several) => several.iter().try_fold(false, |any, one| Some(any | is_one(one)?)),
                right => is_one(right),
            }
            .map_or(not_understood, Match::of)
        }
        Seen::Interface(known) => interface(known, right),
    }
}

fn within(known: Known<u64>, low: u64, high: u64) -> Match {
    Match::known(known, |number| (low..=high).contains(&number))
}

fn interface(known: &Known<String>, right: &Value) -> Match {
    let Some(word) = right.as_str() else { return Match::maybe(Condition::Interface) };
    // The number of an interface that is gone, or that has no name here; none is 0.
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return match known {
            Ok(name) if name.is_empty() => Match::of(word == "0"),
            _ => Match::maybe(Condition::Interface),
        };
    }
    let is_meant = |name: &str| word.strip_suffix('*').map_or(word == name, |prefix| name.starts_with(prefix));
    match known {
        Ok(name) => Match::of(is_meant(name)),
        Err(why) => Match::Maybe(*why),
    }
}

fn range(value: &Value) -> Option<(&Value, &Value)> {
    match value.get("range")?.as_array()?.as_slice() {
        [low, high] => Some((low, high)),
        _ => None,
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn of_address(known: Known<IpAddr>, right: &Value) -> Match {
    let not_understood = Match::maybe(Condition::Extension);
    if let Some(single) = address(right) {
        return Match::known(known, |address| address == single);
    }
    if let Some(prefix) = right.get("prefix") {
        let length = prefix.get("len").and_then(Value::as_u64).and_then(|len| u8::try_from(len).ok());
        let network = prefix.get("addr").and_then(address).zip(length);
        let network = network.and_then(|(address, length)| IpNet::new(address, length).ok());
        return network.map_or(not_understood, |network| Match::known(known, |address| network.contains(&address)));
    }
    match range(right) {
        Some((low, high)) => match (address(low), address(high)) {
            (Some(low), Some(high)) => Match::known(known, |address| (low..=high).contains(&address)),
            _ => not_understood,
        },
        None => not_understood,
    }
}

/// Reads an array value by value, until it is told to stop. False if it is no array.
pub(super) fn each(json: &str, take: &mut dyn FnMut(Value) -> ControlFlow<()>) -> bool {
    struct Each<'f> {
        take: &'f mut dyn FnMut(Value) -> ControlFlow<()>,
        is_stopped: bool,
    }

    impl<'de> Visitor<'de> for &mut Each<'_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
            while let Some(value) = values.next_element::<Value>()? {
                if (self.take)(value).is_break() {
                    self.is_stopped = true;
                    return Err(A::Error::custom("enough"));
                }
            }
            Ok(())
        }
    }

    let mut each = Each { take, is_stopped: false };
    let is_read = serde_json::Deserializer::from_str(json).deserialize_seq(&mut each).is_ok();
    is_read || each.is_stopped
}
