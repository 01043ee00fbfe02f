//! The places on the way of a SYN where rules hang, in their order.

use super::Way;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    /// As it comes in from a container, by its interface.
    Ingress,
    /// At the bridge by which it comes in, if that is one.
    BridgePrerouting,
    BridgeInput,
    Prerouting,
    Forward,
    Output,
    Postrouting,
    /// As it leaves, by its interface.
    Egress,
    /// At the bridge by which it leaves, if that is one.
    BridgeOutput,
    BridgePostrouting,
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

    pub(super) fn of_nft(family: &str, hook: &str) -> Option<Self> {
        Some(match hook {
            "prerouting" if family == "bridge" => Self::BridgePrerouting,
            "input" if family == "bridge" => Self::BridgeInput,
            "output" if family == "bridge" => Self::BridgeOutput,
            "postrouting" if family == "bridge" => Self::BridgePostrouting,
            _ if family == "bridge" => return None,
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
            (
                Way::Through { .. },
                Self::Ingress | Self::BridgePrerouting | Self::BridgeInput | Self::Prerouting | Self::Forward,
            )
            | (Way::Out, Self::Output | Self::Input)
            | (_, Self::Postrouting | Self::Egress | Self::BridgeOutput | Self::BridgePostrouting) => Some(self),
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

    /// Whether connection tracking began before.
    pub(super) const fn is_tracked(self) -> bool {
        !self.tracks() && !self.is_before_prerouting()
    }

    const fn is_before_prerouting(self) -> bool {
        matches!(self, Self::Ingress | Self::BridgePrerouting | Self::BridgeInput)
    }

    pub(super) const fn sees_out(self) -> bool {
        !matches!(self, Self::Prerouting | Self::Return | Self::Input) && !self.is_before_prerouting()
    }

    /// Whether only what passes a bridge comes here. The interfaces are its ports.
    pub(super) const fn is_of_bridge(self) -> bool {
        matches!(self, Self::BridgePrerouting | Self::BridgeInput | Self::BridgeOutput | Self::BridgePostrouting)
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
