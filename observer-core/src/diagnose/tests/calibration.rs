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

impl Score {
    fn is_wrong_too_often(&self) -> bool {
        self.wrong.len() * LIKELY > self.right + self.wrong.len()
    }
}

/// By the word that was said.
type Scores = BTreeMap<Confidence, Score>;

/// What is said of a case, counted.
fn count(scores: &mut Scores, name: &str, diagnosis: &Diagnosis, truth: &[Cause]) -> String {
    let Some((word, cause)) = claim(diagnosis) else { return "left open".to_owned() };
    let score = scores.entry(word).or_default();
    let is_right = truth.contains(&cause);
    if is_right {
        score.right += 1;
    } else {
        score.wrong.push(name.to_owned());
    }
    format!("{}: {}{}", word.as_str(), cause.as_str(), if is_right { "" } else { ", wrong" })
}

#[test]
fn words_are_as_sure_as_they_say() {
    let (mut of_causes, mut of_field) = (Scores::new(), Scores::new());
    for (name, evidence, expected) in cases() {
        count(&mut of_causes, name, &diagnose(&evidence, now()), &expected);
    }
    let mut by_kind: BTreeMap<&str, String> = BTreeMap::new();
    for case in field::cases() {
        let said = count(&mut of_field, case.name, &case.diagnosis(), case.truth);
        let truth: Vec<&str> = case.truth.iter().map(|cause| cause.as_str()).collect();
        let name = case.name.replace('_', " ");
        // Writing to a String cannot fail.
        let _ = writeln!(by_kind.entry(case.kind).or_default(), "| {name} | {} | {said} |", truth.join(" or "));
    }
    let page = page(&of_causes, &of_field, &by_kind);
    println!("{page}");
    for scores in [&of_causes, &of_field] {
        let certain = &scores[&Confidence::Certain];
        assert!(certain.right > 0 && certain.wrong.is_empty(), "certain, and wrong: {:?}", certain.wrong);
        let likely = &scores[&Confidence::Likely];
        assert!(!likely.is_wrong_too_often(), "likely, and wrong: {:?}", likely.wrong);
    }
    publish(&page);
}

fn page(of_causes: &Scores, of_field: &Scores, by_kind: &BTreeMap<&str, String>) -> String {
    let mut page = String::from(
        "# How sure a diagnosis is\n\n\
         `observer diagnose` says \"certain\", \"likely\" or \"possible\" of a cause, or that two causes cannot be told apart. A test\n\
         compares these words with what was the case. \"Certain\" has to be right always, \"likely\" in 19 of 20, of each of two sorts:\n\n\
         - situations that real hosts met, typed as attempts, listed below;\n\
         - the textbook case of each rule, written together with the rules: these show that no rule contradicts another, and\n\
         \u{20} say little of how often a word is right on a host.\n\n\
         Real traffic is judged by `tests/kernel/causes.rs`, in network namespaces. The test writes this page\n\
         (`OBSERVER_WRITE_DOCS=1 cargo test -p observer-core words_are_as_sure`), and fails where it differs.\n\n\
         | word | of real hosts: right | wrong | textbook: right | wrong |\n|---|---|---|---|---|\n",
    );
    let numbers = |scores: &Scores, word: Confidence| {
        let score = scores.get(&word);
        format!("{} | {}", score.map_or(0, |score| score.right), score.map_or(0, |score| score.wrong.len()))
    };
    for word in [Confidence::Certain, Confidence::Likely, Confidence::Possible] {
        let _ = writeln!(page, "| {} | {} | {} |", word.as_str(), numbers(of_field, word), numbers(of_causes, word));
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
