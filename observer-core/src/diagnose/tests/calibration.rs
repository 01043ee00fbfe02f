//! "Certain" is right always, and "likely" in nineteen of twenty: over the cases of causes, and
//! those of the field.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::{Cause, Confidence, Diagnosis, cases, diagnose, field, now};

/// "Likely" may be wrong in one of so many.
const LIKELY: usize = 20;

/// A claim: none is made where two causes cannot be told apart.
fn claim(diagnosis: &Diagnosis) -> Option<(Confidence, Cause)> {
    diagnosis.causes.first().filter(|_| !diagnosis.is_open).map(|likely| (likely.confidence, likely.cause))
}

#[derive(Default)]
struct Score {
    right: usize,
    wrong: Vec<String>,
}

#[test]
fn words_are_as_sure_as_they_say() {
    let mut scores: BTreeMap<Confidence, Score> = BTreeMap::new();
    let mut add = |name: &str, diagnosis: &Diagnosis, truth: &[Cause]| -> String {
        let Some((word, cause)) = claim(diagnosis) else { return "left open".to_owned() };
        let score = scores.entry(word).or_default();
        match truth.contains(&cause) {
            true => score.right += 1,
            false => score.wrong.push(name.to_owned()),
        }
        let right = if truth.contains(&cause) { "" } else { ", wrong" };
        format!("{}: {}{right}", word.as_str(), cause.as_str())
    };
    for (name, evidence, expected) in cases() {
        add(name, &diagnose(&evidence, now()), &expected);
    }
    let mut by_kind: BTreeMap<&str, String> = BTreeMap::new();
    for case in field::cases() {
        let said = add(case.name, &case.diagnosis(), case.truth);
        let truth: Vec<&str> = case.truth.iter().map(|cause| cause.as_str()).collect();
        let name = case.name.replace('_', " ");
        let _ = writeln!(by_kind.entry(case.kind).or_default(), "| {name} | {} | {said} |", truth.join(" or "));
    }
    let page = page(&scores, &by_kind);
    println!("{page}");
    let certain = &scores[&Confidence::Certain];
    assert!(certain.wrong.is_empty(), "certain, and wrong: {:?}", certain.wrong);
    let likely = &scores[&Confidence::Likely];
    assert!(likely.wrong.len() * LIKELY <= likely.right + likely.wrong.len(), "likely, and wrong: {:?}", likely.wrong);
    publish(&page);
}

fn page(scores: &BTreeMap<Confidence, Score>, by_kind: &BTreeMap<&str, String>) -> String {
    let mut page = String::from(
        "# How sure a diagnosis is\n\n\
         `observer diagnose` says \"certain\", \"likely\" or \"possible\" of a cause, or that two causes cannot be told apart. A test\n\
         compares these words with what was the case: in the situations that stand for each cause, and in those below, which real\n\
         hosts met. \"Certain\" has to be right in all of them, \"likely\" in 19 of 20. The test writes this page\n\
         (`OBSERVER_WRITE_DOCS=1 cargo test -p observer-core words_are_as_sure`), and fails where it differs.\n\n\
         | word | right | wrong |\n|---|---|---|\n",
    );
    for (word, score) in scores.iter().rev() {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {} | {} | {} |", word.as_str(), score.right, score.wrong.len());
    }
    for (kind, rows) in by_kind {
        let _ = write!(page, "\n## {kind}\n\n| situation | the cause | what is said first |\n|---|---|---|\n{rows}");
    }
    page
}

fn publish(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/calibration.md");
    if std::env::var_os("OBSERVER_WRITE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == page, "docs/calibration.md is not as this test says: run it with OBSERVER_WRITE_DOCS=1");
}
