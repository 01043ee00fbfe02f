//! IP addresses, as the kernel programs handle them.

/// An IP address as it is on the wire; IPv4 as IPv4-mapped IPv6 (RFC 4291,
/// section 2.5.5.2).
///
/// Four words in memory order, not sixteen bytes: the BPF target copies and
/// compares bytes one by one.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u32; 4]);

/// `::ffff:0:0/96`, its third word.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    /// `::`.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// An IPv4 address, in memory order as the kernel stores it (`__be32`).
    #[inline(always)]
    pub const fn mapped(addr: u32) -> Self {
        Self([0, 0, MAPPED, addr])
    }

    /// An IPv6 address, in memory order as the kernel stores it (`in6_addr`).
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// From the sixteen bytes on the wire.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ])
    }

    /// The sixteen bytes on the wire.
    pub const fn octets(self) -> [u8; 16] {
        let [w, x, y, z] = self.0;
        let ([a, b, c, d], [e, f, g, h]) = (w.to_ne_bytes(), x.to_ne_bytes());
        let ([i, j, k, l], [m, n, o, p]) = (y.to_ne_bytes(), z.to_ne_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// True for an IPv4 address.
    #[inline(always)]
    pub const fn is_mapped(self) -> bool {
        let [a, b, c, _] = self.0;
        a == 0 && b == 0 && c == MAPPED
    }

    /// True for 127.0.0.0/8 and `::1`.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        let [a, b, c, d] = self.0;
        if self.is_mapped() {
            d.to_ne_bytes()[0] == 127
        } else {
            a | b | c == 0 && d == u32::from_ne_bytes([0, 0, 0, 1])
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::net::Ipv6Addr;

    use super::*;

    fn address(text: &str) -> Address {
        Address::from_octets(text.parse::<Ipv6Addr>().unwrap().octets())
    }

    #[test]
    fn words_are_the_bytes_on_the_wire() {
        let octets = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(Address::from_octets(octets).octets(), octets);
        assert_eq!(address("::ffff:192.0.2.1"), Address::mapped(u32::from_ne_bytes([192, 0, 2, 1])));
        assert_eq!(address("::"), Address::UNSPECIFIED);
    }

    #[test]
    fn loopback_and_mapped_addresses_are_known() {
        for (text, is_mapped, is_loopback) in [
            ("::ffff:127.0.0.1", true, true),
            ("::ffff:127.255.0.9", true, true),
            ("::ffff:128.0.0.1", true, false),
            ("::1", false, true),
            ("::", false, false),
            ("1::1", false, false),
            ("::127.0.0.1", false, false),
            ("2001:db8::1", false, false),
        ] {
            assert_eq!(address(text).is_mapped(), is_mapped, "{text}");
            assert_eq!(address(text).is_loopback(), is_loopback, "{text}");
        }
    }
}
