//! What the machines said, as figures.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::boot::Boot;
use super::qemu::Run;
use crate::report::Tally;

/// What became of a kernel.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It could not be had: why.
    Skipped { boot: Boot, cause: String },
    /// It ran.
    Ran(Box<Tested>),
}

/// A kernel that ran.
#[derive(Clone, Debug)]
pub(crate) struct Tested {
    /// What was asked for.
    pub(crate) boot: Boot,
    /// As `uname -r` has it.
    pub(crate) release: String,
    /// What its machine did.
    pub(crate) run: Run,
    /// All that its machine said.
    pub(crate) log: PathBuf,
}

/// A hook as `observer doctor --json` has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hook {
    pub(crate) program: String,
    pub(crate) symbol: String,
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) cause: Option<String>,
    pub(crate) is_lost: bool,
    pub(crate) lost_without: String,
}

/// What became of one true outcome in the matrix.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Row {
    pub(crate) cases: u32,
    pub(crate) right: u32,
    pub(crate) unseen: u32,
    /// Events that name this evidence as missing.
    pub(crate) missing: BTreeMap<String, u32>,
}

impl Outcome {
    pub(crate) fn boot(&self) -> &Boot {
        match self {
            Self::Skipped { boot, .. } => boot,
            Self::Ran(tested) => &tested.boot,
        }
    }

    /// The kernel, if it ran.
    pub(crate) fn tested(&self) -> Option<&Tested> {
        match self {
            Self::Skipped { .. } => None,
            Self::Ran(tested) => Some(tested),
        }
    }

    /// Its tests. A kernel that could not be had is a failure where it is required.
    pub(crate) fn tally(&self, is_required: bool) -> Tally {
        match self {
            Self::Skipped { .. } if is_required => Tally::FAILURE,
            Self::Skipped { .. } => Tally::default(),
            Self::Ran(tested) => tested.tally(),
        }
    }
}

impl Tested {
    /// What the test programs counted, and a failure more for a machine or a step
    /// that failed without a test that says so.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for step in &self.run.steps {
            let mut own = Tally::default();
            step.lines.iter().filter_map(|line| Tally::from_line(line)).for_each(|counts| own.add(counts));
            if own.failed == 0 && step.code != Some(0) {
                own.add(Tally::FAILURE);
            }
            tally.add(own);
        }
        if tally.failed == 0 && (self.run.failure.is_some() || tally.passed == 0) {
            tally.add(Tally::FAILURE);
        }
        tally
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.run.steps.iter().flat_map(|step| &step.lines).map(String::as_str)
    }

    /// The matrix in one line: cases right, wrong and not visible.
    pub(crate) fn cases(&self) -> Option<&str> {
        self.lines().find(|line| line.contains(" cases right, "))
    }

    /// The matrix by true outcome, such as `refused rst`.
    pub(crate) fn rows(&self) -> Option<BTreeMap<String, Row>> {
        let json = self.lines().find_map(|line| line.strip_prefix("matrix: "))?;
        serde_json::from_str(json).ok()
    }

    /// What `observer doctor` found.
    pub(crate) fn hooks(&self) -> Option<Vec<Hook>> {
        #[derive(Deserialize)]
        struct Findings {
            hooks: Vec<Hook>,
        }
        let lines = &self.run.step("doctor")?.lines;
        let findings: Findings = lines.iter().find_map(|line| serde_json::from_str(line).ok())?;
        Some(findings.hooks)
    }

    /// Ledgers that were shown: those that balance, and all.
    fn ledgers(&self) -> (usize, usize) {
        let ledger = |line: &str| line.split_once("ledger: attempts ").map(|(_, rest)| rest.contains(": balances"));
        let all: Vec<bool> = self.lines().filter_map(ledger).collect();
        (all.iter().filter(|balances| **balances).count(), all.len())
    }

    /// What the failed tests said, without what follows from it.
    pub(crate) fn complaints(&self) -> Vec<&str> {
        let mut complaints: Vec<&str> = Vec::new();
        for step in &self.run.steps {
            let lines = step.lines.iter().map(String::as_str);
            let said: Vec<&str> = lines.skip_while(|line| *line != "failures:").skip(1).collect();
            let end = said.iter().position(|line| *line == "failures:").unwrap_or(said.len());
            complaints.extend(said.into_iter().take(end).filter(|line| !line.is_empty()));
            if step.code != Some(0) && complaints.is_empty() {
                complaints.extend(step.lines.iter().rev().take(10).rev().map(String::as_str));
            }
        }
        complaints
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { boot, cause } => write!(f, "SKIP {}: NOT TESTED: {cause}", boot.name()),
            Self::Ran(tested) => tested.fmt(f),
        }
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { passed, failed, .. } = self.tally();
        let word = if failed == 0 { "ok" } else { "FAILED" };
        let wall = self.run.wall.as_secs_f64();
        write!(f, "{word:<6} {:<5} {}: ", self.boot.name(), self.release)?;
        match self.run.up_seconds {
            Some(seconds) => write!(f, "up after {seconds:.1} s, ")?,
            None => f.write_str("never came up, ")?,
        }
        write!(f, "{wall:.0} s in all; {passed} passed, {failed} failed")?;
        if let Some(cases) = self.cases() {
            write!(f, "; {cases}")?;
        }
        let (balance, all) = self.ledgers();
        if all > 0 {
            write!(f, "; {balance} of {all} ledgers balance")?;
        }
        let of_rounds =
            |line: &&str| line.starts_with("nothing lost, nothing leaked") || line.contains("attempts not seen:");
        if let Some(line) = self.lines().find(of_rounds) {
            write!(f, "; {line}")?;
        }
        if let Some(failure) = &self.run.failure {
            write!(f, "\n       {failure}")?;
        }
        if failed > 0 {
            for complaint in self.complaints().iter().take(COMPLAINTS_SHOWN) {
                write!(f, "\n       {complaint}")?;
            }
            write!(f, "\n       all of it: {}", self.log.display())?;
        }
        Ok(())
    }
}

