//! Tests by cargo-nextest: each in a process of its own, with a limit to its time.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::cargo;
use crate::report::Tally;

/// `cargo nextest run` with a profile of `.config/nextest.toml`.
pub(crate) fn run(profile: &str) -> Command {
    let mut command = cargo::command("nextest");
    command.args(["run", "--profile", profile]);
    if cargo::is_ci() {
        command.arg("--locked");
    }
    command
}

/// What nextest said of the tests that it ran.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) tests: Tally,
    /// The names of those that failed.
    pub(crate) failures: Vec<String>,
}

/// A line of `--message-format libtest-json`.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    event: String,
    #[serde(default)]
    name: String,
}

impl Ran {
    /// Runs such a command to its end. What is for people goes to stderr as it comes.
    pub(crate) fn by(command: &mut Command) -> Result<(Self, ExitStatus)> {
        command.args(["--message-format", "libtest-json", "--message-format-version", "0.1"]);
        // The format is that of libtest, which calls it unstable; nextest's version is pinned.
        command.env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
        let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo nextest")?;
        let stdout = child.stdout.take().context("nextest's stdout")?;
        let mut ran = Self::default();
        for line in BufReader::new(stdout).lines() {
            ran.take(&line.context("read what nextest says")?);
        }
        Ok((ran, child.wait().context("wait for cargo nextest")?))
    }

    fn take(&mut self, line: &str) {
        match serde_json::from_str::<Event>(line) {
            Ok(Event { kind, event, name }) if kind == "test" => match event.as_str() {
                "ok" => self.tests.passed += 1,
                "failed" => {
                    self.tests.failed += 1;
                    self.failures.push(name);
                }
                "ignored" => self.tests.ignored += 1,
                _ => {}
            },
            Ok(_) => {}
            // Cargo, of a build.
            Err(_) => println!("{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_events() {
        let mut ran = Ran::default();
        for line in [
            r#"{"type":"suite","event":"started","test_count":4}"#,
            r#"{"type":"test","event":"started","name":"observer::kernel$matrix"}"#,
            r#"{"type":"test","event":"ok","name":"observer::kernel$matrix","exec_time":1.5}"#,
            r#"{"type":"test","event":"failed","name":"observer::kernel$storm","exec_time":1.5,"stdout":"it differs"}"#,
            r#"{"type":"test","event":"ignored","name":"observer::kernel$tenzir"}"#,
            r#"{"type":"suite","event":"failed","passed":1,"failed":1,"ignored":1}"#,
        ] {
            ran.take(line);
        }
        assert_eq!(ran.tests, Tally { passed: 1, failed: 1, ignored: 1 });
        assert_eq!(ran.failures, ["observer::kernel$storm"]);
    }
}
