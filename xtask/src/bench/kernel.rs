//! The time of observer's kernel programs, by the kernel's own statistics.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use super::empty::Empty;
use super::figures::{Figures, Goal, Spread, Table};
use super::programs::{ByName, Programs, Runs, Stats};
use super::subject::{self, Watch};
use super::{NO_SYSCALL_HOOKS, Run, UNWATCHED, WATCHED};

/// ns of all hooks together.
const GOAL_WATCHED: f64 = 900.0;
const GOAL_UNWATCHED: f64 = 250.0;

/// Connects to one port, in rounds.
#[derive(Default)]
struct Side {
    by_name: ByName,
    /// ns a connect of all hooks, one of each round.
    rounds: Vec<f64>,
    connects: u32,
}

/// With and without the hooks that every system call pays for.
pub(super) fn measure(run: &mut Run, figures: &mut Figures) -> Result<()> {
    let empty = empty_hit(run)?;
    for arguments in [&[][..], &[NO_SYSCALL_HOOKS]] {
        hooks(run, figures, arguments, empty)?;
    }
    Ok(())
}

/// ns of a hit of a program that does nothing.
fn empty_hit(run: &mut Run) -> Result<f64> {
    let _empty = Empty::attach()?;
    let _stats = Stats::enable()?;
    let own = std::process::id();
    let before = Programs::of(own)?;
    run.refuse(run.share(), WATCHED)?;
    let runs = Runs::total(&Programs::of(own)?.since(&before));
    ensure!(runs.hits > 0, "an empty program on inet_sock_set_state was not run by {} connects", run.share());
    Ok(runs.ns as f64 / runs.hits as f64)
}

fn hooks(run: &mut Run, figures: &mut Figures, arguments: &[&str], empty: f64) -> Result<()> {
    let command = subject::command(arguments);
    figures.progress(&format!("the time of the kernel programs of {command}"));
    let watch = Watch::start(&run.binary, arguments)?;
    let other = run.against.as_ref().map(|binary| Watch::start(binary, arguments)).transpose()?;
    let stats = Stats::enable()?;
    let (mut watched, mut unwatched) = (Pair::default(), Pair::default());
    let pids = Pids { one: watch.pid(), other: other.as_ref().map(Watch::pid) };
    for _ in 0..run.rounds {
        watched.round(run, &pids, WATCHED)?;
        unwatched.round(run, &pids, UNWATCHED)?;
    }
    drop(stats);
    drop(other);
    if let Some(file) = &run.against {
        figures.detail_note(&format!("\n  beside {}, of the same connects:", file.display()));
        figures.detail_note(&format!("  a refused connect with its event: {}", watched.compared()?));
        figures.detail_note(&format!("  a refused connect to another port: {}", unwatched.compared()?));
    }
    let (watched, unwatched) = (watched.one, unwatched.one);
    let ledger = watch.stop()?;
    if let Some(fault) = ledger.fault(watched.connects.into(), 0) {
        figures.fault(fault);
    }
    let title = format!(
        "Time of the kernel programs, ns a connect: {} refused connects to 127.0.0.1:{WATCHED}, each with its event, and \
        as many to port {UNWATCHED}; an empty program takes {empty:.0} ns a hit",
        watched.connects
    );
    figures.detail(&title, &command, &table(&watched, &unwatched, empty));
    figures.detail_note(&format!("  {ledger}"));
    for (what, side, goal) in [
        ("kernel programs, a refused connect with its event", watched, GOAL_WATCHED),
        ("kernel programs, a refused connect to another port", unwatched, GOAL_UNWATCHED),
    ] {
        let least = side.each(Runs::total(&side.by_name).hits) * empty;
        let spread = Spread::of(side.rounds).context("no round was measured")?;
        let measured = format!("{spread} ns, {least:.0} of it as many empty hits");
        figures.goal(what, &measured, Goal::at_most(spread.median, goal, "ns"), &command);
    }
    Ok(())
}

/// Whose programs run.
struct Pids {
    one: u32,
    other: Option<u32>,
}

/// observer, and another one that saw the same connects.
#[derive(Default)]
struct Pair {
    one: Side,
    other: Side,
}

impl Pair {
    fn round(&mut self, run: &mut Run, pids: &Pids, port: u16) -> Result<()> {
        let one = Programs::of(pids.one)?;
        let other = pids.other.map(|pid| Ok::<_, anyhow::Error>((pid, Programs::of(pid)?))).transpose()?;
        run.refuse(run.share(), port)?;
        self.one.add(run, Programs::of(pids.one)?.since(&one));
        if let Some((pid, other)) = other {
            self.other.add(run, Programs::of(pid)?.since(&other));
        }
        Ok(())
    }

    /// `1071 (1060..1099) ns beside 1200 (1180..1250) ns: 0.89 times`
    fn compared(&self) -> Result<String> {
        let of = |side: &Side| Spread::of(side.rounds.clone()).context("no round was measured");
        let (one, other) = (of(&self.one)?, of(&self.other)?);
        Ok(format!("{one} ns beside {other} ns: {:.2} times", one.median / other.median))
    }
}

impl Side {
    /// What the programs of an observer did in a round.
    fn add(&mut self, run: &Run, runs: ByName) {
        self.rounds.push(Runs::total(&runs).ns as f64 / f64::from(run.share()));
        for (name, runs) in runs {
            self.by_name.entry(name).or_default().add(runs);
        }
        self.connects += run.share();
    }

    fn of(&self, name: &str) -> Runs {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    fn each(&self, count: u64) -> f64 {
        count as f64 / f64::from(self.connects)
    }
}

fn table(watched: &Side, unwatched: &Side, empty: f64) -> Table {
    let mut table = Table::new(["program", "hits", "ns", "skipped", "hits, other port", "ns, other port"]);
    let mut row = |name: &str, on: Runs, off: Runs| {
        table.row([
            name.to_owned(),
            format!("{:.2}", watched.each(on.hits)),
            format!("{:.0}", watched.each(on.ns)),
            on.skipped.to_string(),
            format!("{:.2}", unwatched.each(off.hits)),
            format!("{:.0}", unwatched.each(off.ns)),
        ]);
    };
    for name in watched.by_name.keys().chain(unwatched.by_name.keys()).collect::<BTreeSet<_>>() {
        row(name, watched.of(name), unwatched.of(name));
    }
    let (on, off) = (Runs::total(&watched.by_name), Runs::total(&unwatched.by_name));
    row("all", on, off);
    let of_empty = |runs: Runs| Runs { ns: (runs.hits as f64 * empty) as u64, ..runs };
    row("as many empty hits", of_empty(on), of_empty(off));
    table
}
