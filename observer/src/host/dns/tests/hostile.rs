//! Answers that are meant to hurt: each costs no more than itself, and what is
//! said about it is true.

use std::time::{Duration, Instant};

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::{A, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::super::{Failure, Inquiry, Resolver, Route, Settings};
use super::server::{Data, Reply, Server, name, response};
use super::{DEADLINE, PATIENCE, TIMEOUT, hasty, resolver, settings};

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(1);

/// How a domain's route fails.
async fn failure(script: impl Fn(&Message, bool) -> Reply + Send + Sync + 'static) -> Failure {
    let mail = resolver(Server::start(script).await.address).domain_mail("example.org").await;
    let Route::Unknown(failure) = mail.route else { panic!("{mail:?}") };
    failure
}

/// Whether a domain's route is not found for want of an answer, and in time.
async fn times_out(script: impl Fn(&Message, bool) -> Reply + Send + Sync + 'static) -> bool {
    let server = Server::start(script).await;
    let began = Instant::now();
    let mail = hasty(server.address).domain_mail("example.org").await;
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    mail.route == Route::Unknown(Failure::Timeout)
}

/// An answer's bytes with the record data of one MX as given.
fn raw_mx(query: &Message, exchange: &[u8]) -> Reply {
    let mut answer = response(query).to_vec().unwrap();
    answer[7] = 1;
    // The name is the question's; MX, IN, a TTL of one, the length.
    answer.extend([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 1]);
    answer.extend((2 + exchange.len() as u16).to_be_bytes());
    answer.extend([0, 10]);
    answer.extend(exchange);
    Reply::Bytes(answer)
}

#[tokio::test]
async fn compression_loops_end() {
    // The name's own offset: the question's 29 octets, and 14 of the record.
    assert_eq!(failure(|query, _| raw_mx(query, &[0xc0, 43])).await, Failure::Malformed);
    assert_eq!(failure(|query, _| raw_mx(query, &[1, b'a', 0xc0, 43])).await, Failure::Malformed);
    assert_eq!(failure(|query, _| raw_mx(query, &[0xff, 0xff])).await, Failure::Malformed);
    assert_eq!(failure(|query, _| raw_mx(query, &[63, b'a'])).await, Failure::Malformed);
}

#[tokio::test]
async fn truncation_over_tcp_too_is_told() {
    let truncated = |query: &Message, _| {
        let mut answer = response(query);
        answer.metadata.truncation = true;
        answer.into()
    };
    assert_eq!(failure(truncated).await, Failure::Truncated);
}

#[tokio::test]
async fn truncated_answers_are_fetched_over_tcp() {
    let data = Data::default().mx("example.org", 0, ".");
    let server = Server::start(move |query, tcp| {
        let mut answer = data.answer(query);
        if !tcp {
            answer.answers.clear();
            answer.metadata.truncation = true;
        }
        answer.into()
    });
    let mail = resolver(server.await.address).domain_mail("example.org").await;
    assert_eq!(mail.route, Route::NullMx);
}

#[tokio::test]
async fn forged_answers_are_not_taken() {
    let data = Data::default().mx("example.org", 0, ".");
    let wrong_id = move |query: &Message, _| {
        let mut answer = data.answer(query);
        answer.metadata.id = !query.id;
        answer.into()
    };
    assert!(times_out(wrong_id).await);
    let wrong_question = |query: &Message, _| {
        let mut answer = response(query);
        answer.queries[0].set_name(name("example.net"));
        answer.add_answer(Record::from_rdata(name("example.net"), 60, RData::MX(MX::new(0, Name::root()))));
        answer.into()
    };
    assert!(times_out(wrong_question).await);
    assert_eq!(failure(|query, _| query.clone().into()).await, Failure::Malformed);
    assert!(times_out(|_, _| Reply::Bytes(Vec::new())).await);
}

#[tokio::test]
async fn records_of_others_are_not_taken() {
    let answer = |query: &Message, owners: &[&str]| {
        let mut answer = response(query);
        for (nth, owner) in (0..).zip(owners) {
            answer.add_answer(Record::from_rdata(
                name(owner),
                60,
                RData::MX(MX::new(nth, name(&format!("m{nth}.example")))),
            ));
        }
        Reply::from(answer)
    };
    let server = Server::start(move |query, _| match query.queries[0].query_type() {
        RecordType::MX => answer(query, &["example.net", "example.org", "evil.example.org"]),
        _ => response(query).into(),
    });
    let mail = resolver(server.await.address).domain_mail("example.org").await;
    assert_eq!(mail.hosts().map(|(_, host)| host.name.as_str()).collect::<Vec<_>>(), ["m1.example"]);

    let server = Server::start(move |query, _| answer(query, &["example.net"]));
    let mail = resolver(server.await.address).domain_mail("example.org").await;
    assert_eq!(mail.hosts().filter(|(preference, _)| preference.is_some()).count(), 0, "{mail:?}");
}

#[tokio::test]
async fn referrals_are_no_absence() {
    use hickory_resolver::proto::rr::rdata::NS;
    let referral = |query: &Message, _| {
        let mut answer = response(query);
        answer.add_authority(Record::from_rdata(Name::root(), 60, RData::NS(NS(name("a.root-servers.example")))));
        answer.into()
    };
    assert_eq!(failure(referral).await, Failure::Referral);
}

#[tokio::test]
async fn silence_and_slowness_end() {
    assert!(times_out(|_, _| Reply::Silence).await);
    let slow = |query: &Message, _| Reply::Later(TIMEOUT * 3, response(query).to_vec().unwrap());
    assert!(times_out(slow).await);
    let slow_tcp = |query: &Message, tcp: bool| {
        let mut answer = response(query);
        answer.metadata.truncation = true;
        let bytes = answer.to_vec().unwrap();
        if tcp { Reply::Later(TIMEOUT * 3, bytes) } else { Reply::Bytes(bytes) }
    };
    assert!(times_out(slow_tcp).await);
}

#[tokio::test]
async fn endless_answers_over_tcp_end() {
    let endless = |query: &Message, tcp: bool| {
        let mut answer = response(query);
        answer.metadata.truncation = true;
        if !tcp {
            return answer.into();
        }
        // Messages of the greatest length, with another question's number.
        let mut bytes = vec![0; 2 + 0xffff];
        bytes[..2].copy_from_slice(&[0xff, 0xff]);
        bytes[2..4].copy_from_slice(&(!query.id).to_be_bytes());
        Reply::Endless(bytes)
    };
    let server = Server::start(endless).await;
    let (resolver, began) = (hasty(server.address), Instant::now());
    let mail = resolver.domain_mail("example.org").await;
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    assert_eq!((mail.route, server.open()), (Route::Unknown(Failure::Timeout), 1));
    drop(resolver);
    while server.open() > 0 {
        assert!(began.elapsed() < PATIENCE, "the connection outlives the resolver");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn without_servers_the_system_knows() {
    if let Err(error) = Resolver::new(Settings::default()) {
        assert!(error.starts_with("cannot use /etc/resolv.conf: "), "{error}");
    }
}

#[tokio::test]
async fn no_server_is_told() {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let mail = hasty(address).domain_mail("example.org").await;
    assert!(matches!(mail.route, Route::Unknown(Failure::Timeout | Failure::Unreachable)), "{mail:?}");
}

/// As many records as TCP carries.
fn many(query: &Message, tcp: bool, record: impl Fn(u16) -> RData) -> Reply {
    let mut answer = response(query);
    if tcp {
        let owner = query.queries[0].name();
        answer.add_answers((0..1500).map(|nth| Record::from_rdata(owner.clone(), 60, record(nth))));
    } else {
        answer.metadata.truncation = true;
    }
    answer.into()
}

#[tokio::test]
async fn huge_answers_are_cut() {
    let script = |query: &Message, tcp| match query.queries[0].query_type() {
        RecordType::MX => many(query, tcp, |nth| RData::MX(MX::new(nth, name(&format!("m{nth}.example.org"))))),
        RecordType::A => many(query, tcp, |nth| RData::A(A::new(203, 0, (nth >> 8) as u8, nth as u8))),
        _ => response(query).into(),
    };
    let server = Server::start(script).await;
    let mail = resolver(server.address).domain_mail("example.org").await;
    let Route::Exchangers(exchangers) = &mail.route else { panic!("{mail:?}") };
    assert_eq!((exchangers.len(), mail.omitted, exchangers[19].preference), (20, 1480, 19));
    for exchanger in exchangers {
        assert_eq!((exchanger.host.addresses().count(), exchanger.host.omitted), (16, 1484));
    }
}

#[tokio::test]
async fn labels_that_are_no_text_are_escaped() {
    let label = b"\xff\xc0\x1b[2J\xe2\x80\xae.";
    let mut exchange = vec![label.len() as u8];
    exchange.extend(label);
    exchange.extend([0xc0, 12]);
    let server = Server::start(move |query, _| match query.queries[0].query_type() {
        RecordType::MX => raw_mx(query, &exchange),
        _ => response(query).into(),
    });
    let mail = resolver(server.await.address).domain_mail("example.org").await;
    let names: Vec<_> = mail.hosts().map(|(_, host)| host.name.as_str()).collect();
    assert_eq!(names, [r"\255\192\027\[2j\226\128\174\..example.org"]);
}

#[tokio::test]
async fn questions_are_limited() {
    let script = |query: &Message, tcp| match query.queries[0].query_type() {
        RecordType::MX => many(query, tcp, |nth| RData::MX(MX::new(nth, name(&format!("m{nth}.example.org"))))),
        _ => response(query).into(),
    };
    let server = Server::start(script).await;
    let settings = Settings { queries: 9, ..settings(server.address) };
    let mail = Resolver::new(settings).unwrap().domain_mail("example.org").await;
    assert_eq!(mail.hosts().filter(|(_, host)| host.failure() == Some(Failure::TooManyQueries)).count(), 20);
    assert!(server.asked() <= 10, "{}", server.asked());
}

#[tokio::test]
async fn everything_at_once_takes_less_than_two_seconds() {
    let data = (0..20).fold(Data::default(), |data, nth| data.mx("example.org", nth, &format!("m{nth}.example.org")));
    let server = Server::start(move |query, _| match query.queries[0].query_type() {
        RecordType::MX => Reply::Later(Duration::from_millis(500), data.answer(query).to_vec().unwrap()),
        _ => Reply::Silence,
    });
    let resolver = Resolver::new(Settings { servers: vec![server.await.address], ..Settings::default() }).unwrap();
    let (began, inquiry) = (Instant::now(), resolver.inquiry());
    let (destination, source) = ("203.0.113.5".parse().unwrap(), "203.0.113.9".parse().unwrap());
    let inquiry: &Inquiry<'_> = &inquiry;
    let (mail, names, ours) =
        tokio::join!(inquiry.domain_mail("example.org"), inquiry.names(destination), inquiry.names(source));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(mail.hosts().filter(|(_, host)| host.failure() == Some(Failure::Timeout)).count(), 20);
    assert_eq!((names.names.failure(), ours.names.failure()), (Some(Failure::Timeout), Some(Failure::Timeout)));
}
