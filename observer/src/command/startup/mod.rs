//! What a configuration meets on this host: one look that `observer config check` and the start of
//! `observer run` share, so that what the one passes the other runs. It changes nothing.

mod access;
mod opened;
mod paths;
mod sense;
#[cfg(test)]
mod tests;
mod user;

use std::path::Path;

use super::live::say;
use super::{Failure, configuration};
use crate::config::{Loaded, Problem, Rejected};

pub(super) use self::user::{User, as_user};

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `observer config check`: observer may be up, and have in use what it will use.
    Check,
    /// `observer run`, before it attaches.
    Start,
    /// `observer run`, which has in use what is its own, and goes over to other sinks.
    Reload,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// With these `observer run` does not start.
    pub(super) refusals: Vec<Problem>,
    /// It starts, and a part of it does not work.
    pub(super) defects: Vec<Problem>,
    /// It works, and is hardly meant.
    pub(super) remarks: Vec<Problem>,
}

/// Reads the configuration, lays what was typed over it, and looks at all that it names, as the
/// user of this thread. Where a key is wrong the rest is looked at all the same, and the findings
/// refuse it.
///
/// # Errors
/// If a file cannot be read, or is not TOML.
pub(super) fn look(
    file: Option<&Path>,
    lay_over: impl FnOnce(&mut Loaded),
    purpose: Purpose,
) -> Result<(Loaded, Findings), Failure> {
    match configuration::read(file)? {
        Ok(mut loaded) => {
            lay_over(&mut loaded);
            let findings = examine(&loaded, purpose);
            Ok((loaded, findings))
        }
        Err(Rejected { rest: None, problems }) => Err(configuration::failure(&problems)),
        Err(Rejected { rest: Some(mut rest), problems }) => {
            lay_over(&mut rest);
            let findings = examine(&rest, purpose).beside(&rest, problems);
            Ok((*rest, findings))
        }
    }
}

fn examine(loaded: &Loaded, purpose: Purpose) -> Findings {
    let Loaded { config, places, files, remarks } = loaded;
    let mut findings = Findings { refusals: paths::shared(config, places, files), ..Findings::default() };
    // A reload says of each sink how it goes once it is opened.
    if purpose != Purpose::Reload {
        opened::look(config, places, purpose == Purpose::Check, &mut findings);
    }
    findings.remarks.extend_from_slice(remarks);
    findings.remarks.extend(sense::remarks(config, places));
    findings
}

impl Findings {
    /// With what is wrong with keys. What was found of a default that stands for a wrong value, or
    /// of what is built in, is of no use then.
    fn beside(self, loaded: &Loaded, wrong: Vec<Problem>) -> Self {
        let kept = |found: Vec<Problem>| {
            let is_of_use = |problem: &Problem| {
                loaded.places.is_written(problem) && !wrong.iter().any(|known| known.shares_line(problem))
            };
            found.into_iter().filter(is_of_use).collect::<Vec<_>>()
        };
        let (refusals, defects, remarks) = (kept(self.refusals), kept(self.defects), kept(self.remarks));
        Self { refusals: [wrong, refusals].concat(), defects, remarks }
    }

    /// Fails where there are refusals, and says the rest then.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        if !self.refusals.is_empty() {
            self.tell();
        }
        failure(&self.refusals)
    }

    /// Prints the defects and the remarks: observer runs in spite of them.
    pub(super) fn tell(&self) {
        self.defects.iter().chain(&self.remarks).for_each(|problem| say(&problem.to_string()));
    }

    /// Fails where anything does not work, and says the rest.
    pub(super) fn reject(&self) -> Result<(), Failure> {
        self.remarks.iter().for_each(|problem| say(&problem.to_string()));
        failure(&[&self.refusals[..], &self.defects].concat())
    }
}

/// All of them at once.
fn failure(problems: &[Problem]) -> Result<(), Failure> {
    if problems.is_empty() { Ok(()) } else { Err(configuration::failure(problems)) }
}
