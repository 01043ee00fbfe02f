//! Verdicts in words.

use std::fmt::{Display, Formatter, Result};
use std::net::{IpAddr, SocketAddr};

use super::{BEGIN, Change, EndCause, Numbers, Scope, ScopeChange, Verdict};
use crate::label::Origin;
use crate::tally::Window;

impl Display for Scope {
    /// What fails, as the subject of a sentence.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Everything { port } => write!(f, "every destination on port {port}"),
            Self::OnlyIpv4 { port } => write!(f, "IPv4 on port {port}"),
            Self::OnlyIpv6 { port } => write!(f, "IPv6 on port {port}"),
            Self::OnlySource { ip } => write!(f, "source address {ip}"),
            Self::Prefix { prefix, port } => write!(f, "prefix {prefix} on port {port}"),
            Self::Destination { ip, port } => write!(f, "destination {}", endpoint(*ip, *port)),
            Self::Intermittent { ip, port, .. } => write!(f, "destination {}", endpoint(*ip, *port)),
            Self::TooLittleData { port } => write!(f, "port {port}"),
        }
    }
}

pub(super) const fn window_words(window: Window) -> &'static str {
    match window {
        Window::Minute => "minute",
        Window::TenMinutes => "ten minutes",
        Window::Hour => "hour",
        Window::Day => "day",
    }
}

pub(super) fn endpoint(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

impl Display for Verdict {
    /// A sentence, without a full stop.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        sentence(f, &self.scope, &[&self.numbers])
    }
}

/// What fails, by the numbers of each window that shows it, the shortest first.
pub(super) fn sentence(f: &mut Formatter<'_>, scope: &Scope, numbers: &[&Numbers]) -> Result {
    let destinations = numbers.first().map_or(0, |first| first.destinations);
    match scope {
        Scope::Everything { .. } => {
            let is_own = numbers.first().is_some_and(|first| first.origin == Some(Origin::Local));
            let who = if is_own { "this host itself stops it" } else { "the provider or a firewall may block it" };
            write!(f, "Fails for {scope}, {destinations} in all: {who}: ")?;
            failed(f, numbers)
        }
        Scope::OnlyIpv4 { .. } | Scope::OnlyIpv6 { .. } => {
            write!(f, "Fails for {scope} alone, {destinations} destinations: ")?;
            failed(f, numbers)?;
            elsewhere(f, numbers, "of the other family")
        }
        Scope::OnlySource { .. } => {
            write!(f, "Fails from {scope} alone, for {destinations} destinations: ")?;
            failed(f, numbers)?;
            elsewhere(f, numbers, "from others")
        }
        Scope::Prefix { .. } => {
            write!(f, "Fails for {scope}, {destinations} destinations: ")?;
            failed(f, numbers)?;
            elsewhere(f, numbers, "elsewhere")
        }
        Scope::Destination { .. } => {
            let alone = if numbers.iter().all(|numbers| is_alone(numbers)) { " alone" } else { "" };
            write!(f, "Fails for {scope}{alone}: ")?;
            failed(f, numbers)?;
            elsewhere(f, numbers, "elsewhere")
        }
        Scope::Intermittent { connections, period_s, .. } => {
            let times = if *connections == 1 { "connection" } else { "connections" };
            write!(f, "Fails for {scope} after about {connections} {times} in {period_s} s, a rate limit: ")?;
            failed(f, numbers)
        }
        Scope::TooLittleData { .. } => {
            write!(f, "Too little data to tell how far it reaches on {scope}: ")?;
            failed(f, numbers)
        }
    }
}

/// True if what it is compared with works, by the measure that other scopes need.
fn is_alone(numbers: &Numbers) -> bool {
    let failed = numbers.elsewhere_attempts.saturating_sub(numbers.elsewhere_successes);
    failed as f64 <= BEGIN.elsewhere * numbers.elsewhere_attempts as f64
}

/// `; 198 of 200 elsewhere succeeded`.
fn elsewhere(f: &mut Formatter<'_>, numbers: &[&Numbers], of: &str) -> Result {
    let shares = numbers.iter().map(|numbers| (numbers.elsewhere_successes, numbers.elsewhere_attempts));
    write!(f, "; {} {of} succeeded", each_once(shares))
}

impl Display for ScopeChange {
    /// A sentence, without a full stop.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { kind, verdict, since, cause, .. } = self;
        match kind {
            Change::Ended if *cause == Some(EndCause::ObserverStopped) => {
                write!(f, "No longer watched, observer stopped: {}, which had failed since {since:.0}", verdict.scope)
            }
            Change::Began => write!(f, "{verdict}"),
            Change::Widened => write!(f, "Wider now, and failing since {since:.0}: {verdict}"),
            Change::Ended => write!(f, "Over: {}, which had failed since {since:.0}", verdict.scope),
        }
    }
}

/// `in the last hour, and the last day`.
pub(super) fn in_the_last(windows: &[Window]) -> String {
    let words: Vec<_> = windows.iter().map(|&window| format!("the last {}", window_words(window))).collect();
    format!("in {}", words.join(", and "))
}

/// `38 of 40, and 90 of 99`: what is the same in each window is said once.
pub(super) fn each_once(shares: impl Iterator<Item = (u64, u64)>) -> String {
    let mut all: Vec<_> = shares.collect();
    all.dedup();
    all.iter().map(|(part, of)| format!("{part} of {of}")).collect::<Vec<_>>().join(", and ")
}

/// `38 of 40 attempts failed in the last hour, and 90 of 99 in the last day`.
pub(super) fn failed(f: &mut Formatter<'_>, numbers: &[&Numbers]) -> Result {
    let Some((first, longer)) = numbers.split_first() else { return Ok(()) };
    let Numbers { attempts, failures, .. } = first;
    let is_same = longer.iter().all(|other| (other.failures, other.attempts) == (*failures, *attempts));
    write!(f, "{failures} of {attempts} attempts failed ")?;
    if is_same {
        let windows: Vec<_> = numbers.iter().map(|numbers| numbers.window).collect();
        f.write_str(&in_the_last(&windows))?;
    } else {
        f.write_str(&in_the_last(&[first.window]))?;
        for Numbers { attempts, failures, window, .. } in longer {
            write!(f, ", and {failures} of {attempts} {}", in_the_last(&[*window]))?;
        }
    }
    first.label.map_or(Ok(()), |label| write!(f, ", mostly {}", label.as_str()))
}
