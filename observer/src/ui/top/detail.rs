//! One destination or source: its outcomes, latencies, sources and attempts.

use observer_core::event::Event;
use observer_core::format::phrase::{phrase, task_name};
use observer_core::format::text::destination;
use observer_core::label::Label;
use observer_core::sanitize::sanitize;
use observer_core::tally::{Latency, Outcome, Source, SourceCounts, Tally};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::cells::{ago, clock, count, date, latency, percent};
use super::lines::{first_line, put};
use super::look::Look;
use super::model::Model;
use super::snapshot::{Detail, Stretch, Subject};

/// Outcomes and sources that are listed, and the rest in a line of its own.
const MAX_LINES: usize = 6;
/// Columns of the counts by outcome.
const LEFT_WIDTH: u16 = 52;
/// Columns of the counts by time.
const RIGHT_WIDTH: u16 = 26;

pub(super) fn draw(frame: &mut Frame, area: Rect, detail: &Detail, model: &Model, look: Look) {
    let width = usize::from(area.width);
    let Some(tally) = &detail.tally else {
        put(frame, area, [head(detail, look), Line::raw("  No attempt is remembered.")]);
        return;
    };
    let outcomes = outcomes(tally, look);
    let times = times(detail, model, look);
    let history = history(tally, model, width, look);
    let are_beside = area.width >= LEFT_WIDTH + RIGHT_WIDTH;
    let middle_lines = if are_beside { outcomes.len().max(times.len()) } else { outcomes.len() + times.len() };
    let latencies = latencies(tally, width, look);
    let sources = sources(&detail.sources, width, look);
    let is_source = matches!(detail.subject, Subject::Source(_));
    let chosen = detail.attempts.get(model.attempt);
    let evidence = chosen.map(|event| evidence(event, is_source, width, look)).unwrap_or_default();
    // What is missing in height is missing of the attempts.
    let [top, middle, below, attempts, why] = Layout::vertical([
        Constraint::Length(1 + history.len() as u16),
        Constraint::Length(middle_lines as u16),
        Constraint::Length((latencies.len() + sources.len()) as u16),
        Constraint::Fill(1),
        Constraint::Length(evidence.len() as u16),
    ])
    .areas(area);
    put(frame, top, std::iter::once(head(detail, look)).chain(history));
    if are_beside {
        let [left, right] = Layout::horizontal([Constraint::Length(LEFT_WIDTH), Constraint::Fill(1)]).areas(middle);
        put(frame, left, outcomes);
        put(frame, right, times);
    } else {
        put(frame, middle, outcomes.into_iter().chain(times));
    }
    put(frame, below, latencies.into_iter().chain(sources));
    list(frame, attempts, detail, model, look);
    put(frame, why, evidence);
}

fn head(detail: &Detail, look: Look) -> Line<'static> {
    let what = match detail.subject {
        Subject::Destination(_) => "destination",
        Subject::Prefix(_) => "prefix",
        Subject::Source(_) => "source",
    };
    let prefix = detail.prefix.map(|prefix| format!(" in {prefix}")).unwrap_or_default();
    Line::from(vec![
        Span::raw(format!("{what} ")),
        Span::styled(detail.subject.to_string(), look.bold()),
        Span::raw(prefix),
    ])
}

fn history(tally: &Tally, model: &Model, width: usize, look: Look) -> Vec<Line<'static>> {
    let at = model.shown.at;
    let since = |time| match time {
        Some(_) => format!("{} ago", ago(time, at)),
        None => "never".to_owned(),
    };
    let long = width >= 110;
    let parts = if long {
        vec![
            format!("{} failures in a row", tally.streak()),
            format!("first failure {}", date(tally.first_failed())),
            format!("last failure {} ({})", date(tally.last_failed()), since(tally.last_failed())),
            format!("last success {}", since(tally.last_succeeded())),
        ]
    } else {
        vec![
            format!("{} in a row", tally.streak()),
            format!("failed first {}, last {}", since(tally.first_failed()), since(tally.last_failed())),
            format!("succeeded {}", since(tally.last_succeeded())),
        ]
    };
    fill(parts, look.dot(), width).into_iter().map(Line::raw).collect()
}

