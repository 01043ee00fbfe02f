//! The report as text for a terminal or a mail.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::{Report, Timeline, words};
use crate::format::phrase::task_name;
use crate::sanitize::sanitize;

/// Narrower, nothing can be read.
const MIN_WIDTH: u16 = 40;

const LEFT: CellAlignment = CellAlignment::Left;
const RIGHT: CellAlignment = CellAlignment::Right;

/// The report in lines of at most `width` columns (40 at least), with times by
/// the clock of `tz`. Ends with a newline.
pub fn render(report: &Report, width: u16, tz: &TimeZone) -> String {
    let page = Page { width: width.max(MIN_WIDTH), tz };
    let mut text = page.head(report);
    for (title, body) in [
        ("Scope", page.lines(&words::scopes(report))),
        ("Outcomes", page.outcomes(report)),
        ("Labels", page.meanings(report)),
        ("Over time", page.timeline(&report.timeline)),
        ("Destinations", page.destinations(report)),
        ("Destinations as the mail log names them", page.names(report)),
        ("Source addresses", page.sources(report)),
        ("Time to refusal", page.refusals(report)),
        ("Processes", page.processes(report)),
        ("Ledger", page.lines(&words::account(&report.ledger))),
    ] {
        if !body.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{}\n{body}", title.to_uppercase());
        }
    }
    text
}

struct Page<'a> {
    width: u16,
    tz: &'a TimeZone,
}

