//! Pieces of text that the table and the page share.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Account, Cause, Local, Names, Omitted, OutcomeCount, Period, Quantiles, Report, Selection, Source};
use crate::format::span::span;
use crate::label::Label;
use crate::ledger::judgement;
use crate::sanitize::sanitize;
use crate::scope::sentences;

/// Labels that occurred, in their order.
pub(super) fn labels(report: &Report) -> Vec<Label> {
    let occurred = |&label: &Label| report.overview.outcomes.iter().any(|outcome| outcome.label == label);
    Label::READ.into_iter().filter(occurred).collect()
}

/// `66.1%`; nothing of nothing.
pub(super) fn share(count: u64, of: u64) -> String {
    if of == 0 { String::new() } else { format!("{:.1}%", count as f64 * 100.0 / of as f64) }
}

/// `refused: rst`.
pub(super) fn outcome(outcome: &OutcomeCount) -> String {
    let reason = outcome.reason.map(|reason| format!(": {}", reason.as_str())).unwrap_or_default();
    format!("{}{reason}", outcome.label.as_str())
}

/// `203.0.113.5:25`, `[2001:db8::1]:25`.
pub(super) fn endpoint(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}

/// A local address in words.
pub(super) fn local(ip: Option<IpAddr>) -> String {
    ip.map_or_else(|| "none chosen".to_owned(), |ip| ip.to_string())
}

