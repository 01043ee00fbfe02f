use std::net::IpAddr;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::finding::{Finding, of_listing, of_mail, of_names};
use super::{
    Absence, AddressNames, Answer, DomainMail, Failure, Host, Listing, ListingAnswer, MailExchanger, Pointer, Route,
    special_purpose,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host(name: &str, addresses: &[&str]) -> Host {
    let mut host = Host {
        name: name.to_owned(),
        alias: None,
        ipv4: Answer::Absent(Absence::NoData),
        ipv6: Answer::Absent(Absence::NoData),
        omitted: 0,
    };
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match ip(address) {
            IpAddr::V4(address) => ipv4.push(address),
            IpAddr::V6(address) => ipv6.push(address),
        }
    }
    if !ipv4.is_empty() {
        host.ipv4 = Answer::Found(ipv4);
    }
    if !ipv6.is_empty() {
        host.ipv6 = Answer::Found(ipv6);
    }
    host
}

fn mail(route: Route) -> DomainMail {
    DomainMail { domain: "example.org".to_owned(), route, omitted: 0 }
}

fn exchangers(hosts: Vec<Host>) -> DomainMail {
    mail(Route::Exchangers(hosts.into_iter().map(|host| MailExchanger { preference: 10, host }).collect()))
}

fn names(names: Answer<Vec<Pointer>>) -> AddressNames {
    AddressNames { address: ip("11.0.0.5"), names, omitted: 0 }
}

fn pointer(leads_back: Answer<bool>) -> Pointer {
    Pointer { name: "mx.example.org".to_owned(), leads_back }
}

#[test]
fn good_mail_has_no_findings() {
    let good =
        exchangers(vec![host("mx1.example.org", &["11.0.0.5", "2600::5"]), host("mx2.example.org", &["11.0.0.6"])]);
    for destination in [None, Some("11.0.0.5"), Some("::ffff:11.0.0.6"), Some("2600::5")] {
        assert_eq!(of_mail(&good, destination.map(ip)), []);
    }
}

#[test]
fn domains_without_mail_are_told() {
    let domain = || "example.org".to_owned();
    let destination = Some(ip("11.0.0.5"));
    assert_eq!(of_mail(&mail(Route::NoSuchDomain), destination), [Finding::NoSuchDomain { domain: domain() }]);
    assert_eq!(of_mail(&mail(Route::NullMx), destination), [Finding::NullMx { domain: domain() }]);
    let why = Failure::ServFail;
    assert_eq!(of_mail(&mail(Route::Unknown(why)), destination), [Finding::Unknown { about: domain(), why }]);
    let implicit = mail(Route::Implicit(host("example.org", &["11.0.0.5"])));
    assert_eq!(of_mail(&implicit, destination), [Finding::ImplicitMx { domain: domain() }]);
}

#[test]
fn findings_are_written_with_their_evidence() {
    let mut alias = host("alias.example.org", &["11.0.0.7"]);
    alias.alias = Some("mx.example.net".to_owned());
    let bad = exchangers(vec![
        host(".", &[]),
        alias,
        host("none.example.org", &[]),
        host("192.0.2.1", &[]),
        host("private.example.org", &["10.0.0.1", "fd00::1"]),
    ]);
    let facts_and_findings = (&bad, of_mail(&bad, Some(ip("11.0.0.5"))));
    assert_snapshot!(serde_json::to_string_pretty(&facts_and_findings).unwrap());
}

#[test]
fn what_is_unknown_is_not_stale() {
    let mut unknown = host("mx.example.org", &[]);
    unknown.ipv4 = Answer::Unknown(Failure::Timeout);
    let partly = exchangers(vec![unknown, host("mx2.example.org", &["11.0.0.6"])]);
    let why = Failure::Timeout;
    assert_eq!(of_mail(&partly, Some(ip("11.0.0.5"))), [Finding::Unknown { about: "mx.example.org".to_owned(), why }]);
    let mut cut = exchangers(vec![host("mx.example.org", &["11.0.0.6"])]);
    cut.omitted = 1;
    assert_eq!(of_mail(&cut, Some(ip("11.0.0.5"))), []);
    cut.omitted = 0;
    let stale = Finding::NotAnMxOfDomain { domain: "example.org".to_owned(), destination: ip("11.0.0.5") };
    assert_eq!(of_mail(&cut, Some(ip("11.0.0.5"))), [stale]);
}

