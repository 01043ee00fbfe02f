//! Listings as hosts have them that were answered wrongly once.

use super::Must::{Depend, Pass, Stop};
use super::*;

pub(super) const V4: &str = "203.0.113.5";
const V6: &str = "2001:db8::5";

fn filter(rules: &str) -> String {
    format!("*filter\n:OUTPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n")
}

/// A chain of a table, with these statements in one rule.
pub(super) fn nft(family: &str, hook: &str, statements: &str) -> String {
    format!(
        r#"{{"nftables":[{{"table":{{"family":"{family}","name":"t"}}}},
        {{"chain":{{"family":"{family}","table":"t","name":"c","type":"filter","hook":"{hook}","prio":0,"policy":"accept"}}}},
        {{"rule":{{"family":"{family}","table":"t","chain":"c","handle":2,"expr":{statements}}}}}]}}"#
    )
}

pub(super) fn by_nft(json: String) -> Listings {
    Listings { nft_json: json, ..Listings::default() }
}

/// ufw drops packets with a routing header, of which a program's SYN has none.
#[test]
fn a_syn_has_no_extension_headers() {
    for module in ["rt --rt-type 0", "rt ! --rt-type 0", "frag --fragmore", "hbh", "ah --ahspi 5", "mh --mh-type 1"] {
        check(&walk(&saved(&filter(&format!("-A OUTPUT -m {module} -j DROP")), V6), &flow(V6)), &Pass, &module);
    }
    let field = r#"[{"match":{"op":"==","left":{"exthdr":{"name":"rt","field":"type"}},"right":0}},{"drop":null}]"#;
    let there = r#"[{"match":{"op":"==","left":{"exthdr":{"name":"frag"}},"right":true}},{"drop":null}]"#;
    let missing = r#"[{"match":{"op":"==","left":{"exthdr":{"name":"rt"}},"right":false}},{"drop":null}]"#;
    let xt = r#"[{"xt":{"type":"match","name":"rt"}},{"drop":null}]"#;
    for (statements, dst, must) in [
        (field, V6, Pass),
        (field, V4, Pass),
        (there, V6, Pass),
        (missing, V6, Stop("handle 2")),
        // The header is asked for of IPv6 alone.
        (missing, V4, Pass),
        (xt, V6, Pass),
    ] {
        check(&walk(&by_nft(nft("inet", "output", statements)), &flow(dst)), &must, &statements);
    }
}

#[test]
fn a_connection_that_begins_has_no_status_yet() {
    let status = |status: &str| {
        walk(&saved(&filter(&format!("-A OUTPUT -m conntrack --ctstatus {status} -j DROP")), V4), &flow(V4))
    };
    check(&status("CONFIRMED"), &Pass, &"CONFIRMED");
    check(&status("SEEN_REPLY,ASSURED"), &Pass, &"SEEN_REPLY,ASSURED");
    check(&status("NONE"), &Depend(&[Condition::Tracking]), &"NONE");
}

#[test]
fn root_is_known_by_name() {
    let save = filter("-A OUTPUT -p tcp -m owner --uid-owner root -j ACCEPT\n-A OUTPUT -j DROP");
    check(&walk(&saved(&save, V4), &by(0, V4)), &Pass, &save);
    check(&walk(&saved(&save, V4), &by(108, V4)), &Stop("-j DROP"), &save);
    let save = filter("-A OUTPUT -m owner --uid-owner exim -j DROP");
    check(&walk(&saved(&save, V4), &by(108, V4)), &Depend(&[Condition::User]), &save);
}

