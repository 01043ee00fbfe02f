//! What was typed. Values are checked here, so that whatever comes out of
//! [`Cli::from_args`] makes sense; clap ends with code 2 otherwise.

mod destination;
mod diagnose;
mod report;
mod source;
pub(crate) mod value;

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anstream::ColorChoice;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_mangen::roff::{Roff, roman};
use observer_common::MAX_PORTS;

pub use self::destination::{Destination, Host};
pub use self::diagnose::DiagnoseArgs;
pub use self::report::{ReportArgs, ReportFormat};
pub use self::source::{GROUP, SOCKET, SourceArgs};
use crate::config::{Config, History, Kernel, Loaded, Places, Socket, keys};
use crate::store::history::Retention;
use observer_core::filter::Filter;
use observer_core::format::Format;
use observer_core::label::Label;

/// See who refuses your mail, and how.
#[derive(Debug, Parser)]
#[command(name = "observer", version, about, long_about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// When to use colour
    ///
    /// With `auto`, only on a terminal, and not where NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ABOUT: &str = "See who refuses your mail, and how.\n\n\
    observer watches this host's outbound SMTP connection attempts inside the kernel. For each attempt that fails it \
    says who said no (the destination, a firewall on the way, or this host itself), how (RST, ICMP, silence, a close \
    without a banner), and which process had asked. It needs root, or CAP_BPF and CAP_PERFMON; `observer doctor` says \
    what this kernel allows.";

const EXAMPLES: &str = "Exit codes: 0 ended as asked, 1 something failed while running, 2 the command line was wrong, \
    69 the kernel lacks what is needed, 77 the privileges do not suffice, 78 the configuration is wrong.\n\n\
    Examples:\n  \
    observer watch                                    every failing attempt to port 25\n  \
    observer watch 203.0.113.0/24 --label refused     who in that network refuses us\n  \
    observer run                                      record everything, for later questions\n  \
    observer top                                      destinations live, those that fail most first\n  \
    observer diagnose                                 why they fail, and what to do about it\n  \
    observer doctor                                   what this kernel and these privileges allow";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show failing connection attempts as they happen
    #[command(long_about = WATCH_ABOUT, after_help = WATCH_EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Record every connection attempt, until told to stop
    #[command(long_about = RUN_ABOUT, after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show destinations live, those that fail most first
    #[command(long_about = TOP_ABOUT, after_help = TOP_EXAMPLES)]
    Top(Box<TopArgs>),
    /// Report what became of the attempts of a period: table, JSON or HTML
    #[command(long_about = report::ABOUT, after_help = report::EXAMPLES)]
    Report(Box<ReportArgs>),
    /// Say why connections fail, and what to do about it
    #[command(long_about = diagnose::ABOUT, after_help = diagnose::EXAMPLES)]
    Diagnose(Box<DiagnoseArgs>),
    /// Say what this kernel and these privileges allow, hook by hook
    #[command(long_about = DOCTOR_ABOUT)]
    Doctor(DoctorArgs),
    /// Look after the configuration of `observer run`
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print a manual page, in roff
    Man {
        /// Which
        #[arg(value_enum, default_value = "observer")]
        page: Page,
    },
}

