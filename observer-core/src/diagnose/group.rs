//! Diagnoses of single destinations, put together where they say the same: each was judged
//! by its own evidence, and what they have in common is said of them all.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::cause::in_part;
use super::{Cause, Count, Diagnosis};

/// Names that are written out.
const NAMED: usize = 4;

/// Rules that quote the firewall's.
const QUOTING: [&str; 4] =
    ["a-rule-here-stops-it", "a-rule-here-may-stop-it", "a-rule-here-redirects-it", "a-rule-here-may-redirect-it"];

/// Puts those together that name the same causes in the same order, most failures first.
/// `asked` is what was typed; without it, each group is named by its destinations.
pub fn together(diagnoses: Vec<Diagnosis>, asked: Option<&str>) -> Vec<Diagnosis> {
    let mut groups: Vec<Vec<Diagnosis>> = Vec::new();
    for diagnosis in diagnoses {
        match groups.iter_mut().find(|group| finding(&group[0]) == finding(&diagnosis)) {
            Some(group) => group.push(diagnosis),
            None => groups.push(vec![diagnosis]),
        }
    }
    let is_one = groups.len() == 1;
    let mut merged: Vec<Diagnosis> = groups.into_iter().filter_map(merge).collect();
    for diagnosis in &mut merged {
        let names = names(&diagnosis.destinations);
        diagnosis.asked = match asked {
            Some(asked) if is_one || names == asked || names.is_empty() => asked.to_owned(),
            Some(asked) => format!("{asked}: {names}"),
            None => names,
        };
    }
    merged.sort_by_key(|diagnosis| (diagnosis.causes.is_empty(), Reverse(diagnosis.attempts.failed())));
    merged
}

/// What a diagnosis comes to: the causes that cannot be told apart, or the first, and whether
/// they are those of this host's own address.
fn finding(diagnosis: &Diagnosis) -> (Vec<Cause>, bool, bool) {
    let shown = if diagnosis.is_open { 2 } else { 1 };
    let causes = diagnosis.causes.iter().take(shown).map(|likely| likely.cause).collect();
    (causes, diagnosis.is_own, diagnosis.attempts.failed() == 0 && diagnosis.causes.is_empty())
}

/// The numbers are sums. Lines of evidence are those of the destination that fails most,
/// and say so; no cause is surer than where it is least sure.
fn merge(mut group: Vec<Diagnosis>) -> Option<Diagnosis> {
    group.sort_by_key(|diagnosis| Reverse(diagnosis.attempts.failed()));
    let mut group = group.into_iter();
    let mut merged = group.next()?;
    let others: Vec<Diagnosis> = group.collect();
    if others.is_empty() {
        return Some(merged);
    }
    share_causes(&mut merged, &others);
    share_rules(&mut merged, &others);
    others.into_iter().for_each(|other| add(&mut merged, other));
    merged.endings.sort_by_key(|ending| Reverse(ending.count));
    merged.samples.sort_by_key(|sample| sample.time);
    for list in [&mut merged.destinations, &mut merged.sources, &mut merged.not_seen] {
        let mut seen = BTreeSet::new();
        list.retain(|one| seen.insert(one.clone()));
    }
    Some(merged)
}

/// Leaves the causes that all have in common.
fn share_causes(merged: &mut Diagnosis, others: &[Diagnosis]) {
    let example = merged.destinations.first().cloned().unwrap_or_default();
    merged.causes.truncate(if merged.is_open { 2 } else { 1 });
    for likely in &mut merged.causes {
        for of in others.iter().filter_map(|other| other.causes.iter().find(|of| of.cause == likely.cause)) {
            likely.confidence = likely.confidence.min(of.confidence);
            likely.score = likely.score.min(of.score);
            // Numbers of one destination are not those of all.
            if likely.is_of_part || of.is_of_part {
                likely.verdict = in_part(merged.port);
            }
        }
        for line in likely.evidence.iter_mut().chain(&mut likely.against) {
            line.text = format!("{example}: {}", line.text);
        }
    }
}

/// Quotes a rule of this host's firewall only where it is the same for all.
fn share_rules(merged: &mut Diagnosis, others: &[Diagnosis]) {
    let rule = |of: &Diagnosis| {
        let walked = &of.firewall.as_ref()?.walked;
        Some((walked.answer, walked.findings.first().cloned(), walked.redirects.first().cloned()))
    };
    if others.iter().all(|other| rule(other) == rule(merged)) {
        return;
    }
    merged.firewall = None;
    for likely in &mut merged.causes {
        for line in likely.evidence.iter_mut().filter(|line| QUOTING.contains(&line.rule)) {
            line.text = "not one rule for all of them: ask of each destination alone".to_owned();
        }
    }
}

fn add(merged: &mut Diagnosis, other: Diagnosis) {
    let is_same = |one: &Count, ending: &Count| {
        (one.label, one.reason, one.origin) == (ending.label, ending.reason, ending.origin)
    };
    for ending in other.endings {
        match merged.endings.iter_mut().find(|one| is_same(one, &ending)) {
            Some(one) => one.count += ending.count,
            None => merged.endings.push(ending),
        }
    }
    merged.attempts = merged.attempts.and(other.attempts);
    merged.times = merged.times.and(other.times);
    merged.destinations.extend(other.destinations);
    merged.sources.extend(other.sources);
    merged.samples.extend(other.samples);
    merged.probes.extend(other.probes);
    merged.traced.extend(other.traced);
    merged.operators.extend(other.operators);
    other.dns.into_iter().for_each(|finding| {
        if !merged.dns.contains(&finding) {
            merged.dns.push(finding)
        }
    });
    merged.not_seen.extend(other.not_seen);
}

/// `203.0.113.5, 203.0.113.6 and 3 more`.
fn names(destinations: &[String]) -> String {
    let shown = destinations.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match destinations.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
