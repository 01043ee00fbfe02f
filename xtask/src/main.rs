//! Developer entry points of observer, run as `./x VERB` or `cargo xtask VERB`.
//!
//! A verb is a file in `verb/`, whose first line says what it does (`./x --help`
//! prints it), and an arm of [`Verb`]. A hyphen in its name is an underscore in
//! the file's.

mod bench;
mod cargo;
mod checks;
mod crowd;
mod foreground;
mod head_start;
mod needs;
mod nextest;
mod privilege;
mod report;
mod vm;
mod verb {
    pub(crate) mod bench;
    pub(crate) mod demo;
    pub(crate) mod fuzz;
    pub(crate) mod graph;
    pub(crate) mod lint;
    pub(crate) mod package;
    pub(crate) mod receivers;
    pub(crate) mod setup;
    pub(crate) mod test;
    pub(crate) mod vm_test;
    pub(crate) mod watch;
}

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::needs::Purpose;

/// Developer entry points of observer
#[derive(Debug, Parser)]
#[command(name = "./x", bin_name = "./x", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(verb::bench::Bench),
    Demo(verb::demo::Demo),
    Fuzz(verb::fuzz::Fuzz),
    Graph(verb::graph::Graph),
    Lint(verb::lint::Lint),
    Package(verb::package::Package),
    Receivers(verb::receivers::Receivers),
    Setup(verb::setup::Setup),
    Test(verb::test::Test),
    VmTest(verb::vm_test::VmTest),
    Watch(verb::watch::Watch),
}

impl Verb {
    /// What it needs; `None` where it sees to that itself.
    fn purpose(&self) -> Option<Purpose> {
        match self {
            Self::Bench(_) => Some(Purpose::Bench),
            Self::Demo(_) | Self::Watch(_) => Some(Purpose::Lab),
            Self::Fuzz(_) => Some(Purpose::Fuzz),
            Self::Lint(_) => Some(Purpose::Lint),
            Self::Package(_) => Some(Purpose::Package),
            Self::Receivers(_) => Some(Purpose::Receivers),
            Self::Graph(_) | Self::Setup(_) | Self::Test(_) => None,
            Self::VmTest(vm_test) => Some(vm_test.purpose()),
        }
    }

    fn run(self) -> Result<ExitCode> {
        if let Some(purpose) = self.purpose() {
            needs::meet(purpose)?;
        }
        match self {
            Self::Bench(bench) => bench.run(),
            Self::Demo(demo) => demo.run(),
            Self::Fuzz(fuzz) => fuzz.run(),
            Self::Graph(graph) => graph.run(),
            Self::Lint(lint) => lint.run(),
            Self::Package(package) => package.run(),
            Self::Receivers(receivers) => receivers.run(),
            Self::Setup(setup) => setup.run(),
            Self::Test(test) => test.run(),
            Self::VmTest(vm_test) => vm_test.run(),
            Self::Watch(watch) => watch.run(),
        }
    }
}

fn main() -> ExitCode {
    vm::guest::dispatch();
    observer_lab::dispatch_role();
    Cli::parse().verb.run().unwrap_or_else(|error| {
        eprintln!("x: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_verb_is_a_file_that_says_what_it_does() {
        let mut verbs: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        verbs.sort();
        let mut files = Vec::new();
        for entry in fs::read_dir(cargo::root().join("xtask/src/verb")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//! "), "{} does not begin with what it does", path.display());
            files.push(path.file_stem().unwrap().to_str().unwrap().replace('_', "-"));
        }
        files.sort();
        assert_eq!(verbs, files);
    }

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
