//! The places on the way of a SYN where rules hang, in their order.

use super::Way;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    /// As it comes in from a container, by its interface.
    Ingress,
    Prerouting,
    Forward,
    Output,
    Postrouting,
    /// As it leaves, by its interface.
    Egress,
    /// As it comes in again by loopback, where its destination is this host.
    Return,
    Input,
}

/// Where connection tracking begins, in `prerouting` and `output`.
pub(super) const TRACKING: i64 = -200;
/// Where every chain of the type `nat` is, whatever its own priority says: that only
/// orders it among others of the type.
const NAT: (i64, i64) = (-100, 100);

impl Hook {
    pub(super) fn of_iptables(chain: &str) -> Option<Self> {
        Some(match chain {
            "PREROUTING" => Self::Prerouting,
            "FORWARD" => Self::Forward,
            "INPUT" => Self::Input,
            "OUTPUT" => Self::Output,
            "POSTROUTING" => Self::Postrouting,
            _ => return None,
        })
    }

    pub(super) fn of_nft(hook: &str) -> Option<Self> {
        Some(match hook {
            "ingress" => Self::Ingress,
            "prerouting" => Self::Prerouting,
            "forward" => Self::Forward,
            "input" => Self::Input,
            "output" => Self::Output,
            "postrouting" => Self::Postrouting,
            "egress" => Self::Egress,
            _ => return None,
        })
    }

    /// The place on this way where rules of the hook are met; none: they are not.
    pub(super) const fn on(self, way: &Way) -> Option<Self> {
        match (way, self) {
            (Way::Out, Self::Prerouting) => Some(Self::Return),
            (Way::Out, Self::Output | Self::Postrouting | Self::Egress | Self::Input)
            | (
                Way::Through { .. },
                Self::Ingress | Self::Prerouting | Self::Forward | Self::Postrouting | Self::Egress,
            ) => Some(self),
            _ => None,
        }
    }

    /// Whether only what is for this host itself comes here.
    pub(super) const fn is_local(self) -> bool {
        matches!(self, Self::Return | Self::Input)
    }

    /// Whether connection tracking begins here.
    pub(super) const fn tracks(self) -> bool {
        matches!(self, Self::Prerouting | Self::Output)
    }

    pub(super) const fn sees_out(self) -> bool {
        !matches!(self, Self::Ingress | Self::Prerouting | Self::Return | Self::Input)
    }

    /// In the order of the kernel: by the first number, and then by the second.
    pub(super) const fn position(self, priority: i64, is_nat: bool) -> (i64, i64) {
        match self {
            _ if !is_nat => (priority, 0),
            Self::Postrouting => (NAT.1, priority),
            _ => (NAT.0, priority),
        }
    }
}

/// A chain that hangs at a place.
#[derive(Clone, Debug)]
pub(super) struct Base<'a> {
    pub(super) hook: Hook,
    pub(super) position: (i64, i64),
    pub(super) is_nat: bool,
    /// Which listing it is in.
    pub(super) source: usize,
    /// Of nft: `ip`, `inet`...
    pub(super) family: &'a str,
    pub(super) table: &'a str,
    pub(super) chain: &'a str,
}
