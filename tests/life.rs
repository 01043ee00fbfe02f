//! The life of `observer run` on a host that is used: restarts, clocks that jump, secrets,
//! privileges. Needs root.
//!
//! Each trial holds observer to a promise, and the run ends with a table of them all. To
//! add one: a function in a file of tests/life/, and an entry in the `TRIALS` of that file,
//! which `all` lists.

#[path = "life/agreement.rs"]
mod agreement;
#[path = "life/alerts.rs"]
mod alerts;
#[path = "life/clocks.rs"]
mod clocks;
#[path = "life/configurations.rs"]
mod configurations;
#[path = "receivers/daemon.rs"]
mod daemon;
#[path = "life/disk.rs"]
mod disk;
#[path = "life/frozen.rs"]
mod frozen;
#[path = "life/mail_log.rs"]
mod mail_log;
#[path = "life/minutes.rs"]
mod minutes;
#[path = "privileged.rs"]
mod privileged;
#[path = "life/privileges.rs"]
mod privileges;
#[path = "life/probes.rs"]
mod probes;
#[path = "life/readers.rs"]
mod readers;
#[path = "life/reports.rs"]
mod reports;
#[path = "kernel/screen.rs"]
#[expect(dead_code, reason = "the tests in the kernel use the rest")]
mod screen;
#[path = "life/secrets.rs"]
mod secrets;
#[path = "life/sinks.rs"]
mod sinks;
#[path = "life/strangers.rs"]
mod strangers;
#[path = "kernel/watcher.rs"]
#[expect(dead_code, reason = "the tests in the kernel use the rest")]
mod watcher;

use std::process::ExitCode;

use libtest_mimic::Trial;
use observer_lab::{LifeTrial, life_table};

/// Every trial, in the order of the table.
fn all() -> Vec<LifeTrial> {
    [
        clocks::TRIALS,
        alerts::TRIALS,
        privileges::TRIALS,
        readers::TRIALS,
        secrets::TRIALS,
        mail_log::TRIALS,
        probes::TRIALS,
        reports::TRIALS,
        minutes::TRIALS,
        sinks::TRIALS,
        frozen::TRIALS,
        strangers::TRIALS,
        agreement::TRIALS,
    ]
    .concat()
}

fn main() -> ExitCode {
    let args = match privileged::begin("life tests") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let trials = all()
        .into_iter()
        .map(|trial| Trial::test(trial.name, move || trial.run().map_err(|error| format!("{error:?}").into())));
    let conclusion = privileged::run(&args, trials.collect());
    if !args.list {
        // Of one trial, its line alone.
        let is_run = |trial: &LifeTrial| !args.exact || args.filter.as_deref() == Some(trial.name);
        println!("{}", life_table(&all().into_iter().filter(is_run).collect::<Vec<_>>()));
    }
    conclusion.exit_code()
}
