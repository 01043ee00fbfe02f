//! What attempts have in common that are counted together.

use std::collections::HashMap;
use std::net::IpAddr;

use observer_common::record::{OutcomeKey, phase};

use crate::attempt::address;
use crate::label::{Label, Reason, label};
use crate::origin::is_answered_here;

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
    /// As [`Evidence::redirected`](crate::event::Evidence::redirected), of sessions alone: a counter
    /// does not tell the answers of this host's firewall from those of what it redirects to.
    pub redirected: bool,
}

impl Ended {
    /// Of one of the kernel's counters.
    pub fn of_key(key: &OutcomeKey) -> Self {
        let verdict = label(&key.code);
        Self {
            src_ip: Some(address(key.saddr)).filter(|addr| !addr.is_unspecified()),
            dst_ip: address(key.destination.daddr),
            dst_port: key.destination.dport,
            label: verdict.label,
            reason: verdict.reason,
            redirected: key.code.phase == phase::ESTABLISHED && is_answered_here(&key.code),
        }
    }
}

/// Attempts that the kernel counted because it sent no event of them.
pub type Missing = Vec<(Ended, u64)>;

/// What the kernel's counters say, in these terms; different codes can be the same end.
pub fn missing(outcomes: &[(OutcomeKey, u64)]) -> Missing {
    let mut sums = HashMap::with_capacity(outcomes.len());
    for (key, count) in outcomes {
        *sums.entry(Ended::of_key(key)).or_default() += count;
    }
    sums.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use observer_common::address::Address;
    use observer_common::record::{DestinationKey, EndCode, fact};

    use super::*;
    use crate::sample;

    #[test]
    fn codes_that_are_the_same_end_add_up() {
        let code = sample::refused();
        let daddr = Address::mapped(u32::from_ne_bytes([203, 0, 113, 5]));
        let destination = DestinationKey { daddr, dport: 25, reserved: 0 };
        let key = OutcomeKey { saddr: Address::UNSPECIFIED, destination, code };
        let late = OutcomeKey { code: EndCode { facts: fact::RST | fact::SYN_RETRANSMITTED, ..code }, ..key };
        let other = OutcomeKey { code: EndCode { sk_err: libc::ETIMEDOUT as u16, facts: 0, ..code }, ..key };
        let mut all = missing(&[(key, 2), (late, 3), (other, 4)]);
        all.sort_unstable();
        assert_eq!(all, [(Ended::of_key(&key), 5), (Ended::of_key(&other), 4)]);
        assert_eq!(all[0].0.src_ip, None);
    }

    #[test]
    fn sessions_that_this_host_answered_itself_are_told_apart() {
        let destination = DestinationKey { daddr: Address::mapped(1), dport: 25, reserved: 0 };
        let key = |code| OutcomeKey { saddr: Address::UNSPECIFIED, destination, code };
        let here = EndCode { phase: phase::ESTABLISHED, facts: fact::ANSWER_FROM_LOOPBACK, ..sample::refused() };
        let own = EndCode { facts: fact::ANSWER_FROM_LOOPBACK | fact::LOOPBACK, ..here };
        let elsewhere = EndCode { facts: 0, ..here };
        let refused = EndCode { phase: phase::SYN_SENT, ..here };
        let redirected = [here, own, elsewhere, refused].map(|code| Ended::of_key(&key(code)).redirected);
        assert_eq!(redirected, [true, false, false, false]);
    }
}