impl Page<'_> {
    fn head(&self, report: &Report) -> String {
        let mut lines = vec![
            format!("observer report for {}: {}", sanitize(&report.host), words::period(report.period, self.tz)),
            words::headline(report),
            words::source(&report.source),
        ];
        lines.extend(words::holds(report, self.tz));
        lines.extend(words::selection(&report.selection).map(|of| format!("only {of}")));
        lines.push(words::summary(report));
        let of = &report.overview;
        let time = |what: &str, at: Option<_>| at.map(|at| format!("{what} {}", words::time(at, self.tz)));
        lines.extend(time("first failure", of.first_failed));
        lines.extend(time("last failure ", of.last_failed));
        lines.extend(time("last success ", of.last_succeeded));
        self.lines(&lines)
    }

    /// Sentences, wrapped.
    fn lines(&self, lines: &[String]) -> String {
        let mut table = self.plain();
        lines.iter().for_each(|line| _ = table.add_row([line]));
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 0));
        }
        finish(&table)
    }

    fn plain(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        table
    }

    fn table(&self, columns: &[(&str, CellAlignment)]) -> Table {
        let mut table = self.plain();
        table.set_header(columns.iter().map(|(title, _)| Cell::new(title)));
        for (index, (_, align)) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(*align);
                column.set_padding((0, 2));
            }
        }
        table
    }

    fn outcomes(&self, report: &Report) -> String {
        let mut table = self.table(&[("outcome", LEFT), ("reason", LEFT), ("count", RIGHT), ("share", RIGHT)]);
        let mut previous = None;
        for outcome in &report.overview.outcomes {
            let label = if previous == Some(outcome.label) { "" } else { outcome.label.as_str() };
            let reason = outcome.reason.map_or("", |reason| reason.as_str());
            let share = words::share(outcome.count, report.overview.attempts);
            table.add_row([label, reason, &outcome.count.to_string(), &share]);
            previous = Some(outcome.label);
        }
        finish(&table)
    }

    fn timeline(&self, timeline: &Timeline) -> String {
        let (Some(first), Some(last)) = (timeline.buckets.first(), timeline.buckets.last()) else {
            return String::new();
        };
        let attempts: Vec<u64> = timeline.buckets.iter().map(|bucket| bucket.labels.attempts()).collect();
        let failures: Vec<u64> = timeline.buckets.iter().map(|bucket| bucket.labels.failures()).collect();
        let Some(&most) = attempts.iter().max().filter(|&&most| most > 0) else { return String::new() };
        let each = words::length(timeline.bucket_s);
        let end = last.start.checked_add(SignedDuration::from_secs(timeline.bucket_s)).unwrap_or(last.start);
        let (from, to) = (words::short_time(first.start, self.tz), words::time(end, self.tz));
        self.lines(&[
            format!("attempts  {}", sparkline(&attempts, most)),
            format!("failures  {}", sparkline(&failures, most)),
            format!("{each} each, from {from} to {to}; the highest bar is {most}"),
        ])
    }

    fn destinations(&self, report: &Report) -> String {
        let mut table = self.table(&[
            ("destination", LEFT),
            ("attempts", RIGHT),
            ("failed", RIGHT),
            ("share", RIGHT),
            ("streak", RIGHT),
            ("mostly", LEFT),
        ]);
        for known in &report.destinations {
            table.add_row([
                words::endpoint(known.ip, known.port),
                known.attempts.to_string(),
                known.failures.to_string(),
                words::share(known.failures, known.attempts),
                known.streak.to_string(),
                known.mostly.as_ref().map(words::outcome).unwrap_or_default(),
            ]);
        }
        finish(&table) + &self.lines(&Vec::from_iter(words::omitted(&report.destinations_omitted)))
    }

    /// Outcomes in a cell of their own: nine columns would not fit.
    fn sources(&self, report: &Report) -> String {
        let mut table = self.table(&[("from", LEFT), ("attempts", RIGHT), ("failed", RIGHT), ("outcomes", LEFT)]);
        for source in &report.sources {
            let outcomes: Vec<_> =
                source.labels.iter().map(|(label, count)| format!("{} {count}", label.as_str())).collect();
            table.add_row([
                words::local(source.ip),
                source.attempts.to_string(),
                source.failures.to_string(),
                outcomes.join(", "),
            ]);
        }
        if let Some(column) = table.column_mut(0) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        finish(&table) + &self.lines(&Vec::from_iter(words::beside_sources(report)))
    }

    /// What stands in the first column has no breaks in it.
    fn pairs(&self, rows: impl Iterator<Item = [String; 2]>) -> String {
        let mut table = self.plain();
        rows.for_each(|row| _ = table.add_row(row));
        for (index, padding) in [(0, (0, 2)), (1, (0, 0))] {
            if let Some(column) = table.column_mut(index) {
                column.set_padding(padding);
            }
        }
        if let Some(column) = table.column_mut(0) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        finish(&table)
    }

    fn meanings(&self, report: &Report) -> String {
        self.pairs(report.meanings.iter().map(|of| [of.label.as_str().to_owned(), of.meaning.to_owned()]))
    }

    fn names(&self, report: &Report) -> String {
        let named = report.destinations.iter().filter_map(|known| Some((known, known.names.as_ref()?)));
        self.pairs(named.map(|(known, names)| [words::endpoint(known.ip, known.port), words::names(names)]))
    }

    fn refusals(&self, report: &Report) -> String {
        let most = report.refusal_times.iter().map(|bin| bin.count).max().unwrap_or(0);
        let mut table = self.table(&[("from", RIGHT), ("to", RIGHT), ("count", RIGHT), ("", LEFT)]);
        for bin in &report.refusal_times {
            let bar = "█".repeat((bin.count * 30).div_ceil(most.max(1)) as usize);
            table.add_row([words::duration(bin.from_ms), words::duration(bin.to_ms), bin.count.to_string(), bar]);
        }
        finish(&table) + &self.lines(&Vec::from_iter(report.overview.refusal_ms.as_ref().map(words::quantiles)))
    }

    fn processes(&self, report: &Report) -> String {
        let mut table = self.table(&[("process", LEFT), ("attempts", RIGHT), ("failed", RIGHT), ("share", RIGHT)]);
        for process in &report.processes {
            table.add_row([
                task_name(&process.comm),
                process.attempts.to_string(),
                process.failures.to_string(),
                words::share(process.failures, process.attempts),
            ]);
        }
        let notes = [words::omitted(&report.processes_omitted), words::beside_processes(report)];
        finish(&table) + &self.lines(&Vec::from_iter(notes.into_iter().flatten()))
    }
}

/// A character a number, as high as its share of `most`; something is never
/// shown as nothing.
fn sparkline(counts: &[u64], most: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |&count: &u64| match count {
        0 => ' ',
        _ => BARS[((count as f64 / most as f64 * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    counts.iter().map(bar).collect()
}

/// The table, if it has rows. No line ends in a space.
fn finish(table: &Table) -> String {
    if table.is_empty() {
        return String::new();
    }
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
