//! Addresses that no host on the Internet can be reached at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is reserved for, if that keeps it from being reached from
/// everywhere.
///
/// The IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), of which
/// those that are globally reachable are left out; and multicast.
pub fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let of = |&&(network, length, _): &&(Ipv4Addr, u32, _)| {
                (u32::from(address) ^ u32::from(network)).leading_zeros() >= length
            };
            IPV4.iter().find(of).and_then(|&(_, _, purpose)| purpose)
        }
        IpAddr::V6(address) => {
            let of = |&&(network, length, _): &&(Ipv6Addr, u32, _)| {
                (u128::from(address) ^ u128::from(network)).leading_zeros() >= length
            };
            IPV6.iter().find(of).and_then(|&(_, _, purpose)| purpose)
        }
    }
}

/// The first that matches counts; those without a purpose are reachable parts of
/// what follows.
const IPV4: &[(Ipv4Addr, u32, Option<&str>)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, Some("this network (RFC 791)")),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Some("private use (RFC 1918)")),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Some("shared between a carrier and its customers (RFC 6598)")),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Some("loopback (RFC 1122)")),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Some("link-local (RFC 3927)")),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Some("private use (RFC 1918)")),
    // Anycast addresses of PCP (RFC 7723) and TURN (RFC 8155).
    (Ipv4Addr::new(192, 0, 0, 9), 32, None),
    (Ipv4Addr::new(192, 0, 0, 10), 32, None),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Some("IETF protocol assignments (RFC 6890)")),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Some("documentation (RFC 5737)")),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Some("6to4 relay anycast, withdrawn (RFC 7526)")),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Some("private use (RFC 1918)")),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Some("benchmarking (RFC 2544)")),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Some("documentation (RFC 5737)")),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Some("documentation (RFC 5737)")),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Some("multicast (RFC 5771)")),
    (Ipv4Addr::new(255, 255, 255, 255), 32, Some("limited broadcast (RFC 919)")),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Some("reserved (RFC 1112)")),
];

/// As [`IPV4`].
const IPV6: &[(Ipv6Addr, u32, Option<&str>)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, Some("unspecified (RFC 4291)")),
    (Ipv6Addr::LOCALHOST, 128, Some("loopback (RFC 4291)")),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Some("local translation to IPv4 (RFC 8215)")),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, Some("discarded (RFC 6666)")),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64, Some("dummy prefix (RFC 9780)")),
    // Teredo is reachable as far as relays are.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, None),
    // Anycast addresses of PCP, TURN and DNS-SD (RFC 7723, 8155, 9665).
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128, None),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 128, None),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 3), 128, None),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Some("benchmarking (RFC 5180)")),
    // AMT, AS112, ORCHIDv2 and drone identifiers (RFC 7450, 7535, 7343, 9374).
    (Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0), 32, None),
    (Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0), 48, None),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, None),
    (Ipv6Addr::new(0x2001, 0x30, 0, 0, 0, 0, 0, 0), 28, None),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Some("IETF protocol assignments (RFC 2928)")),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Some("documentation (RFC 3849)")),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Some("documentation (RFC 9637)")),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, Some("segment routing (RFC 9602)")),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Some("unique local (RFC 4193)")),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Some("link-local (RFC 4291)")),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Some("site-local, withdrawn (RFC 3879)")),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Some("multicast (RFC 4291)")),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_addresses_are_named() {
        for (address, purpose) in [
            ("10.255.0.1", "private use"),
            ("172.31.255.255", "private use"),
            ("192.168.0.1", "private use"),
            ("::ffff:192.168.0.1", "private use"),
            ("100.127.0.1", "shared"),
            ("127.0.0.1", "loopback"),
            ("0.0.0.0", "this network"),
            ("192.0.0.8", "IETF"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "limited broadcast"),
            ("254.0.0.1", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("2001:db8::1", "documentation"),
            ("3fff:fff::1", "documentation"),
            ("2001:1ff::1", "IETF"),
            ("fdff::1", "unique local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            let found = special_purpose(address.parse().unwrap()).unwrap_or_else(|| panic!("{address}"));
            assert!(found.starts_with(purpose), "{address}: {found}");
        }
    }

    #[test]
    fn reachable_addresses_are_not() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.0",
            "192.0.0.9",
            "192.0.1.0",
            "192.167.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "64:ff9b::808:808",
            "2001::1",
            "2001:1::1",
            "2001:200::1",
            "2600::1",
            "3fff:1000::1",
            "fbff::1",
        ] {
            assert_eq!(special_purpose(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn each_network_is_written_as_its_first_address() {
        for &(network, length, _) in IPV4 {
            assert_eq!(u32::from(network).checked_shl(length).unwrap_or(0), 0, "{network}/{length}");
        }
        for &(network, length, _) in IPV6 {
            assert_eq!(u128::from(network).checked_shl(length).unwrap_or(0), 0, "{network}/{length}");
        }
    }

    proptest! {
        #[test]
        fn what_the_standard_library_calls_private_is_special(bits in any::<u32>(), wide in any::<u128>()) {
            let (v4, v6) = (Ipv4Addr::from(bits), Ipv6Addr::from(wide));
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_documentation() {
                prop_assert!(special_purpose(v4.into()).is_some());
            }
            if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() {
                prop_assert!(special_purpose(v6.into()).is_some());
            }
            prop_assert_eq!(special_purpose(v4.to_ipv6_mapped().into()), special_purpose(v4.into()));
        }
    }
}
