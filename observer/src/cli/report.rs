//! `observer report`, as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use observer_core::label::Label;
use observer_core::report::{Moment, Selection};

use super::destination::without_name;
use super::{Destination, KernelArgs, SourceArgs, value};

pub(super) const ABOUT: &str = "Report what became of this host's attempts: how many failed and how, since when, to \
    which destinations, from which of its addresses, and how far the failures reach. From what `observer run` has \
    recorded, or from a capture of a few seconds.";

pub(super) const EXAMPLES: &str = "Times: a time ago (1h, 30 min ago, 2 weeks), a day (today, yesterday, monday, \
    2026-11-23), a day with a time (yesterday 14:00, 2026-11-23 14:00), a time today (14:00), or RFC 3339. A day means \
    its beginning, and times without a zone are by the local clock. History counts by the minute, so a period is \
    widened to whole minutes.\n\n\
    Examples:\n  \
    observer report --since 1h\n  \
    observer report --since yesterday --until today --format html --output yesterday.html\n  \
    observer report --since monday -d 203.0.113.0/24 --top 0\n  \
    observer report --live 30s --format json | jq .overview";

/// Report what became of this host's attempts.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Begin then: a time ago, a day, or RFC 3339 [default: 24 hours before the end]
    #[arg(long, value_name = "TIME", help_heading = "Period", conflicts_with = "live")]
    pub since: Option<Moment>,
    /// End then, likewise [default: now]
    #[arg(long, value_name = "TIME", help_heading = "Period", conflicts_with = "live")]
    pub until: Option<Moment>,
    /// History to read [default: that of the configuration, else /var/lib/observer/history.sqlite]
    #[arg(long, value_name = "PATH", help_heading = "Period", conflicts_with = "live")]
    pub history: Option<PathBuf>,
    /// Capture for so long instead, such as 30s; needs the privileges of `observer watch`
    #[arg(long, value_name = "TIME", value_parser = value::duration, help_heading = "Period")]
    pub live: Option<Duration>,
    /// Only attempts with this outcome; may be repeated
    #[arg(long, value_name = "LABEL", value_delimiter = ',', value_parser = value::one_of::<Label>(), help_heading = "Filters")]
    pub label: Vec<Label>,
    /// Only attempts to this address or network; may be repeated
    ///
    /// A port behind it (`203.0.113.5:25`, `[2001:db8::1]:25`) is added to --port.
    #[arg(short, long, value_name = "ADDR|CIDR", value_delimiter = ',', value_parser = without_name, help_heading = "Filters")]
    pub destination: Vec<Destination>,
    /// Only attempts to this port; may be repeated [default: all that were recorded; with --live, 25]
    #[arg(short, long, value_name = "PORT", value_delimiter = ',', value_parser = value::port, help_heading = "Filters")]
    pub port: Vec<u16>,
    /// How to write the report
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub format: ReportFormat,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// List so many destinations and processes; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Output")]
    pub top: usize,
    /// Where events come from, with --live.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What to ask of the kernel, with --live.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Text, for a terminal or a mail
    #[default]
    Table,
    /// One JSON object, observer.report.v1, for programs
    Json,
    /// One page with plots, which needs no other file, for a browser or paper
    Html,
}

impl ReportArgs {
    /// Which attempts to cover.
    pub fn selection(&self) -> Selection {
        Selection {
            labels: self.label.clone(),
            destinations: self.destination.iter().filter_map(Destination::net).collect(),
            ports: self.port.clone(),
        }
    }

    /// Entries of a list.
    pub fn top(&self) -> usize {
        if self.top == 0 { usize::MAX } else { self.top }
    }
}
