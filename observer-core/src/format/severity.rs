//! How much attention an event asks for. Each format has its own scale.

use crate::alert::Alert;
use crate::event::Event;
use crate::label::Label;
use crate::scope::{Change, Scope};

/// From nothing to look at to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All went well, or the application wanted it so.
    Informational,
    /// One attempt failed.
    Low,
    /// Failures reach a destination or a prefix.
    Medium,
    /// Failures reach a family, a source address or everything.
    High,
}

impl Severity {
    /// Of an attempt.
    pub const fn of_event(event: &Event) -> Self {
        match event.label {
            Label::Connected | Label::Cancelled | Label::Unknown => Self::Informational,
            _ => Self::Low,
        }
    }

    /// Of an alert.
    pub fn of_alert(alert: &Alert) -> Self {
        match (alert.change.kind, &alert.change.verdict.scope) {
            (Change::Ended, _) => Self::Informational,
            (
                _,
                Scope::Everything { .. } | Scope::OnlyIpv4 { .. } | Scope::OnlyIpv6 { .. } | Scope::OnlySource { .. },
            ) => Self::High,
            (_, Scope::TooLittleData { .. }) => Self::Low,
            _ => Self::Medium,
        }
    }

    /// As in syslog (RFC 5424, section 6.2.1, table 2): error, warning, notice,
    /// informational.
    pub const fn syslog(self) -> u8 {
        match self {
            Self::High => 3,
            Self::Medium | Self::Low => 4,
            Self::Informational => 6,
        }
    }
}
