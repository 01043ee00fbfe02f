//! measure what observer costs, beside other tools that watch connections

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use observer_lab::{Lab, LabConfig};

use crate::bench::cpu::{self, Spread};
use crate::bench::peers::{PEERS, Tool};
use crate::bench::programs::{self, Stats};
use crate::bench::subject::Watch;
use crate::{cargo, privilege};

/// Measure what observer costs, beside other tools that watch connections
///
/// Time in the kernel programs by the kernel's own statistics, CPU time of the machine in paired rounds, the highest rate
/// of connects without a lost event, start-up and memory. Traffic stays in network namespaces that are made for it. Needs
/// root, and a machine that does nothing else.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Connects of each measurement
    #[arg(long, default_value_t = 100_000)]
    connects: u32,
    /// Rounds of the paired measurement
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Measure this observer rather than build one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Nobody listens there, in the lab's own loopback.
const CLOSED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WATCHED: u16 = 25;
const UNWATCHED: u16 = 26;
/// Attempts in flight for the memory.
const IN_FLIGHT: u32 = 10_000;
const STARTS: usize = 11;

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        ensure!(privilege::is_root(), "the benchmark needs root: sudo ./x bench");
        let binary = self.binary.map_or_else(cargo::build_observer, Ok)?;
        let lab = Lab::up(LabConfig::default())?;
        let bench = Run { binary: &binary, lab: &lab, connects: self.connects };
        let uname = rustix::system::uname();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        println!("Linux {} {}, {cpus} CPUs", uname.release().to_string_lossy(), uname.machine().to_string_lossy());
        bench.programs(&[])?;
        bench.programs(&["--no-syscall-hooks"])?;
        bench.peers()?;
        bench.paired(self.rounds)?;
        bench.rate()?;
        bench.start()?;
        bench.memory()?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Run<'a> {
    binary: &'a Path,
    lab: &'a Lab,
    connects: u32,
}

