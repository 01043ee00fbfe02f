//! Names from people, from DNS, and of addresses.

use std::fmt::Write as _;
use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;

/// More characters than any name has, escaped ones included: 255 octets.
const MAX_CHARS: usize = 1020;

/// A domain name that somebody wrote, with or without the final dot and in any
/// script; none if it cannot be one. An address is none.
pub(super) fn parse(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > MAX_CHARS || text.parse::<IpAddr>().is_ok() {
        return None;
    }
    let mut name = Name::from_str_relaxed(text).ok()?;
    if name.is_root() || name.iter().any(<[u8]>::is_empty) {
        return None;
    }
    name.set_fqdn(true);
    Some(name)
}

/// The name in lower case, without the final dot; the root is a dot. What is not
/// plainly a letter, digit, hyphen or underscore is escaped as in RFC 4343,
/// section 2.1, so a dot always separates labels.
pub(super) fn printable(name: &Name) -> String {
    if name.is_root() {
        return ".".to_owned();
    }
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte.to_ascii_lowercase().into()),
                b'!'..=b'~' => text.extend(['\\', byte.into()]),
                // Writing to a String cannot fail.
                _ => drop(write!(text, "\\{byte:03}")),
            }
        }
    }
    text
}

/// The name that an address's PTR records are at (RFC 1035, section 3.5, and
/// RFC 3596, section 2.5).
pub(super) fn reverse(address: IpAddr) -> Name {
    let mut name = Name::from(address);
    name.set_fqdn(true);
    name
}

/// The name that a DNS list has an address at: its octets or nibbles in reverse
/// and the zone (RFC 5782, sections 2.1 and 2.4). None if that is too long.
pub(super) fn listed(address: IpAddr, zone: &Name) -> Option<Name> {
    let labels = Name::from(address);
    let digits = Name::from_labels(labels.iter().take(usize::from(labels.num_labels()) - 2)).ok()?;
    let mut name = digits.append_domain(zone).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(text: &str) -> Option<String> {
        parse(text).map(|name| printable(&name))
    }

    #[test]
    fn names_come_out_in_ascii_and_lower_case() {
        for (text, name) in [
            ("Example.ORG.", "example.org"),
            ("localhost", "localhost"),
            ("_dmarc.mail_out.example", "_dmarc.mail_out.example"),
            ("größe.example", "xn--gre-6ka8i.example"),
            ("xn--gre-6ka8i.example", "xn--gre-6ka8i.example"),
            ("東京.example", "xn--1lqs71d.example"),
        ] {
            assert_eq!(printed(text).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        let (label, name) = ("a".repeat(64), "a.".repeat(200));
        for text in
            ["", ".", "..", "a..b", ".a", "192.0.2.1", "2001:db8::1", "[192.0.2.1]", "a b", "a\nb", &label, &name]
        {
            assert_eq!(printed(text), None, "{text:?}");
        }
    }

    #[test]
    fn hostile_labels_are_escaped() {
        let name = Name::from_labels([&b"a.b"[..], b"\xff\x1b[2J", b"\"\\;", "\u{202e}".as_bytes()]).unwrap();
        assert_eq!(printable(&name), r#"a\.b.\255\027\[2j.\"\\\;.\226\128\174"#);
        assert_eq!(printable(&Name::root()), ".");
    }

    #[test]
    fn addresses_have_names() {
        let zone = parse("bl.example").unwrap();
        for (address, reverse_name, listed_name) in [
            ("192.0.2.99", "99.2.0.192.in-addr.arpa", "99.2.0.192.bl.example"),
            (
                "2001:db8:1:2:3:4:567:89ab",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example",
            ),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(printable(&reverse(address)), reverse_name);
            assert_eq!(printable(&listed(address, &zone).unwrap()), listed_name);
            assert!(reverse(address).is_fqdn() && listed(address, &zone).unwrap().is_fqdn());
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_parsed(text in any::<String>()) {
            if let Some(name) = printed(&text) {
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn labels_print_as_distinct_visible_text(
            one in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..8), 1..5),
            other in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..8), 1..5),
        ) {
            let name = |labels: &[Vec<u8>]| Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
            let (one, other) = (name(&one), name(&other));
            prop_assert!(printable(&one).bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(printable(&one) == printable(&other), one == other);
        }
    }
}
