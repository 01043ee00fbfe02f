//! The report as one page that needs nothing else: no script, no request, the
//! plots in it.

use std::fmt;

use askama::Template;
use jiff::tz::TimeZone;

use super::plot::{self, PlotError};
use super::{Report, palette, words};
use crate::format::phrase::task_name;
use crate::label::Label;
use crate::sanitize::sanitize;

/// Why a page could not be made.
#[derive(Debug)]
pub enum HtmlError {
    /// A plot.
    Plot(PlotError),
    /// The page around it.
    Template(askama::Error),
}

impl fmt::Display for HtmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plot(error) => error.fmt(f),
            Self::Template(error) => write!(f, "the page could not be written: {error}"),
        }
    }
}

impl std::error::Error for HtmlError {}

impl From<PlotError> for HtmlError {
    fn from(error: PlotError) -> Self {
        Self::Plot(error)
    }
}

/// What the template shows. Texts are sanitised; the template escapes them.
#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    version: &'static str,
    schema: &'static str,
    light: String,
    dark: String,
    host: String,
    period: String,
    source: String,
    holds: Option<String>,
    selection: Option<String>,
    generated: String,
    headline: String,
    summary: String,
    figures: Vec<(&'static str, String)>,
    times: Vec<String>,
    outcomes: Grid,
    meanings: Vec<(&'static str, &'static str)>,
    scopes: Vec<String>,
    labels: Vec<&'static str>,
    parts: Vec<Part>,
    ledger: Vec<String>,
}

/// A section with a plot, a table, or both.
#[derive(Default)]
struct Part {
    id: &'static str,
    title: &'static str,
    has_legend: bool,
    plot: Option<String>,
    notes: Vec<String>,
    is_folded: bool,
    grid: Grid,
}

/// A table; the first cell of a row is its header.
#[derive(Default)]
struct Grid {
    caption: &'static str,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    is_number: bool,
}

const fn text(title: &'static str) -> Column {
    Column { title, is_number: false }
}

const fn number(title: &'static str) -> Column {
    Column { title, is_number: true }
}

/// The page, with times by the clock of `tz`.
///
/// # Errors
/// Those of the libraries that draw and write; none is known to happen.
pub fn render(report: &Report, tz: &TimeZone) -> Result<String, HtmlError> {
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        schema: report.schema,
        light: palette::css(false),
        dark: palette::css(true),
        host: sanitize(&report.host).into_owned(),
        period: words::period(report.period, tz),
        source: words::source(&report.source),
        holds: words::holds(report, tz),
        selection: words::selection(&report.selection),
        generated: words::time(report.generated, tz),
        headline: words::headline(report),
        summary: words::summary(report),
        figures: figures(report),
        times: times(report, tz),
        outcomes: outcomes(report),
        meanings: report.meanings.iter().map(|of| (of.label.as_str(), of.meaning)).collect(),
        scopes: words::scopes(report),
        labels: words::labels(report).into_iter().map(Label::as_str).collect(),
        parts: parts(report, tz)?,
        ledger: words::account(&report.ledger),
    };
    page.render().map_err(HtmlError::Template)
}

fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let of = &report.overview;
    vec![
        ("attempts", of.attempts.to_string()),
        ("failed", of.failures.to_string()),
        ("share of failures", words::share(of.failures, of.attempts)),
        ("handshakes", of.established.to_string()),
        ("destinations", of.destinations.to_string()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

fn times(report: &Report, tz: &TimeZone) -> Vec<String> {
    let of = &report.overview;
    let time = |what: &str, at: Option<_>| at.map(|at| format!("{what}: {}", words::time(at, tz)));
    let took = |what: &str, of: Option<_>| of.map(|of: &_| format!("{what}: {}", words::quantiles(of)));
    [
        time("First failure", of.first_failed),
        time("Last failure", of.last_failed),
        time("Last success", of.last_succeeded),
        took("Handshakes took", of.connect_ms.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn outcomes(report: &Report) -> Grid {
    let rows = report.overview.outcomes.iter().map(|of| {
        let reason = of.reason.map_or("", |reason| reason.as_str()).to_owned();
        vec![
            of.label.as_str().to_owned(),
            reason,
            of.count.to_string(),
            words::share(of.count, report.overview.attempts),
        ]
    });
    Grid {
        caption: "How attempts ended",
        columns: vec![text("outcome"), text("reason"), number("attempts"), number("share")],
        rows: rows.collect(),
    }
}

/// Without those that have nothing to show.
fn parts(report: &Report, tz: &TimeZone) -> Result<Vec<Part>, HtmlError> {
    if report.overview.attempts == 0 {
        return Ok(Vec::new());
    }
    let mut parts = vec![timeline(report, tz)?, destinations(report, tz)?, sources(report)?];
    if !report.refusal_times.is_empty() {
        parts.push(refusals(report)?);
    }
    if !report.processes.is_empty() {
        parts.push(processes(report));
    }
    Ok(parts)
}

fn timeline(report: &Report, tz: &TimeZone) -> Result<Part, HtmlError> {
    let labels = words::labels(report);
    let rows = report.timeline.buckets.iter().filter(|bucket| bucket.labels.attempts() > 0).map(|bucket| {
        let counts = labels.iter().map(|&label| bucket.labels.of(label).to_string());
        [words::time(bucket.start, tz)].into_iter().chain(counts).collect()
    });
    Ok(Part {
        id: "timeline",
        title: "Over time",
        has_legend: true,
        plot: Some(plot::timeline(report, tz)?),
        notes: vec![format!("Each bar is {}.", words::length(report.timeline.bucket_s))],
        is_folded: true,
        grid: Grid {
            caption: "Attempts by the beginning of each bar; bars without attempts are left out",
            columns: by_label("from", &labels),
            rows: rows.collect(),
        },
    })
}

fn by_label(first: &'static str, labels: &[Label]) -> Vec<Column> {
    [text(first)].into_iter().chain(labels.iter().map(|label| number(label.as_str()))).collect()
}

fn destinations(report: &Report, tz: &TimeZone) -> Result<Part, HtmlError> {
    let has_names = report.destinations.iter().any(|known| known.names.is_some());
    let rows = report.destinations.iter().map(|known| {
        let mut row = vec![
            words::endpoint(known.ip, known.port),
            known.attempts.to_string(),
            known.failures.to_string(),
            words::share(known.failures, known.attempts),
            known.streak.to_string(),
            known.mostly.as_ref().map(words::outcome).unwrap_or_default(),
            known.last_failed.map(|at| words::short_time(at, tz)).unwrap_or_default(),
            known.last_succeeded.map(|at| words::short_time(at, tz)).unwrap_or_default(),
            words::brief_quantiles(known.refusal_ms.as_ref()),
        ];
        if has_names {
            row.push(known.names.as_ref().map(words::names).unwrap_or_default());
        }
        row
    });
    let mut columns = vec![
        text("destination"),
        number("attempts"),
        number("failed"),
        number("share"),
        number("streak"),
        text("mostly"),
        text("last failure"),
        text("last success"),
        text("refused in"),
    ];
    if has_names {
        columns.push(text("in the mail log"));
    }
    let has_failures = report.destinations.iter().any(|known| known.failures > 0);
    Ok(Part {
        id: "destinations",
        title: "Destinations by failures",
        plot: has_failures.then(|| plot::destinations(report)).transpose()?,
        notes: words::omitted(&report.destinations_omitted).into_iter().collect(),
        grid: Grid {
            caption: "Most failures first; the streak counts failures since the last success; refused in: median / 95%",
            columns,
            rows: rows.collect(),
        },
        ..Part::default()
    })
}

fn sources(report: &Report) -> Result<Part, HtmlError> {
    let labels = words::labels(report);
    let rows = report.sources.iter().map(|source| {
        let counts = labels.iter().map(|&label| source.labels.of(label).to_string());
        [words::local(source.ip)].into_iter().chain(counts).collect()
    });
    Ok(Part {
        id: "sources",
        title: "Source address × outcome",
        plot: Some(plot::heat_map(report)?),
        notes: words::beside_sources(report).into_iter().collect(),
        is_folded: true,
        grid: Grid {
            caption: "Attempts by source address and outcome",
            columns: by_label("source address", &labels),
            rows: rows.collect(),
        },
        ..Part::default()
    })
}

fn refusals(report: &Report) -> Result<Part, HtmlError> {
    let rows = report
        .refusal_times
        .iter()
        .map(|bin| vec![words::duration(bin.from_ms), words::duration(bin.to_ms), bin.count.to_string()]);
    Ok(Part {
        id: "refusals",
        title: "Time to refusal",
        plot: Some(plot::refusals(report)?),
        notes: report.overview.refusal_ms.iter().map(words::quantiles).collect(),
        is_folded: true,
        grid: Grid {
            caption: "Refused attempts by the time from their start to the refusal",
            columns: vec![text("from"), text("to"), number("attempts")],
            rows: rows.collect(),
        },
        ..Part::default()
    })
}

fn processes(report: &Report) -> Part {
    let rows = report.processes.iter().map(|process| {
        vec![
            task_name(&process.comm),
            process.attempts.to_string(),
            process.failures.to_string(),
            words::share(process.failures, process.attempts),
        ]
    });
    Part {
        id: "processes",
        title: "Processes",
        notes: [words::omitted(&report.processes_omitted), words::beside_processes(report)]
            .into_iter()
            .flatten()
            .collect(),
        grid: Grid {
            caption: "Who asked, by name; of attempts whose event arrived",
            columns: vec![text("process"), number("attempts"), number("failed"), number("share")],
            rows: rows.collect(),
        },
        ..Part::default()
    }
}
