//! Draws the model.

use observer_core::label::Label;
use observer_core::tally::Family;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::cells::{ago, clock, count, latency, percent};
use super::columns::{Column, fit};
use super::lines::{first_line, put};
use super::look::Look;
use super::model::Model;
use super::snapshot::{Row, Snapshot, Stretch, View};
use super::{detail, help};

/// Draws everything. Pure: the same model gives the same screen.
pub fn draw(frame: &mut Frame, model: &Model, look: Look) {
    let area = frame.area();
    let is_list = !model.is_help && model.shown.detail.is_none();
    let labels = if is_list { labels(&model.shown, usize::from(area.width), look) } else { Vec::new() };
    let [title, summary, legend, body, status, keys] = Layout::vertical([
        Constraint::Length(1),
        // One total a screen: what is open has its own.
        Constraint::Length(u16::from(!model.is_help && model.shown.detail.is_none())),
        Constraint::Length(labels.len() as u16),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    put(frame, title, [self::title(model, usize::from(area.width), look)]);
    put_right(frame, title, Line::raw(format!(" {}", clock(model.shown.at))));
    put(frame, summary, [self::summary(model, usize::from(area.width), look)]);
    put(frame, legend, labels);
    if model.is_help {
        help::draw(frame, body, model.help_line, look);
    } else if let Some(detail) = &model.shown.detail {
        detail::draw(frame, body, detail, model, look);
    } else {
        list(frame, body, model, look);
    }
    put(frame, status, [self::status(model, usize::from(area.width), look)]);
    put(frame, keys, [self::keys(model, usize::from(area.width), look)]);
}

fn put_right(frame: &mut Frame, area: Rect, line: Line) {
    let width = (line.width() as u16).min(area.width);
    frame.render_widget(line, Rect { x: area.right() - width, width, ..area });
}

/// With all lists and times to choose from, or with the chosen ones alone where there is no room.
fn title(model: &Model, width: usize, look: Look) -> Line<'static> {
    /// ` 16:07:06Z`, to the right.
    const CLOCK: usize = 10;
    let all = title_of(model, look, |_| true);
    if all.width() + CLOCK <= width { all } else { title_of(model, look, |is_chosen| is_chosen) }
}

fn title_of(model: &Model, look: Look, is_shown: impl Fn(bool) -> bool) -> Line<'static> {
    let name = match model.is_paused {
        true => Span::styled("   PAUSED   ", look.alarm()),
        false => Span::styled("observer top", look.bold()),
    };
    let mut spans = vec![name, Span::raw(" ")];
    let chosen = |is_chosen: bool| if is_chosen { look.chosen() } else { Style::new() };
    for view in View::ALL.into_iter().filter(|view| is_shown(*view == model.view)) {
        spans.push(Span::styled(format!(" {} ", view.as_str()), chosen(view == model.view)));
    }
    spans.push(Span::raw(" "));
    for stretch in Stretch::ALL.into_iter().filter(|stretch| is_shown(*stretch == model.stretch)) {
        spans.push(Span::styled(format!(" {} ", stretch.as_str()), chosen(stretch == model.stretch)));
    }
    Line::from(spans)
}

/// `port 25, since top began 12s ago: 327 attempts, 216 failed (66.1%), IPv4 190/300, IPv6 26/27  ▁▂▃`,
/// as far as there is room.
fn summary(model: &Model, width: usize, look: Look) -> Line<'static> {
    let Snapshot { total, families, series, .. } = &model.shown;
    let ratio = total.ratio().map(|ratio| format!(" ({}%)", percent(Some(ratio)))).unwrap_or_default();
    let counts = format!(": {} attempts, {} failed{ratio}", total.attempts(), total.failures());
    let since = since(model).map(|since| format!(", {since}"));
    // The counts matter more.
    let fits = |since: &String| model.scope.len() + since.len() + counts.len() <= width;
    let mut text = format!("{}{}{counts}", model.scope, since.filter(fits).unwrap_or_default());
    for (family, counts) in Family::ALL.iter().zip(families) {
        if counts.attempts() > 0 {
            let name = if *family == Family::Ipv4 { "IPv4" } else { "IPv6" };
            let part = format!(", {name} {}/{}", count(counts.failures()), count(counts.attempts()));
            if text.chars().count() + part.len() <= width {
                text += &part;
            }
        }
    }
    let room = width.saturating_sub(text.chars().count() + 2);
    let failures: Vec<u64> = series.iter().map(|(_, failures)| *failures).collect();
    let bars = if room >= 8 { look.bars(&failures, room) } else { String::new() };
    Line::from(vec![Span::raw(text), Span::raw("  "), Span::styled(bars, look.share(total.ratio()))])
}

