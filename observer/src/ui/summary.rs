//! The closing summary of a watch, for stderr.

use std::cmp::Reverse;
use std::fmt::Write;
use std::net::SocketAddr;

use observer_core::ledger::{DestinationSummary, Ledger, Outcome, judgement};

use super::table::{Align, columns};

/// Destinations shown.
const TOP: usize = 10;

/// The summary: outcomes, the destinations that failed most, and the ledger.
/// Ends with a newline.
pub fn render(ledger: &Ledger) -> String {
    let mut text = String::from("\n");
    if ledger.outcomes_total() > 0 {
        text.push_str(&outcomes(ledger));
        text.push('\n');
    }
    let (failed, more) = most_failed(&ledger.destinations);
    if !failed.is_empty() {
        text.push_str(&destinations(&failed));
        match more {
            0 => {}
            1 => text.push_str("and 1 more destination that failed\n"),
            more => text.push_str(&format!("and {more} more destinations that failed\n")),
        }
        text.push('\n');
    }
    text.push_str(&balance(ledger));
    text.push_str(&events(ledger));
    for what in &ledger.unseen {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "cannot see: {what}");
    }
    for (cause, count) in ledger.remarks.iter().filter(|(_, count)| *count > 0) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "note:   {cause}: {count}");
    }
    text
}

fn outcomes(ledger: &Ledger) -> String {
    let row = |outcome: &str, reason: &str, count: u64| {
        [outcome.to_owned(), reason.to_owned(), count.to_string(), share(count, ledger.attempts)]
    };
    let mut rows = vec![["outcome", "reason", "count", "share of attempts"].map(str::to_owned)];
    let mut previous = None;
    for (&(label, reason), &count) in &ledger.outcomes {
        let shown = if previous == Some(label) { "" } else { label.as_str() };
        rows.push(row(shown, reason.map_or("", |reason| reason.as_str()), count));
        previous = Some(label);
    }
    if ledger.outcomes_unlabelled > 0 {
        rows.push(row("not known", "counted in total only", ledger.outcomes_unlabelled));
    }
    columns([Align::Left, Align::Left, Align::Right, Align::Right], &rows)
}

fn share(count: u64, attempts: u64) -> String {
    if attempts == 0 {
        return String::new();
    }
    format!("{:.1}%", count as f64 * 100.0 / attempts as f64)
}

/// Most failures first; of as many, the one with fewer handshakes, then by
/// address, so that the order is the same every time. The second value counts those left out.
fn most_failed(all: &[DestinationSummary]) -> (Vec<&DestinationSummary>, usize) {
    let mut failed: Vec<_> = all.iter().filter(|destination| destination.failures > 0).collect();
    failed.sort_unstable_by_key(|known| (Reverse(known.failures), known.established, known.ip, known.port));
    let more = failed.len().saturating_sub(TOP);
    failed.truncate(TOP);
    (failed, more)
}

fn destinations(failed: &[&DestinationSummary]) -> String {
    let mut rows = vec![["destination", "attempts", "established", "failures", "mostly"].map(str::to_owned)];
    rows.extend(failed.iter().map(|known| {
        [
            SocketAddr::new(known.ip, known.port).to_string(),
            known.attempts.to_string(),
            known.established.to_string(),
            known.failures.to_string(),
            known.dominant.map(mostly).unwrap_or_default(),
        ]
    }));
    columns([Align::Left, Align::Right, Align::Right, Align::Right, Align::Left], &rows)
}

fn mostly(((label, reason), count): (Outcome, u64)) -> String {
    let reason = reason.map(|reason| format!("/{}", reason.as_str())).unwrap_or_default();
    format!("{}{reason} ({count})", label.as_str())
}

fn balance(ledger: &Ledger) -> String {
    let judgement = judgement(ledger.imbalance(), ledger.unseen.is_empty());
    format!(
        "ledger: attempts {} = outcomes {} + in flight {} + lost {}{}: {judgement}\n",
        ledger.attempts,
        ledger.outcomes_total(),
        ledger.in_flight,
        ledger.lost_total(),
        causes(&ledger.lost),
    )
}

fn events(ledger: &Ledger) -> String {
    let lost = format!("{} lost{}", ledger.events_lost_total(), causes(&ledger.events_lost));
    format!("events: {} delivered, {lost}; handshakes completed: {}\n", ledger.events_delivered, ledger.established)
}

/// ` (cause 1, other cause 2)`, without those that are zero.
fn causes(causes: &[(&'static str, u64)]) -> String {
    let some = causes.iter().filter(|(_, count)| *count > 0);
    let some: Vec<_> = some.map(|(cause, count)| format!("{cause} {count}")).collect();
    if some.is_empty() { String::new() } else { format!(" ({})", some.join(", ")) }
}

#[cfg(test)]
mod tests;
