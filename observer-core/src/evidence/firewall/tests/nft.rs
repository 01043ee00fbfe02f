//! Listings as nft 1.0.6 wrote them, of the rule sets beside them.

use super::Must::{Depend, Pass, Stop};
use super::*;

macro_rules! listing {
    ($name:literal) => {
        Listings {
            nft_json: include_str!(concat!("listings/", $name, ".json")).to_owned(),
            nft_text: include_str!(concat!("listings/", $name, ".txt")).to_owned(),
            ..Listings::default()
        }
    };
}

fn all(listings: &Listings, cases: &[(Flow, Must<'_>)]) {
    for (flow, must) in cases {
        check(&walk(listings, flow), must, flow);
    }
}

fn each(listings: &Listings, cases: &[(&str, Must<'_>)]) {
    for (dst, must) in cases {
        check(&walk(listings, &flow(dst)), must, dst);
    }
}

#[test]
fn verdict_maps_under_a_policy_that_drops() {
    let to_port = |port, flow: Flow| Flow { port, ..flow };
    all(
        &listing!("vmap-policy-drop"),
        &[
            (flow("203.0.113.5"), Pass),
            (flow("2001:db8::5"), Stop("policy drop")),
            (to_port(26, flow("203.0.113.5")), Stop("vmap { 25 : accept, 26-30 : drop }")),
            (to_port(465, flow("203.0.113.5")), Pass),
            (to_port(465, by(33, "203.0.113.5")), Stop("policy drop")),
            // A goto comes back to what follows the base chain: its policy.
            (to_port(587, by(33, "203.0.113.5")), Stop("policy drop")),
            (to_port(587, Flow { uid: None, ..flow("203.0.113.5") }), Depend(&[Condition::User])),
            (to_port(80, Flow { interface: Some("lo".to_owned()), ..flow("203.0.113.5") }), Pass),
            (to_port(80, Flow { interface: None, ..flow("203.0.113.5") }), Depend(&[Condition::Interface])),
        ],
    );
}

#[test]
fn the_sender_may_and_nobody_else() {
    let unknown = Flow { uid: None, ..flow("203.0.113.5") };
    let others = Stop("reject with tcp reset comment \"others, # handle 5\"");
    all(
        &listing!("sender-only"),
        &[
            (flow("203.0.113.5"), Pass),
            (flow("2001:db8::5"), Pass),
            (Flow { gid: Some(33), ..by(33, "203.0.113.5") }, others),
            (Flow { gid: Some(8), ..by(33, "203.0.113.5") }, Pass),
            (by(33, "203.0.113.5"), Depend(&[Condition::Group])),
            (unknown, Depend(&[Condition::User, Condition::Group])),
            (Flow { port: 2525, ..by(33, "203.0.113.5") }, Pass),
        ],
    );
}

#[test]
fn concatenations_of_networks_ranges_and_users() {
    let from = |src: &str, dst| Flow { src: src.parse().ok(), ..flow(dst) };
    all(
        &listing!("concatenations"),
        &[
            (flow("203.0.113.5"), Stop("@closed")),
            (Flow { port: 26, ..flow("203.0.113.5") }, Pass),
            (flow("203.0.113.130"), Pass),
            (Flow { port: 26, ..flow("198.51.100.20") }, Stop("@closed")),
            (Flow { port: 31, ..flow("198.51.100.20") }, Pass),
            (flow("192.0.2.77"), Pass),
            (by(33, "192.0.2.77"), Stop("@by_user")),
            (by(34, "192.0.2.77"), Pass),
            (Flow { uid: None, ..flow("192.0.2.77") }, Depend(&[Condition::User])),
            (flow("203.0.113.200"), Stop("admin-prohibited")),
            (from("192.0.2.11", "203.0.113.200"), Pass),
            (Flow { src: None, ..flow("203.0.113.200") }, Depend(&[Condition::SourceAddress])),
            (flow("100.64.0.1"), Stop("ip daddr != {")),
            (flow("2001:db8::5"), Pass),
        ],
    );
}

#[test]
fn marks_that_rules_set_are_known() {
    all(
        &listing!("marks"),
        &[
            (flow("203.0.113.5"), Stop("meta mark 0x00000021")),
            (flow("198.51.100.9"), Stop("ct mark 0x00000007")),
            // Of its mark only four bits are known, and they differ.
            (flow("198.51.100.10"), Pass),
            (Flow { port: 587, ..flow("198.51.100.10") }, Stop("== 0x00000003")),
            (flow("192.0.2.200"), Depend(&[Condition::Mark])),
        ],
    );
}

#[test]
fn what_cannot_be_known_says_by_what() {
    each(
        &listing!("limits"),
        &[
            ("203.0.113.1", Depend(&[Condition::Rate])),
            ("203.0.113.2", Depend(&[Condition::Rate])),
            ("203.0.113.3", Depend(&[Condition::Rate])),
            ("203.0.113.4", Depend(&[Condition::Set])),
            ("203.0.113.5", Depend(&[Condition::Rate])),
            ("203.0.113.6", Depend(&[Condition::Chance])),
            ("203.0.113.7", Depend(&[Condition::Time])),
            ("203.0.113.8", Depend(&[Condition::Cgroup])),
            ("203.0.113.9", Depend(&[Condition::Rate])),
            ("203.0.113.10", Depend(&[Condition::Packet])),
            ("203.0.113.11", Depend(&[Condition::SourcePort])),
            ("203.0.113.12", Depend(&[Condition::Rate])),
            ("203.0.113.13", Depend(&[Condition::Mark])),
            ("203.0.113.14", Pass),
            ("2001:db8::5", Pass),
        ],
    );
}

#[test]
fn chains_lead_to_each_other_and_tables_follow_each_other() {
    let listing = listing!("chains");
    each(
        &listing,
        &[
            ("203.0.113.1", Stop("late")),
            ("203.0.113.2", Stop("after return")),
            ("203.0.113.3", Stop("drop")),
            ("203.0.113.4", Pass),
            ("203.0.113.5", Stop("reject")),
            ("203.0.113.6", Stop("for others")),
            ("203.0.113.7", Stop("behind")),
        ],
    );
    // A continue ends its rule alone; who goes to `gone` is not stopped by what follows.
    all(
        &listing,
        &[(by(33, "203.0.113.6"), Pass), (Flow { uid: None, ..flow("203.0.113.6") }, Depend(&[Condition::User]))],
    );
}

#[test]
fn redirects_are_named_and_filters_behind_see_the_new_destination() {
    let listing = listing!("redirect");
    let cases = [
        (by(33, "203.0.113.5"), Some(("redirect to port 2525", true)), Pass),
        (by(34, "203.0.113.5"), Some(("redirect to port 2525", true)), Stop("as redirected")),
        (by(36, "203.0.113.5"), Some(("redirect to port 2525", true)), Stop("ct status dnat")),
        (by(108, "203.0.113.5"), None, Pass),
        (by(108, "203.0.113.9"), Some(("dnat to 198.51.100.25 to port 26", true)), Pass),
        (by(108, "203.0.113.8"), Some(("dnat to 192.0.2.25", true)), Pass),
        (
            Flow { uid: None, ..flow("203.0.113.5") },
            Some(("redirect to port 2525", false)),
            Depend(&[Condition::User, Condition::Redirect]),
        ),
        (Flow { port: 587, ..by(33, "203.0.113.5") }, None, Pass),
    ];
    for (flow, redirect, must) in cases {
        let walked = walk(&listing, &flow);
        let first = walked.redirects.first().map(|found| (found.verdict.as_str(), found.is_certain));
        assert_eq!(first, redirect, "{flow:?}: {walked:#?}");
        assert!(walked.redirects.len() < 2, "{walked:#?}");
        check(&walked, &must, &flow);
    }
}

#[test]
fn it_is_a_syn_and_new_and_invalid_before_tracking() {
    each(
        &listing!("states"),
        &[
            ("203.0.113.1", Pass),
            ("203.0.113.2", Stop("invalid")),
            ("203.0.113.3", Stop("ct state new")),
            ("203.0.113.4", Stop("tcp flags syn /")),
            ("203.0.113.5", Pass),
            ("203.0.113.6", Stop("ct state !=")),
            ("203.0.113.7", Stop("tcp flags syn drop")),
            ("203.0.113.8", Pass),
            ("203.0.113.9", Pass),
            ("203.0.113.10", Stop("fib daddr type !=")),
            ("203.0.113.11", Stop("iifname !=")),
            ("203.0.113.12", Pass),
            ("203.0.113.13", Stop("< 26")),
            ("203.0.113.14", Stop("255.0.255.255")),
            ("203.0.113.15", Pass),
            ("203.0.113.16", Pass),
            ("203.0.113.17", Stop("ct original")),
            ("2001:db8::5", Stop("ip6 daddr")),
            ("2001:db8:1::5", Pass),
        ],
    );
}

#[test]
fn egress_is_by_interface_and_a_table_may_be_asleep() {
    let by_lo = |interface: Option<&str>| Flow { interface: interface.map(str::to_owned), ..flow("203.0.113.5") };
    let listing = listing!("egress");
    all(
        &listing,
        &[
            (by_lo(Some("lo")), Stop("meta protocol ip")),
            (by_lo(Some("eth0")), Pass),
            // What it is on is not known.
            (by_lo(Some("eth0.5")), Depend(&[Condition::Interface])),
            (by_lo(None), Depend(&[Condition::Interface])),
        ],
    );
    // As nft writes it from 1.0.7 on, and without the text.
    let newer = listing.nft_json.replace(r#""flags": "asleep""#, r#""flags": ["dormant"]"#);
    let newer = newer.replace(r#""hook": "egress","#, r#""hook": "egress", "dev": ["lo", "eth1"],"#);
    let listing = Listings { nft_json: newer, ..Listings::default() };
    all(&listing, &[(by_lo(Some("lo")), Stop("handle 2")), (by_lo(Some("eth0")), Pass)]);
}

#[test]
fn what_is_forwarded_passes_other_hooks() {
    let through = |src: &str, from: &str| Flow {
        src: src.parse().ok(),
        uid: None,
        way: Way::Through { from: Some(from.to_owned()) },
        ..flow("203.0.113.5")
    };
    all(
        &listing!("forward"),
        &[
            (through("172.17.0.2", "docker0"), Pass),
            (through("172.17.0.3", "docker0"), Stop("admin-prohibited")),
            (through("172.18.0.2", "br-1"), Stop("policy drop")),
            (Flow { port: 587, ..through("172.17.0.3", "docker0") }, Pass),
            (Flow { src: None, ..through("172.17.0.2", "docker0") }, Depend(&[Condition::SourceAddress])),
            (flow("203.0.113.5"), Stop("policy drop")),
        ],
    );
}

/// One rule of chain `out`, with the sets that it needs.
fn by_nft(statements: &str, dst: &str) -> Walked {
    let nft_json = format!(
        r#"{{"nftables":[{{"metainfo":{{"version":"1.0.6"}}}},{{"table":{{"family":"inet","name":"lab","handle":1}}}},
        {{"chain":{{"family":"inet","table":"lab","name":"out","handle":1,"type":"filter","hook":"output","prio":0,"policy":"accept"}}}},
        {{"chain":{{"family":"inet","table":"lab","name":"smtp","handle":2}}}},
        {{"set":{{"family":"inet","table":"lab","name":"bad","type":"ipv4_addr","handle":3,"elem":["198.51.100.9",{{"prefix":{{"addr":"203.0.113.0","len":25}}}},{{"elem":{{"val":"192.0.2.99","timeout":5}}}},{{"elem":{{"val":"192.0.2.98","limit":{{"rate":1,"per":"minute"}}}}}}]}}}},
        {{"rule":{{"family":"inet","table":"lab","chain":"smtp","handle":8,"expr":[{{"counter":{{"packets":0,"bytes":0}}}},{{"reject":{{"type":"tcp reset"}}}}]}}}},
        {{"rule":{{"family":"inet","table":"lab","chain":"out","handle":7,"expr":[{statements}]}}}}]}}"#
    );
    let nft_text = "table inet lab { # handle 1\n\tchain out { # handle 1\n\t\ttype filter hook output priority filter; policy accept;\n\t\tthe rule itself # handle 7\n\t}\n\n\tchain smtp { # handle 2\n\t\tcounter reject with tcp reset # handle 8\n\t}\n}\n".to_owned();
    walk(&Listings { nft_json, nft_text, ..Listings::default() }, &flow(dst))
}

#[test]
fn members_of_a_set_may_be_networks_or_have_a_limit() {
    let rule =
        r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"@bad"}},{"drop":null}"#;
    for (dst, must) in [
        ("203.0.113.5", Stop("the rule itself")),
        ("203.0.113.130", Pass),
        ("198.51.100.9", Stop("the rule itself")),
        ("192.0.2.99", Stop("the rule itself")),
        ("192.0.2.98", Depend(&[Condition::Rate])),
    ] {
        check(&by_nft(rule, dst), &must, &dst);
    }
    check(&by_nft(&rule.replace("==", "!="), "203.0.113.5"), &Pass, &"negated");
    check(&by_nft(&rule.replace("==", "!="), "203.0.113.130"), &Stop("the rule itself"), &"negated");
    check(&by_nft(&rule.replace("@bad", "@gone"), "203.0.113.5"), &Depend(&[Condition::Set]), &"not listed");
}

#[test]
fn flags_as_later_versions_write_them() {
    let flags = r#"{"match":{"op":"==","left":{"&":[{"payload":{"protocol":"tcp","field":"flags"}},{"|":[{"|":["fin","syn"]},"rst"]}]},"right":"syn"}},{"drop":null}"#;
    check(&by_nft(flags, "203.0.113.5"), &Stop("the rule itself"), &flags);
    let states =
        r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":{"|":["established","related"]}}},{"drop":null}"#;
    check(&by_nft(states, "203.0.113.5"), &Pass, &states);
    let jump = r#"{"jump":{"target":"smtp"}}"#;
    check(&by_nft(jump, "203.0.113.5"), &Stop("counter reject with tcp reset"), &jump);
}

#[test]
fn what_is_not_understood_is_never_certain() {
    for statement in [
        r#"{"xt":null}"#,
        r#"{"xt":{"type":"target","name":"FANCY"}}"#,
        r#"{"new":{"thing":1}}"#,
        r#"{"match":{"op":"==","left":{"new":{"key":"thing"}},"right":1}},{"drop":null}"#,
        r#"{"match":{"op":"~","left":{"meta":{"key":"skuid"}},"right":1}},{"drop":null}"#,
        r#"{"match":{"op":"==","left":{"meta":{"key":"skuid"}},"right":{"new":1}}},{"drop":null}"#,
        r#"{"jump":{"target":"gone"}}"#,
        r#"{"vmap":{"key":{"new":1},"data":{"set":[[1,{"drop":null}]]}}}"#,
        r#"{"vmap":{"key":{"meta":{"key":"skuid"}},"data":"@gone"}},{"drop":null}"#,
        r#"{"queue":{"num":1}}"#,
        "5,{\"drop\":null}",
    ] {
        let walked = by_nft(statement, "203.0.113.5");
        let is_certain = walked.findings.iter().any(|found| found.is_certain);
        assert!(walked.answer != Answer::Stopped && !is_certain, "{statement}: {walked:#?}");
    }
    // A target that may accept makes the policy uncertain.
    let drops = |statement: &str| {
        format!(
            r#"{{"nftables":[{{"chain":{{"family":"inet","table":"t","name":"o","handle":1,"type":"filter","hook":"output","prio":0,"policy":"drop"}}}},{{"rule":{{"family":"inet","table":"t","chain":"o","handle":7,"expr":[{statement}]}}}}]}}"#
        )
    };
    for statement in [r#"{"xt":{"type":"target","name":"FANCY"}}"#, r#"{"new":1}"#, r#"{"queue":{"num":1}}"#] {
        let listings = Listings { nft_json: drops(statement), ..Listings::default() };
        assert_eq!(walk(&listings, &flow("203.0.113.5")).answer, Answer::Unknown, "{statement}");
    }
}

#[test]
fn what_iptables_left_in_a_table_that_it_does_not_list() {
    for (statements, must) in [
        (r#"{"xt":{"type":"target","name":"REJECT"}}"#, Stop("the rule itself")),
        (r#"{"xt":{"type":"match","name":"comment"}},{"drop":null}"#, Stop("the rule itself")),
        (r#"{"xt":{"type":"match","name":"hashlimit"}},{"drop":null}"#, Depend(&[Condition::Rate])),
        (r#"{"xt":{"type":"match","name":"owner"}},{"drop":null}"#, Depend(&[Condition::Extension])),
        (r#"{"xt":{"type":"target","name":"LOG"}}"#, Pass),
    ] {
        check(&by_nft(statements, "203.0.113.5"), &must, &statements);
    }
}

proptest! {
    #[test]
    fn no_rule_breaks_it(statements in prop::collection::vec(any_statement(), 0..6)) {
        by_nft(&statements.join(","), "203.0.113.5");
        by_nft(&statements.join(","), "2001:db8::1");
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
        Just("\"*\"".to_owned()),
        Just("[\"new\",[\"new\"]]".to_owned()),
        Just(r#"{"prefix":{"addr":"203.0.113.0","len":200}}"#.to_owned()),
        Just(r#"{"range":[1]}"#.to_owned()),
        Just(r#"{"set":[{"elem":{"val":"x"}}]}"#.to_owned()),
        Just(r#"{"concat":[1,{"range":["a","b"]}]}"#.to_owned()),
        Just(r#"{"|":[1,"syn"]}"#.to_owned()),
        Just("[[[]]]".to_owned()),
    ];
    let left = prop_oneof![
        Just(r#"{"payload":{"protocol":"ip","field":"daddr"}}"#),
        Just(r#"{"payload":{"protocol":"tcp","field":"dport"}}"#),
        Just(r#"{"payload":{"protocol":"tcp","field":"flags"}}"#),
        Just(r#"{"meta":{"key":"l4proto"}}"#),
        Just(r#"{"meta":"mark"}"#),
        Just(r#"{"ct":{"key":"state"}}"#),
        Just(r#"{"concat":[{"meta":{"key":"skuid"}},{"ct":{"key":"mark"}}]}"#),
        Just(r#"{"&":[{"meta":{"key":"mark"}},255]}"#),
        Just(r#"{"&":[1]}"#),
        Just("7"),
    ];
    let operator = prop_oneof![Just("=="), Just("!="), Just("in"), Just("!"), Just("<"), Just(">="), Just("")];
    prop_oneof![
        (operator, left.clone(), value.clone())
            .prop_map(|(op, left, right)| format!(r#"{{"match":{{"op":"{op}","left":{left},"right":{right}}}}}"#)),
        (left.clone(), value.clone()).prop_map(|(key, value)| format!(
            r#"{{"vmap":{{"key":{key},"data":{{"set":[[{value},{{"drop":null}}],["*",{{"goto":{{"target":"smtp"}}}}]]}}}}}}"#
        )),
        (left, value.clone()).prop_map(|(key, value)| format!(r#"{{"mangle":{{"key":{key},"value":{value}}}}}"#)),
        value.clone().prop_map(|value| format!(r#"{{"dnat":{{"addr":{value},"port":{value}}}}}"#)),
        value.prop_map(|value| format!(r#"{{"redirect":{{"port":{value}}}}}"#)),
        Just(r#"{"drop":null}"#.to_owned()),
        Just(r#"{"jump":{"target":"smtp"}}"#.to_owned()),
        Just(r#"{"goto":{"target":"out"}}"#.to_owned()),
        Just(r#"{"jump":null}"#.to_owned()),
        Just("{}".to_owned()),
        Just("5".to_owned()),
    ]
}
