//! observer and its peers in the same rounds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::cpu::{Meter, Spent};
use super::figures::{Figures, Goal, Spread, Table};
use super::peers::{PEERS, Peer, Running};
use super::programs::{Programs, Runs, Stats};
use super::subject::{self, Watch};
use super::{NO_SYSCALL_HOOKS, Run, WATCHED};

/// The peer that observer is compared with, and how much cheaper it should be.
const RIVAL: &str = "tcpstates";
const GOAL_TIMES: f64 = 8.0;

/// From the last connect until its event is read: observer looks 20 times a
/// second. A peer that waits longer than this gains by it.
const DRAINED: Duration = Duration::from_millis(300);

/// What is measured in a round.
#[derive(Clone, Copy)]
enum Tool {
    Nothing,
    Observer(&'static [&'static str]),
    Peer(&'static Peer),
}

/// A tool that runs.
enum Started {
    Nothing,
    Observer(Watch),
    Peer(Running),
}

/// ns a connect, in one round.
#[derive(Clone, Copy)]
struct Cost {
    bpf: Option<f64>,
    client: f64,
    tool: f64,
    machine: f64,
}

/// A tool's row.
struct Measured {
    tool: Tool,
    costs: Vec<Cost>,
    /// What each round added to the round's connects without a tool.
    added: Vec<Cost>,
    lost: u64,
    /// Why it is not measured, or not any more.
    gap: Option<String>,
}

/// Rounds of every tool, and of none; each round begins with another one.
pub(super) fn measure(run: &mut Run, figures: &mut Figures) -> Result<()> {
    let mut tools = vec![Tool::Nothing, Tool::Observer(&[]), Tool::Observer(&[NO_SYSCALL_HOOKS])];
    if run.with_peers {
        tools.extend(PEERS.iter().map(Tool::Peer));
    }
    let mut all: Vec<Measured> = tools.into_iter().map(Measured::new).collect();
    for round in 0..run.rounds {
        figures.progress(&format!("observer beside its peers, round {} of {}", round + 1, run.rounds));
        let mut costs: Vec<Option<Cost>> = vec![None; all.len()];
        for step in 0..all.len() {
            let index = (step + round as usize) % all.len();
            costs[index] = all[index].round(run, figures)?;
        }
        let alone = costs[0].context("connects without a tool were not measured")?;
        for (measured, cost) in all.iter_mut().zip(costs) {
            measured.take(cost, alone);
        }
    }
    show(run, figures, &all)
}

impl Tool {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Observer(arguments) => ["observer"].iter().chain(arguments).copied().collect::<Vec<_>>().join(" "),
            Self::Peer(peer) => peer.name.to_owned(),
        }
    }

    fn command(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Observer(arguments) => subject::command(arguments),
            Self::Peer(peer) => peer.command(),
        }
    }

    fn start(self, run: &Run) -> Result<Started> {
        Ok(match self {
            Self::Nothing => Started::Nothing,
            Self::Observer(arguments) => Started::Observer(Watch::start(&run.binary, arguments)?),
            Self::Peer(peer) => Started::Peer(peer.start(run.lab.client().name())?),
        })
    }

    /// Whether the kernel takes the time that it spends in BPF programs.
    const fn is_bpf(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Observer(_) => true,
            Self::Peer(peer) => peer.is_bpf,
        }
    }
}

impl Started {
    fn pid(&self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Observer(watch) => Some(watch.pid()),
            Self::Peer(running) => Some(running.pid()),
        }
    }
}

impl Measured {
    fn new(tool: Tool) -> Self {
        let gap = if let Tool::Peer(peer) = tool { peer.absence() } else { None };
        Self { tool, costs: Vec::new(), added: Vec::new(), lost: 0, gap }
    }

