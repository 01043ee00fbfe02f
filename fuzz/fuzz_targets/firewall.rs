//! Any bytes as the listings of this host's firewalls: what is found is bounded, and each
//! of it can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_core::evidence::firewall::{Flow, Listings, findings};

/// At most, as the module has it.
const FINDINGS: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    // Which of the four listings, by the first byte; two listings of nft belong together.
    let Some((which, rest)) = bytes.split_first() else { return };
    let mut parts = rest.splitn(2, |&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let listings = if which % 2 == 0 {
        Listings { nft_json: first, nft_text: second, ..Listings::default() }
    } else {
        Listings { iptables: first.clone(), ip6tables: first, nft_json: second, ..Listings::default() }
    };
    for dst in ["203.0.113.5", "2001:db8::5"] {
        let Ok(dst) = dst.parse() else { return };
        let flow = Flow { src: None, dst, port: 25, interface: Some("eth0".to_owned()) };
        let (found, _) = findings(&listings, &flow);
        assert!(found.len() <= FINDINGS);
        for finding in found {
            assert!(finding.rule.chars().count() <= 303 && !finding.tool.is_empty());
        }
    }
});