/// `counter name tcp dport map { 443 : "https" } drop`.
#[test]
fn a_rule_whose_map_has_no_object_does_not_match() {
    let with = |kind: &str, port: u16| {
        let key = r#"{"payload":{"protocol":"tcp","field":"dport"}}"#;
        let map = format!(r#"{{"map":{{"key":{key},"data":{{"set":[[{port},"named"]]}}}}}}"#);
        walk(&by_nft(nft("inet", "output", &format!(r#"[{{"{kind}":{map}}},{{"drop":null}}]"#))), &flow(V4))
    };
    for kind in ["counter", "quota", "limit"] {
        check(&with(kind, 443), &Pass, &kind);
    }
    check(&with("counter", 25), &Stop("handle 2"), &"counter");
    check(&with("limit", 25), &Depend(&[Condition::Rate]), &"limit");
}

#[test]
fn a_map_that_packets_change_may_have_had_more() {
    let with = |map: &str| {
        let rule =
            nft("inet", "output", r#"[{"vmap":{"key":{"payload":{"protocol":"ip","field":"daddr"}},"data":"@bad"}}]"#);
        walk(&by_nft(rule.replace(r#"{"nftables":["#, &format!(r#"{{"nftables":[{map}"#))), &flow(V4))
    };
    let map = |flags: &str| {
        format!(r#"{{"map":{{"family":"inet","table":"t","name":"bad","type":"ipv4_addr","map":"verdict"{flags}}}}},"#)
    };
    check(&with(&map("")), &Pass, &"a map without members");
    let depends = [Condition::Set, Condition::Extension];
    check(&with(&map(r#","flags":["dynamic"]"#)), &Depend(&depends), &"a dynamic map");
    check(&with(""), &Depend(&depends), &"a map that is not listed");
    let default =
        r#","flags":["dynamic"],"elem":[[{"elem":{"val":"*","counter":{"packets":0,"bytes":0}}},{"drop":null}]]"#;
    check(&with(&map(default)), &Depend(&depends), &"a dynamic map with a default");
    let default = r#","elem":[[{"elem":{"val":"*"}},{"drop":null}],["203.0.113.5",{"accept":null}]]"#;
    check(&with(&map(default)), &Pass, &"a default before the member that matches");
}

/// As iptables-nft-save 1.8.9 lists it: `Table contains incompatible base-chains`.
#[test]
fn chains_of_nft_in_a_table_of_iptables_are_followed() {
    let listings = |iptables: &str| Listings {
        nft_json: nft(
            "ip",
            "output",
            r#"[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":25}},{"drop":null}]"#,
        )
        .replace(r#""table":"t""#, r#""table":"filter""#)
        .replace(r#""name":"t""#, r#""name":"filter""#),
        ..saved(iptables, V4)
    };
    let save = "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n\
        # Generated by iptables-nft-save v1.8.9 (nf_tables) on Sun Nov 29 03:40:40 2026\n*filter\n:OUTPUT ACCEPT [0:0]\n\
        -A OUTPUT -p tcp -m tcp --dport 26 -j DROP\nCOMMIT\n";
    check(&walk(&listings(save), &flow(V4)), &Stop("handle 2"), &save);
    check(&walk(&listings(save), &Flow { port: 26, ..flow(V4) }), &Stop("--dport 26"), &save);
}

#[test]
fn tables_that_are_not_listed_are_missed() {
    let warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n";
    let mut listings = saved(&format!("{}{warning}", filter("")), V4);
    let walked = walk(&listings, &flow(V4));
    assert_eq!((walked.answer, walked.unreadable.len()), (Answer::Unknown, 1), "{walked:?}");
    listings.iptables_legacy = filter("");
    assert_eq!(walk(&listings, &flow(V4)).answer, Answer::Passes);

    let text =
        "table inet filter {\n\tchain output {\n\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n";
    let walked = walk(&Listings { nft_text: text.to_owned(), ..Listings::default() }, &flow(V4));
    assert_eq!((walked.answer, walked.unreadable.len()), (Answer::Unknown, 1), "{walked:?}");
}

#[test]
fn what_is_not_listed_of_the_other_family_does_not_matter() {
    for (failed, of_v4, of_v6) in [
        ("ip6tables: it did not end within 15 s", Answer::Passes, Answer::Unknown),
        ("ip6tables-legacy-save: not installed", Answer::Passes, Answer::Unknown),
        ("iptables-legacy-save: not installed", Answer::Unknown, Answer::Passes),
        ("nft: not installed", Answer::Unknown, Answer::Unknown),
        ("ipset: not installed", Answer::Unknown, Answer::Unknown),
    ] {
        let listings = Listings { not_listed: vec![failed.to_owned()], ..Listings::default() };
        assert_eq!((walk(&listings, &flow(V4)).answer, walk(&listings, &flow(V6)).answer), (of_v4, of_v6), "{failed}");
    }
}

/// As xt_conntrack, xt_connmark and nft_ct do: without an entry nothing but the state can be asked for.
#[test]
fn an_untracked_packet_has_no_connection() {
    let raw = "*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j CT --notrack\n";
    for asked in [
        "conntrack --ctorigdst 203.0.113.5",
        "conntrack ! --ctorigdst 203.0.113.9",
        "conntrack --ctdir ORIGINAL",
        "conntrack --ctproto 6",
        "connmark --mark 0x0",
        "connmark ! --mark 0x1",
    ] {
        let rule = format!("-A OUTPUT -m {asked} -j DROP");
        check(&walk(&saved(&filter(&rule), V4), &flow(V4)), &Stop("DROP"), &asked);
        let untracked = format!("{raw}COMMIT\n{}", filter(&rule));
        check(&walk(&saved(&untracked, V4), &flow(V4)), &Pass, &asked);
        // Before an entry could be made.
        let before = format!("*raw\n:OUTPUT ACCEPT [0:0]\n{rule}\nCOMMIT\n");
        check(&walk(&saved(&before, V4), &flow(V4)), &Pass, &asked);
    }
    let behind = format!("{raw}-A OUTPUT -m conntrack --ctstate UNTRACKED --ctorigdst 192.0.2.9 -j DROP\nCOMMIT\n");
    check(&walk(&saved(&behind, V4), &flow(V4)), &Stop("UNTRACKED"), &behind);
    let restored = "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j MARK --set-mark 1\n-A OUTPUT -j CONNMARK --restore-mark\n\
                    -A OUTPUT -m mark --mark 1 -j DROP\nCOMMIT\n";
    check(&walk(&saved(restored, V4), &flow(V4)), &Pass, &restored);
    check(&walk(&saved(&format!("{raw}COMMIT\n{restored}"), V4), &flow(V4)), &Stop("DROP"), &restored);
    for key in [r#"{"ct":{"key":"mark"}}"#, r#"{"ct":{"key":"proto-dst","dir":"original"}}"#] {
        let statements = format!(r#"[{{"match":{{"op":"!=","left":{key},"right":7}}}},{{"drop":null}}]"#);
        let json = nft("inet", "output", &statements);
        check(&walk(&by_nft(json.clone()), &flow(V4)), &Stop("handle 2"), &key);
        check(&walk(&by_nft(json.replace(r#""prio":0"#, r#""prio":-300"#)), &flow(V4)), &Pass, &key);
    }
}
