//! Verdicts in words.

use std::fmt::{Display, Formatter, Result};
use std::net::{IpAddr, SocketAddr};

use super::{Change, EndCause, Numbers, Scope, ScopeChange, Verdict};
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

const fn words(window: Window) -> &'static str {
    match window {
        Window::Minute => "minute",
        Window::TenMinutes => "ten minutes",
        Window::Hour => "hour",
        Window::Day => "day",
    }
}

fn endpoint(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

impl Display for Numbers {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { attempts, failures, window, .. } = self;
        write!(f, "{failures} of {attempts} attempts failed in the last {}", words(*window))?;
        self.label.map_or(Ok(()), |label| write!(f, ", mostly {}", label.as_str()))
    }
}

impl Display for Verdict {
    /// A sentence, without a full stop.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { scope, numbers } = self;
        let Numbers { destinations, elsewhere_attempts, elsewhere_successes, .. } = numbers;
        let elsewhere = |f: &mut Formatter<'_>, of: &str| {
            write!(f, "; {elsewhere_successes} of {elsewhere_attempts} {of} succeeded")
        };
        match scope {
            Scope::Everything { .. } => {
                write!(
                    f,
                    "Fails for {scope}, {destinations} in all: the provider or a firewall may block it: {numbers}"
                )
            }
            Scope::OnlyIpv4 { .. } | Scope::OnlyIpv6 { .. } => {
                write!(f, "Fails for {scope} alone, {destinations} destinations: {numbers}")?;
                elsewhere(f, "of the other family")
            }
            Scope::OnlySource { .. } => {
                write!(f, "Fails from {scope} alone, for {destinations} destinations: {numbers}")?;
                elsewhere(f, "from others")
            }
            Scope::Prefix { .. } => {
                write!(f, "Fails for {scope}, {destinations} destinations: {numbers}")?;
                elsewhere(f, "elsewhere")
            }
            Scope::Destination { .. } => {
                write!(f, "Fails for {scope} alone: {numbers}")?;
                elsewhere(f, "elsewhere")
            }
            Scope::Intermittent { connections, period_s, .. } => {
                let times = if *connections == 1 { "connection" } else { "connections" };
                write!(
                    f,
                    "Fails for {scope} after about {connections} {times} in {period_s} s, a rate limit: {numbers}"
                )
            }
            Scope::TooLittleData { .. } => {
                write!(f, "Too little data to tell how far it reaches on {scope}: {numbers}")
            }
        }
    }
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