#[test]
fn names_are_judged() {
    let address = ip("11.0.0.5");
    assert_eq!(
        of_names(&names(Answer::Found(vec![pointer(Answer::Found(false)), pointer(Answer::Found(true))]))),
        None
    );
    assert_eq!(of_names(&names(Answer::Absent(Absence::NoSuchName))), Some(Finding::NoPtr { address }));
    let unconfirmed = Finding::NotForwardConfirmed { address, names: vec!["mx.example.org".to_owned()] };
    for leads_back in [Answer::Found(false), Answer::Absent(Absence::NoSuchName)] {
        assert_eq!(of_names(&names(Answer::Found(vec![pointer(leads_back)]))), Some(unconfirmed.clone()));
    }
    let why = Failure::Timeout;
    let unknown = Some(Finding::Unknown { about: "11.0.0.5".to_owned(), why });
    assert_eq!(of_names(&names(Answer::Unknown(why))), unknown);
    assert_eq!(
        of_names(&names(Answer::Found(vec![pointer(Answer::Found(false)), pointer(Answer::Unknown(why))]))),
        unknown
    );
}

#[test]
fn only_listings_are_listed() {
    let code = [127, 255, 255, 254].into();
    for (outcome, listed, found) in [
        (ListingAnswer::Listed { codes: vec![[127, 0, 0, 2].into()], text: Vec::new() }, true, true),
        (ListingAnswer::NotListed, false, false),
        (ListingAnswer::NotPublic, false, false),
        (ListingAnswer::QueryRefused { code }, false, true),
        (ListingAnswer::NotAList { answer: [11, 0, 0, 1].into() }, false, true),
        (ListingAnswer::ListsEverything, false, true),
        (ListingAnswer::Failed(Failure::ServFail), false, true),
    ] {
        let finding = of_listing(&Listing { zone: "bl.example".to_owned(), address: ip("11.0.0.5"), outcome });
        assert_eq!((matches!(finding, Some(Finding::Listed { .. })), finding.is_some()), (listed, found));
    }
}

fn any_answer<T: Clone + std::fmt::Debug>(found: impl Strategy<Value = T>) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![
        3 => found.prop_map(Answer::Found),
        1 => Just(Answer::Absent(Absence::NoSuchName)),
        1 => Just(Answer::Absent(Absence::NoData)),
        1 => Just(Answer::Unknown(Failure::Timeout)),
    ]
}

prop_compose! {
    fn any_host()(
        name in "[a-c]{1}",
        ipv4 in any_answer(prop::collection::vec((8_u8..14).prop_map(|last| [last, 0, 0, 1].into()), 1..3)),
        ipv6 in any_answer(prop::collection::vec((0_u128..4).prop_map(|last| (0x2600_u128 << 112 | last).into()), 1..3)),
        omitted in prop_oneof![4 => Just(0_usize), 1 => 1..3_usize],
    ) -> Host {
        Host { name, alias: None, ipv4, ipv6, omitted }
    }
}

proptest! {
    #[test]
    fn conclusions_rest_on_what_is_known(hosts in prop::collection::vec(any_host(), 1..5), last in 8_u8..14) {
        let destination = IpAddr::from([last, 0, 0, 1]);
        let mail = exchangers(hosts.clone());
        let findings = of_mail(&mail, Some(destination));
        let listed = hosts.iter().any(|host| host.addresses().any(|address| address == destination));
        let unsure = hosts.iter().any(|host| host.ipv4.failure().is_some() || host.omitted > 0);
        let stale = findings.iter().any(|finding| matches!(finding, Finding::NotAnMxOfDomain { .. }));
        prop_assert_eq!(stale, !listed && !unsure);
        let without = findings.iter().filter(|finding| matches!(finding, Finding::MxHasNoAddress { .. })).count();
        let empty = |host: &&Host| host.addresses().next().is_none() && host.failure().is_none();
        prop_assert_eq!(without, hosts.iter().filter(empty).count());
        let special = findings.iter().filter(|finding| matches!(finding, Finding::MxAddressSpecial { .. })).count();
        let all = hosts.iter().flat_map(Host::addresses).filter(|address| special_purpose(*address).is_some()).count();
        prop_assert_eq!(special, all);
    }
}
