//! Builds of later steps, made while tests wait for their attempts.

use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};

use crate::report::Tally;

/// What has to be built, and by which command. That command again is done at once.
pub(crate) type Build = (&'static str, Command);

/// Builds that run one after another, with what the tests leave of the processors.
pub(crate) struct HeadStart(JoinHandle<Result<()>>);

impl HeadStart {
    pub(crate) fn begin(builds: Vec<Build>) -> Self {
        Self(thread::spawn(|| builds.into_iter().try_for_each(build)))
    }

    /// Waits for the last one.
    ///
    /// # Errors
    /// The first build that failed, with what it said; those after it were not begun.
    pub(crate) fn end(self) -> Result<Tally> {
        match self.0.join() {
            Ok(result) => result.map(|()| Tally::default()),
            Err(_) => bail!("a thread panicked"),
        }
    }
}

fn build((name, command): Build) -> Result<()> {
    const SHOWN: usize = 25;
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    nice.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        nice.current_dir(directory);
    }
    let output = nice.stdin(Stdio::null()).output().with_context(|| format!("start nice(1) for {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    bail!("{name}: {}\n{}", output.status, lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
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
    fn builds_run_with_their_environment_until_one_fails() {
        let mut first = shell("test $KEY = value && test \"$(nice)\" = 19");
        first.env("KEY", "value");
        assert_eq!(HeadStart::begin(vec![("first", first)]).end().unwrap(), Tally::default());
        let builds = vec![("second", shell("echo no space >&2; false")), ("third", shell("echo too far >&2; false"))];
        let error = HeadStart::begin(builds).end().unwrap_err().to_string();
        assert!(error.starts_with("second: exit status: 1\nno space"), "{error}");
    }
}