/// Manual pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// observer(8): the commands
    Observer,
    /// observer.toml(5): the configuration of `observer run`
    #[value(name = "observer.toml")]
    Configuration,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with it, each with its place and its cure, or what it means
    ///
    /// Files, directories, sockets and certificates that it names are looked at too, as the service's user would, and
    /// nothing is changed. `observer run` looks at the same before it starts.
    Check {
        /// The file [default: /etc/observer/observer.toml, if it exists]
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        /// The same, as for `observer run`
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Look as this user; takes root [default for root: observer, if there is one]
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// Print a configuration file with every key, its meaning and its default
    Default,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Show failing connection attempts as they happen.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Port to watch; may be repeated, or a list: 25,587 [default: all that `observer run` watches, or 25]
    ///
    /// At most 8 ports. Mail to other servers uses 25; submission uses 465 and 587, some relays use 2525.
    #[arg(short, long, value_name = "PORT", value_delimiter = ',', value_parser = value::port)]
    pub port: Vec<u16>,
    /// What to show.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How long to watch, and how to show it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Where events come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What to ask of the kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

const RUN_ABOUT: &str = "Record every connection attempt, also those that go well, until SIGTERM or Ctrl-C: into an SQLite \
    file that can be read meanwhile. When the disk is full or slow, nothing waits for it: what is missing is counted \
    and said, and recording goes on when there is room again. At the end a summary with the exact counts goes to \
    standard error.";

const RUN_EXAMPLES: &str = "The file has a table `attempt`, one row for each attempt (times in nanoseconds since 1970, \
    addresses as text, words as in JSON events), and a table `minute`, counts for each minute, source, destination, \
    label and reason, which include attempts whose event was lost.\n\n\
    Examples:\n  \
    observer run --port 25,587 --retain-days 90\n  \
    sqlite3 -readonly /var/lib/observer/history.sqlite \\\n    \
    \"SELECT dst_ip, label, sum(count) FROM minute GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 10\"\n  \
    sqlite3 -readonly /var/lib/observer/history.sqlite \\\n    \
    \"SELECT datetime(time / 1000000000, 'unixepoch'), dst_ip, label, reason FROM attempt ORDER BY time DESC LIMIT 10\"";

/// Record every connection attempt.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to do, as TOML
    ///
    /// With it, and after it, all files *.toml of the directory conf.d beside it are read. What is typed here is stronger.
    /// SIGHUP reads them again. [default: /etc/observer/observer.toml, if it exists]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Port to watch; may be repeated, or a list: 25,587 [default: as configured, else 25]
    ///
    /// At most 8 ports. Mail to other servers uses 25; submission uses 465 and 587, some relays use 2525.
    #[arg(short, long, value_name = "PORT", value_delimiter = ',', value_parser = value::port)]
    pub port: Vec<u16>,
    /// Where `watch`, `top` and `report` read from it [default: as configured, else /run/observer/observer.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Whose members may read there: a name, or a number [default: as configured, else observer]
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// Where and how much to record.
    #[command(flatten)]
    pub history: HistoryArgs,
    /// What to ask of the kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Where and how much to record.
#[derive(Debug, Args)]
#[command(next_help_heading = "History")]
pub struct HistoryArgs {
    /// File to record to [default: as configured, else /var/lib/observer/history.sqlite]
    ///
    /// It is made where it does not exist, and so is its directory, readable by its group. Only one observer at a
    /// time records to a file.
    #[arg(long = "history", value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Delete what is older than this many days [default: as configured, else 30]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub retain_days: Option<u32>,
    /// Delete the oldest when the file is larger than this, such as 500M or 2G [default: as configured, else 1G]
    #[arg(long, value_name = "BYTES", value_parser = value::history_size)]
    pub retain_size: Option<u64>,
}

const WATCH_ABOUT: &str = "Show failing connection attempts as they happen, one line each: when, what, where to, how, \
    and which process. Events go to standard output; at the end, on Ctrl-C, a summary with the exact counts goes to \
    standard error. Nothing is sent anywhere, and no connection is touched.";

const WATCH_EXAMPLES: &str = "An attempt is shown if it passes every kind of filter that is given; of one kind given \
    twice, either will do. Filters decide what is shown; the summary counts everything.\n\n\
    Examples:\n  \
    observer watch --successes mx.example.net        all that happens with one host\n  \
    observer watch --label timeout --label silent    who lets us wait\n  \
    observer watch --cgroup system.slice/postfix.service --duration 10m\n  \
    observer watch --format json | jq .dst.ip        for programs";

/// Show destinations live.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Port to watch; may be repeated, or a list: 25,587 [default: all that `observer run` watches, or 25]
    ///
    /// At most 8 ports. Mail to other servers uses 25; submission uses 465 and 587, some relays use 2525.
    #[arg(short, long, value_name = "PORT", value_delimiter = ',', value_parser = value::port)]
    pub port: Vec<u16>,
    /// Stop after this time, such as 30s, 5m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub duration: Option<Duration>,
    /// Bits of the IPv4 prefixes by which destinations are put together
    #[arg(long, value_name = "BITS", default_value_t = 24, value_parser = clap::value_parser!(u8).range(0..=32))]
    pub prefix_v4: u8,
    /// Bits of the IPv6 prefixes by which destinations are put together
    #[arg(long, value_name = "BITS", default_value_t = 48, value_parser = clap::value_parser!(u8).range(0..=128))]
    pub prefix_v6: u8,
    /// Where events come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What to ask of the kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

const TOP_ABOUT: &str = "Show destinations live on the whole terminal, those that fail most first: attempts, failures by \
    label, streaks, times to refusal, over the last minute, 10 minutes, hour, day, or since the start; by destination, \
    prefix or source address. Enter opens one with its latest attempts and what each verdict rests on. ? shows the keys. \
    At the end, the summary with the exact counts goes to standard error. Where there is no terminal, use observer watch.";

const TOP_EXAMPLES: &str = "Examples:\n  \
    observer top                        destinations of port 25\n  \
    observer top -p 25,465,587          submission too\n  \
    observer top --kernel-log 2>log     standard error must not be the screen then";

/// What to show.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Show only attempts with this outcome; may be repeated
    #[arg(long, value_name = "LABEL", value_delimiter = ',', value_parser = value::one_of::<Label>())]
    pub label: Vec<Label>,
    /// Show only attempts to this destination; may be repeated
    ///
    /// An address (203.0.113.5, 2001:db8::1), a network (203.0.113.0/24) or a name, which is looked up once, at the
    /// beginning; a port behind it (`203.0.113.5:25`, `[2001:db8::1]:25`) is added to --port. The option letter can be left out.
    #[arg(short, long, value_name = "DEST", value_delimiter = ',')]
    pub destination: Vec<Destination>,
    /// The same as --destination
    #[arg(value_name = "DEST")]
    pub host: Vec<Destination>,
    /// Show only attempts by this process id; may be repeated
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = value::pid)]
    pub pid: Vec<u32>,
    /// Show only attempts by processes of exactly this name, such as `smtp`; may be repeated
    ///
    /// The kernel keeps the first 15 bytes of a name; the rest is ignored here too.
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Show only attempts by this numeric user id; may be repeated
    #[arg(long, value_name = "UID", value_delimiter = ',', value_parser = value::uid)]
    pub uid: Vec<u32>,
    /// Show only attempts by processes in this cgroup or below it; may be repeated
    ///
    /// Such as /system.slice/postfix.service; a path below /sys/fs/cgroup will do too.
    #[arg(long, value_name = "PATH", value_parser = value::cgroup)]
    pub cgroup: Vec<PathBuf>,
    /// Show also attempts that went well, when their connection ends
    #[arg(long)]
    pub successes: bool,
}

