//! Real sockets, real kernel programs: needs root.
//!
//! - `matrix`: every way for an attempt to end, in every family and mode.
//! - `skipped`: the same where hooks were skipped, from what sockets keep.
//! - `middlebox`: a RST that its destination did not send.
//! - `storm`: thousands of attempts at once; the ledger balances to the attempt.
//! - `soak`: a million attempts, a stopped and a killed observer; `rounds`: the same
//!   in thousands.
//! - `history`: what `observer run` has recorded, against the clients' own counts.
//! - `totals`: what `observer top`, `observer report` and history make of 500
//!   destinations, against the clients' own counts.
//! - `destinations`, `million_destinations`: more of them than the kernel's table holds, in
//!   history and at a sink.
//! - `hostile_cgroups`: a user who makes cgroups by the thousand delays nobody's events.
//! - `readers`: many who read from one `observer run`, and who may not.
//! - `route`, `probe`: what this host's routing table decides, and what probes and traces
//!   of the lab's hosts find.
//! - `causes`, `live_diagnosis`: what `observer diagnose` says of causes that were set up,
//!   alone and beside what else goes on at a host, from a history and from a capture.
//! - `input`: what a user can get wrong, and a closed or full stdout.
//! - `privilege`: what a host can withhold, and what suffices.
//!
//! And in virtual machines of their own, which `./x vm-test` makes for them, while
//! elsewhere they are ignored:
//!
//! - `patience`: SYNs that nobody answers, for as long as hosts really wait: two
//!   minutes, which a machine skips that has nothing to do.
//! - `integrity`, `confidentiality`: lockdown; the former also tries what may not
//!   be changed on a host that is used.
//!
//! Truth is the scenario and what the clients saw, never observer. A run without
//! root fails and says so.

#[path = "kernel/causes.rs"]
mod causes;
#[path = "kernel/cgroups.rs"]
mod cgroups;
#[path = "kernel/condition.rs"]
mod condition;
#[path = "kernel/confinement.rs"]
mod confinement;
#[path = "kernel/destinations.rs"]
mod destinations;
#[path = "kernel/history.rs"]
mod history;
#[path = "kernel/input.rs"]
mod input;
#[path = "kernel/live_diagnosis.rs"]
mod live_diagnosis;
#[path = "kernel/matrix.rs"]
mod matrix;
#[path = "kernel/middlebox.rs"]
mod middlebox;
#[path = "kernel/noise.rs"]
mod noise;
#[path = "kernel/patience.rs"]
mod patience;
#[path = "kernel/privilege.rs"]
mod privilege;
#[path = "privileged.rs"]
mod privileged;
#[path = "kernel/probe.rs"]
mod probe;
#[path = "kernel/readers.rs"]
mod readers;
#[path = "kernel/screen.rs"]
mod screen;
#[path = "kernel/soak.rs"]
mod soak;
#[path = "kernel/storm.rs"]
mod storm;
#[path = "kernel/totals.rs"]
mod totals;
#[path = "kernel/watcher.rs"]
mod watcher;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    let args = match privileged::begin("kernel tests") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let mut trials = vec![Trial::test("matrix", run(matrix::every_outcome_is_named_rightly))];
    trials.extend([
        Trial::test("skipped_answers", run(matrix::a_socket_tells_of_answers_that_no_hook_saw)),
        Trial::test("skipped_drops", run(matrix::a_socket_tells_of_syns_that_never_left)),
        Trial::test("middlebox", run(middlebox::a_forged_rst_is_suspect)),
        Trial::test("middlebox_ttl", run(middlebox::a_rst_from_elsewhere_is_suspect)),
        Trial::test("storm", run(storm::every_attempt_has_one_outcome)),
        Trial::test("storm_full_ring", run(storm::a_full_ring_loses_events_and_no_count)),
        Trial::test("storm_full_table", run(storm::a_full_table_loses_attempts_and_no_count)),
    ]);
    trials.extend([
        Trial::test("rounds", run(soak::thousands_of_attempts_leave_nothing_behind)),
        Trial::test("soak", run(soak::a_million_attempts_leave_nothing_behind)),
        Trial::test("soak_killed", run(soak::a_killed_observer_leaves_nothing_behind)),
    ]);
    trials.extend(history::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.extend(readers::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.push(Trial::test("totals", run(totals::totals_are_the_clients_own)));
    trials.extend(destinations::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.extend(cgroups::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.extend(input::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.extend(privilege::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.extend(probe::TRIALS.iter().map(|&(name, trial)| Trial::test(name, run(trial))));
    trials.push(Trial::test("live_diagnosis", run(live_diagnosis::what_is_captured_is_diagnosed)));
    trials.push(Trial::test("causes", run(causes::every_cause_is_named)));
    trials.push(Trial::test("privilege_given_up", run(confinement::privileges_are_given_up)));
    let for_machines = patience::TRIALS.iter().chain(privilege::MACHINE_TRIALS);
    trials.extend(for_machines.map(|&(name, trial)| Trial::test(name, run(trial)).with_ignored_flag(true)));
    privileged::run(&args, trials).exit_code()
}

fn run(trial: fn() -> anyhow::Result<()>) -> impl FnOnce() -> Result<(), libtest_mimic::Failed> {
    move || trial().map_err(|error| format!("{error:?}").into())
}