/// `2026-11-23 16:07:01 UTC`.
pub(super) fn time(time: Timestamp, tz: &TimeZone) -> String {
    time.to_zoned_datetime(tz.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `2026-11-23 16:07:01`, where the zone is said elsewhere.
pub(super) fn short_time(time: Timestamp, tz: &TimeZone) -> String {
    time.to_zoned_datetime(tz.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `10 min`, `1 day`: the length of a bucket.
pub(super) fn length(seconds: i64) -> String {
    let (count, unit) = match seconds {
        s if s % 604_800 == 0 => (s / 604_800, "week"),
        s if s % 86_400 == 0 => (s / 86_400, "day"),
        s if s % 3_600 == 0 => (s / 3_600, "h"),
        s if s % 60 == 0 => (s / 60, "min"),
        s => (s, "s"),
    };
    let plural = if count > 1 && matches!(unit, "week" | "day") { "s" } else { "" };
    format!("{count} {unit}{plural}")
}

/// `2026-11-23 15:00 to 17:00 UTC`; seconds where a minute is not whole, the
/// second date where it is another.
pub(super) fn period(period: Period, tz: &TimeZone) -> String {
    let (since, until) = (period.since.to_zoned_datetime(tz.clone()), period.until.to_zoned_datetime(tz.clone()));
    let is_whole = [&since, &until].into_iter().all(|time| time.second() == 0 && time.subsec_nanosecond() == 0);
    let clock = if is_whole { "%H:%M" } else { "%H:%M:%S" };
    let day = if since.date() == until.date() { "" } else { "%Y-%m-%d " };
    // The zone twice, where summer time begins or ends in between.
    let zone = if since.offset() == until.offset() { "" } else { " %Z" };
    let since = since.strftime(&format!("%Y-%m-%d {clock}{zone}")).to_string();
    format!("{since} to {}", until.strftime(&format!("{day}{clock} %Z")))
}

/// `from /var/lib/observer/history.sqlite`, `captured live`.
pub(super) fn source(source: &Source) -> String {
    match source {
        Source::History { path, .. } => format!("from {}", sanitize(&path.to_string_lossy())),
        Source::Live => "captured live".to_owned(),
    }
}

/// `history holds 2026-11-23 16:59 to 17:00 UTC`, where that begins later than the period.
pub(super) fn holds(report: &Report, tz: &TimeZone) -> Option<String> {
    begins_later(report).map(|holds| format!("history holds {}", period(holds, tz)))
}

fn begins_later(report: &Report) -> Option<Period> {
    let Source::History { holds: Some(holds), .. } = &report.source else { return None };
    (holds.since > report.period.since).then_some(*holds)
}

/// What was selected; `None` for everything.
pub(super) fn selection(selection: &Selection) -> Option<String> {
    let list =
        |name: &str, values: Vec<String>| (!values.is_empty()).then(|| format!("{name} {}", values.join(" or ")));
    let parts = [
        list("label", selection.labels.iter().map(|label| label.as_str().to_owned()).collect()),
        list("destination", selection.destinations.iter().map(ToString::to_string).collect()),
        list("port", selection.ports.iter().map(ToString::to_string).collect()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A time in milliseconds, as people say it.
pub(super) fn duration(ms: f64) -> String {
    span(Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or(Duration::MAX))
}

/// `median 31 ms, 95% within 40 ms, 99% within 55 ms (of 200)`.
pub(super) fn quantiles(quantiles: &Quantiles) -> String {
    let Quantiles { count, p50, p95, p99 } = *quantiles;
    format!("median {}, 95% within {}, 99% within {} (of {count})", duration(p50), duration(p95), duration(p99))
}

/// `31 ms / 40 ms`.
pub(super) fn brief_quantiles(quantiles: Option<&Quantiles>) -> String {
    quantiles.map(|of| format!("{} / {}", duration(of.p50), duration(of.p95))).unwrap_or_default()
}

/// `12 more: 40 attempts, 3 failures`; `None` if nothing was left out.
pub(super) fn omitted(omitted: &Omitted) -> Option<String> {
    let Omitted { entries, attempts, failures } = omitted;
    (*attempts > 0).then(|| match entries {
        0 => format!("others: {attempts} attempts, {failures} failures"),
        _ => format!("{entries} more: {attempts} attempts, {failures} failures"),
    })
}

/// The account, a sentence a line.
pub(super) fn account(account: &Account) -> Vec<String> {
    match account {
        Account::History { attempts, events, counted_only } => vec![format!(
            "attempts {attempts} = events {events} + counted only {counted_only} (event lost, or not kept any more)"
        )],
        Account::Live { attempts, outcomes, in_flight, lost, imbalance, events, events_lost, remarks, unseen } => {
            let judgement = judgement(i128::from(*imbalance), unseen.is_empty());
            let (lost_total, lost) = causes(lost);
            let (missed, why) = causes(events_lost);
            let mut lines = vec![
                format!(
                    "attempts {attempts} = outcomes {outcomes} + in flight {in_flight} + lost {lost_total}{lost}: \
                     {judgement}"
                ),
                format!("events: {events} delivered, {missed} lost{why}"),
            ];
            lines.extend(unseen.iter().map(|what| format!("cannot see: {}", sanitize(what))));
            lines.extend(remarks.iter().map(|remark| format!("note: {}: {}", remark.cause, remark.count)));
            lines
        }
    }
}

fn causes(causes: &[Cause]) -> (u64, String) {
    let some: Vec<_> = causes.iter().map(|of| format!("{} {}", of.cause, of.count)).collect();
    let text = if some.is_empty() { String::new() } else { format!(" ({})", some.join(", ")) };
    (causes.iter().map(|of| of.count).sum(), text)
}

/// What there is to say about scope, a sentence each.
pub(super) fn scopes(report: &Report) -> Vec<String> {
    if !super::build::is_comparable(&report.selection) {
        return vec!["Not judged: the selection leaves out what failures are to be compared with".to_owned()];
    }
    if report.scopes.is_empty() {
        return vec!["Nothing stands out at the end of the period".to_owned()];
    }
    sentences(&report.scopes, report.scopes_omitted)
}

/// The first sentence, for readers who do not run mail servers: the share of attempts that failed, and
/// to how many destinations.
pub(super) fn headline(report: &Report) -> String {
    let of = report.outside;
    if report.overview.attempts == 0 {
        return "No connection attempt ended in this period.".to_owned();
    }
    if of.attempts == 0 {
        let or = if report.redirected.is_some() { ", or redirected to it" } else { "" };
        return format!("No connection attempt to another host: all were to this host itself{or}.");
    }
    // Of some outcomes alone no share can be told.
    if !report.selection.labels.is_empty() {
        return format!("{} to other hosts ended in the selected ways.", attempts(of.attempts));
    }
    let within = if begins_later(report).is_some() { ", in the part of the period that history holds" } else { "" };
    if of.failures == 0 {
        return match of.attempts {
            1 => format!("The one connection attempt to another host succeeded{within}."),
            count => format!("All {count} connection attempts to other hosts succeeded{within}."),
        };
    }
    let share = share(of.failures, of.attempts);
    let share = format!(
        "{share} of the connection attempts to other hosts failed ({} of {}){within}",
        of.failures, of.attempts
    );
    // With destinations that are not remembered, or that this host answers for itself, nothing can
    // be said of their number.
    if of.attempts_forgotten > 0 || report.redirected.is_some() {
        return format!("{share}.");
    }
    let failing = match (of.destinations_failing, of.destinations) {
        (1, 1) => "to the only destination".to_owned(),
        (2, 2) => "to both destinations".to_owned(),
        (failing, all) if failing == all => format!("to all {all} destinations"),
        (failing, all) => format!("to {failing} of {all} destinations"),
    };
    let always = match (of.destinations_always_failing, of.destinations_failing) {
        (0, 1) => "other attempts to it succeeded".to_owned(),
        (0, _) => "other attempts to each of these succeeded".to_owned(),
        (1, 1) => "every attempt to it failed".to_owned(),
        (always, failing) if always == failing => "every attempt to these failed".to_owned(),
        (always, _) => format!("every attempt to {always} of these failed"),
    };
    format!("{share}, {failing}; {always}.")
}

fn attempts(count: u64) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

/// Why the source addresses do not add up to all attempts.
pub(super) fn beside_sources(report: &Report) -> Option<String> {
    let listed: u64 = report.sources.iter().map(|source| source.attempts).sum();
    let missing = report.overview.attempts.saturating_sub(listed);
    let [local, redirected] = [report.local, report.redirected].map(|part| part.map_or(0, |part| part.attempts));
    let to = match (local, redirected) {
        (_, 0) => "to this host itself",
        (0, _) => "redirected to this host itself",
        _ => "to this host itself, or redirected to it",
    };
    match missing {
        0 => None,
        _ if missing == local + redirected => Some(format!("Not in this table: {} {to}", attempts(missing))),
        _ => {
            Some(format!("Not in this table: {}, {to} or from addresses that there was no room for", attempts(missing)))
        }
    }
}

/// Why the processes do not add up to all attempts.
pub(super) fn beside_processes(report: &Report) -> Option<String> {
    let listed: u64 = report.processes.iter().map(|process| process.attempts).sum();
    let missing = report.overview.attempts.saturating_sub(listed + report.processes_omitted.attempts);
    (missing > 0).then(|| format!("Not in this table: {} whose process is not known", attempts(missing)))
}

/// `example.net, example.org and 3 more domains, by mx.example.net`.
pub(super) fn names(names: &Names) -> String {
    let shown = |names: &[String]| names.iter().map(|name| sanitize(name).into_owned()).collect::<Vec<_>>().join(", ");
    let more = match names.domains_omitted {
        0 => String::new(),
        1 => " and 1 more domain".to_owned(),
        count => format!(" and {count} more domains"),
    };
    match (names.domains.is_empty(), names.hosts.is_empty()) {
        (false, false) => format!("{}{more}, by {}", shown(&names.domains), shown(&names.hosts)),
        (false, true) => format!("{}{more}", shown(&names.domains)),
        (true, _) => shown(&names.hosts),
    }
}

/// The numbers of the report in one sentence.
pub(super) fn summary(report: &Report) -> String {
    let of = &report.overview;
    let connected = of.attempts - of.failures;
    if of.attempts == 0 {
        return "0 attempts to 0 destinations".to_owned();
    }
    let all = format!(
        "{} attempts to {} destinations: {} failed ({}), {connected} went well",
        of.attempts,
        of.destinations,
        of.failures,
        share(of.failures, of.attempts),
    );
    let apart = [(report.local, "are to this host itself"), (report.redirected, "were redirected to this host itself")];
    let apart: Vec<_> = apart.into_iter().filter_map(|(part, what)| Some((part?, what))).collect();
    if let Some((_, what)) = apart.iter().find(|(part, _)| part.attempts == of.attempts) {
        return format!("{all}. All of them {what}");
    }
    if apart.is_empty() {
        return all;
    }
    let parts: Vec<_> = apart
        .iter()
        .map(|(part, what)| format!("{} of them {what}, {} of which failed", part.attempts, part.failures))
        .collect();
    let without =
        |of_all: u64, of: fn(&Local) -> u64| of_all.saturating_sub(apart.iter().map(|(part, _)| of(part)).sum());
    let attempts = without(of.attempts, |part| part.attempts);
    let failures = without(of.failures, |part| part.failures);
    format!(
        "{all}. {}; without these, {failures} of {attempts} failed ({})",
        parts.join("; "),
        share(failures, attempts)
    )
}
