//! How every command reads the configuration.

use std::path::Path;

use super::Failure;
use super::live::say;
use crate::config::{Config, Loaded, Problem, Rejected, Surroundings};
use crate::exit::Exit;
use crate::host::surroundings::host;

/// The configuration of a command that sends nothing. Secrets are not its matter, nor is
/// what is wrong with a file that was not named: it does as built in then.
pub(super) fn load_to_read(file: Option<&Path>) -> Result<Config, Failure> {
    match load(file) {
        Ok(loaded) => Ok(loaded.config),
        Err(failure) if file.is_some() => Err(failure),
        Err(failure) => {
            say(&format!("going on without a configuration: {}", failure.text));
            Ok(Config::default())
        }
    }
}

fn load(file: Option<&Path>) -> Result<Loaded, Failure> {
    read(file)?.map_err(|rejected| failure(&rejected.problems))
}

/// Reads the configuration.
///
/// # Errors
/// If the host's name cannot be read; of the configuration, the inner one.
pub(super) fn read(file: Option<&Path>) -> Result<Result<Loaded, Rejected>, Failure> {
    let host = host().map_err(|error| Failure::new("cannot read this host's name from /proc", error))?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
    Ok(Config::load(file, &Surroundings { host: host.name, credentials }))
}

/// All of them at once.
pub(super) fn failure(problems: &[Problem]) -> Failure {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Failure::with(Exit::Configuration, lines.join("\nobserver: "))
}
