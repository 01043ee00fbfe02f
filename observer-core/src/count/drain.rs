//! What the kernel counted in an epoch.
//!
//! The kernel counts outcomes in epochs. User space ends an epoch, waits until no
//! program can add to it any more, and drains it: a [`Drain`] is complete. Every
//! event names the epoch in which its attempt was counted, so that [`super::Reconciler`]
//! finds what was lost without waiting for anything but the events themselves.

use std::net::IpAddr;

use observer_common::address::Address;
use observer_common::record::{AttemptRecord, EndCode, OutcomeKey};

use crate::attempt::address;
use crate::label::{Label, Reason, label};

/// What attempts have in common that are counted together: how they ended, and
/// between which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ended {
    /// Local address; `None` when none was chosen.
    pub src_ip: Option<IpAddr>,
    /// Destination address.
    pub dst_ip: IpAddr,
    /// Destination port.
    pub dst_port: u16,
    /// How they ended.
    pub label: Label,
    /// The mechanism.
    pub reason: Option<Reason>,
}

impl Ended {
    fn new(saddr: Address, daddr: Address, dst_port: u16, code: &EndCode) -> Self {
        let verdict = label(code);
        Self {
            src_ip: Some(address(saddr)).filter(|addr| !addr.is_unspecified()),
            dst_ip: address(daddr),
            dst_port,
            label: verdict.label,
            reason: verdict.reason,
        }
    }

    /// Of a finished attempt.
    pub fn of_record(record: &AttemptRecord) -> Self {
        Self::new(record.saddr, record.daddr, record.dport, &record.code)
    }

    /// Of one of the kernel's counters.
    pub fn of_key(key: &OutcomeKey) -> Self {
        Self::new(key.saddr, key.destination.daddr, key.destination.dport, &key.code)
    }
}

/// Attempts that the kernel counted and of which no event came.
pub type Missing = Vec<(Ended, u64)>;

/// All that the kernel counted by destination and end code in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// The epoch.
    pub epoch: u16,
    /// By destination and end code; different codes can be the same outcome.
    pub outcomes: Vec<(OutcomeKey, u64)>,
    /// Events of these attempts that were committed to the ring buffer.
    pub events: u64,
}