/// How long to watch, and how to show it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to write events
    #[arg(short, long, value_name = "FORMAT", default_value = "text", value_parser = value::one_of::<Format>())]
    pub format: Format,
    /// Stop after this many events were shown
    #[arg(short = 'n', long, value_name = "N", value_parser = value::count)]
    pub count: Option<NonZeroU64>,
    /// Stop after this time, such as 30s, 5m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub duration: Option<Duration>,
    /// Record everything as well, whatever the filters show
    ///
    /// As `observer run` does, to its file unless another one is named. Put a destination before this option.
    #[arg(long, value_name = "PATH", num_args = 0..=1, value_parser = destination::no_destination)]
    pub record: Option<Option<PathBuf>>,
    /// Also say when failures begin, widen or end
    ///
    /// For a destination, a prefix, a source address of this host, IPv4 or IPv6, or everything: from the attempts of the
    /// last ten minutes, looked at every ten seconds. Filters and --count do not apply. As JSON an alert is a line of its
    /// own, whose "schema" is observer.alert.v1.
    #[arg(long)]
    pub alerts: bool,
}

/// What to ask of the kernel.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub struct KernelArgs {
    /// Do without the tracepoints on connect() and io_uring
    ///
    /// Where fexit programs can be loaded, they are not used anyway. Elsewhere, while they are attached, every system
    /// call of this host, by any program, takes some 50 ns longer. With this flag that cost is gone, and so are the
    /// connect() failures that never send a SYN: no route, not permitted, no source address.
    #[arg(long)]
    pub no_syscall_hooks: bool,
    /// Do without this hook, as if the kernel did not have it; may be repeated
    ///
    /// For a bug report, or to see what a hook is for. `observer doctor --json` names them.
    #[arg(long, value_name = "HOOK", value_delimiter = ',', env = "OBSERVER_WITHOUT_HOOK", value_parser = value::hook)]
    pub without_hook: Vec<String>,
    /// Write to standard error what the kernel programs log, for a bug report
    #[arg(long)]
    pub kernel_log: bool,
    /// Attempts that can be followed at the same time [default: 65536]
    ///
    /// Attempts beyond that are counted as lost, never forgotten. The kernel reserves some 250 bytes for each.
    #[arg(long, value_name = "N", value_parser = value::table_size)]
    pub max_in_flight: Option<u32>,
    /// Destinations of which the kernel keeps running counts [default: 65536]
    ///
    /// The least recently used one is forgotten for a new one. As many outcomes whose event was lost, by destination, are
    /// counted between two drains, some five in a second and more when they fill up; those beyond are counted in total
    /// only. The kernel reserves some 350 bytes for each.
    #[arg(long, value_name = "N", value_parser = value::table_size)]
    pub max_destinations: Option<u32>,
    /// Size of the buffer from the kernel to observer, such as 8M [default: 2M]
    ///
    /// A power of two from 64K to 1G; 2M holds some 11,000 events. Raise it if the summary says that the ring buffer was
    /// full.
    #[arg(long, value_name = "BYTES", value_parser = value::ring_size)]
    pub ring_size: Option<u32>,
}

