//! What a mail server's log says of a delivery, and the connect that stands behind it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::delivery::{self, Found, Step};
use crate::event::{Endpoint, Event, Mta};
use crate::mta::{DeliveryStatus, MtaKind, Said};

/// A host that a delivery tried, or a delivery that tried none.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// The last line about it.
    pub time: Timestamp,
    /// Whose log.
    pub kind: MtaKind,
    /// The message, by its id within the server.
    pub queue_id: Option<String>,
    /// Domain of the recipients, where they share one.
    pub recipient_domain: Option<String>,
    /// What became of the message this time.
    pub status: Option<DeliveryStatus>,
    /// The host, as the server names it.
    pub host: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// What the server says of the connection.
    pub said: Said,
    /// The same in its own words.
    pub words: String,
    /// What connect stands behind it.
    pub connect: Connect,
    /// [`Event::id`] of the attempt, where it is one.
    pub attempt: Option<String>,
}

/// The connect behind a host that a delivery names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connect {
    /// One attempt, and no other fits.
    Seen,
    /// One of several attempts.
    Ambiguous,
    /// None that was seen.
    Unseen,
    /// None of its own: the connection was made for an earlier message.
    Reused,
    /// The delivery tried no host: it was put off without a connect.
    None,
    /// An attempt on which the log has no line.
    Unlogged,
    /// None was looked for, for want of room, or because the log named the host too late.
    Unsought,
    /// Some, of which the log does not say that they were for this message: those of
    /// OpenSMTPD whose sessions all failed.
    Untold,
}

impl Connect {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Ambiguous => "ambiguous",
            Self::Unseen => "unseen",
            Self::Reused => "reused",
            Self::None => "none",
            Self::Unlogged => "unlogged",
            Self::Unsought => "unsought",
            Self::Untold => "untold",
        }
    }

    fn of(found: &Found) -> Self {
        match found {
            Found::One(_) => Self::Seen,
            Found::Many(_) => Self::Ambiguous,
            Found::Nothing => Self::Unseen,
            Found::Reused => Self::Reused,
            Found::Waiting | Found::Unsought => Self::Unsought,
        }
    }

    /// The same of an attempt, by what was joined to it.
    fn behind(mta: &Mta) -> Self {
        match mta {
            Mta { unlogged: true, .. } => Self::Unlogged,
            // Several deliveries fit: which of them is its own, nobody knows.
            Mta { candidates: Some(_), .. } => Self::Ambiguous,
            _ => Self::Seen,
        }
    }
}

impl DeliveryRow {
    /// Bytes of memory that it takes, by which queues are bounded.
    pub fn retained_bytes(&self) -> usize {
        let heap = [&self.queue_id, &self.recipient_domain, &self.host, &self.attempt].into_iter().flatten();
        size_of::<Self>() + self.words.capacity() + heap.map(String::capacity).sum::<usize>()
    }

    /// A row for each host that a delivery tried, or one for the last word if it tried none.
    pub fn all_of(delivery: &delivery::MailDelivery) -> Vec<Self> {
        let whole = Self {
            time: delivery.last,
            kind: delivery.kind,
            queue_id: delivery.queue_id.clone(),
            recipient_domain: delivery.recipient_domain().map(str::to_owned),
            status: Some(delivery.status).filter(|status| status.is_final()),
            host: None,
            ip: None,
            said: delivery.said,
            words: delivery.words.clone(),
            connect: if delivery.is_untold() { Connect::Untold } else { Connect::None },
            attempt: None,
        };
        if delivery.is_without_host() {
            return vec![whole];
        }
        let of_step = |step: &Step| Self {
            recipient_domain: delivery.domain_at(step.relay.ip).map(str::to_owned),
            host: step.relay.host.clone(),
            ip: step.relay.ip.map(|ip| ip.to_canonical()),
            said: step.said,
            words: step.words.clone(),
            connect: Connect::of(&step.found),
            attempt: match &step.found {
                Found::One(id) => Some(id.clone()),
                _ => None,
            },
            ..whole.clone()
        };
        delivery.steps.iter().map(of_step).collect()
    }

    /// The row of an attempt that its log has no line on; `None` if it has one, or none
    /// is known to be its.
    pub fn unlogged(event: &Event) -> Option<Self> {
        let mta = event.mta.as_ref().filter(|mta| mta.unlogged)?;
        Some(Self::of_attempt(&event.id, event.time, event.dst, mta))
    }

    /// The row of an attempt, by [`Event::id`], time and destination, and what was joined to it.
    pub fn of_attempt(id: &str, time: Timestamp, dst: Endpoint, mta: &Mta) -> Self {
        Self {
            time,
            kind: mta.kind,
            queue_id: mta.queue_id.clone(),
            recipient_domain: mta.recipient_domain.clone(),
            status: mta.status,
            host: mta.host.clone(),
            ip: dst.ip.map(|ip| ip.to_canonical()),
            said: mta.said.unwrap_or(Said::Nothing),
            words: mta.words.clone().unwrap_or_default(),
            connect: Connect::behind(mta),
            attempt: Some(id.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    const ALL: [Connect; 8] = [
        Connect::Seen,
        Connect::Ambiguous,
        Connect::Unseen,
        Connect::Reused,
        Connect::None,
        Connect::Unlogged,
        Connect::Unsought,
        Connect::Untold,
    ];

    const MTA: Mta = Mta {
        kind: MtaKind::Postfix,
        queue_id: None,
        recipient_domain: None,
        host: None,
        status: Some(DeliveryStatus::Sent),
        said: None,
        words: None,
        unlogged: false,
        candidates: None,
    };

    #[test]
    fn words_in_the_table_are_those_of_json() {
        for connect in ALL {
            assert_eq!(serde_json::to_value(connect).unwrap(), connect.as_str());
        }
    }

    #[test]
    fn an_unlogged_attempt_is_a_row_and_one_with_a_line_is_none() {
        let mut event = sample::event(crate::label::Label::Connected, None);
        assert_eq!(DeliveryRow::unlogged(&event), None);
        event.mta = Some(MTA);
        assert_eq!(DeliveryRow::unlogged(&event), None);
        event.mta = Some(Mta { unlogged: true, ..MTA });
        let row = DeliveryRow::unlogged(&event).unwrap();
        assert_eq!((row.connect, row.attempt, row.ip), (Connect::Unlogged, Some(event.id.clone()), event.dst.ip));
    }

    #[test]
    fn an_attempt_that_several_deliveries_fit_is_of_none_for_sure() {
        let event = sample::event(crate::label::Label::Connected, None);
        let connect = |mta: &Mta| DeliveryRow::of_attempt(&event.id, event.time, event.dst, mta).connect;
        assert_eq!(connect(&MTA), Connect::Seen);
        assert_eq!(connect(&Mta { candidates: Some(2), ..MTA }), Connect::Ambiguous);
    }
}
