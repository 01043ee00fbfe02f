//! The lab's address plan. Documentation prefixes only (RFC 5737, RFC 3849).
//!
//! ```text
//! client 192.0.2.10, .11 -- wan0 (TUN, delayed) -- router -- lan0 (veth) -- server
//!        2001:db8:1::10, ::11                     198.51.100.1    198.51.100.2, and every
//!        edge0: a link where nobody answers                       203.0.113.x destination
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scenario::{Place, Scenario};

/// An IP version, as seen on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Ip {
    /// Both versions.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// The client's source addresses, the first being its default one.
pub const fn sources(ip: Ip) -> [IpAddr; 2] {
    match ip {
        Ip::V4 => [v4(192, 0, 2, 10), v4(192, 0, 2, 11)],
        Ip::V6 => [v6(1, 0x10), v6(1, 0x11)],
    }
}

/// The router's address towards the client: the sender of its ICMP errors.
pub const fn router(ip: Ip) -> IpAddr {
    match ip {
        Ip::V4 => v4(192, 0, 2, 1),
        Ip::V6 => v6(1, 1),
    }
}

/// Where a scenario's attempts go. Each has its own destination, so that all of
/// them can run at the same time.
pub fn destination(scenario: Scenario, ip: Ip) -> IpAddr {
    let index = scenario.index();
    match (scenario.place(), ip) {
        (Place::Loopback, Ip::V4) => v4(127, 0, 0, 1),
        (Place::Loopback, Ip::V6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (Place::OwnAddress, _) => sources(ip)[0],
        (Place::Behind, Ip::V4) => v4(203, 0, 113, 10 + index),
        (Place::Behind, Ip::V6) => v6(3, 0x10 + index as u16),
        // Never routed by default: each gets the route it is about, or none.
        (Place::Routing, Ip::V4) => v4(203, 0, 113, 128 + index),
        (Place::Routing, Ip::V6) => v6(0xf, 0x10 + index as u16),
        (Place::EmptyLink, Ip::V4) => v4(198, 51, 100, 128 + index),
        (Place::EmptyLink, Ip::V6) => v6(4, 0x10 + index as u16),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(net: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn destinations_are_distinct() {
        for ip in Ip::BOTH {
            let mut seen = HashSet::new();
            for scenario in Scenario::all() {
                assert!(seen.insert(destination(scenario, ip)), "{scenario:?} shares its destination");
            }
        }
    }

    #[test]
    fn routed_destinations_stay_in_the_routed_half() {
        for scenario in Scenario::all().filter(|scenario| scenario.place() == Place::Behind) {
            let IpAddr::V4(address) = destination(scenario, Ip::V4) else { panic!("not IPv4") };
            assert!(address.octets()[3] < 128, "{scenario:?} at {address}");
        }
    }
}