const DOCTOR_ABOUT: &str = "Say what this kernel and these privileges allow, hook by hook: what each hook gives, and \
    what is lost without it. Hooks are attached for a moment and taken off again.";

/// Say what this kernel and these privileges allow, hook by hook.
#[derive(Debug, Default, Args)]
pub struct DoctorArgs {
    /// Look at the mail server's log of this configuration too, as for `observer run` [default:
    /// /etc/observer/observer.toml, if it exists]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// As for `observer watch`: do without the tracepoints on connect() and io_uring
    #[arg(long)]
    pub no_syscall_hooks: bool,
    /// As for `observer watch`: do without this hook, as if the kernel did not have it; may be repeated
    #[arg(long, value_name = "HOOK", value_delimiter = ',', env = "OBSERVER_WITHOUT_HOOK", value_parser = value::hook)]
    pub without_hook: Vec<String>,
}

impl Cli {
    /// Reads a command line, the program's name first. The error knows how to
    /// print itself and ends with code 2, or 0 for `--help` and `--version`.
    pub fn from_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(args)?;
        cli.command.arrange().map_err(|text| Self::command().error(ErrorKind::ValueValidation, text))?;
        if let Some(ports) = cli.command.ports() {
            *ports = distinct(ports);
            if ports.len() > MAX_PORTS {
                let given = ports.len();
                let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
                let text =
                    format!("--port {list}: {given} ports, and at most {MAX_PORTS} can be watched: leave some out");
                return Err(Self::command().error(ErrorKind::TooManyValues, text));
            }
        }
        Ok(cli)
    }

    /// The colour choice for anstream. `auto` is left to it: it knows terminals,
    /// NO_COLOR and CLICOLOR_FORCE.
    pub fn color_choice(&self) -> ColorChoice {
        match self.color {
            When::Auto => ColorChoice::Auto,
            When::Always => ColorChoice::Always,
            When::Never => ColorChoice::Never,
        }
    }

    /// The completion script for a shell.
    pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Self::command(), "observer", &mut script);
        script
    }

    /// The manual page, commands included.
    pub fn man() -> std::io::Result<Vec<u8>> {
        let mut command = Self::command();
        command.build();
        let mut page = Vec::new();
        let title = clap_mangen::Man::new(command.clone()).section("8").manual("System administration");
        title.date(keys::NOTHING).render_title(&mut page)?;
        man_sections(&command, &mut page)?;
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            man_sections(sub, &mut page)?;
        }
        // What the library writes for one empty line is two, and a warning of every checker.
        let page = String::from_utf8(page).map_err(std::io::Error::other)?;
        Ok(page.replace(".br\n\n.br\n", ".sp\n").into_bytes())
    }
}

impl Page {
    /// The page, in roff.
    ///
    /// # Errors
    /// Those of writing to memory: none.
    pub fn render(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Observer => Cli::man(),
            Self::Configuration => keys::man(),
        }
    }
}