/// The most frequent outcomes since the start.
fn outcomes(tally: &Tally, look: Look) -> Vec<Line<'static>> {
    let mut all: Vec<(Outcome, u64)> = tally.outcomes().collect();
    all.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let attempts = tally.attempts().max(1);
    let share = |number: u64| percent(Some(number as f64 / attempts as f64));
    let mut lines =
        vec![Line::styled(format!("{:<11} {:<25} {:>6} {:>5}", "outcome", "reason", "count", "%"), look.dim())];
    let shown = if all.len() > MAX_LINES { MAX_LINES - 1 } else { all.len() };
    for &((label, reason), number) in &all[..shown] {
        let reason = look.shorten(reason.map_or("", |reason| reason.as_str()), 25);
        lines.push(Line::from(vec![
            Span::styled(format!("{:<11}", label.as_str()), look.label(label)),
            Span::raw(format!(" {reason:<25} {:>6} {:>5}", count(number), share(number))),
        ]));
    }
    if shown < all.len() {
        let rest = all[shown..].iter().map(|(_, number)| number).sum();
        let text = format!("{} more outcomes", all.len() - shown);
        lines.push(Line::raw(format!("{text:<37} {:>6} {:>5}", count(rest), share(rest))));
    }
    lines
}

/// Attempts and failures over each time, and the bars of the chosen one.
fn times(detail: &Detail, model: &Model, look: Look) -> Vec<Line<'static>> {
    let mut lines =
        vec![Line::styled(format!("{:<4} {:>8} {:>6} {:>5}", "", "attempts", "failed", "fail%"), look.dim())];
    for (stretch, counts) in Stretch::ALL.iter().zip(&detail.stretches) {
        let numbers =
            format!("{:<4} {:>8} {:>6} ", stretch.as_str(), count(counts.attempts()), count(counts.failures()));
        let ratio = Span::styled(format!("{:>5}", percent(counts.ratio())), look.share(counts.ratio()));
        lines.push(Line::from(vec![Span::raw(numbers), ratio]));
    }
    let failures: Vec<u64> = detail.series.iter().map(|(_, failures)| *failures).collect();
    let window = model.stretch.series().as_str();
    lines.push(Line::raw(format!("{:<12} {}", format!("failed, {window}"), look.bars(&failures, 13))));
    lines
}

/// On one line, where there is room.
fn latencies(tally: &Tally, width: usize, look: Look) -> Vec<Line<'static>> {
    let of = |what| {
        let number = tally.latencies().count(what);
        let quantile = |q| latency(tally.latencies().quantile(what, q));
        match number {
            0 => "-".to_owned(),
            _ => format!("p50 {} p95 {} max {} of {}", quantile(0.5), quantile(0.95), quantile(1.0), count(number)),
        }
    };
    let both = [format!("refused after {}", of(Latency::Refusal)), format!("connected in {}", of(Latency::Connect))];
    fill(both, look.dot(), width).into_iter().map(Line::raw).collect()
}

/// `from 192.0.2.10: 120 attempts, 60 failed: refused 60`
fn sources(all: &[SourceCounts], width: usize, look: Look) -> Vec<Line<'static>> {
    let shown = if all.len() > MAX_LINES / 2 { MAX_LINES / 2 - 1 } else { all.len() };
    let mut lines: Vec<_> = all[..shown].iter().map(|counts| source(counts, width, look)).collect();
    if shown < all.len() {
        let rest = &all[shown..];
        let (attempts, failures) =
            rest.iter().fold((0, 0), |(a, f), counts| (a + counts.attempts(), f + counts.failures()));
        let text = format!("from {} more: {} attempts, {} failed", rest.len(), count(attempts), count(failures));
        lines.push(Line::raw(look.shorten(&text, width)));
    }
    lines
}

/// With as many of the labels as there is room for.
fn source(counts: &SourceCounts, width: usize, look: Look) -> Line<'static> {
    let name = match counts.source {
        Source::Address(ip) => ip.to_string(),
        Source::Unchosen => "no address chosen".to_owned(),
        Source::Other => "others".to_owned(),
    };
    let mut line =
        Line::raw(format!("from {name}: {} attempts, {} failed", count(counts.attempts()), count(counts.failures())));
    for label in Label::READ {
        let text = format!("{} {}", label.as_str(), count(counts.of(label)));
        if counts.of(label) > 0 && line.width() + 2 + text.len() <= width {
            line.push_span("  ");
            line.push_span(Span::styled(text, look.label(label)));
        }
    }
    line
}

