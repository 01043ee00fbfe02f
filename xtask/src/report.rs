//! Runs steps, counts what passed and failed, and sums up.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::nextest::Ran;

/// The steps that were run, in order.
#[derive(Debug)]
pub(crate) struct Report {
    start: Instant,
    steps: Vec<Step>,
}

/// Set by `./x`: when it began, in seconds since 1970.
const BEGAN: &str = "X_BEGAN";

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    outcome: Outcome,
    /// Why it failed: repeated at the end, since of a long log people see that first.
    why: Lines,
}

#[derive(Debug)]
enum Outcome {
    /// A check, such as a lint, is one pass or one failure; a step of tests is many.
    Ran(Tally),
    /// And whether that is a failure.
    NotRun { reason: String, is_failure: bool },
}

/// Tests by their result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    pub(crate) const PASS: Self = Self { passed: 1, failed: 0, ignored: 0 };
    pub(crate) const FAILURE: Self = Self { passed: 0, failed: 1, ignored: 0 };

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`, which is how
    /// every test program of Rust ends.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let (number, _) =
                counts.split("; ").find_map(|part| part.split_once(' ').filter(|(_, word)| *word == what))?;
            number.parse().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }
}

impl Default for Report {
    fn default() -> Self {
        Self { start: Instant::now(), steps: Vec::new() }
    }
}

impl Report {
    /// Begins, after what `./x` has done before this program started: the first step.
    pub(crate) fn begin() -> Self {
        let began = std::env::var(BEGAN).ok().and_then(|seconds| seconds.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let took = began.and_then(|began| now.checked_sub(Duration::from_secs(began)));
        let mut report = Self::default();
        if let Some(took) = took {
            report.start = report.start.checked_sub(took).unwrap_or(report.start);
            let outcome = Outcome::Ran(Tally::default());
            report.steps.push(Step {
                name: "toolchain, bpf-linker, xtask".to_owned(),
                took,
                outcome,
                why: Lines::default(),
            });
        }
        report
    }

    /// Runs a command that passes or fails as a whole. True if it passed.
    pub(crate) fn check(&mut self, name: &str, command: &mut Command) -> bool {
        self.step(name, &line(command), |why| {
            if io::stdout().is_terminal() {
                command.env("CARGO_TERM_COLOR", "always");
            }
            let (printed, status) = Printed::by(command)?;
            if status.success() {
                return Ok(Tally::PASS);
            }
            *why = printed.last;
            Ok(Tally::FAILURE)
        })
    }

    /// Runs a command of [`crate::nextest`], and counts its tests. No test at all is a failure.
    /// True if all passed.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) -> bool {
        self.step(name, &line(command), |why| {
            let (Ran { tests, failures }, status) = Ran::by(command)?;
            failures.iter().for_each(|test| why.push(&format!("test {test} FAILED")));
            Ok(counted(tests, status, why))
        })
    }

    /// As [`Self::tests`], of a command that runs a test program of Rust's own kind.
    pub(crate) fn test_program(&mut self, name: &str, command: &mut Command) -> bool {
        self.step(name, &line(command), |why| {
            let (printed, status) = Printed::by(command)?;
            *why = printed.last;
            Ok(counted(printed.tests, status, why))
        })
    }

    /// Notes a step that could not be run.
    pub(crate) fn not_run(&mut self, name: &str, reason: &str, is_failure: bool) {
        println!("\n==> {name}: NOT RUN: {reason}");
        let outcome = Outcome::NotRun { reason: reason.to_owned(), is_failure };
        self.steps.push(Step { name: name.to_owned(), took: Duration::ZERO, outcome, why: Lines::default() });
    }

    /// Does what is more than one command, described by `what`, and counts the
    /// tests that it says it ran. True if all passed.
    pub(crate) fn work(&mut self, name: &str, what: &str, work: impl FnOnce() -> Result<Tally>) -> bool {
        self.step(name, what, |_| work())
    }

    fn step(&mut self, name: &str, what: &str, run: impl FnOnce(&mut Lines) -> Result<Tally>) -> bool {
        println!("\n==> {name}: {what}");
        let start = Instant::now();
        let mut why = Lines::default();
        let tally = run(&mut why).unwrap_or_else(|error| {
            println!("{error:#}");
            why.push(&format!("{error:#}"));
            Tally::FAILURE
        });
        let took = start.elapsed();
        let word = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!("==> {name}: {word} after {:.1} s", took.as_secs_f64());
        self.steps.push(Step { name: name.to_owned(), took, outcome: Outcome::Ran(tally), why });
        tally.failed == 0
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        for step in &self.steps {
            match &step.outcome {
                Outcome::Ran(tally) => total.add(*tally),
                Outcome::NotRun { is_failure: true, .. } => total.add(Tally::FAILURE),
                Outcome::NotRun { is_failure: false, .. } => {}
            }
        }
        total
    }

    /// Prints a line for each step, why those failed that did, and `N passed, N failed`
    /// last.
    pub(crate) fn finish(&self) -> ExitCode {
        println!("\n{self}");
        if self.total().failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or_default();
        let whole = self.start.elapsed().as_secs_f64();
        for Step { name, took, outcome, .. } in &self.steps {
            let seconds = took.as_secs_f64();
            match outcome {
                Outcome::Ran(tally) if *tally == Tally::default() => {
                    writeln!(f, "{:<8} {name:<width$} {seconds:>7.1} s", "ok")?;
                }
                Outcome::Ran(Tally { passed, failed, ignored }) => {
                    let word = if *failed == 0 { "ok" } else { "FAILED" };
                    write!(f, "{word:<8} {name:<width$} {seconds:>7.1} s  {passed} passed, {failed} failed")?;
                    if *ignored > 0 {
                        write!(f, ", {ignored} ignored")?;
                    }
                    writeln!(f)?;
                }
                Outcome::NotRun { reason, .. } => writeln!(f, "{:<8} {name:<width$} {:>9}  {reason}", "NOT RUN", "")?,
            }
        }
        writeln!(f, "{:<8} {:<width$} {whole:>7.1} s", "", "in all")?;
        for Step { name, why: Lines(lines), .. } in self.steps.iter().filter(|step| !step.why.0.is_empty()) {
            writeln!(f, "\n{name} ended with:")?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        let Tally { passed, failed, .. } = self.total();
        write!(f, "{passed} passed, {failed} failed")
    }
}

/// The last lines of something longer.
#[derive(Debug, Default)]
struct Lines(VecDeque<String>);

impl Lines {
    const MOST: usize = 12;

    fn push(&mut self, line: &str) {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }
}

/// The tests of a command; a failure more if it failed without one that says so, or ran none.
fn counted(tests: Tally, status: ExitStatus, why: &mut Lines) -> Tally {
    let complaint = if tests.failed == 0 && !status.success() {
        format!("it failed, {status}, although no test said so")
    } else if tests.passed + tests.failed == 0 {
        "there was no test in it".to_owned()
    } else {
        if tests.failed == 0 {
            *why = Lines::default();
        }
        return tests;
    };
    println!("{complaint}");
    why.push(&complaint);
    Tally { failed: 1, ..tests }
}

/// What a command printed, of which all was passed on.
#[derive(Default)]
struct Printed {
    tests: Tally,
    last: Lines,
}

impl Printed {
    /// Runs a command to its end.
    fn by(command: &mut Command) -> Result<(Self, ExitStatus)> {
        let (reader, writer) = io::pipe().context("make a pipe for its output")?;
        let stderr = writer.try_clone().context("make a pipe for its output")?;
        let mut child = command.stdout(writer).stderr(stderr).spawn().context("start it")?;
        // The command keeps what it was given; while it does, the pipe has no end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut printed = Self::default();
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.context("read its output")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            printed.take(&line);
        }
        Ok((printed, child.wait().context("wait for it")?))
    }

    fn take(&mut self, line: &str) {
        self.last.push(line);
        if let Some(counts) = Tally::from_line(line) {
            self.tests.add(counts);
        }
    }
}

/// A command as a person would type it.
fn line(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            line += &format!("{}={:?} ", name.display(), value.to_string_lossy());
        }
    }
    let program = std::path::Path::new(command.get_program());
    line += &program.file_name().unwrap_or_default().to_string_lossy();
    for argument in command.get_args() {
        line += &format!(" {}", argument.display());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn result_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.10s";
        assert_eq!(Tally::from_line(line), Some(Tally { passed: 12, failed: 3, ignored: 2 }));
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in ["", "test result: ", "test a::b ... ok", "12 passed; 3 failed; 2 ignored", "test result: ok. many"]
        {
            assert_eq!(Tally::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn total_adds_checks_and_tests_of_all_steps() {
        let mut report = Report::default();
        assert!(report.check("lint", &mut shell("true")));
        let line = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured";
        assert!(report.test_program("tests", &mut shell(&format!("echo '{line}'; echo '{line}'"))));
        assert_eq!(report.total(), Tally { passed: 5, failed: 0, ignored: 2 });
        assert_eq!(report.to_string().lines().last(), Some("5 passed, 0 failed"));
    }

    #[test]
    fn failures_are_counted_however_they_come() {
        let mut report = Report::default();
        assert!(!report.check("check", &mut shell("false")));
        assert!(!report.check("absent", &mut Command::new("/nonexistent/program")));
        assert!(
            !report.test_program(
                "failing",
                &mut shell("echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored'; false")
            )
        );
        assert!(
            !report.test_program(
                "crashing",
                &mut shell("echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; kill -9 $$")
            )
        );
        assert!(!report.test_program("empty", &mut shell("true")));
        report.not_run("required", "not root", true);
        report.not_run("optional", "not root", false);
        assert_eq!(report.total(), Tally { passed: 2, failed: 7, ignored: 0 });
    }

    #[test]
    fn the_end_says_why_a_step_failed() {
        let mut report = Report::default();
        report.check("build", &mut shell("echo begun; seq 100; echo 'error: no space' >&2; false"));
        let said = r#"{"type":"test","event":"failed","name":"a::b"}"#;
        report.tests("tests", &mut shell(&format!("echo '{said}'; exit 100")));
        report.work("work", "more", || anyhow::bail!("no such kernel"));
        let text = report.to_string();
        assert!(text.contains("\nbuild ended with:\n  90\n"), "{text}");
        for line in ["  error: no space", "  test a::b FAILED", "  no such kernel"] {
            assert!(text.lines().any(|of_text| of_text == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("begun"), "{text}");
    }
}
