//! measure what observer costs, beside other tools that watch connections

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use observer_lab::{Lab, LabConfig};

use crate::bench::figures::{Figures, Style};
use crate::bench::{Interruption, Part, Run};
use crate::foreground::Stop;
use crate::{cargo, privilege};

/// The benchmark has the kernel take times only while it needs them; this does so always.
const STATS_SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Measure what observer costs, beside other tools that watch connections
///
/// Time in the kernel programs by the kernel's own statistics, CPU time in paired rounds, the highest rate of connects,
/// start and memory. Traffic stays in network namespaces that are made for it. Fails if observer does not attach or
/// loses an event, and never because something took long. Wants a machine that does nothing else; as another user than
/// root, sudo runs it.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Refused connects of each measurement
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    attempts: u32,
    /// Rounds in which every tool takes its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure this part alone; may be repeated
    #[arg(long, value_name = "PART")]
    part: Vec<Part>,
    /// Measure observer alone
    #[arg(long)]
    skip_peers: bool,
    /// Print what a README shows, in Markdown
    #[arg(long)]
    markdown: bool,
    /// Measure this observer rather than build one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Measure the kernel programs of this observer on the same connects, such as an older one's
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let binary = match &self.binary {
            Some(file) => file.canonicalize().with_context(|| format!("find {}", file.display()))?,
            None => cargo::build_observer()?,
        };
        if !privilege::is_root() {
            let this = std::env::current_exe().context("find this program")?;
            match privilege::exec_as_root(&this, self.again(binary))? {}
        }
        let style = if self.markdown { Style::Markdown } else { Style::Text };
        let mut figures = Figures::new(style);
        figures.note(&machine());
        figures.note(&self.command());
        if std::fs::read_to_string(STATS_SYSCTL).is_ok_and(|value| value.trim() != "0") {
            figures.note("kernel.bpf_stats_enabled is on: CPU times include what it costs each run of a program");
        }
        // From here on Ctrl-C ends it in order, and the namespaces with it.
        let interruption = Interruption::of(Stop::catch()?);
        let lab = Lab::up(LabConfig::default()).context("bring the lab up")?;
        let with_peers = !self.skip_peers;
        let against = self.against.clone();
        let parts = if self.part.is_empty() { Part::value_variants().to_vec() } else { self.part };
        let mut run =
            Run { binary, against, lab, attempts: self.attempts, rounds: self.rounds, with_peers, parts, interruption };
        run.measure(&mut figures)?;
        Ok(figures.finish())
    }

    /// The same as root, with what is built.
    fn again(&self, binary: PathBuf) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = self.arguments().into_iter().map(OsString::from).collect();
        arguments.extend(["--binary".into(), binary.into()]);
        arguments
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["bench".to_owned()].into();
        arguments.extend(["--attempts".to_owned(), self.attempts.to_string()]);
        arguments.extend(["--rounds".to_owned(), self.rounds.to_string()]);
        let name = |part: &Part| part.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        arguments.extend(self.part.iter().flat_map(|part| ["--part".to_owned(), name(part)]));
        let against = self.against.iter().flat_map(|file| ["--against".to_owned(), file.display().to_string()]);
        arguments.extend(against);
        arguments.extend(self.skip_peers.then(|| "--skip-peers".to_owned()));
        arguments.extend(self.markdown.then(|| "--markdown".to_owned()));
        arguments
    }

    fn command(&self) -> String {
        format!("./x {}", self.arguments().join(" "))
    }
}

/// `Linux 6.18.1 x86_64, 2 CPUs, AMD EPYC`
fn machine() -> String {
    let uname = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let (release, machine) = (uname.release().to_string_lossy(), uname.machine().to_string_lossy());
    let model = model.map(|(_, model)| format!(", {model}")).unwrap_or_default();
    format!("Linux {release} {machine}, {cpus} CPUs{model}")
}
