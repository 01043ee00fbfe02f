//! This host's own addresses, as /proc lists them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Networks that are kept. A host has few; what comes after is not known as its own.
const KEPT: usize = 65_536;
/// `RTF_LOCAL` of <linux/ipv6_route.h>.
const LOCAL: u32 = 0x8000_0000;

/// The addresses that this host delivers to itself. Loopback addresses belong to every
/// host, whatever was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Sorted, none within another.
    networks: Vec<IpNet>,
    /// Of other network namespaces, or of earlier times.
    learned: BTreeSet<IpAddr>,
}

impl OwnAddresses {
    /// Addresses that are learned; what comes after is not known as this host's.
    pub const LEARNED: usize = 1_024;

    /// Reads /proc/net/fib_trie and /proc/net/ipv6_route. Lines that are not understood are
    /// ignored.
    pub fn read(fib_trie: &str, ipv6_route: &str) -> Self {
        fib_trie_networks(fib_trie).chain(ipv6_route.lines().filter_map(ipv6_network)).collect()
    }

    /// True for an address of this host, loopback included. Linux takes the unspecified
    /// address as a destination for loopback, too.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() || self.learned.contains(&address) {
            return true;
        }
        let after = self.networks.partition_point(|network| network.network() <= address);
        self.networks[..after].last().is_some_and(|network| network.contains(&address))
    }

    /// Learns from an attempt: an address that sends to itself is this host's, also a
    /// container's.
    pub fn learn(&mut self, source: Option<IpAddr>, destination: IpAddr) {
        let destination = destination.to_canonical();
        let is_new = !self.contains(destination) && self.is_local(source, destination);
        if is_new && self.learned.len() < Self::LEARNED {
            self.learned.insert(destination);
        }
    }

    /// Takes what was read anew, and keeps what was learned.
    pub fn renew(&mut self, read: Self) {
        self.networks = read.networks;
    }

    /// True for an attempt to this host itself: an address that sends to itself is this host's,
    /// also where it is a container's or an earlier one.
    pub fn is_local(&self, source: Option<IpAddr>, destination: IpAddr) -> bool {
        self.contains(destination) || source.is_some_and(|source| source.to_canonical() == destination.to_canonical())
    }
}

impl FromIterator<IpNet> for OwnAddresses {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let mut networks: Vec<_> = networks.into_iter().take(KEPT).map(|network| network.trunc()).collect();
        // The wider of two that begin alike comes first.
        networks.sort_by_key(|network| (network.network(), network.prefix_len()));
        let mut apart: Vec<IpNet> = Vec::with_capacity(networks.len());
        for network in networks {
            if !apart.last().is_some_and(|last| last.contains(&network)) {
                apart.push(network);
            }
        }
        Self { networks: apart, learned: BTreeSet::new() }
    }
}

/// `|-- 192.0.2.0`, and behind it `/32 host LOCAL`.
fn fib_trie_networks(text: &str) -> impl Iterator<Item = IpNet> {
    let mut address: Option<Ipv4Addr> = None;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.trim().parse().ok();
            return None;
        }
        let mut words = line.strip_prefix('/')?.split_ascii_whitespace();
        let (bits, is_local) = (words.next()?.parse().ok()?, words.any(|word| word == "LOCAL"));
        IpNet::new(address?.into(), bits).ok().filter(|_| is_local)
    })
}

/// Destination, its bits, source, its bits, next hop, metric, two counters, flags, interface;
/// all in hexadecimal.
fn ipv6_network(line: &str) -> Option<IpNet> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, bits, _, _, _, _, _, _, flags, _] = fields.as_slice() else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let address = Ipv6Addr::from(u128::from_str_radix(destination, 16).ok()?);
    let network = IpNet::new(address.into(), u8::from_str_radix(bits, 16).ok()?).ok()?;
    (flags & LOCAL != 0).then_some(network)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.10
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
     |-- 192.0.2.10
        /32 host LOCAL
     |-- 198.51.100.0
        /28 host LOCAL
        /24 link UNICAST
";
    const IPV6_ROUTE: &str = "\
20010db8000100000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
20010db8000100000000000000000010 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001     eth0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000005 00000000 00000001     eth0
";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn own_addresses_are_those_that_the_kernel_delivers_here() {
        let own = OwnAddresses::read(FIB_TRIE, IPV6_ROUTE);
        for address in [
            "192.0.2.10",
            "::ffff:192.0.2.10",
            "198.51.100.9",
            "2001:db8:1::10",
            "127.0.0.1",
            "127.8.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(own.contains(ip(address)), "{address}");
        }
        for address in ["192.0.2.11", "192.0.2.255", "198.51.100.16", "2001:db8:1::11", "10.0.0.1", "203.0.113.5"] {
            assert!(!own.contains(ip(address)), "{address}");
        }
    }

    #[test]
    fn an_address_that_sends_to_itself_is_this_hosts() {
        let own = OwnAddresses::default();
        let (container, other) = (ip("172.17.0.5"), ip("203.0.113.5"));
        assert!(own.is_local(Some(container), container) && own.is_local(None, ip("127.0.0.1")));
        // A mail server that is bound to loopback does not reach itself by that.
        assert!(!own.is_local(Some(ip("127.0.0.1")), other) && !own.is_local(None, other));
        let mut learning = own.clone();
        learning.learn(Some(container), container);
        learning.learn(Some(container), other);
        assert!(learning.contains(container) && !learning.contains(other) && !own.contains(container));
        for number in 0..2 * OwnAddresses::LEARNED as u32 {
            let address = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            learning.learn(Some(address), address);
        }
        assert_eq!(learning.learned.len(), OwnAddresses::LEARNED);
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(fib in "[ -/|0-9.a-zLOCAL\n]{0,300}", route in "[0-9a-f \n]{0,300}") {
            let _ = OwnAddresses::read(&fib, &route);
        }
    }
}