impl Run<'_> {
    fn blast(&self, port: u16) -> Result<()> {
        self.lab.blast(self.connects, CLOSED, port, 1).map(drop)
    }

    fn each(&self, ns: u64) -> f64 {
        ns as f64 / f64::from(self.connects)
    }

    /// BPF time of each hook, for connects to a watched and to another port.
    fn programs(&self, arguments: &[&str]) -> Result<()> {
        let watch = Watch::start(self.binary, arguments)?;
        let stats = Stats::enable()?;
        let start = programs::snapshot()?;
        self.blast(WATCHED)?;
        let between = programs::snapshot()?;
        self.blast(UNWATCHED)?;
        let end = programs::snapshot()?;
        drop(stats);
        let ledger = watch.stop()?;
        let (watched, unwatched) = (programs::between(&start, &between), programs::between(&between, &end));
        println!("\n## BPF time, ns a connect: `observer watch {}`\n", arguments.join(" "));
        println!("| hook | hits | refused, with its event | hits | refused, port not watched |");
        println!("|---|--:|--:|--:|--:|");
        let (mut watched_ns, mut unwatched_ns) = (0, 0);
        for name in watched.keys().chain(unwatched.keys()).collect::<BTreeSet<_>>() {
            let of =
                |runs: &std::collections::BTreeMap<String, programs::Runs>| runs.get(name).copied().unwrap_or_default();
            let (on, off) = (of(&watched), of(&unwatched));
            watched_ns += on.ns;
            unwatched_ns += off.ns;
            println!(
                "| {name} | {:.1} | {:.0} | {:.1} | {:.0} |",
                self.each(on.hits),
                self.each(on.ns),
                self.each(off.hits),
                self.each(off.ns)
            );
        }
        println!("| **all** | | **{:.0}** | | **{:.0}** |", self.each(watched_ns), self.each(unwatched_ns));
        println!("\n{ledger}");
        Ok(())
    }

    /// BPF time of observer and of each peer, one after the other.
    fn peers(&self) -> Result<()> {
        println!("\n## BPF time, ns a refused connect\n\n| tool | ns | of observer's |\n|---|--:|--:|");
        let watch = Watch::start(self.binary, &[])?;
        let own = self.bpf_time()?;
        watch.stop()?;
        println!("| observer | {own:.0} | 1.0 |");
        for peer in PEERS.iter().filter(|peer| peer.is_bpf) {
            match self.peer(peer) {
                Ok(ns) => println!("| {} | {ns:.0} | {:.1} |", peer.name, ns / own),
                Err(error) => println!("| {} | {error:#} | |", peer.name),
            }
        }
        Ok(())
    }

    fn peer(&self, peer: &Tool) -> Result<f64> {
        if let Some(absence) = peer.absence() {
            anyhow::bail!(absence);
        }
        let _running = peer.start(self.lab.client().name())?;
        self.bpf_time()
    }

    fn bpf_time(&self) -> Result<f64> {
        let _stats = Stats::enable()?;
        let before = programs::snapshot()?;
        self.blast(WATCHED)?;
        let runs = programs::between(&before, &programs::snapshot()?);
        Ok(self.each(runs.values().map(|runs| runs.ns).sum()))
    }

    /// CPU time of the machine with each tool, less that without any in the same
    /// round.
    fn paired(&self, rounds: u32) -> Result<()> {
        let present: Vec<&Tool> = PEERS.iter().filter(|peer| peer.absence().is_none()).collect();
        let mut added: Vec<Vec<f64>> = vec![Vec::new(); present.len() + 1];
        let mut alone = Vec::new();
        for _ in 0..rounds {
            let base = self.cpu_time()?;
            alone.push(base);
            let watch = Watch::start(self.binary, &[])?;
            added[0].push(self.cpu_time()? - base);
            watch.stop()?;
            for (peer, added) in present.iter().zip(&mut added[1..]) {
                if let Ok(_running) = peer.start(self.lab.client().name()) {
                    added.push(self.cpu_time()? - base);
                }
            }
        }
        println!(
            "\n## CPU time that a tool adds to a refused connect, ns: median of {rounds} rounds (least to greatest)\n"
        );
        if let Some(alone) = Spread::of(alone) {
            println!(
                "without any tool a connect takes {:.0} ({:.0} to {:.0})\n",
                alone.median, alone.least, alone.greatest
            );
        }
        println!("| tool | added |\n|---|--:|");
        let names = std::iter::once("observer").chain(present.iter().map(|peer| peer.name));
        for (name, added) in names.zip(added) {
            match Spread::of(added) {
                Some(of) => println!("| {name} | {:.0} ({:.0} to {:.0}) |", of.median, of.least, of.greatest),
                None => println!("| {name} | did not start |"),
            }
        }
        Ok(())
    }

    /// CPU time of the machine in ns a connect, the tool's own included.
    fn cpu_time(&self) -> Result<f64> {
        let before = cpu::busy()?;
        self.blast(WATCHED)?;
        Ok(self.each((cpu::busy()? - before).as_nanos() as u64))
    }

    /// As fast as all CPUs can; every event must arrive.
    fn rate(&self) -> Result<()> {
        let connects = self.connects * 3;
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let per_second = |took: std::time::Duration| f64::from(connects) / took.as_secs_f64();
        let alone = per_second(self.lab.blast(connects, CLOSED, WATCHED, threads)?);
        let watch = Watch::start(self.binary, &[])?;
        let watched = per_second(self.lab.blast(connects, CLOSED, WATCHED, threads)?);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let ledger = watch.stop()?;
        println!(
            "\n## Highest rate\n\n{watched:.0} refused connects a second by {threads} threads, {alone:.0} without observer\n\n{ledger}"
        );
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let watch = Watch::start(self.binary, &[])?;
            times.push(watch.started_in.as_secs_f64() * 1e3);
            watch.stop()?;
        }
        if let Some(times) = Spread::of(times) {
            println!(
                "\n## Start to \"watching\"\n\n{:.0} ms, median of {STARTS} ({:.0} to {:.0})",
                times.median, times.least, times.greatest
            );
        }
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        let watch = Watch::start(self.binary, &[])?;
        let idle = watch.memory("VmRSS")?;
        let held = self.lab.hold(IN_FLIGHT, WATCHED)?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        let (resident, own) = (watch.memory("VmRSS")?, watch.memory("RssAnon")?);
        let ledger = watch.stop()?;
        drop(held);
        println!(
            "\n## Memory\n\n{:.1} MiB resident with {IN_FLIGHT} attempts in flight, {:.1} MiB of it its own; {:.1} MiB with none\n\n{ledger}",
            resident as f64 / 1024.0,
            own as f64 / 1024.0,
            idle as f64 / 1024.0
        );
        Ok(())
    }
}
