use proptest::prelude::*;

use super::*;

fn flow(dst: &str) -> Flow {
    let dst: IpAddr = dst.parse().unwrap();
    let src = if dst.is_ipv4() { "192.0.2.10" } else { "2001:db8:1::10" };
    Flow { src: src.parse().ok(), dst, port: 25, interface: Some("eth0".to_owned()) }
}

fn by_iptables(rules: &str, dst: &str) -> Vec<Finding> {
    let save = format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:smtp - [0:0]\n:ufw-user-output - [0:0]\n{rules}\nCOMMIT\n"
    );
    let listings = if dst.contains(':') {
        Listings { ip6tables: save, ..Listings::default() }
    } else {
        Listings { iptables: save, ..Listings::default() }
    };
    findings(&listings, &flow(dst)).0
}

fn certain(found: &[Finding]) -> Vec<(&str, &str)> {
    found
        .iter()
        .filter(|finding| finding.is_certain)
        .map(|finding| (finding.verdict.as_str(), finding.rule.as_str()))
        .collect()
}

#[test]
fn iptables_rules_that_stop_it_are_named() {
    for (rule, verdict) in [
        ("-A OUTPUT -p tcp -m tcp --dport 25 -j DROP", "drop"),
        (
            "-A OUTPUT -d 203.0.113.0/24 -p tcp -m tcp --dport 25 -j REJECT --reject-with icmp-port-unreachable",
            "reject",
        ),
        ("-A OUTPUT -o eth+ -p tcp -m multiport --dports 25,465,587 -j DROP", "drop"),
        ("-A OUTPUT -p tcp -m tcp --dport 1:1024 -m conntrack --ctstate NEW -j DROP", "drop"),
        ("-A OUTPUT ! -d 198.51.100.0/24 -p tcp -m comment --comment \"no mail -j ACCEPT\" -j DROP", "drop"),
        ("-A OUTPUT -d 203.0.113.5/32 -j DROP", "drop"),
    ] {
        assert_eq!(certain(&by_iptables(rule, "203.0.113.5")), [(verdict, rule)]);
    }
}

#[test]
fn iptables_rules_for_others_are_not() {
    for rule in [
        "-A OUTPUT -p udp -m udp --dport 25 -j DROP",
        "-A OUTPUT -d 198.51.100.0/24 -p tcp -j DROP",
        "-A OUTPUT -p tcp -m tcp --dport 26:1024 -j DROP",
        "-A OUTPUT ! -o eth0 -j DROP",
        "-A OUTPUT -p tcp -m state --state RELATED,ESTABLISHED -j DROP",
        "-A INPUT -p tcp -m tcp --dport 25 -j DROP",
        "-A OUTPUT -p tcp -m tcp --dport 25 -j ACCEPT\n-A OUTPUT -j DROP",
    ] {
        assert_eq!(by_iptables(rule, "203.0.113.5"), [], "{rule}");
    }
}

#[test]
fn what_cannot_be_known_may_stop_it() {
    for rule in [
        "-A OUTPUT -p tcp -m owner --uid-owner 1000 -m tcp --dport 25 -j DROP",
        "-A OUTPUT -p tcp -m tcp --dport 25 -m limit --limit 5/min -j DROP",
        "-A OUTPUT -m set --match-set blocked dst -j DROP",
    ] {
        let found = by_iptables(rule, "203.0.113.5");
        assert_eq!((found.len(), found[0].is_certain), (1, false), "{rule}");
    }
}

#[test]
fn iptables_chains_are_followed_and_their_owner_named() {
    let jump = "-A OUTPUT -j ufw-user-output\n-A ufw-user-output -p tcp -m tcp --dport 25 -j DROP";
    let found = by_iptables(jump, "203.0.113.5");
    assert_eq!((found[0].owner, found[0].chain.as_str()), (Some("ufw"), "filter ufw-user-output"));
    let back = "-A OUTPUT -p tcp -j smtp\n-A smtp -d 203.0.113.0/24 -j RETURN\n-A smtp -j DROP";
    assert_eq!(by_iptables(back, "203.0.113.5"), []);
    assert_eq!(by_iptables(back, "198.51.100.1").len(), 1);
    let endless = "-A OUTPUT -j smtp\n-A smtp -j smtp";
    assert_eq!(by_iptables(endless, "203.0.113.5"), []);
    assert_eq!(by_iptables("-A OUTPUT -d 2001:db8::/32 -p tcp -j DROP", "2001:db8::1")[0].tool, "ip6tables");
}

