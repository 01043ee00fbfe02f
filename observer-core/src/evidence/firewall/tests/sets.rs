//! Sets of ipset(8), as `ipset save` 7.17 lists them.

use super::Must::{Depend, Pass, Stop};
use super::*;

const SETS: &str = "create addresses hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1\n\
    add addresses 203.0.113.5\nadd addresses 203.0.113.6 timeout 59 comment \"x nomatch\"\n\
    create networks hash:net family inet hashsize 1024 maxelem 300000\nadd networks 203.0.113.0/24\n\
    add networks 203.0.113.128/25 nomatch\nadd networks 203.0.113.200\n\
    create wide hash:ip family inet hashsize 1024 maxelem 65536 netmask 24\nadd wide 198.51.100.0\n\
    create services hash:ip,port family inet hashsize 1024 maxelem 65536\nadd services 203.0.113.7,tcp:25\n\
    add services 203.0.113.8,udp:25\ncreate ports bitmap:port range 0-65535\nadd ports 25\n\
    create by-interface hash:net,iface family inet hashsize 64 maxelem 65536\nadd by-interface 203.0.113.0/24,eth0\n\
    create six hash:net family inet6 hashsize 1024 maxelem 65536\nadd six 2001:db8::/32\n\
    create both list:set size 8\nadd both addresses\nadd both services\ncreate macs hash:mac hashsize 64 maxelem 65536\n";

fn asked(condition: &str, dst: &str) -> Walked {
    let save = format!("*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m set {condition} -j DROP\nCOMMIT\n");
    walk(&Listings { ipset: SETS.to_owned(), ..saved(&save, dst) }, &flow(dst))
}

#[test]
fn members_decide() {
    for (condition, dst, must) in [
        ("--match-set addresses dst", "203.0.113.5", Stop("addresses")),
        ("--match-set addresses dst", "203.0.113.6", Stop("addresses")),
        ("--match-set addresses dst", "203.0.113.9", Pass),
        ("! --match-set addresses dst", "203.0.113.9", Stop("! --match-set")),
        ("--match-set addresses src", "203.0.113.5", Pass),
        ("--match-set networks dst", "203.0.113.5", Stop("networks")),
        ("--match-set networks dst", "203.0.113.130", Pass),
        ("--match-set networks dst", "203.0.113.200", Stop("networks")),
        ("--match-set networks dst --return-nomatch", "203.0.113.130", Depend(&[Condition::Set])),
        ("--match-set wide dst", "198.51.100.77", Stop("wide")),
        ("--match-set services dst,dst", "203.0.113.7", Stop("services")),
        ("--match-set services dst,dst", "203.0.113.8", Pass),
        ("--match-set services dst,src", "203.0.113.7", Depend(&[Condition::SourcePort])),
        ("--match-set ports dst", "203.0.113.1", Stop("ports")),
        ("--match-set by-interface dst,dst", "203.0.113.1", Stop("by-interface")),
        ("--match-set six dst", "2001:db8::5", Stop("six")),
        ("--match-set six dst", "203.0.113.5", Pass),
        ("--match-set both dst,dst", "203.0.113.5", Stop("both")),
        ("--match-set both dst,dst", "203.0.113.7", Stop("both")),
        ("--match-set gone dst", "203.0.113.5", Depend(&[Condition::Set])),
    ] {
        check(&asked(condition, dst), &must, &(condition, dst));
    }
}

#[test]
fn a_set_that_rules_change_is_not_known() {
    let save = "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j SET --add-set addresses dst\n\
        -A OUTPUT -m set --match-set addresses dst -j DROP\nCOMMIT\n";
    let listings = Listings { ipset: SETS.to_owned(), ..saved(save, "") };
    check(&walk(&listings, &flow("203.0.113.9")), &Depend(&[Condition::Set]), &save);
}

#[test]
fn three_hundred_thousand_members_are_no_burden() {
    let member = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number * 7);
    let mut ipset = String::from("create banned hash:ip family inet hashsize 131072 maxelem 300000\n");
    let mut members = Vec::new();
    for number in 0..300_000 {
        ipset.push_str(&format!("add banned {}\n", member(number)));
        members.push(format!(r#"{{"prefix":{{"addr":"{}","len":31}}}}"#, member(number)));
    }
    let save = "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m set --match-set banned dst -j DROP\nCOMMIT\n";
    let listings = Listings { ipset, ..saved(save, "") };
    let last = member(299_999).to_string();
    check(&walk(&listings, &flow(&last)), &Stop("banned"), &last);
    check(&walk(&listings, &flow("203.0.113.5")), &Pass, &"none");

    let rule = r#"{"rule":{"family":"ip","table":"t","chain":"o","handle":9,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"@banned"}},{"drop":null}]}}"#;
    let nft_json = format!(
        r#"{{"nftables":[{{"chain":{{"family":"ip","table":"t","name":"o","handle":1,"type":"filter","hook":"output","prio":0,"policy":"accept"}}}},{{"set":{{"family":"ip","table":"t","name":"banned","type":"ipv4_addr","handle":2,"flags":["interval"],"elem":[{}]}}}},{}]}}"#,
        members.join(","),
        // Asked often, and looked up once.
        vec![rule; 40].join(",")
    );
    let listings = Listings { nft_json, ..Listings::default() };
    check(&walk(&listings, &flow(&last)), &Stop("handle 9"), &last);
    check(&walk(&listings, &flow("203.0.113.5")), &Pass, &"none");
}
