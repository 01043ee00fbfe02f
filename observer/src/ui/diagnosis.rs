//! A diagnosis for a person, and the text for the other side's postmaster.

use std::fmt::Write as _;
use std::time::Duration;

use observer_core::diagnose::{Answers, Count, Diagnosis, Firewall, LikelyCause, Line, Mail, Sample};
use observer_core::event::Endpoint;
use observer_core::format::place;
use observer_core::format::span::span;
use observer_core::label::{Label, Origin, Reason};
use observer_core::sanitize::{excerpt, sanitize};
use observer_core::wrap::wrap;

use crate::host::firewall::{Answer, Way};

/// Columns of a terminal that a mail has too.
const WIDTH: usize = 78;
/// Domains that are named.
const DOMAINS: usize = 4;
/// Kinds of answers that are shown.
const ANSWERS: usize = 4;

/// The diagnosis in words, likeliest cause first. Ends with a newline.
pub fn render(diagnosis: &Diagnosis) -> String {
    let share = diagnosis.attempts;
    let mut text = format!("{}, port {}: ", sanitize(&diagnosis.asked), diagnosis.port);
    // Writing to a String cannot fail.
    let _ = match (share.attempts, share.failed()) {
        (0, _) => writeln!(text, "no attempts in this period"),
        (1, 0) if diagnosis.causes.is_empty() => writeln!(text, "nothing fails: 1 attempt, connected"),
        (attempts, 0) if diagnosis.causes.is_empty() => {
            writeln!(text, "nothing fails: {attempts} attempts, all connected")
        }
        (1, 0) => writeln!(text, "the only attempt connected, and mail does not arrive"),
        (1, _) => writeln!(text, "the only attempt failed{}", at(diagnosis)),
        (attempts, 0) => writeln!(text, "all {attempts} attempts connected, and mail does not arrive"),
        (attempts, failed) => writeln!(text, "{failed} of {attempts} attempts failed{}", since(diagnosis)),
    };
    if share.failed() == 0 && diagnosis.causes.is_empty() {
        probed(&mut text, diagnosis);
        mail_log(&mut text, &diagnosis.mail);
        not_seen(&mut text, diagnosis);
        return text;
    }
    text.push('\n');
    match diagnosis.causes.as_slice() {
        [] => {
            let why = if diagnosis.is_served_now() {
                "Probed now, it serves from every address that was tried: what failed is over, or comes and goes."
            } else {
                "No cause is known that fits."
            };
            paragraph(&mut text, "", &format!("{why} How the attempts ended:"));
        }
        [first, second, ..] if diagnosis.is_open => {
            let either = format!(
                "Either {} ({} points), or {} ({} points).",
                first.verdict, first.score, second.verdict, second.score
            );
            paragraph(&mut text, "", &either);
            paragraph(&mut text, "", &format!("To tell them apart: {}.", first.surer));
        }
        [first, ..] => paragraph(&mut text, "", &format!("{}: {}.", capital(first.confidence.as_str()), first.verdict)),
    }
    endings(&mut text, &diagnosis.endings);
    for finding in &diagnosis.causes {
        cause(&mut text, finding);
    }
    if let Some(asked) = &diagnosis.firewall {
        paragraph(&mut text, "firewall   ", &firewall(asked));
    }
    probed(&mut text, diagnosis);
    for operator in &diagnosis.operators {
        let (number, organisation) =
            (operator.system.number, operator.system.organisation.as_deref().unwrap_or("no name"));
        paragraph(&mut text, "operator   ", &format!("{}: AS{number}, {}", operator.address, sanitize(organisation)));
    }
    mail_log(&mut text, &diagnosis.mail);
    for finding in &diagnosis.dns {
        paragraph(&mut text, "DNS        ", &sanitize(&finding.to_string()));
    }
    let left_out = [
        (diagnosis.local.attempts, "to this host itself"),
        (diagnosis.redirected.attempts, "that this host redirected to itself"),
        (diagnosis.inner.attempts, "to private networks"),
    ];
    for (attempts, whom) in left_out.into_iter().filter(|(attempts, _)| *attempts > 0) {
        let attempts = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
        paragraph(&mut text, "left out   ", &format!("{attempts} {whom}: they say nothing of the outside"));
    }
    not_seen(&mut text, diagnosis);
    text
}

/// What every probe found, whether it failed or not.
fn probed(text: &mut String, diagnosis: &Diagnosis) {
    for probe in &diagnosis.probes {
        paragraph(text, "probed     ", &probe.to_string());
    }
    for traced in &diagnosis.traced {
        paragraph(text, "traced     ", &format!("{}; {}", traced.trace, traced.born));
    }
}

fn not_seen(text: &mut String, diagnosis: &Diagnosis) {
    if !diagnosis.not_seen.is_empty() {
        text.push('\n');
        paragraph(text, "not seen   ", &sanitize(&diagnosis.not_seen.join("; ")));
    }
}

