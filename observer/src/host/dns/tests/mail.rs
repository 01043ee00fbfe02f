use hickory_resolver::proto::op::ResponseCode;

use super::super::{Absence, Answer, Failure, Host, MailExchanger, Route, Standing};
use super::resolver;
use super::server::{Data, Server};

fn host(name: &str, ipv4: &[&str], ipv6: &[&str]) -> Host {
    fn found<T: std::str::FromStr<Err: std::fmt::Debug>>(addresses: &[&str]) -> Answer<Vec<T>> {
        match addresses {
            [] => Answer::Absent(Absence::NoData),
            some => Answer::Found(some.iter().map(|address| address.parse().unwrap()).collect()),
        }
    }
    Host { name: name.to_owned(), alias: None, ipv4: found(ipv4), ipv6: found(ipv6), omitted: 0 }
}

async fn route(data: Data, domain: &str) -> Route {
    resolver(Server::of(data).await.address).domain_mail(domain).await.route
}

#[tokio::test]
async fn exchangers_come_by_preference_with_their_addresses() {
    let data = Data::default()
        .mx("example.org", 20, "mx2.example.org")
        .mx("example.org", 10, "MX1.example.org")
        .mx("example.org", 30, "mx1.example.org")
        .address("mx1.example.org", "203.0.113.6")
        .address("mx1.example.org", "203.0.113.5")
        .address("mx1.example.org", "2001:db8::5")
        .address("mx2.example.org", "203.0.113.7");
    let server = Server::of(data).await;
    let resolver = resolver(server.address);
    let mail = resolver.domain_mail("Example.ORG.").await;
    let one = host("mx1.example.org", &["203.0.113.5", "203.0.113.6"], &["2001:db8::5"]);
    let two = host("mx2.example.org", &["203.0.113.7"], &[]);
    let exchangers = vec![MailExchanger { preference: 10, host: one }, MailExchanger { preference: 20, host: two }];
    assert_eq!((mail.domain.as_str(), &mail.route), ("example.org", &Route::Exchangers(exchangers)));
    let current = Standing::Current { host: "mx2.example.org".to_owned(), preference: Some(20) };
    assert_eq!(mail.standing("::ffff:203.0.113.7".parse().unwrap()), current);
    assert_eq!(mail.standing("203.0.113.8".parse().unwrap()), Standing::NotAmongThem);

    let asked = server.asked();
    assert_eq!(resolver.domain_mail("example.org").await, mail);
    assert_eq!(server.asked(), asked, "all of it is remembered");
}

#[tokio::test]
async fn a_domain_may_take_no_mail() {
    assert_eq!(route(Data::default().mx("example.org", 0, "."), "example.org").await, Route::NullMx);
    assert_eq!(route(Data::default(), "example.org").await, Route::NoSuchDomain);
    let data = Data::default().mx("example.org", 0, ".").mx("example.org", 10, "mx.example.org");
    let Route::Exchangers(exchangers) = route(data, "example.org").await else { panic!("a mixture is no null MX") };
    assert_eq!(exchangers.iter().map(|mx| mx.host.name.as_str()).collect::<Vec<_>>(), [".", "mx.example.org"]);
}

#[tokio::test]
async fn without_mx_the_domain_is_its_own() {
    let data = Data::default().address("example.org", "203.0.113.5");
    assert_eq!(route(data, "example.org").await, Route::Implicit(host("example.org", &["203.0.113.5"], &[])));
}

#[tokio::test]
async fn a_failure_is_not_absence() {
    for (code, failure) in [
        (ResponseCode::ServFail, Failure::ServFail),
        (ResponseCode::Refused, Failure::Refused),
        (ResponseCode::NotImp, Failure::Code(4)),
        (ResponseCode::FormErr, Failure::Code(1)),
    ] {
        let data = Data::default()
            .failing("example.org", code)
            .mx("example.net", 10, "mx.example.org")
            .mx("example.net", 20, "mx.example.net")
            .failing("mx.example.org", code)
            .address("mx.example.net", "203.0.113.5");
        let resolver = resolver(Server::of(data).await.address);
        assert_eq!(resolver.domain_mail("example.org").await.route, Route::Unknown(failure));
        let mail = resolver.domain_mail("example.net").await;
        let hosts: Vec<_> = mail.hosts().map(|(_, host)| (host.ipv4.failure(), host.has_address())).collect();
        assert_eq!(hosts, [(Some(failure), None), (None, Some(true))]);
        assert_eq!(mail.standing("203.0.113.9".parse().unwrap()), Standing::Unknown);
    }
}

#[tokio::test]
async fn aliases_are_seen() {
    let data = Data::default()
        .mx("example.org", 10, "a.example.org")
        .mx("example.org", 20, "dangling.example.org")
        .mx("example.org", 30, "empty.example.org")
        .cname("a.example.org", "b.example.org")
        .cname("b.example.org", "mx.example.net")
        .address("mx.example.net", "203.0.113.5")
        .cname("dangling.example.org", "gone.example.net")
        .cname("empty.example.org", "text.example.net")
        .txt("text.example.net", b"");
    let Route::Exchangers(exchangers) = route(data, "example.org").await else { panic!("no exchangers") };
    let seen: Vec<_> = exchangers.iter().map(|mx| (mx.host.alias.as_deref(), mx.host.ipv4.clone())).collect();
    assert_eq!(
        seen,
        [
            (Some("mx.example.net"), Answer::Found(vec!["203.0.113.5".parse().unwrap()])),
            (Some("gone.example.net"), Answer::Absent(Absence::NoSuchName)),
            (Some("text.example.net"), Answer::Absent(Absence::NoData)),
        ]
    );
}

#[tokio::test]
async fn aliases_without_an_end_are_no_absence() {
    let mut data = Data::default().cname("loop.example", "loop2.example").cname("loop2.example", "loop.example");
    for hop in 0..12 {
        data = data.cname(&format!("hop{hop}.example"), &format!("hop{}.example", hop + 1));
    }
    let data = data.address("hop12.example", "203.0.113.5").cname("self.example", "self.example");
    let resolver = resolver(Server::of(data).await.address);
    for domain in ["loop.example", "self.example", "hop0.example"] {
        let mail = resolver.domain_mail(domain).await;
        let failure = match &mail.route {
            Route::Unknown(failure) => Some(*failure),
            Route::Implicit(host) => host.failure(),
            _ => None,
        };
        assert_eq!(failure, Some(Failure::AliasLoop), "{mail:?}");
    }
}

#[tokio::test]
async fn what_is_no_name_is_not_asked() {
    let server = Server::of(Data::default()).await;
    let mail = resolver(server.address).domain_mail("\x1b[2J evil").await;
    assert_eq!((mail.domain.as_str(), mail.route), ("\\x1b[2J evil", Route::Unknown(Failure::NotAName)));
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn internationalised_domains_are_asked_in_ascii() {
    let data = Data::default().mx("xn--gre-6ka8i.example", 0, ".");
    let mail = resolver(Server::of(data).await.address).domain_mail("Größe.example").await;
    assert_eq!((mail.domain.as_str(), mail.route), ("xn--gre-6ka8i.example", Route::NullMx));
}
