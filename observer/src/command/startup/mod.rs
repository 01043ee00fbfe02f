//! What a configuration meets on this host: one look that `observer config check` and the start of
//! `observer run` share, so that what the one passes the other runs. It changes nothing.

mod access;
mod opened;
mod paths;
mod sense;
#[cfg(test)]
mod tests;
mod user;

use std::path::PathBuf;

use super::Failure;
use super::live::say;
use crate::config::{Config, Places, Problem};
use crate::exit::Exit;

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

/// Looks at all that a configuration names, as the user of this thread. `files` are those that it
/// was read from.
pub(super) fn examine(config: &Config, places: &Places, files: &[PathBuf], purpose: Purpose) -> Findings {
    let mut findings = Findings { refusals: paths::shared(config, places, files), ..Findings::default() };
    // A reload says of each sink how it goes once it is opened.
    if purpose != Purpose::Reload {
        opened::look(config, places, purpose == Purpose::Check, &mut findings);
    }
    findings.remarks.extend(sense::remarks(config, places));
    findings
}

impl Findings {
    /// Fails where there are refusals, and says the rest then.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        if !self.refusals.is_empty() {
            self.tell();
        }
        failure(&self.refusals)
    }

    /// Says what is refused by nobody.
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
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Err(Failure::with(Exit::Configuration, lines.join("\nobserver: ")))
}