/// What this host's rules do, and with whose connection.
fn firewall(asked: &Firewall) -> String {
    let Firewall { flow, walked } = asked;
    let mut text = String::from("this host's rules as they are now, for ");
    // Writing to a String cannot fail.
    let _ = match (&flow.way, flow.uid) {
        (Way::Through { .. }, _) => write!(text, "what is forwarded to {}", flow.dst),
        (Way::Out, Some(uid)) => write!(text, "user {uid} to {}", flow.dst),
        (Way::Out, None) => write!(text, "a user who is not known to {}", flow.dst),
    };
    text.push_str(": ");
    match (walked.answer, walked.findings.first()) {
        (Answer::Passes, _) => text.push_str("it passes"),
        (Answer::Stopped, Some(rule)) => text.push_str(&format!("stopped {rule}")),
        (_, Some(rule)) => text.push_str(&format!("cannot be known: {rule}")),
        (_, None) => text.push_str("cannot be known: not all rules could be read"),
    }
    if let Some(rule) = walked.redirects.first() {
        text.push_str(&format!("; sent elsewhere ({}) {rule}", sanitize(&rule.verdict)));
    }
    text
}

/// `once`, `3 times`.
fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// What the mail server's log adds.
fn mail_log(text: &mut String, mail: &Mail) {
    let Some(kind) = mail.kind.filter(|_| !mail.is_empty()) else { return };
    let mut facts = Vec::new();
    if mail.tried > 0 {
        facts.push(format!("tried {}, {} matched with an attempt", times(mail.tried), mail.matched));
    }
    if mail.unlogged > 0 {
        facts.push(format!("tried {} without a line", times(mail.unlogged)));
    }
    if mail.without_connect > 0 {
        facts.push(format!("put off {} without a connect", times(mail.without_connect)));
    }
    let line = format!("{}: {}", kind.as_str(), facts.join("; "));
    text.push('\n');
    paragraph(text, "mail log   ", &line);
    let domains = mail.top_domains();
    if !domains.is_empty() {
        let shown: Vec<_> = domains.iter().take(DOMAINS).map(|domain| sanitize(domain)).collect();
        let more = domains.len().saturating_sub(DOMAINS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        paragraph(text, "           ", &format!("mail for {}{more}", shown.join(", ")));
    }
    for (said, words) in &mail.words {
        let count = mail.said.get(said).copied().unwrap_or(0);
        paragraph(text, "           ", &format!("{count} {}, last: {}", said.as_str(), excerpt(words)));
    }
    for answers in mail.answers.iter().take(ANSWERS) {
        let Answers { count, kind, meaning, .. } = answers;
        let answers = if *count == 1 { "answer" } else { "answers" };
        paragraph(text, "           ", &format!("{count} {answers} about {}: {meaning}", kind.about()));
    }
}

/// When the only attempt ended.
fn at(diagnosis: &Diagnosis) -> String {
    diagnosis.times.last.map(|time| format!(", at {time:.0}")).unwrap_or_default()
}

fn since(diagnosis: &Diagnosis) -> String {
    let (times, share) = (diagnosis.times, diagnosis.attempts);
    // Of several destinations together, neither is of all attempts.
    let is_one = diagnosis.destinations.len() < 2;
    match (times.failing_since, times.connected) {
        (Some(since), Some(connected)) if is_one && share.streak == share.failed() => {
            format!(", all since {since:.0}; the last success was at {connected:.0}")
        }
        (Some(since), Some(connected)) if is_one => {
            format!(", the last {} since {since:.0}; the last success was at {connected:.0}", share.streak)
        }
        (Some(since), None) if share.connected == 0 => format!(" since {since:.0}, and none succeeded"),
        (None, Some(connected)) if is_one => format!("; the last success was at {connected:.0}"),
        _ => String::new(),
    }
}

fn endings(text: &mut String, endings: &[Count]) {
    // Where nothing was tried, the log alone speaks.
    if !endings.is_empty() {
        text.push('\n');
    }
    for ending in endings {
        let reason = ending.reason.map_or("", |reason| reason.as_str());
        let origin = ending.origin.map_or("", Origin::as_str);
        let line = format!("  {:>7}  {} {reason}", ending.count, ending.label.as_str());
        let _ =
            writeln!(text, "{}", if origin.is_empty() { line } else { format!("{line}, origin {origin}") }.trim_end());
    }
}

fn cause(text: &mut String, finding: &LikelyCause) {
    let _ =
        writeln!(text, "\n{} ({}, {} points)", capital(&finding.verdict), finding.confidence.as_str(), finding.score);
    let lines = |text: &mut String, what: &str, lines: &[Line]| {
        for line in lines {
            paragraph(text, &format!("  {what:<9}"), &format!("{} [{}, {:+}]", line.text, line.rule, line.weight));
        }
    };
    lines(text, "for", &finding.evidence);
    lines(text, "against", &finding.against);
    paragraph(text, "  next     ", &finding.next_step);
    paragraph(text, "  by hand  ", &finding.by_hand);
    paragraph(text, "  surer    ", &finding.surer);
}

/// What to send to the other side: what was seen from `host`, in plain words, and nothing of
/// who mailed whom.
pub fn letter(diagnosis: &Diagnosis, host: &str) -> String {
    let share = diagnosis.attempts;
    let mut text = format!("Connections to {} port {} fail\n\n", sanitize(&diagnosis.asked), diagnosis.port);
    let opening = format!(
        "Dear postmaster, our mail server {} cannot deliver to yours. {} failed. All times are UTC.",
        sanitize(host),
        match (share.attempts, share.failed()) {
            (1, _) => "The one connection that we tried".to_owned(),
            (attempts, failed) => format!("Of {attempts} connections that we tried, {failed}"),
        }
    );
    paragraph(&mut text, "", &opening);
    text.push('\n');
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<22}{value}");
    };
    fact("our host", sanitize(host).into_owned());
    fact("our addresses", diagnosis.sources.join(", "));
    fact("your addresses", diagnosis.destinations.join(", "));
    let times = diagnosis.times;
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| "none".to_owned(), |time| format!("{time:.0}"));
    fact("first attempt", time(times.first));
    fact("last attempt", time(times.last));
    fact("last that succeeded", time(times.connected));
    fact("failing since", time(times.failing_since));
    let from = match diagnosis.sources.as_slice() {
        [] | [_] => String::new(),
        several => format!(", all from {} together", several.join(", ")),
    };
    text.push('\n');
    paragraph(&mut text, "", &format!("How they ended{from}:"));
    text.push('\n');
    for ending in &diagnosis.endings {
        let _ = writeln!(text, "  {:>7}  {}", ending.count, in_plain_words(ending.label, ending.reason, None));
    }
    if !diagnosis.samples.is_empty() {
        text.push_str("\nSingle attempts, by the time at which they ended:\n\n");
        diagnosis.samples.iter().for_each(|sample| single(&mut text, sample));
    }
    if let Some(first) = diagnosis.causes.first() {
        text.push('\n');
        paragraph(&mut text, "", &format!("From here it looks as if {}:", first.verdict));
        for line in &first.evidence {
            paragraph(&mut text, "  - ", &line.text);
        }
    }
    text.push('\n');
    paragraph(&mut text, "", "Would you look at it from your side? Thank you.");
    text
}

