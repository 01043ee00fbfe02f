//! What the program does: reads clocks and signals, and writes to the world.

mod alerts;
mod capture;
mod clock;
mod config;
mod configuration;
mod confinement;
mod diagnose;
mod doctor;
mod live;
mod memory;
pub mod metrics;
mod minutes;
mod mta_log;
mod naming;
mod open_alerts;
mod outlets;
mod readers;
mod record;
mod remote;
mod report;
mod run;
mod service;
mod socket;
mod source;
mod startup;
mod top;
mod watch;

use std::fmt;
use std::io::{self, Write as _};

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::kernel::AttachError;

/// Why a command ended: one line for a person, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    pub(crate) fn new(what: &str, error: impl fmt::Display) -> Self {
        Self { exit: Exit::Failure, text: format!("{what}: {error}") }
    }

    pub(crate) fn with(exit: Exit, text: String) -> Self {
        Self { exit, text }
    }

    /// What was typed cannot be done here.
    pub(crate) fn usage(text: &str) -> Self {
        Self { exit: Exit::Usage, text: text.to_owned() }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let exit = match error {
            AttachError::Kernel(_) => Exit::Unavailable,
            AttachError::Permission(_) => Exit::NoPermission,
            AttachError::Other(_) => Exit::Failure,
        };
        Self { exit, text: error.to_string() }
    }
}

/// Does what was typed. An error is one line on stderr.
pub fn run(cli: &Cli) -> Exit {
    cli.color_choice().write_global();
    let done = match &cli.command {
        Command::Watch(args) => watch::run(args, cli.color_choice()),
        Command::Run(args) => run::run(args),
        Command::Top(args) => top::run(args, cli.color_choice()),
        Command::Report(args) => report::run(args),
        Command::Diagnose(args) => diagnose::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions { shell } => print(&Cli::completions(*shell)),
        Command::Config(command) => config::run(command),
        Command::Man { page } => {
            page.render().map_err(|error| Failure::new("man", error)).and_then(|page| print(&page))
        }
    };
    match done {
        Ok(()) => Exit::Success,
        Err(failure) => {
            live::say(&failure.text);
            failure.exit
        }
    }
}

/// Writes to stdout. A reader that has gone away is no error.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new("cannot write to stdout", error)),
        _ => Ok(()),
    }
}