    /// One round of this tool. What a peer does not manage is its gap; what
    /// observer does not manage is an error.
    fn round(&mut self, run: &mut Run, figures: &mut Figures) -> Result<Option<Cost>> {
        if self.gap.is_some() {
            return Ok(None);
        }
        match self.attempt(run, figures) {
            Err(error) if matches!(self.tool, Tool::Peer(_)) && !run.interruption.has_come() => {
                self.gap = Some(format!("{error:#}"));
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(cost) => Ok(Some(cost)),
        }
    }

    fn attempt(&mut self, run: &mut Run, figures: &mut Figures) -> Result<Cost> {
        let started = self.tool.start(run)?;
        // The kernel's statistics cost time too: CPU time without them.
        let meter = Meter::start(started.pid())?;
        run.refuse(run.attempts, WATCHED)?;
        // Until the tool has read what still waits for it.
        std::thread::sleep(DRAINED);
        let spent = meter.read()?;
        let pid = started.pid().filter(|_| self.tool.is_bpf());
        let bpf = pid.map(|pid| bpf_time(run, pid)).transpose()?;
        match started {
            Started::Nothing => {}
            Started::Observer(watch) => {
                let ended = run.attempts + run.share();
                if let Some(fault) = watch.stop()?.fault(ended.into(), 0) {
                    figures.fault(fault);
                }
            }
            Started::Peer(running) => self.lost += running.stop()?,
        }
        Ok(Cost::of(spent, bpf, run.attempts))
    }

    fn take(&mut self, cost: Option<Cost>, alone: Cost) {
        let Some(cost) = cost else { return };
        self.costs.push(cost);
        self.added.push(Cost {
            bpf: cost.bpf,
            client: cost.client - alone.client,
            tool: cost.tool,
            machine: cost.machine - alone.machine,
        });
    }

    fn bpf(&self) -> Option<Spread> {
        Spread::of(self.costs.iter().filter_map(|cost| cost.bpf).collect())
    }

    /// What it adds to the time of the client and its own process.
    fn added(&self) -> Option<Spread> {
        Spread::of(self.added.iter().map(|cost| cost.client + cost.tool).collect())
    }
}

/// ns a connect in a process's BPF programs.
fn bpf_time(run: &mut Run, pid: u32) -> Result<f64> {
    let _stats = Stats::enable()?;
    let before = Programs::of(pid)?;
    run.refuse(run.share(), WATCHED)?;
    let runs = Runs::total(&Programs::of(pid)?.since(&before));
    ensure!(runs.hits > 0, "its programs were never run");
    Ok(runs.ns as f64 / f64::from(run.share()))
}

impl Cost {
    fn of(spent: Spent, bpf: Option<f64>, attempts: u32) -> Self {
        let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(attempts);
        Self { bpf, client: each(spent.client), tool: each(spent.tool), machine: each(spent.machine) }
    }
}

fn show(run: &Run, figures: &mut Figures, all: &[Measured]) -> Result<()> {
    let (nothing, observer) = match all {
        [nothing, observer, ..] => (nothing, observer),
        _ => anyhow::bail!("observer was not measured"),
    };
    let of = |part: fn(&Cost) -> f64| Spread::of(nothing.costs.iter().map(part).collect());
    let (client, machine) = of(|cost| cost.client).zip(of(|cost| cost.machine)).context("no round was measured")?;
    let own = observer.bpf().zip(observer.added()).context("observer was not measured")?;
    let mut sums = Table::new(["tool", "in its kernel programs", "times", "CPU time added", "times", "events lost"]);
    let mut parts = Table::new(["tool", "of the client", "of the tool's process", "of the machine"]);
    for measured in &all[1..] {
        sums.row(measured.sums(own.0.median, own.1.median));
        parts.row(measured.parts());
    }
    let title = format!(
        "ns that a tool adds to a refused connect, which takes {client} without: median (least..greatest) of {} rounds \
        of {} connects",
        run.rounds, run.attempts
    );
    let commands: Vec<String> = all[1..].iter().map(|measured| measured.tool.command()).collect();
    figures.show(&title, &commands, &sums);
    let title = format!("CPU time added, in parts; without a tool a connect takes {machine} ns of the machine");
    figures.detail(&title, "as above", &parts);
    let rival = all.iter().find(|measured| measured.tool.name() == RIVAL);
    if let Some((rival, theirs)) = rival.and_then(|rival| Some((rival, rival.bpf()?))) {
        let times = theirs.median / own.0.median;
        let what = format!("kernel programs, times cheaper than {RIVAL}");
        figures.goal(&what, &format!("{times:.1}"), Goal::at_least(times, GOAL_TIMES, "times"), &rival.tool.command());
    }
    Ok(())
}

/// A cell for what was not measured.
fn cell(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| spread.to_string())
}

impl Measured {
    /// What is added in kernel programs and in all, beside observer's.
    fn sums(&self, own_bpf: f64, own_added: f64) -> [String; 6] {
        // A gap that opened in a later round is one: no row of fewer rounds.
        if let Some(gap) = &self.gap {
            let dash = || cell(None);
            return [self.tool.name(), gap.clone(), dash(), dash(), dash(), dash()];
        }
        let times = |spread: Option<Spread>, own: f64| {
            spread.map_or_else(|| cell(None), |spread| format!("{:.1}", spread.median / own))
        };
        let (bpf, added) = (self.bpf(), self.added());
        let tells_losses = !matches!(self.tool, Tool::Peer(peer) if !peer.tells_losses);
        let lost = if tells_losses { self.lost.to_string() } else { "not told".to_owned() };
        [self.tool.name(), cell(bpf), times(bpf, own_bpf), cell(added), times(added, own_added), lost]
    }

    /// Whose CPU time it is.
    fn parts(&self) -> [String; 4] {
        let part = |part: fn(&Cost) -> f64| {
            let is_whole = self.gap.is_none();
            cell(Spread::of(self.added.iter().filter(|_| is_whole).map(part).collect()))
        };
        [self.tool.name(), part(|cost| cost.client), part(|cost| cost.tool), part(|cost| cost.machine)]
    }
}