#[test]
fn a_policy_stops_what_no_rule_lets_through() {
    let save = "*filter\n:OUTPUT DROP [0:0]\n-A OUTPUT -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n";
    let listings = Listings { iptables: save.to_owned(), ..Listings::default() };
    assert_eq!(certain(&findings(&listings, &flow("203.0.113.5")).0), [("drop", "policy DROP")]);
}

fn by_nft(expressions: &str, dst: &str) -> Vec<Finding> {
    let nft_json = format!(
        r#"{{"nftables":[{{"metainfo":{{"version":"1.0.6"}}}},{{"table":{{"family":"inet","name":"lab","handle":1}}}},
        {{"chain":{{"family":"inet","table":"lab","name":"out","handle":1,"type":"filter","hook":"output","prio":0,"policy":"accept"}}}},
        {{"chain":{{"family":"inet","table":"lab","name":"smtp","handle":2}}}},
        {{"set":{{"family":"inet","table":"lab","name":"bad","type":"ipv4_addr","handle":3,"elem":["198.51.100.9",{{"prefix":{{"addr":"203.0.113.0","len":25}}}},{{"elem":{{"val":"192.0.2.99","timeout":5}}}}]}}}},
        {{"rule":{{"family":"inet","table":"lab","chain":"smtp","handle":8,"expr":[{{"counter":{{"packets":0,"bytes":0}}}},{{"reject":{{"type":"tcp reset"}}}}]}}}},
        {{"rule":{{"family":"inet","table":"lab","chain":"out","handle":7,"expr":[{expressions}]}}}}]}}"#
    );
    let nft_text = "table inet lab { # handle 1\n\tchain out { # handle 1\n\t\ttype filter hook output priority filter; policy accept;\n\t\tthe rule itself # handle 7\n\t}\n\tchain smtp { # handle 2\n\t\tcounter reject with tcp reset # handle 8\n\t}\n}\n".to_owned();
    let (found, unreadable) = findings(&Listings { nft_json, nft_text, ..Listings::default() }, &flow(dst));
    assert_eq!(unreadable, Vec::<String>::new());
    found
}

const TO: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"203.0.113.5"}}"#;
const TCP: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"tcp"}}"#;
const DROP: &str = r#"{"drop":null}"#;

fn port(right: &str) -> String {
    format!(r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{right}}}}}"#)
}

