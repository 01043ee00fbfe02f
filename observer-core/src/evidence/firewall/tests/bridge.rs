//! Rules of a bridge by which a SYN leaves or comes in.

use super::Must::{Depend, Pass, Stop};
use super::hosts::{V4, by_nft, nft};
use super::*;

#[test]
fn a_bridge_has_rules_of_its_own() {
    let drop =
        r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":25}},{"drop":null}]"#;
    let by_port =
        |key: &str| format!(r#"[{{"match":{{"op":"==","left":{{"meta":{{"key":"{key}"}}}},"right":"tap0"}}}},{drop}"#);
    let out_by = |interface: &str| Flow { interface: Some(interface.to_owned()), ..flow(V4) };
    let from = |interface: &str| Flow { way: Way::Through { from: Some(interface.to_owned()) }, uid: None, ..flow(V4) };
    let depends = || Depend(&[Condition::Interface]);
    for (hook, rule, flow, must) in [
        ("output", format!("[{drop}"), out_by("eth0"), Pass),
        ("output", format!("[{drop}"), out_by("vmbr0"), depends()),
        ("output", format!("[{drop}"), Flow { interface: None, ..flow(V4) }, depends()),
        ("output", format!("[{drop}"), Flow { port: 26, ..out_by("vmbr0") }, Pass),
        ("postrouting", by_port("oifname"), out_by("vmbr0"), depends()),
        ("input", by_port("iifname"), from("docker0"), depends()),
        ("input", by_port("iifname"), from("veth1"), Pass),
        ("prerouting", format!("[{drop}"), flow(V4), Pass),
        ("forward", format!("[{drop}"), from("docker0"), Pass),
    ] {
        check(&walk(&by_nft(nft("bridge", hook, &rule)), &flow), &must, &(hook, rule, &flow));
    }
    // Rules of the host itself see the bridge again.
    let mut listings = by_nft(nft("bridge", "input", &format!("[{drop}").replace("25", "26")));
    listings.iptables = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i docker0 -j DROP\nCOMMIT\n".to_owned();
    check(&walk(&listings, &from("docker0")), &Stop("-i docker0"), &"forward");
}
