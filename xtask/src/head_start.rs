//! Builds of later steps, made while tests wait for their attempts.

use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};
use rustix::process::nice;

use crate::needs::complaint;
use crate::report::Tally;

/// What has to be built, and by which command. That command again is done at once.
pub(crate) type Build = (&'static str, Command);

/// What sets the lowest priority.
const LEAST: i32 = 19;

/// Builds that run one after another, with what the tests leave of the processors.
pub(crate) struct HeadStart(JoinHandle<Result<()>>);

impl HeadStart {
    pub(crate) fn begin(builds: Vec<Build>) -> Self {
        Self(thread::spawn(|| {
            // Of this thread, and so of all that it starts.
            nice(LEAST).context("lower the priority of builds")?;
            builds.into_iter().try_for_each(build)
        }))
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

fn build((name, mut command): Build) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start what builds {name}"))?;
    match complaint(&output) {
        None => Ok(()),
        Some(complaint) => bail!("{name}: {complaint}"),
    }
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