#[test]
fn nft_rules_that_stop_it_are_named() {
    let in_set = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"@bad"}}"#;
    let new = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["new","established"]}}"#;
    let by = r#"{"match":{"op":"==","left":{"meta":{"key":"oifname"}},"right":"eth*"}}"#;
    for condition in [
        TO.to_owned(),
        format!("{TCP},{TO}"),
        port("25"),
        port(r#"{"set":[25,{"range":[400,600]}]}"#),
        port(r#"{"range":[20,30]}"#),
        in_set.to_owned(),
        new.to_owned(),
        by.to_owned(),
        r#"{"counter":{"packets":1,"bytes":2}}"#.to_owned(),
    ] {
        let found = by_nft(&format!("{condition},{DROP}"), "203.0.113.5");
        assert_eq!(certain(&found), [("drop", "the rule itself")], "{condition}");
    }
    let jump = by_nft(&format!(r#"{},{{"jump":{{"target":"smtp"}}}}"#, port("25")), "203.0.113.5");
    assert_eq!(certain(&jump), [("reject", "counter reject with tcp reset")]);
}

#[test]
fn nft_rules_for_others_are_not() {
    let udp = TCP.replace("tcp", "udp");
    let not = TO.replace("==", "!=");
    for condition in [udp, not, port("26"), port(r#"{"set":[26,587]}"#), TO.replace("203.0.113.5", "203.0.113.6")] {
        assert_eq!(by_nft(&format!("{condition},{DROP}"), "203.0.113.5"), [], "{condition}");
    }
    assert_eq!(by_nft(&format!("{},{{\"accept\":null}}", port("25")), "203.0.113.5"), []);
}

#[test]
fn nft_limits_and_marks_may_stop_it() {
    let limit = r#"{"limit":{"rate":5,"per":"minute"}}"#;
    let mark = r#"{"match":{"op":"==","left":{"meta":{"key":"skuid"}},"right":1000}}"#;
    for condition in [limit, mark] {
        let found = by_nft(&format!("{condition},{DROP}"), "203.0.113.5");
        assert_eq!((found.len(), found[0].is_certain), (1, false), "{condition}");
    }
}

#[test]
fn what_iptables_lists_is_not_said_twice() {
    let nft_json = r#"{"nftables":[{"chain":{"family":"ip","table":"filter","name":"OUTPUT","handle":1,"type":"filter","hook":"output","prio":0,"policy":"drop"}}]}"#;
    let listings = |iptables: &str| Listings {
        nft_json: nft_json.to_owned(),
        iptables: iptables.to_owned(),
        ..Listings::default()
    };
    assert_eq!(findings(&listings(""), &flow("203.0.113.5")).0.len(), 1);
    assert_eq!(findings(&listings("*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n"), &flow("203.0.113.5")).0.len(), 1);
}

#[test]
fn what_is_no_listing_is_said() {
    let listings = Listings { nft_json: "{\"nftables\": [".to_owned(), ..Listings::default() };
    let (found, unreadable) = findings(&listings, &flow("203.0.113.5"));
    assert_eq!((found.len(), unreadable.len()), (0, 1));
}

proptest! {
    #[test]
    fn no_listing_breaks_it(save in "(\\*filter\n)?(:OUTPUT [A-Z]+ \\[0:0\\]\n)?([-:*A-Za-z0-9!/. \"]{0,80}\n){0,12}", json in ".{0,200}") {
        let listings = Listings { iptables: save.clone(), nft_text: save, nft_json: json, ..Listings::default() };
        findings(&listings, &flow("203.0.113.5"));
    }

    #[test]
    fn no_rule_breaks_it(expressions in prop::collection::vec(any_statement(), 0..6)) {
        by_nft(&expressions.join(","), "203.0.113.5");
        by_nft(&expressions.join(","), "2001:db8::1");
    }
}

/// Statements of the right shape, with values of any.
fn any_statement() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("25".to_owned()),
        Just("\"@bad\"".to_owned()),
        Just("\"@\"".to_owned()),
        Just("\"tcp\"".to_owned()),
        Just(r#"{"prefix":{"addr":"203.0.113.0","len":200}}"#.to_owned()),
        Just(r#"{"range":[1]}"#.to_owned()),
        Just(r#"{"set":[{"elem":{"val":"x"}}]}"#.to_owned()),
        Just("[[[]]]".to_owned()),
    ];
    let left = prop_oneof![
        Just(r#"{"payload":{"protocol":"ip","field":"daddr"}}"#),
        Just(r#"{"payload":{"protocol":"tcp","field":"dport"}}"#),
        Just(r#"{"meta":{"key":"l4proto"}}"#),
        Just(r#"{"ct":{"key":"state"}}"#),
        Just("7"),
    ];
    prop_oneof![
        (left, value).prop_map(|(left, right)| format!(r#"{{"match":{{"op":"==","left":{left},"right":{right}}}}}"#)),
        Just(DROP.to_owned()),
        Just(r#"{"jump":{"target":"smtp"}}"#.to_owned()),
        Just(r#"{"goto":{"target":"out"}}"#.to_owned()),
        Just(r#"{"jump":null}"#.to_owned()),
        Just("{}".to_owned()),
        Just("5".to_owned()),
    ]
}

/// Sixteen chains, each of which leads to the next one ten times over.
#[test]
fn chains_that_lead_into_each_other_cost_a_bounded_time() {
    let mut save = String::from("*filter\n:OUTPUT DROP [0:0]\n");
    let name = |nth: usize| if nth == 0 { "OUTPUT".to_owned() } else { format!("c{nth}") };
    (1..16).for_each(|nth| save.push_str(&format!(":{} - [0:0]\n", name(nth))));
    for nth in 0..15 {
        (0..10).for_each(|_| save.push_str(&format!("-A {} -j {}\n", name(nth), name(nth + 1))));
    }
    let listings = Listings { iptables: save + "COMMIT\n", ..Listings::default() };
    let (found, unreadable) = findings(&listings, &flow("203.0.113.5"));
    assert_eq!(found, []);
    assert!(unreadable[0].contains("lead into each other"), "{unreadable:?}");
}