impl Command {
    /// Puts destinations together, and their ports with the others.
    fn arrange(&mut self) -> Result<(), String> {
        let ports = |destinations: &[Destination]| destinations.iter().filter_map(|to| to.port).collect::<Vec<_>>();
        match self {
            Self::Watch(args) => {
                args.filter.destination.append(&mut args.filter.host);
                args.port.extend(ports(&args.filter.destination));
            }
            Self::Report(args) => args.port.extend(ports(&args.destination)),
            Self::Diagnose(args) => {
                let Some(typed) = &args.destination else { return Ok(()) };
                let destination: Destination =
                    typed.parse::<Destination>().map_err(|error| format!("invalid destination {typed:?}: {error}"))?;
                args.port = match (args.port, destination.port) {
                    (Some(option), Some(behind)) if option != behind => {
                        return Err(format!("--port {option} contradicts the port of {typed:?}: name one of them"));
                    }
                    (option, behind) => option.or(behind),
                };
                args.destination = Some(destination.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn ports(&mut self) -> Option<&mut Vec<u16>> {
        match self {
            Self::Watch(args) => Some(&mut args.port),
            Self::Run(args) => Some(&mut args.port),
            Self::Top(args) => Some(&mut args.port),
            Self::Report(args) => args.live.is_some().then_some(&mut args.port),
            Self::Diagnose(_) | Self::Doctor(_) | Self::Config(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }
}

impl HistoryArgs {
    /// Changes what was configured into what was typed. Who types where or how much
    /// to record wants to record.
    pub fn lay_over(&self, history: &mut Option<History>) {
        if self.path.is_none() && self.retain_days.is_none() && self.retain_size.is_none() {
            return;
        }
        let History { path, retention, queue_bytes } = history.take().unwrap_or_default();
        let age = self.retain_days.map(|days| Duration::from_hours(24 * u64::from(days)));
        let retention =
            Retention { age: age.unwrap_or(retention.age), bytes: self.retain_size.unwrap_or(retention.bytes) };
        *history = Some(History { path: self.path.clone().unwrap_or(path), retention, queue_bytes });
    }
}

impl KernelArgs {
    /// What was typed, and the defaults.
    pub fn settings(&self) -> Kernel {
        let default = Kernel::default();
        Kernel {
            syscall_hooks: !self.no_syscall_hooks,
            max_in_flight: self.max_in_flight.unwrap_or(default.max_in_flight),
            max_destinations: self.max_destinations.unwrap_or(default.max_destinations),
            ring_bytes: self.ring_size.unwrap_or(default.ring_bytes),
        }
    }
}

/// What mail to other servers uses.
const SMTP: u16 = 25;

/// The ports that were typed, or the one that is meant otherwise.
pub fn or_smtp(typed: &[u16]) -> Vec<u16> {
    if typed.is_empty() { vec![SMTP] } else { typed.to_vec() }
}

impl TopArgs {
    /// Ports to watch with hooks of its own.
    pub fn ports(&self) -> Vec<u16> {
        or_smtp(&self.port)
    }
}

impl WatchArgs {
    /// Ports to watch with hooks of its own.
    pub fn ports(&self) -> Vec<u16> {
        or_smtp(&self.port)
    }

    /// What to show.
    pub fn filter(&self) -> Filter {
        let typed = &self.filter;
        Filter {
            labels: typed.label.clone(),
            destinations: typed.destination.iter().filter_map(Destination::net).collect(),
            ports: Vec::new(),
            pids: typed.pid.clone(),
            comms: typed.comm.clone(),
            uids: typed.uid.clone(),
            cgroups: typed.cgroup.clone(),
            successes: typed.successes,
        }
    }
}

/// One command's part of the manual page. What follows its options in `--help`
/// keeps its lines: roff would fill those of the examples.
fn man_sections(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let man = clap_mangen::Man::new(command.clone());
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    let Some(after) = command.get_after_help() else { return Ok(()) };
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]);
    for line in after.to_string().lines() {
        match line {
            "" => roff.control("PP", []),
            _ if line.starts_with(' ') => roff.control("nf", []).text([roman(line)]).control("fi", []),
            _ => roff.text([roman(line)]),
        };
    }
    roff.to_writer(page)
}

/// Without repeats, in the order typed.
fn distinct(ports: &[u16]) -> Vec<u16> {
    let mut seen = Vec::new();
    for &port in ports {
        if !seen.contains(&port) {
            seen.push(port);
        }
    }
    seen
}

impl RunArgs {
    /// Lays what was typed over what was read, and says where it came from.
    pub fn lay_over(&self, loaded: &mut Loaded) {
        self.place(&mut loaded.places);
        loaded.config = self.over(std::mem::take(&mut loaded.config));
    }

    fn place(&self, places: &mut Places) {
        let typed = [
            ("history.path", "--history", self.history.path.is_some()),
            ("socket.path", "--socket", self.socket.is_some()),
            ("socket.group", "--socket-group", self.socket_group.is_some()),
        ];
        typed.into_iter().filter(|(.., is_typed)| *is_typed).for_each(|(key, option, _)| places.typed(key, option));
    }

    /// A configuration with what was typed laid over it.
    pub fn over(&self, mut config: Config) -> Config {
        if !self.port.is_empty() {
            config.ports.clone_from(&self.port);
        }
        self.history.lay_over(&mut config.history);
        let (kernel, typed) = (&mut config.kernel, &self.kernel);
        kernel.syscall_hooks &= !typed.no_syscall_hooks;
        kernel.max_in_flight = typed.max_in_flight.unwrap_or(kernel.max_in_flight);
        kernel.max_destinations = typed.max_destinations.unwrap_or(kernel.max_destinations);
        kernel.ring_bytes = typed.ring_size.unwrap_or(kernel.ring_bytes);
        if self.socket.is_some() || self.socket_group.is_some() {
            let Socket { path, group } = config.socket.unwrap_or_default();
            let (path, group) = (self.socket.clone().unwrap_or(path), self.socket_group.clone().unwrap_or(group));
            config.socket = Some(Socket { path, group });
        }
        config
    }
}

#[cfg(test)]
mod tests;
