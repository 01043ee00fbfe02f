//! What DNS lists of addresses (DNSBLs, RFC 5782) say.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::facts::Failure;

/// What a list says about an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The list's name.
    pub zone: String,
    /// The address; never an IPv4 address within IPv6.
    pub address: IpAddr,
    /// What it says.
    pub outcome: ListingAnswer,
}

/// The outcome of asking a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListingAnswer {
    /// The address is on the list.
    Listed {
        /// The answers, whose meaning is the zone's; sorted.
        codes: Vec<Ipv4Addr>,
        /// What the zone adds for people, made safe to print. Often empty.
        text: Vec<String>,
    },
    /// The address is not on the list. A list of IPv4 addresses only says so of
    /// every IPv6 address.
    NotListed,
    /// The zone refused the question: nothing is known.
    QueryRefused {
        /// The answer that says so.
        code: Ipv4Addr,
    },
    /// The answer is not one of a list: nothing is known.
    NotAList {
        /// An answer outside 127.0.0.0/8.
        answer: Ipv4Addr,
    },
    /// The zone lists the one address that none may list (RFC 5782, section 5):
    /// it has been given up, or lists everybody. Nothing is known.
    ListsEverything,
    /// Not asked: the address is private, and the world sees another.
    NotPublic,
    /// No answer: nothing is known.
    Failed(Failure),
}

impl ListingAnswer {
    /// What a zone's addresses for a listed name mean. Where some of them refuse,
    /// all do.
    pub fn of_codes(mut codes: Vec<Ipv4Addr>, refusals: &[Ipv4Addr]) -> Self {
        codes.sort_unstable();
        codes.dedup();
        if let Some(&code) = codes.iter().find(|code| refuses(**code) || refusals.contains(code)) {
            return Self::QueryRefused { code };
        }
        if let Some(&answer) = codes.iter().find(|code| !code.is_loopback()) {
            return Self::NotAList { answer };
        }
        Self::Listed { codes, text: Vec::new() }
    }
}

/// True for what refuses a question in any zone.
fn refuses(code: Ipv4Addr) -> bool {
    code == Ipv4Addr::LOCALHOST || code.octets().starts_with(&[127, 255, 255])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(codes: &[&str], refusals: &[&str]) -> ListingAnswer {
        let parse = |codes: &[&str]| codes.iter().map(|code| code.parse().unwrap()).collect::<Vec<_>>();
        ListingAnswer::of_codes(parse(codes), &parse(refusals))
    }

    #[test]
    fn answers_mean_what_their_zones_say() {
        let listed = |codes: &[&str]| ListingAnswer::Listed {
            codes: codes.iter().map(|code| code.parse().unwrap()).collect(),
            text: Vec::new(),
        };
        assert_eq!(outcome(&["127.0.0.4", "127.0.0.2", "127.0.0.4"], &[]), listed(&["127.0.0.2", "127.0.0.4"]));
        assert_eq!(outcome(&["127.0.0.255"], &[]), listed(&["127.0.0.255"]));
        for code in ["127.0.0.1", "127.255.255.252", "127.255.255.254", "127.255.255.255", "127.255.255.0"] {
            assert_eq!(outcome(&["127.0.0.2", code], &[]), ListingAnswer::QueryRefused { code: code.parse().unwrap() });
        }
        let code = "127.0.0.255".parse().unwrap();
        assert_eq!(outcome(&["127.0.0.255"], &["127.0.0.255"]), ListingAnswer::QueryRefused { code });
        let answer = "203.0.113.80".parse().unwrap();
        assert_eq!(outcome(&["127.0.0.2", "203.0.113.80"], &[]), ListingAnswer::NotAList { answer });
    }

    proptest! {
        #[test]
        fn only_loopback_answers_list(codes in prop::collection::vec(any::<[u8; 4]>().prop_map(Ipv4Addr::from), 1..8)) {
            if let ListingAnswer::Listed { codes, .. } = ListingAnswer::of_codes(codes, &[]) {
                prop_assert!(codes.iter().all(|code| code.is_loopback() && !refuses(*code)));
                prop_assert!(!codes.is_empty() && codes.is_sorted());
            }
        }
    }
}
