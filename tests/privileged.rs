//! How the test programs begin that need root.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Conclusion, Trial};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Runs a process of the lab's to its end, if this is one. Otherwise reads the arguments and,
/// unless tests are only to be listed, moves into namespaces of its own: trials of this
/// program and of others can then run at the same time, on a machine that does other things.
///
/// # Errors
/// The exit code, where the tests cannot run, which is said on stderr.
pub(crate) fn begin(tests: &str) -> std::result::Result<Arguments, ExitCode> {
    observer_lab::dispatch_role();
    let mut args = Arguments::from_args();
    // All trials of one process share its namespaces.
    args.test_threads = Some(1);
    if args.list {
        return Ok(args);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("{tests}: NOT RUN, this needs root: they load kernel programs and make namespaces");
        return Err(ExitCode::FAILURE);
    }
    match observer_lab::isolate().and_then(|()| mount_tracefs()) {
        Ok(()) => Ok(args),
        Err(error) => {
            eprintln!("{tests}: NOT RUN: {error:#}");
            Err(ExitCode::FAILURE)
        }
    }
}

/// Runs the trials. What one that failed left running ends with them.
pub(crate) fn run(args: &Arguments, trials: Vec<Trial>) -> Conclusion {
    let mut conclusion = libtest_mimic::run(args, trials);
    if !args.list
        && let Err(error) = observer_lab::end_orphans()
    {
        eprintln!("{error:#}");
        conclusion.num_failed += 1;
    }
    conclusion
}

/// In this process's mount namespace, if `./x` wants to see that it makes no difference.
fn mount_tracefs() -> Result<()> {
    if std::env::var_os("OBSERVER_TEST_TRACEFS").is_none_or(|value| value != "mounted") {
        return Ok(());
    }
    match mount("tracefs", "/sys/kernel/tracing", "tracefs", MountFlags::empty(), None) {
        // It is there already.
        Err(Errno::BUSY) => Ok(()),
        result => result.context("mount tracefs"),
    }
}