/// Lines; the log has them all.
const COMPLAINTS_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::qemu::StepRun;
    use super::*;

    fn tested(steps: &[(&str, Option<i32>, &str)], failure: Option<&str>) -> Tested {
        let step = |(name, code, text): &(&str, Option<i32>, &str)| StepRun {
            name: (*name).to_owned(),
            code: *code,
            lines: text.lines().map(str::to_owned).collect(),
        };
        let run = Run {
            up_seconds: Some(2.0),
            wall: Duration::from_secs(9),
            steps: steps.iter().map(step).collect(),
            failure: failure.map(str::to_owned),
        };
        Tested { boot: Boot::plain("6.1", &[]), release: "6.1.0-1".to_owned(), run, log: PathBuf::from("log") }
    }

    const OK: &str = "test matrix ... ledger: attempts 9 = outcomes 9 + in flight 0 + lost 0: balances\n\
                      ledger: attempts 9 = outcomes 9 + in flight 0 + lost 0: balances, without what cannot be seen\n\
                      9 of 9 cases right, 0 wrong, 0 not visible to this kernel\n\
                      test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured";
    const BAD: &str = "failures:\n\n---- storm ----\nit differs\n\nfailures:\n    storm\n\n\
                       test result: FAILED. 2 passed; 1 failed; 0 ignored";

    #[test]
    fn a_good_run_is_counted_and_told() {
        let tested = tested(&[("doctor", Some(0), "{}"), ("tests", Some(0), OK)], None);
        assert_eq!((tested.tally().passed, tested.tally().failed), (3, 0));
        let line = tested.to_string();
        assert!(line.contains("9 of 9 cases right") && line.contains("2 of 2 ledgers balance"), "{line}");
    }

    #[test]
    fn failures_are_counted_however_they_come() {
        for (steps, failure) in [
            (vec![("tests", Some(0), OK)], Some("Kernel panic")),
            (vec![("tests", None, "")], Some("not done within 9 s")),
            (vec![("doctor", Some(69), ""), ("tests", Some(0), OK)], None),
            (vec![("tests", Some(101), BAD)], None),
            (vec![("tests", Some(0), "")], None),
            (vec![], Some("never")),
        ] {
            assert_eq!(tested(&steps, failure).tally().failed, 1, "{steps:?} {failure:?}");
        }
    }

    #[test]
    fn complaints_are_shown_without_what_follows() {
        let tested = tested(&[("tests", Some(101), BAD)], None);
        assert_eq!(tested.complaints(), ["---- storm ----", "it differs"]);
        assert!(tested.to_string().contains("it differs"));
    }

    #[test]
    fn a_skipped_kernel_is_a_failure_where_it_is_required() {
        let skipped = Outcome::Skipped { boot: Boot::plain("5.10", &[]), cause: "no network".to_owned() };
        assert_eq!(skipped.tally(true).failed, 1);
        assert_eq!(skipped.tally(false), Tally::default());
        assert!(skipped.to_string().contains("NOT TESTED: no network"));
    }
}
