//! Any bytes as the listings of this host's firewalls, for a flow of any kind: what is found
//! is bounded and can be told, and nothing is certain that depends on something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_core::evidence::firewall::{Answer, Flow, Listings, Way, walk};

/// At most, as the module has it.
const FINDINGS: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    // The first byte: which of the listings, and what is known of the flow. Two listings
    // of one tool belong together.
    let Some((&which, rest)) = bytes.split_first() else { return };
    let mut parts = rest.splitn(2, |&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let listings = match which % 4 {
        0 => Listings { nft_json: first, nft_text: second, ..Listings::default() },
        1 => Listings { iptables: first.clone(), ip6tables: first, nft_json: second, ..Listings::default() },
        2 => Listings { iptables: first.clone(), ip6tables: first, ipset: second, ..Listings::default() },
        _ => Listings {
            iptables: first.clone(),
            iptables_legacy: second.clone(),
            ip6tables: first,
            ip6tables_legacy: second,
            ..Listings::default()
        },
    };
    let is = |bit: u8| which & 1 << bit != 0;
    for (src, dst) in [("192.0.2.10", "203.0.113.5"), ("2001:db8:1::10", "2001:db8::5")] {
        let (Ok(src), Ok(dst)) = (src.parse(), dst.parse()) else { return };
        let interface = is(3).then(|| "eth0".to_owned());
        let way = if is(7) { Way::Through { from: interface.clone() } } else { Way::Out };
        let (uid, gid) = (is(4).then_some(108), is(5).then_some(8));
        let flow = Flow { src: is(6).then_some(src), dst, port: 25, interface, uid, gid, way };
        let walked = walk(&listings, &flow);
        assert!(walked.findings.len() <= FINDINGS && walked.redirects.len() <= FINDINGS);
        assert_eq!(walked.answer == Answer::Stopped, walked.findings.iter().any(|found| found.is_certain));
        for found in walked.findings.iter().chain(&walked.redirects) {
            assert!(found.rule.chars().count() <= 303 && !found.tool.is_empty());
            assert_eq!(found.is_certain, found.conditions.is_empty());
            assert!(!found.to_string().contains('\u{1b}'));
        }
    }
});