/// `2026-11-26T20:58:05Z  192.0.2.10:40112 to 203.0.113.5:25: no answer within 30 s`.
fn single(text: &mut String, sample: &Sample) {
    let of = |end: &Endpoint| end.ip.map_or_else(|| "no address".to_owned(), |_| place::destination(end));
    let (src, dst) = (of(&sample.src), of(&sample.dst));
    let how = in_plain_words(sample.label, sample.reason, sample.elapsed_ms.map(Duration::from_millis));
    paragraph(text, &format!("  {:.0}  ", sample.time), &format!("{src} to {dst}: {how}"));
}

/// How an attempt ended, for somebody who does not know observer.
fn in_plain_words(label: Label, reason: Option<Reason>, took: Option<Duration>) -> String {
    let within = took.map(|took| format!(" within {}", span(took))).unwrap_or_default();
    let after = took.map(|took| format!(" after {}", span(took))).unwrap_or_default();
    let icmp = reason.map(|reason| reason.as_str().trim_start_matches("icmp-").replace('-', " ")).unwrap_or_default();
    match (label, reason) {
        (Label::Connected, _) => "connected".to_owned(),
        (Label::Refused, Some(Reason::Rst)) => format!("refused by a TCP reset{after}"),
        (Label::Refused, _) => format!("rejected by ICMP ({icmp}){after}"),
        (Label::Timeout, Some(Reason::Stalled)) => {
            "connected, and then what we sent was acknowledged no more".to_owned()
        }
        (Label::Timeout, _) => format!("no answer{within}"),
        (Label::Unreachable, _) => format!("the network has no way there ({icmp}){after}"),
        (Label::Reset, Some(Reason::MidSession)) => format!("connected, and reset in the session{after}"),
        (Label::Reset, _) => format!("connected, and reset before any greeting{after}"),
        (Label::Closed, _) => format!("connected, and closed before any greeting{after}"),
        (Label::Silent, _) => format!("connected, and no greeting came{within}"),
        _ => format!("{} {icmp}", label.as_str()).trim_end().to_owned(),
    }
}

/// Text in lines, the first after `start`, the others as far in.
fn paragraph(text: &mut String, start: &str, words: &str) {
    let indent = " ".repeat(start.chars().count());
    let _ = writeln!(text, "{}", wrap(words, WIDTH, start, &indent));
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests;
