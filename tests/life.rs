//! The life of `observer run` on a host that is used: restarts, clocks that jump, secrets,
//! privileges. Needs root.
//!
//! Each trial holds observer to a promise, and the run ends with a table of them all. To
//! add one: a function in a file of tests/life/, and an entry in the `TRIALS` of that file,
//! which `all` lists.

#[path = "receivers/daemon.rs"]
#[expect(dead_code, reason = "the tests of receivers use the rest")]
mod daemon;
#[path = "life/secrets.rs"]
mod secrets;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use observer_lab::{LifeTrial, life_table};

/// Every trial, in the order of the table.
fn all() -> Vec<LifeTrial> {
    [secrets::TRIALS].concat()
}

fn main() -> ExitCode {
    observer_lab::dispatch_role();
    let mut args = Arguments::from_args();
    // The machine's network, and its CPUs, are shared by all trials.
    args.test_threads = Some(1);
    if !rustix::process::geteuid().is_root() && !args.list {
        eprintln!("life tests: NOT RUN, this needs root: they load kernel programs and make network namespaces");
        return ExitCode::FAILURE;
    }
    let trials = all()
        .into_iter()
        .map(|trial| Trial::test(trial.name, move || trial.run().map_err(|error| format!("{error:?}").into())));
    let conclusion = libtest_mimic::run(&args, trials.collect());
    if !args.list {
        println!("{}", life_table(&all()));
    }
    conclusion.exit_code()
}