/// `since top began 12s ago`, where the counts go back no further than that.
fn since(model: &Model) -> Option<String> {
    let (at, began) = (model.shown.at, model.began.at?);
    let is_shorter = match model.stretch {
        Stretch::All => true,
        Stretch::Last(window) => at.duration_since(began).unsigned_abs() < window.length(),
    };
    is_shorter.then(|| format!("since {} began {} ago", model.began.who, ago(Some(began), at)))
}

/// The counts by label, on as many lines as they take.
fn labels(shown: &Snapshot, width: usize, look: Look) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    for label in Label::READ {
        let number = shown.total.of(label);
        if number == 0 {
            continue;
        }
        let text = format!("{} {}", label.as_str(), number);
        let used = lines.last().map_or(0, Line::width);
        if used > 0 && used + 2 + text.len() > width {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            let gap = if line.width() > 0 { "  " } else { "" };
            line.push_span(gap);
            line.push_span(Span::styled(text, look.label(label)));
        }
    }
    lines
}

fn list(frame: &mut Frame, area: Rect, model: &Model, look: Look) {
    let rows = &model.shown.rows;
    let longest = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let columns = fit(usize::from(area.width), model.sort.column, longest);
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    put(frame, head, [header(model, &columns, look)]);
    if rows.is_empty() {
        put(frame, body, [Line::default(), Line::raw(format!("  {}", nothing(model)))]);
        return;
    }
    let height = usize::from(body.height);
    let first = first_line(model.cursor, rows.len(), height);
    let lines = rows.iter().enumerate().skip(first).take(height).map(|(index, row)| {
        let line = row_line(row, &columns, model, look);
        if index == model.cursor { line.style(look.chosen()) } else { line }
    });
    put(frame, body, lines);
}

fn nothing(model: &Model) -> String {
    if !model.filter.is_empty() && model.shown.active > 0 {
        return "Nothing here matches the filter.".to_owned();
    }
    match model.stretch {
        Stretch::All => "No attempt has ended yet.".to_owned(),
        Stretch::Last(window) => format!("No attempt has ended in the last {}.", window.as_str()),
    }
}

fn header(model: &Model, columns: &[(Column, usize)], look: Look) -> Line<'static> {
    let mut line = Line::default();
    // The arrow of numbers takes the space behind their name.
    let mut gap = "";
    for &(column, width) in columns {
        let is_sorted = column == model.sort.column;
        let style = if is_sorted { look.bold() } else { look.dim() };
        let arrow = if is_sorted { look.arrow(model.sort.is_descending) } else { "" };
        let title = column.title(model.view);
        line.push_span(Span::styled(gap, look.bold()));
        if column.is_left_aligned() {
            line.push_span(Span::styled(format!("{:<width$.width$}", format!("{title}{arrow}")), style));
            gap = " ";
        } else {
            line.push_span(Span::styled(format!("{title:>width$}"), style));
            gap = if is_sorted { arrow } else { " " };
        }
    }
    line.push_span(Span::styled(gap, look.bold()));
    line
}

fn row_line(row: &Row, columns: &[(Column, usize)], model: &Model, look: Look) -> Line<'static> {
    let mut line = Line::default();
    for &(column, width) in columns {
        if !line.spans.is_empty() {
            line.push_span(" ");
        }
        let (text, style) = cell(row, column, width, model, look);
        let text = if column.is_left_aligned() { format!("{text:<width$}") } else { format!("{text:>width$}") };
        line.push_span(Span::styled(text, style));
    }
    line
}