fn list(frame: &mut Frame, area: Rect, detail: &Detail, model: &Model, look: Look) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let title = match detail.attempts.len() {
        0 => "attempts: none seen lately".to_owned(),
        number => format!("attempts, the latest first ({} of {number})", model.attempt + 1),
    };
    put(frame, head, [Line::styled(title, look.dim())]);
    let height = usize::from(body.height);
    let first = first_line(model.attempt, detail.attempts.len(), height);
    let is_source = matches!(detail.subject, Subject::Source(_));
    let lines = detail.attempts.iter().enumerate().skip(first).take(height).map(|(index, event)| {
        let line = attempt(event, is_source, look);
        if index == model.attempt { line.style(look.chosen()) } else { line }
    });
    put(frame, body, lines);
}

fn attempt(event: &Event, is_source: bool, look: Look) -> Line<'static> {
    let to = if is_source { format!("{:<21} ", destination(&event.dst)) } else { String::new() };
    Line::from(vec![
        Span::raw(format!("{} ", clock(event.time))),
        Span::styled(format!("{:<11} ", event.label.as_str()), look.label(event.label)),
        Span::raw(to),
        Span::raw(phrase(event)),
    ])
}

/// The chosen attempt in full if its line is cut, who made it, and what its
/// verdict rests on.
fn evidence(event: &Event, is_source: bool, width: usize, look: Look) -> Vec<Line<'static>> {
    let words = phrase(event);
    let is_cut = attempt(event, is_source, look).width() > width;
    let mut lines = if is_cut { fill(words.split(' ').map(str::to_owned), " ", width) } else { Vec::new() };
    let mut facts = vec![process(event)];
    facts.extend(known(event).into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))));
    let mut facts = fill(facts, ", ", width);
    facts.truncate(3);
    lines.truncate(2);
    lines.append(&mut facts);
    lines.into_iter().map(Line::raw).collect()
}

fn known(event: &Event) -> [(&'static str, Option<String>); 16] {
    let seen = &event.evidence;
    let safe = |name: &Option<String>| name.as_deref().map(|name| sanitize(name).into_owned());
    [
        ("origin", event.origin.map(|origin| origin.as_str().to_owned())),
        ("errno", event.errno.clone()),
        ("from", event.src.ip.map(|_| destination(&event.src))),
        ("RST TTL", seen.rst_ttl.map(|ttl| ttl.to_string())),
        ("ICMP", seen.icmp_type.zip(seen.icmp_code).map(|(kind, code)| format!("{kind}/{code}"))),
        ("ICMP from", seen.icmp_from.map(|ip| ip.to_string())),
        ("ICMP TTL", seen.icmp_ttl.map(|ttl| ttl.to_string())),
        ("came in by", safe(&seen.iface)),
        ("route by", safe(&seen.route_iface)),
        ("SYN retransmits", Some(event.syn_retransmits).filter(|&number| number > 0).map(|number| number.to_string())),
        ("SYNs dropped here", seen.syn_drops.map(|number| number.to_string())),
        ("answers dropped here", seen.answer_drops.map(|number| number.to_string())),
        ("bytes not acknowledged", seen.unacked_bytes.map(|number| number.to_string())),
        ("redirected by this host", seen.redirected.then(|| "yes".to_owned())),
        ("bytes", seen.bytes_received.map(|number| number.to_string())),
        ("missing", Some(seen.missing.join(" ")).filter(|missing| !missing.is_empty())),
    ]
}

/// Parts one after the other, on as many lines as they take.
fn fill(parts: impl IntoIterator<Item = String>, between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let needed = between.chars().count() + part.chars().count();
        match lines.last_mut().filter(|line| line.chars().count() + needed <= width) {
            Some(line) => *line += &format!("{between}{part}"),
            None => lines.push(part),
        }
    }
    lines
}

fn process(event: &Event) -> String {
    let Some(process) = &event.process else { return "process not seen".to_owned() };
    let cgroup = process.cgroup.as_deref().map(|path| format!(" in {}", sanitize(path))).unwrap_or_default();
    format!("{}[{}] uid {}{cgroup}", task_name(&process.comm), process.pid, process.uid)
}
