//! The ICMP errors that a firewall can reject with, and what Linux makes of them.

use crate::addr::Ip;

/// A destination-unreachable code that nftables and iptables can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// IPv4 3/0.
    Net,
    /// IPv4 3/1.
    Host,
    /// IPv4 3/2.
    Protocol,
    /// IPv4 3/3.
    Port,
    /// IPv4 3/9.
    NetProhibited,
    /// IPv4 3/10.
    HostProhibited,
    /// IPv4 3/13.
    AdminProhibited,
    /// IPv6 1/0.
    V6NoRoute,
    /// IPv6 1/1.
    V6AdminProhibited,
    /// IPv6 1/3.
    V6Address,
    /// IPv6 1/4.
    V6Port,
    /// IPv6 1/5.
    V6PolicyFail,
    /// IPv6 1/6.
    V6RejectRoute,
}

impl Unreachable {
    /// Every code, IPv4 first.
    pub const ALL: [Self; 13] = [
        Self::Net,
        Self::Host,
        Self::Protocol,
        Self::Port,
        Self::NetProhibited,
        Self::HostProhibited,
        Self::AdminProhibited,
        Self::V6NoRoute,
        Self::V6AdminProhibited,
        Self::V6Address,
        Self::V6Port,
        Self::V6PolicyFail,
        Self::V6RejectRoute,
    ];

    /// The IP version that it belongs to.
    pub const fn ip(self) -> Ip {
        match self.icmp() {
            (1, _) => Ip::V6,
            _ => Ip::V4,
        }
    }

    /// ICMP type and code (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
    pub const fn icmp(self) -> (u8, u8) {
        match self {
            Self::Net => (3, 0),
            Self::Host => (3, 1),
            Self::Protocol => (3, 2),
            Self::Port => (3, 3),
            Self::NetProhibited => (3, 9),
            Self::HostProhibited => (3, 10),
            Self::AdminProhibited => (3, 13),
            Self::V6NoRoute => (1, 0),
            Self::V6AdminProhibited => (1, 1),
            Self::V6Address => (1, 3),
            Self::V6Port => (1, 4),
            Self::V6PolicyFail => (1, 5),
            Self::V6RejectRoute => (1, 6),
        }
    }

    /// What connect() says (icmp_err_convert and tab_unreach in the kernel).
    pub const fn errno(self) -> &'static str {
        match self.icmp() {
            (3, 0 | 9) | (1, 0) => "ENETUNREACH",
            (3, 1 | 10 | 13) | (1, 3) => "EHOSTUNREACH",
            (3, 2) => "ENOPROTOOPT",
            (1, 1 | 5 | 6) => "EACCES",
            _ => "ECONNREFUSED",
        }
    }

    /// `reject with ...` in nft.
    pub(crate) const fn nft(self) -> &'static str {
        match self {
            Self::Net => "icmp type net-unreachable",
            Self::Host => "icmp type host-unreachable",
            Self::Protocol => "icmp type prot-unreachable",
            Self::Port => "icmp type port-unreachable",
            Self::NetProhibited => "icmp type net-prohibited",
            Self::HostProhibited => "icmp type host-prohibited",
            Self::AdminProhibited => "icmp type admin-prohibited",
            Self::V6NoRoute => "icmpv6 type no-route",
            Self::V6AdminProhibited => "icmpv6 type admin-prohibited",
            Self::V6Address => "icmpv6 type addr-unreachable",
            Self::V6Port => "icmpv6 type port-unreachable",
            Self::V6PolicyFail => "icmpv6 type policy-fail",
            Self::V6RejectRoute => "icmpv6 type reject-route",
        }
    }

    pub(crate) fn name(self) -> String {
        let (kind, code) = self.icmp();
        match self.ip() {
            Ip::V4 => format!("icmp-{kind}-{code}"),
            Ip::V6 => format!("icmp6-{kind}-{code}"),
        }
    }

    /// The only right label and reason.
    pub const fn truth(self) -> (&'static str, &'static str) {
        match self.icmp() {
            (3 | 1, 0) => ("unreachable", "icmp-net-unreachable"),
            (3, 1) | (1, 3) => ("unreachable", "icmp-host-unreachable"),
            (3, 2) => ("refused", "icmp-protocol-unreachable"),
            (3, 3) | (1, 4) => ("refused", "icmp-port-unreachable"),
            _ => ("refused", "icmp-admin-prohibited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_belong_to_their_ip_version() {
        for kind in Unreachable::ALL {
            let expected = if kind.nft().starts_with("icmpv6") { Ip::V6 } else { Ip::V4 };
            assert_eq!(kind.ip(), expected, "{kind:?}");
        }
    }
}
