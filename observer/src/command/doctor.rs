//! `observer doctor`.

use super::{Failure, print};
use crate::cli::DoctorArgs;
use crate::kernel::{Session, Settings, environment};
use crate::ui::doctor;

pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let attached = Session::attach(&settings(args)).map(|(session, _)| session);
    let environment = environment();
    let reports = attached.as_ref().map(Session::reports).unwrap_or_default();
    let text = if args.json { doctor::json(&environment, reports) } else { doctor::text(&environment, reports) };
    print(text.as_bytes())?;
    attached.map(drop).map_err(Failure::from)
}

/// As small as can be: the hooks are taken off again at once.
fn settings(args: &DoctorArgs) -> Settings {
    Settings {
        ports: vec![25],
        successes: false,
        syscall_hooks: !args.no_syscall_hooks,
        without: args.without_hook.clone(),
        max_in_flight: 64,
        max_destinations: 64,
        ring_bytes: 64 << 10,
        log: false,
        watch_self: false,
    }
}
