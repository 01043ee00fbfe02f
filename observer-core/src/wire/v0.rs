//! For readers of protocol 0, which end at the first value that they do not know: what they
//! cannot read is told in their words, or not at all.

use std::borrow::Cow;

use super::{Joined, Line};
use crate::alert::Alert;
use crate::event::{Event, Mta};
use crate::label::{Label, Origin, Reason};
use crate::scope::{Change, Scope};

/// The line as protocol 0 can read it; `None` if it cannot be told.
pub fn line(line: &Line) -> Option<Cow<'_, Line>> {
    match line {
        Line::Event(event) => Some(match self::event(event) {
            Cow::Borrowed(_) => Cow::Borrowed(line),
            Cow::Owned(event) => Cow::Owned(Line::Event(Box::new(event))),
        }),
        Line::Delivery(delivery) => mta(&delivery.mta).map(|mta| match mta {
            Cow::Borrowed(_) => Cow::Borrowed(line),
            Cow::Owned(mta) => Cow::Owned(Line::Delivery(Box::new(Joined { mta, ..(**delivery).clone() }))),
        }),
        Line::Alert(alert) => is_read(alert).then_some(Cow::Borrowed(line)),
        Line::Known(_) | Line::Missing(_) | Line::LaterAlert(_) => None,
        Line::Hello(_)
        | Line::Probing(_)
        | Line::Refusal(_)
        | Line::Account(_)
        | Line::Lost(_)
        | Line::End
        | Line::Summary(_) => Some(Cow::Borrowed(line)),
    }
}

fn event(event: &Event) -> Cow<'_, Event> {
    let (label, reason, origin) = (label(event.label), event.reason.map(reason), event.origin.map(origin));
    let mta = event.mta.as_ref().and_then(mta);
    let is_same =
        (label, reason, origin) == (event.label, event.reason, event.origin) && mta.as_deref() == event.mta.as_ref();
    if is_same {
        return Cow::Borrowed(event);
    }
    let mta = mta.map(Cow::into_owned);
    Cow::Owned(Event { label, reason, origin, mta, ..event.clone() })
}

/// Whoever adds a label says here what it was before.
fn label(label: Label) -> Label {
    match label {
        Label::Refused
        | Label::Timeout
        | Label::Unreachable
        | Label::Blocked
        | Label::Reset
        | Label::Closed
        | Label::Silent
        | Label::Cancelled
        | Label::Connected => label,
        // Of the labels that it knows, the one that says the least.
        Label::Unknown => Label::Cancelled,
    }
}

/// A reason that came later is `unknown`.
fn reason(reason: Reason) -> Reason {
    match reason {
        Reason::Rst
        | Reason::IcmpPortUnreachable
        | Reason::IcmpAdminProhibited
        | Reason::IcmpProtocolUnreachable
        | Reason::SynTimeout
        | Reason::Abandoned
        | Reason::Stalled
        | Reason::IcmpNetUnreachable
        | Reason::IcmpHostUnreachable
        | Reason::NoNeighbour
        | Reason::NoRoute
        | Reason::RouteProhibited
        | Reason::LocalFirewall
        | Reason::PermissionDenied
        | Reason::PortsExhausted
        | Reason::NoSourceAddress
        | Reason::BeforeBanner
        | Reason::MidSession
        | Reason::NoBanner
        | Reason::Early
        | Reason::ProcessExit
        | Reason::Unknown => reason,
        Reason::IcmpTimeExceeded | Reason::SecurityPolicy | Reason::Destroyed => Reason::Unknown,
    }
}

/// An origin that came later is `unknown`.
fn origin(origin: Origin) -> Origin {
    match origin {
        Origin::Local
        | Origin::Remote
        | Origin::Network
        | Origin::SuspectedMiddlebox
        | Origin::None
        | Origin::Unknown => origin,
    }
}

/// What came later is left out.
fn mta(mta: &Mta) -> Option<Cow<'_, Mta>> {
    use crate::mta::{DeliveryStatus, MtaKind, Said};
    match mta.kind {
        MtaKind::Postfix | MtaKind::Exim | MtaKind::OpenSmtpd | MtaKind::KumoMta => {}
    }
    let is_status = mta.status.is_none_or(|status| match status {
        DeliveryStatus::Trying
        | DeliveryStatus::Failed
        | DeliveryStatus::Sent
        | DeliveryStatus::Deferred
        | DeliveryStatus::Bounced => true,
    });
    let is_said = mta.said.is_none_or(|said| match said {
        Said::Nothing
        | Said::Refused
        | Said::TimedOut
        | Said::NetworkUnreachable
        | Said::NoRoute
        | Said::NotPermitted
        | Said::LostBeforeGreeting
        | Said::NoGreeting
        | Said::LostInSession
        | Said::Answered
        | Said::Suspended
        | Said::Other => true,
        Said::TlsFailed => false,
    });
    if is_status && is_said {
        return Some(Cow::Borrowed(mta));
    }
    let (status, said) = (mta.status.filter(|_| is_status), mta.said.filter(|_| is_said));
    Some(Cow::Owned(Mta { status, said, ..mta.clone() }))
}

fn is_read(alert: &Alert) -> bool {
    let is_change = match alert.change.kind {
        Change::Began | Change::Widened | Change::Ended => true,
    };
    let is_scope = |scope: &Scope| match scope {
        Scope::Everything { .. }
        | Scope::OnlyIpv4 { .. }
        | Scope::OnlyIpv6 { .. }
        | Scope::OnlySource { .. }
        | Scope::Prefix { .. }
        | Scope::Destination { .. }
        | Scope::Intermittent { .. }
        | Scope::TooLittleData { .. } => true,
    };
    let verdict = &alert.change.verdict;
    let is_label = verdict.numbers.label.is_none_or(|known| label(known) == known);
    is_change && is_label && is_scope(&verdict.scope) && alert.change.from.iter().all(is_scope)
}
