//! What the mail server's log calls destinations.

use std::net::Ipv4Addr;

use jiff::tz::TimeZone;

use crate::report::{Builder, NameBook, html, sample, table};

#[test]
fn destinations_have_the_names_of_the_mail_log() {
    let mut book = NameBook::default();
    let google = "203.0.113.11".parse().unwrap();
    for domain in ["example.net", "Example.NET", "example.org", "a.example", "b.example", "c.example", "b.example"] {
        book.add(google, Some(domain), Some("mx.provider.example"));
    }
    book.add("203.0.113.17".parse().unwrap(), None, Some("mx\u{1b}[2J.example"));
    book.add("203.0.113.22".parse().unwrap(), Some("alone.example"), None);
    book.add("203.0.113.45".parse().unwrap(), None, None);
    let mut builder = Builder::new(sample::frame()).with_names(book);
    sample::attempts().iter().for_each(|(seen, comm)| _ = builder.add(seen, Some(comm)));
    let report = builder.finish(sample::about(), sample::account(640));
    let text = table::render(&report, 80, &TimeZone::UTC);
    let (_, section) = text.split_once("DESTINATIONS AS THE MAIL LOG NAMES THEM\n").unwrap();
    insta::assert_snapshot!(section.split("\n\n").next().unwrap());
    let page = html::render(&report, &TimeZone::UTC).unwrap();
    assert!(page.contains("example.net, example.org, a.example and 2 more domains, by mx.provider.example"));
    assert!(!page.contains('\u{1b}'));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(crate::sample::against_schema("observer.report.v1", &json), Vec::<String>::new());
    assert_eq!(json["destinations"][0]["names"]["domains_omitted"], 2);
}

#[test]
fn names_take_no_more_room_however_many_there_are() {
    let mut book = NameBook::default();
    for nth in 0..20_000_u32 {
        book.add(Ipv4Addr::from_bits(nth).into(), Some(&format!("{nth}.example")), Some("mx.example"));
        book.add(Ipv4Addr::LOCALHOST.into(), Some(&format!("{nth}.example")), Some(&format!("mx{nth}.example")));
    }
    let of = |ip: Ipv4Addr| book.of(ip.into());
    assert!(of(Ipv4Addr::from_bits(9_000)).is_some() && of(Ipv4Addr::from_bits(11_000)).is_none());
    let names = of(Ipv4Addr::LOCALHOST).unwrap();
    assert_eq!((names.domains.len(), names.hosts.len(), names.domains_omitted), (3, 2, 1_000));
}
