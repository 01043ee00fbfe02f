use proptest::prelude::*;

use super::*;

mod bounds;
mod bridge;
mod hosts;
mod iptables;
mod nft;
mod sets;

/// A mail server's SYN to `dst`, of which everything is known but the group.
fn flow(dst: &str) -> Flow {
    let dst: IpAddr = dst.parse().unwrap();
    let src = if dst.is_ipv4() { "192.0.2.10" } else { "2001:db8:1::10" };
    Flow {
        src: src.parse().ok(),
        dst,
        port: 25,
        interface: Some("eth0".to_owned()),
        uid: Some(108),
        gid: None,
        way: Way::Out,
    }
}

fn by(uid: u32, dst: &str) -> Flow {
    Flow { uid: Some(uid), ..flow(dst) }
}

/// What must come of it.
#[derive(Debug)]
enum Must<'a> {
    Pass,
    /// Stopped for certain by a rule that has this in it.
    Stop(&'a str),
    /// Not known, by these conditions alone.
    Depend(&'a [Condition]),
}

fn check(walked: &Walked, must: &Must<'_>, what: &dyn std::fmt::Debug) {
    let is_right = match must {
        Must::Pass => walked.answer == Answer::Passes && walked.findings.is_empty(),
        Must::Stop(rule) => {
            let first = walked.findings.first();
            walked.answer == Answer::Stopped
                && first
                    .is_some_and(|first| first.is_certain && first.conditions.is_empty() && first.rule.contains(rule))
        }
        Must::Depend(conditions) => {
            walked.answer == Answer::Unknown
                && walked.findings.first().is_some_and(|first| !first.is_certain && first.conditions == *conditions)
        }
    };
    assert!(is_right, "{what:?} must {must:?}: {walked:#?}");
}

/// Of the family that is asked for.
fn saved(save: &str, dst: &str) -> Listings {
    let save = save.to_owned();
    if dst.contains(':') {
        Listings { ip6tables: save, ..Listings::default() }
    } else {
        Listings { iptables: save, ..Listings::default() }
    }
}
