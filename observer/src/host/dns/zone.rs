//! DNS lists of addresses (DNSBLs, RFC 5782), and what their answers mean.
//!
//! No zone is asked by default. Each has its own terms: many forbid queries
//! through public resolvers, above some number a day, or for a business that does
//! not pay; and each learns the address that is asked about. Which of them the
//! receivers at hand use is for the administrator to know.
//!
//! An answer is a list of addresses in 127.0.0.0/8, which the zone's operator
//! gives meanings to. Some say that the question was refused, and those are no
//! listings:
//!
//! | answer | means | said by |
//! |---|---|---|
//! | 127.255.255.252 | the zone's name is mistyped | Spamhaus |
//! | 127.255.255.254 | the query came through a public resolver | Spamhaus |
//! | 127.255.255.255 | too many queries | Spamhaus |
//! | 127.255.255.0/24 | any other error | Spamhaus, and those who follow it |
//! | 127.0.0.1 | refused | URIBL, SURBL; RFC 5782 gives it to no listing |
//!
//! Others are known to their zones only, and a [`Zone`] names them: DNSWL refuses
//! with 127.0.0.255, Spamhaus' lists of domains answer questions about addresses
//! with 127.0.1.255. An answer outside 127.0.0.0/8 comes from a zone that is
//! parked or a resolver that redirects what does not exist.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::proto::rr::Name;

use super::name;

/// A zone's longest name: with the nibbles of an IPv6 address before it, it is
/// still a name.
const MAX_ZONE: usize = 180;

/// A list to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub(super) name: Name,
    pub(super) refusals: Vec<Ipv4Addr>,
}

impl Zone {
    /// The zone of this name, such as `bl.example.org`; `refusals` are the answers
    /// by which it refuses a question, besides those that mean that everywhere.
    ///
    /// # Errors
    /// If it is no name, or too long for the question about an IPv6 address.
    pub fn new(zone: &str, refusals: Vec<Ipv4Addr>) -> Result<Self, String> {
        match name::parse(zone) {
            Some(name) if name.len() <= MAX_ZONE => Ok(Self { name, refusals }),
            Some(_) => Err(format!("{zone:?} is too long for the name of a DNS list")),
            None => Err(format!("{zone:?} is no domain name")),
        }
    }

    /// The zone's name in ASCII, without the final dot.
    pub fn name(&self) -> String {
        name::printable(&self.name)
    }
}

/// True for an address that the world does not see, as it is translated on the
/// way or never leaves.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = matches!(address.octets(), [100, 64..=127, ..]);
            shared || address.is_private() || address.is_loopback() || address.is_link_local()
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local() || address.is_loopback(),
    }
}

/// The address that no list may have (RFC 5782, section 5), of the same family.
pub(super) fn never_listed(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_are_names_with_room_for_an_address() {
        assert_eq!(Zone::new("BL.example.", Vec::new()).unwrap().name(), "bl.example");
        assert_eq!(Zone::new("192.0.2.1", Vec::new()).unwrap_err(), "\"192.0.2.1\" is no domain name");
        let long = format!("{}example", "a.".repeat(90));
        assert!(Zone::new(&long, Vec::new()).unwrap_err().ends_with("is too long for the name of a DNS list"));
    }

    #[test]
    fn private_addresses_are_told() {
        for private in ["10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "fd00::1", "fe80::1", "::1"] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["100.63.0.1", "8.8.8.8", "2600::1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    proptest! {
        #[test]
        fn every_zone_has_room_for_every_address(labels in prop::collection::vec("[a-z]{1,40}", 1..8), wide in any::<u128>()) {
            if let Ok(zone) = Zone::new(&labels.join("."), Vec::new()) {
                prop_assert!(name::listed(Ipv6Addr::from(wide).into(), &zone.name).is_some());
            }
        }
    }
}
