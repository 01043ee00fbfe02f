//! Answers that are meant to hurt: each costs no more than itself, and what is
//! said about it is true.

use std::time::{Duration, Instant};

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::{A, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::super::{Answer, Failure, Inquiry, Resolver, Route, Settings};
use super::server::{Data, Reply, Server, name, response};
use super::{DEADLINE, TIMEOUT, patient, resolver};

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(300);

/// How a domain's route fails, and that it does so in time.
async fn failure(script: impl Fn(&Message, bool) -> Reply + Send + Sync + 'static) -> Failure {
    let server = Server::start(script).await;
    let (resolver, began) = (resolver(server.address), Instant::now());
    let mail = resolver.domain_mail("example.org").await;
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    let Route::Unknown(failure) = mail.route else { panic!("{mail:?}") };
    failure
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
    assert_eq!(failure(wrong_id).await, Failure::Timeout);
    let wrong_question = |query: &Message, _| {
        let mut answer = response(query);
        answer.queries[0].set_name(name("example.net"));
        answer.add_answer(Record::from_rdata(name("example.net"), 60, RData::MX(MX::new(0, Name::root()))));
        answer.into()
    };
    assert_eq!(failure(wrong_question).await, Failure::Timeout);
    assert_eq!(failure(|query, _| query.clone().into()).await, Failure::Malformed);
    assert_eq!(failure(|_, _| Reply::Bytes(Vec::new())).await, Failure::Timeout);
}

#[tokio::test]
async fn records_of_others_are_not_taken() {
    let stranger = |query: &Message, _| {
        let mut answer = response(query);
        answer.add_answer(Record::from_rdata(name("example.net"), 60, RData::MX(MX::new(0, Name::root()))));
        answer.into()
    };
    let server = Server::start(stranger).await;
    let mail = resolver(server.address).domain_mail("example.org").await;
    assert!(!matches!(mail.route, Route::NullMx | Route::Exchangers(_)), "{mail:?}");
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
    assert_eq!(failure(|_, _| Reply::Silence).await, Failure::Timeout);
    let slow = |query: &Message, _| Reply::Later(TIMEOUT * 3, response(query).to_vec().unwrap());
    assert_eq!(failure(slow).await, Failure::Timeout);
    let slow_tcp = |query: &Message, tcp| {
        let mut answer = response(query);
        answer.metadata.truncation = true;
        let bytes = answer.to_vec().unwrap();
        if tcp { Reply::Later(TIMEOUT * 3, bytes) } else { Reply::Bytes(bytes) }
    };
    assert_eq!(failure(slow_tcp).await, Failure::Timeout);
}

#[tokio::test]
async fn endless_answers_over_tcp_end() {
    let endless = |query: &Message, tcp| {
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
    assert_eq!(failure(endless).await, Failure::Timeout);
}

#[tokio::test]
async fn no_server_is_told() {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let mail = resolver(address).domain_mail("example.org").await;
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
    let (resolver, began) = (patient(server.address), Instant::now());
    let mail = resolver.domain_mail("example.org").await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let Route::Exchangers(exchangers) = &mail.route else { panic!("{mail:?}") };
    assert_eq!((exchangers.len(), mail.omitted, exchangers[19].preference), (20, 1480, 19));
    for exchanger in exchangers {
        match &exchanger.host.ipv4 {
            Answer::Found(addresses) => assert_eq!((addresses.len(), exchanger.host.omitted), (16, 1484)),
            other => assert!(other.failure().is_some(), "{other:?}"),
        }
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
    let settings = Settings { servers: vec![server.address], queries: 9, ..Settings::default() };
    let mail = Resolver::new(settings).unwrap().domain_mail("example.org").await;
    assert_eq!(mail.hosts().filter(|(_, host)| host.failure() == Some(Failure::TooManyQueries)).count(), 20);
    assert!(server.asked() <= 10, "{}", server.asked());
}

#[tokio::test]
async fn everything_at_once_takes_less_than_two_seconds() {
    let data = (0..20).fold(Data::default(), |data, nth| data.mx("example.org", nth, &format!("m{nth}.example.org")));
    let server = Server::start(move |query, _| match query.queries[0].query_type() {
        RecordType::MX => Reply::Later(Duration::from_secs(1), data.answer(query).to_vec().unwrap()),
        _ => Reply::Silence,
    });
    let resolver = patient(server.await.address);
    let (began, inquiry) = (Instant::now(), resolver.inquiry());
    let (destination, source) = ("203.0.113.5".parse().unwrap(), "203.0.113.9".parse().unwrap());
    let inquiry: &Inquiry<'_> = &inquiry;
    let (mail, names, ours) =
        tokio::join!(inquiry.domain_mail("example.org"), inquiry.names(destination), inquiry.names(source));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(mail.hosts().filter(|(_, host)| host.failure() == Some(Failure::Timeout)).count(), 20);
    assert_eq!((names.names.failure(), ours.names.failure()), (Some(Failure::Timeout), Some(Failure::Timeout)));
}
