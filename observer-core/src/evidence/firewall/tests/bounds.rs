//! However listings look, a walk ends, and says where it did not see all.

use std::time::Duration;

use super::*;

#[test]
fn what_is_no_listing_is_said() {
    let listings = Listings { nft_json: "{\"nftables\": [".to_owned(), ..Listings::default() };
    let walked = walk(&listings, &flow("203.0.113.5"));
    assert_eq!((walked.answer, walked.findings.len(), walked.unreadable.len()), (Answer::Unknown, 0, 1));
    let listings = Listings { nft_json: r#"{"nftables":[{"chain":{"family":5}}]}"#.to_owned(), ..Listings::default() };
    assert_eq!(walk(&listings, &flow("203.0.113.5")).answer, Answer::Unknown);
}

#[test]
fn what_could_not_be_listed_leaves_nothing_certain_to_pass() {
    let mut listings = saved("*filter\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", "");
    assert_eq!(walk(&listings, &flow("203.0.113.5")).answer, Answer::Passes);
    listings.not_listed.push("nft: it did not end within 10 s".to_owned());
    let walked = walk(&listings, &flow("203.0.113.5"));
    assert_eq!((walked.answer, walked.unreadable.len()), (Answer::Unknown, 1));
    // What stops it does so all the same.
    listings.iptables = "*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n".to_owned();
    assert_eq!(walk(&listings, &flow("203.0.113.5")).answer, Answer::Stopped);
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
    let walked = walk(&saved(&(save + "COMMIT\n"), ""), &flow("203.0.113.5"));
    assert!(walked.answer == Answer::Unknown && walked.unreadable[0].contains("lead into each other"), "{walked:?}");
    let endless = "*filter\n:OUTPUT ACCEPT [0:0]\n:smtp - [0:0]\n-A OUTPUT -j smtp\n-A smtp -j smtp\nCOMMIT\n";
    assert_eq!(walk(&saved(endless, ""), &flow("203.0.113.5")).answer, Answer::Unknown);
}

#[test]
fn twenty_thousand_bans_are_walked() {
    let mut save = String::from(
        "*filter\n:OUTPUT ACCEPT [0:0]\n:LOCALOUTPUT - [0:0]\n:DENYOUT - [0:0]\n-A OUTPUT -j LOCALOUTPUT\n-A LOCALOUTPUT ! -o lo -j DENYOUT\n",
    );
    for number in 0..20_000_u32 {
        let banned = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        save.push_str(&format!("-A DENYOUT -d {banned}/32 ! -o lo -j LOGDROPOUT\n"));
    }
    save.push_str(":LOGDROPOUT - [0:0]\n-A LOGDROPOUT -m limit --limit 30/min -j LOG\n-A LOGDROPOUT -j DROP\nCOMMIT\n");
    let listings = saved(&save, "");
    assert_eq!(walk(&listings, &flow("203.0.113.5")).answer, Answer::Passes);
    let walked = walk(&listings, &flow("10.0.78.31"));
    assert_eq!((walked.answer, walked.findings[0].owner), (Answer::Stopped, Some("CSF")));
}

proptest! {
    #[test]
    fn no_listing_breaks_it(
        save in "(\\*(filter|nat|mangle|raw)\n)?(:OUTPUT [A-Z]+ \\[0:0\\]\n)?([-:*A-Za-z0-9!/. \"\\\\]{0,80}\n){0,12}",
        json in ".{0,200}",
        ipset in "((create|add) [a-c] [-:,a-z0-9./ ]{0,40}\n){0,8}",
    ) {
        let listings = Listings { nft_text: save.clone(), nft_json: json, ipset, ..saved(&save, "") };
        walk(&listings, &flow("203.0.113.5"));
    }

    #[test]
    fn no_rule_of_iptables_breaks_it(rules in prop::collection::vec(any_rule(), 0..8), is_forwarded: bool) {
        let save = format!("*filter\n:OUTPUT DROP [0:0]\n:FORWARD DROP [0:0]\n{}\nCOMMIT\n", rules.join("\n"));
        let way = if is_forwarded { Way::Through { from: None } } else { Way::Out };
        let listings = Listings { ipset: "create s hash:net,port family inet\nadd s 203.0.113.0/24,tcp:1-x\n".to_owned(), ..saved(&save, "") };
        let walked = walk(&listings, &Flow { way, ..flow("203.0.113.5") });
        for found in walked.findings.iter().chain(&walked.redirects) {
            assert_eq!(found.is_certain, found.conditions.is_empty());
        }
    }
}

/// Options of any kind, with arguments of any other.
fn any_rule() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "-p",
        "tcp",
        "-d",
        "203.0.113.5",
        "!",
        "-m",
        "multiport",
        "--dports",
        "25,",
        "owner",
        "--uid-owner",
        "1-",
        "-j",
        "-g",
        "OUTPUT",
        "DROP",
        "MARK",
        "--set-xmark",
        "0x1/",
        "--tcp-flags",
        "SYN",
        "set",
        "--match-set",
        "s",
        "dst,dst",
        "\"",
        "\\",
        "DNAT",
        "--to-destination",
        "[::1]:",
        "conntrack",
        "--ctstate",
        "NEW,",
        "REDIRECT",
        "--to-ports",
        "99999",
        "-i",
        "-o",
        "+",
    ]);
    prop::collection::vec(word, 0..12).prop_map(|words| format!("-A OUTPUT {}", words.join(" ")))
}

/// Chains that lead to each other, and in each a comment of a megabyte.
#[test]
fn long_rules_cost_a_bounded_time() {
    let long = "x".repeat(1 << 20);
    let mut save = String::from("*filter\n:OUTPUT ACCEPT [0:0]\n");
    (1..10).for_each(|nth| save.push_str(&format!(":c{nth} - [0:0]\n")));
    save.push_str("-A OUTPUT -j c1\n");
    for nth in 1..10 {
        save.push_str(&format!("-A c{nth} -m comment --comment \"{long}\" -p udp -j DROP\n"));
        (0..10).for_each(|_| save.push_str(&format!("-A c{nth} -j c{}\n", nth + 1)));
    }
    let began = std::time::Instant::now();
    let walked = walk(&saved(&(save + "COMMIT\n"), ""), &flow("203.0.113.5"));
    assert!(walked.answer == Answer::Unknown && walked.unreadable[0].contains("too many"), "{walked:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// Each of which may stop the flow, in a chain whose owner is asked for each.
#[test]
fn a_hundred_thousand_rules_are_walked() {
    let rule = r#"{"rule":{"family":"inet","table":"t","chain":"c","handle":2,"expr":[{"limit":{"rate":5,"per":"minute"}},{"drop":null}]}},
        {"rule":{"family":"inet","table":"t","chain":"c","handle":2,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"192.0.2.1"}},{"jump":{"target":"d"}}]}},"#;
    let json = format!(
        r#"{{"nftables":[{}{{"chain":{{"family":"inet","table":"t","name":"c","type":"filter","hook":"output","prio":0,"policy":"drop"}}}}]}}"#,
        rule.repeat(50_000)
    );
    let began = std::time::Instant::now();
    let walked = walk(&Listings { nft_json: json, ..Listings::default() }, &flow("203.0.113.5"));
    assert_eq!((walked.answer, walked.unreadable.len()), (Answer::Stopped, 0), "{walked:?}");
    assert!(walked.findings[0].rule == "policy drop" && walked.findings.len() == AT_MOST, "{walked:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
