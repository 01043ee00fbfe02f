use std::net::Ipv4Addr;

use hickory_resolver::proto::op::ResponseCode;

use super::super::{Failure, ListingAnswer, Zone};
use super::resolver;
use super::server::{Data, Server};

async fn outcome(data: Data, address: &str) -> ListingAnswer {
    let server = Server::of(data).await;
    let zones = [Zone::new("bl.example", vec![Ipv4Addr::new(127, 0, 0, 255)]).unwrap()];
    let mut listings = resolver(server.address).listings(address.parse().unwrap(), &zones).await;
    assert_eq!(listings.len(), 1);
    listings.remove(0).outcome
}

#[tokio::test]
async fn listings_have_codes_and_text() {
    let data = Data::default()
        .address("5.113.0.203.bl.example", "127.0.0.4")
        .address("5.113.0.203.bl.example", "127.0.0.2")
        .txt("5.113.0.203.bl.example", b"see https://bl.example/\x1b[31m\xff");
    let codes = vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 4)];
    let text = vec!["see https://bl.example/\\x1b[31m\u{fffd}".to_owned()];
    assert_eq!(outcome(data, "203.0.113.5").await, ListingAnswer::Listed { codes, text });
}

#[tokio::test]
async fn ipv6_addresses_are_asked_by_nibbles() {
    let listed = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example";
    let data = Data::default().address(listed, "127.0.0.2");
    let codes = vec![Ipv4Addr::new(127, 0, 0, 2)];
    assert_eq!(outcome(data, "2001:db8::5").await, ListingAnswer::Listed { codes, text: Vec::new() });
}

#[tokio::test]
async fn refusals_and_nonsense_are_no_listings() {
    for code in ["127.0.0.1", "127.0.0.255", "127.255.255.252", "127.255.255.254", "127.255.255.255"] {
        let data = Data::default().address("5.113.0.203.bl.example", code);
        assert_eq!(outcome(data, "203.0.113.5").await, ListingAnswer::QueryRefused { code: code.parse().unwrap() });
    }
    let data = Data::default().address("5.113.0.203.bl.example", "198.51.100.1");
    assert_eq!(outcome(data, "203.0.113.5").await, ListingAnswer::NotAList { answer: "198.51.100.1".parse().unwrap() });
}

#[tokio::test]
async fn a_list_of_everything_lists_nothing() {
    let data =
        Data::default().address("5.113.0.203.bl.example", "127.0.0.2").address("1.0.0.127.bl.example", "127.0.0.2");
    assert_eq!(outcome(data, "203.0.113.5").await, ListingAnswer::ListsEverything);
    let listed = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example";
    let never = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example";
    let data = Data::default().address(listed, "127.0.0.2").address(never, "127.0.0.2");
    assert_eq!(outcome(data, "2001:db8::5").await, ListingAnswer::ListsEverything);
}

#[tokio::test]
async fn absence_and_failure_differ() {
    assert_eq!(outcome(Data::default(), "203.0.113.5").await, ListingAnswer::NotListed);
    let data = Data::default().failing("5.113.0.203.bl.example", ResponseCode::ServFail);
    assert_eq!(outcome(data, "203.0.113.5").await, ListingAnswer::Failed(Failure::ServFail));
}

#[tokio::test]
async fn private_addresses_and_many_zones_are_not_asked() {
    let server = Server::of(Data::default()).await;
    let zones: Vec<_> = (0..40).map(|nth| Zone::new(&format!("bl{nth}.example"), Vec::new()).unwrap()).collect();
    let resolver = resolver(server.address);
    let listings = resolver.listings("10.0.0.1".parse().unwrap(), &zones).await;
    assert!(listings.iter().all(|listing| listing.outcome == ListingAnswer::NotPublic));
    assert_eq!(server.asked(), 0);
    let listings = resolver.listings("203.0.113.5".parse().unwrap(), &zones).await;
    assert_eq!(listings.iter().filter(|listing| listing.outcome == ListingAnswer::NotListed).count(), 32);
    assert_eq!(
        (listings[39].zone.as_str(), &listings[39].outcome),
        ("bl39.example", &ListingAnswer::Failed(Failure::TooManyQueries))
    );
    assert_eq!(server.asked(), 32);
}