fn cell(row: &Row, column: Column, width: usize, model: &Model, look: Look) -> (String, Style) {
    let counts = &row.counts;
    let plain = |text| (text, Style::new());
    match column {
        Column::Name => plain(look.shorten(&row.name, width)),
        Column::Graph => {
            let failures: Vec<u64> = row.series.iter().map(|(_, failures)| *failures).collect();
            (look.bars(&failures, width), look.share(counts.ratio()))
        }
        Column::Attempts => plain(count(counts.attempts())),
        Column::Established => plain(count(counts.established)),
        Column::Failures => plain(count(counts.failures())),
        Column::Ratio => (percent(counts.ratio()), look.share(counts.ratio())),
        Column::Of(label) => match counts.of(label) {
            0 => plain("-".to_owned()),
            number => (count(number), look.label(label)),
        },
        Column::Streak => plain(count(row.streak)),
        Column::LastFailed => plain(ago(row.last_failed, model.shown.at)),
        Column::P50 => plain(latency(row.p50)),
        Column::P95 => plain(latency(row.p95)),
        Column::Mostly => row.dominant.map_or_else(Default::default, |(label, reason)| {
            let reason = reason.map(|reason| format!("/{}", reason.as_str())).unwrap_or_default();
            (look.shorten(&format!("{}{reason}", label.as_str()), width), look.label(label))
        }),
    }
}

/// `in flight 6; attempts lost 0; events lost 0`
fn status(model: &Model, width: usize, look: Look) -> Line<'static> {
    let account = &model.shown.account;
    let mut line = Line::raw(format!("in flight {}; attempts lost {}", account.in_flight, account.lost));
    let note = |line: &mut Line<'static>, text: String, style: Style| {
        if line.width() + 2 + text.len() <= width {
            line.push_span("; ");
            line.push_span(Span::styled(text, style));
        }
    };
    if model.shown.imbalance != 0 {
        let ledger = format!("attempts {} = ended {} + both", account.attempts, account.outcomes);
        note(&mut line, format!("{ledger}: OFF BY {}", model.shown.imbalance), look.alarm());
    }
    if let Some(remark) = &model.remark {
        note(&mut line, remark.clone(), look.bold());
    }
    let style = if account.events_lost > 0 { look.bold() } else { Style::new() };
    note(&mut line, format!("events lost {}", account.events_lost), style);
    let shown = &model.shown;
    let [destinations, prefixes, sources] = shown.evicted;
    for (number, what) in [
        (shown.made_up, "made up for by counters"),
        (shown.in_total_only, "more destinations in total only"),
        (destinations, "destinations forgotten"),
        (prefixes, "prefixes forgotten"),
        (sources, "sources forgotten"),
        (account.malformed, "not decoded"),
    ] {
        if number > 0 {
            note(&mut line, format!("{} {what}", count(number)), look.bold());
        }
    }
    line
}

fn keys(model: &Model, width: usize, look: Look) -> Line<'static> {
    let shown = &model.shown;
    if model.is_typing {
        let found = format!("{} of {}{}enter keeps it, esc takes it back", shown.matching, shown.active, look.dot());
        return Line::from(vec![
            Span::styled(format!("/{}", model.filter), look.bold()),
            Span::styled(" ", look.chosen()),
            Span::raw("  "),
            Span::raw(found),
        ]);
    }
    let all: &[&str] = match (model.is_help, shown.detail.is_some()) {
        (true, _) => &["up down scroll", "esc closes the help", "q quit"],
        (false, true) => &["esc back", "up down attempt", "1-5 time", "space pause", "? help", "q quit"],
        (false, false) => {
            &["enter open", "/ filter", "< > sort", "r reverse", "tab list", "1-5 time", "? help", "q quit"]
        }
    };
    let hint = hints(all, width);
    if model.is_help || shown.detail.is_some() || (model.filter.is_empty() && shown.rows.len() == shown.matching) {
        return Line::styled(hint, look.dim());
    }
    let mut line = Line::default();
    if !model.filter.is_empty() {
        line.push_span(Span::styled(format!("filter /{}", model.filter), look.bold()));
        line.push_span(format!(": {} of {}, esc drops it{}", shown.matching, shown.active, look.dot()));
    }
    if shown.rows.len() < shown.matching {
        line.push_span(format!("first {} of {}{}", shown.rows.len(), shown.matching, look.dot()));
    }
    let hint = if line.width() + hint.len() <= width { hint } else { hints(&["? help", "q quit"], width) };
    line.push_span(Span::styled(hint, look.dim()));
    line
}

/// As many as there is room for: those in the middle are left out first, since the help has them.
fn hints(all: &[&str], width: usize) -> String {
    /// Between two of them.
    const GAP: &str = "  ";
    let mut shown = all.to_vec();
    while shown.len() > 1 && shown.join(GAP).len() > width {
        // Those that lead out of here, and to the help, are the last two.
        shown.remove(shown.len().saturating_sub(3));
    }
    shown.join(GAP)
}
