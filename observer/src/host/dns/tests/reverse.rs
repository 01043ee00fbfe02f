use hickory_resolver::proto::op::ResponseCode;

use super::super::{Absence, AddressNames, Answer, Failure, Pointer};
use super::resolver;
use super::server::{Data, Server};

const REVERSE: &str = "5.113.0.203.in-addr.arpa";

async fn names(data: Data, address: &str) -> AddressNames {
    resolver(Server::of(data).await.address).names(address.parse().unwrap()).await
}

fn pointer(name: &str, leads_back: Answer<bool>) -> Pointer {
    Pointer { name: name.to_owned(), leads_back }
}

#[tokio::test]
async fn names_are_confirmed_or_not() {
    let data = Data::default()
        .ptr(REVERSE, "a.example.org")
        .ptr(REVERSE, "b.example.org")
        .ptr(REVERSE, "c.example.org")
        .ptr(REVERSE, "d.example.org")
        .ptr(REVERSE, "e.example.org")
        .address("a.example.org", "203.0.113.6")
        .address("b.example.org", "2001:db8::5")
        .address("d.example.org", "203.0.113.5")
        .failing("e.example.org", ResponseCode::ServFail);
    let names = names(data, "::ffff:203.0.113.5").await;
    assert_eq!(names.address, "203.0.113.5".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(names.confirmed(), Some("d.example.org"));
    assert_eq!(
        names.names,
        Answer::Found(vec![
            pointer("a.example.org", Answer::Found(false)),
            pointer("b.example.org", Answer::Absent(Absence::NoData)),
            pointer("c.example.org", Answer::Absent(Absence::NoSuchName)),
            pointer("d.example.org", Answer::Found(true)),
            pointer("e.example.org", Answer::Unknown(Failure::ServFail)),
        ])
    );
}

#[tokio::test]
async fn ipv6_addresses_have_names_too() {
    let reverse = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let data = Data::default().ptr(reverse, "mx.example.org").address("mx.example.org", "2001:db8::5");
    assert_eq!(names(data, "2001:db8::5").await.confirmed(), Some("mx.example.org"));
}

#[tokio::test]
async fn delegated_reverse_zones_are_followed() {
    // RFC 2317.
    let data = Data::default()
        .cname(REVERSE, "5.0-25.113.0.203.in-addr.arpa")
        .ptr("5.0-25.113.0.203.in-addr.arpa", "mx.example.org")
        .address("mx.example.org", "203.0.113.5");
    assert_eq!(names(data, "203.0.113.5").await.confirmed(), Some("mx.example.org"));
}

#[tokio::test]
async fn absence_and_failure_differ() {
    assert_eq!(names(Data::default(), "203.0.113.5").await.names, Answer::Absent(Absence::NoSuchName));
    let data = Data::default().txt(REVERSE, b"nothing");
    assert_eq!(names(data, "203.0.113.5").await.names, Answer::Absent(Absence::NoData));
    let data = Data::default().failing(REVERSE, ResponseCode::Refused);
    assert_eq!(names(data, "203.0.113.5").await.names, Answer::Unknown(Failure::Refused));
    let data = Data::default().cname(REVERSE, REVERSE);
    assert_eq!(names(data, "203.0.113.5").await.names, Answer::Unknown(Failure::AliasLoop));
}
