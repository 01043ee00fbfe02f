//! Cases whose evidence is beside the attempts: probes, traces, the mail server's log.

use std::net::IpAddr;

use super::{Case, RST, SILENCE, evidence, works};
use crate::diagnose::{Cause, Evidence, Mail, Traced};
use crate::evidence::probe::Probe;
use crate::evidence::probe::compare::Born;
use crate::evidence::probe::trace::{Answer, Hop, ProbeKind as Sent, Trace};
use crate::join::row::{Connect, DeliveryRow};
use crate::label::{Label, Origin, Reason};
use crate::mta::{DeliveryStatus, MtaKind, Said};
use crate::sample;

pub(super) fn cases() -> Vec<Case> {
    let blocked = "host mx.example.net[203.0.113.5] said: 554 5.7.1 192.0.2.10 is blocked, see our block list";
    let said = |words: &str| format!("host mx.example.net[203.0.113.5] said: {words}");
    let blocked_3 = said("554 5.7.1 Client host [192.0.2.10] blocked using bl.example.org");
    let (limit, grey) = (said("450 4.7.1 Error: too much mail"), said("450 4.2.0 Greylisted for 300 seconds"));
    let unknown = said("550 5.1.1 <*@example.net>: User unknown (in reply to RCPT TO command)");
    let recipients = said("452 4.5.3 Error: too many recipients (in reply to RCPT TO command)");
    let too_many = "host mx.example.net[203.0.113.5] said: 421 4.7.0 Too many concurrent connections";
    let refused = traced(Answer::Reset, Born::AtTheEnd { hop: 2 });
    let on_the_way = Born::OnTheWay { hop: 1, destination: 9, after: None };
    let dropped = traced(Answer::Silence, Born::Silence { after: Some(router()), hop: 4 });
    vec![
        ("greeted with a no", probed(554), vec![Cause::AddressBlocked]),
        ("greeted with not now", probed(421), vec![Cause::ServerDown, Cause::RateLimited]),
        ("the log names a block list", logged(blocked), vec![Cause::AddressBlocked]),
        ("the log names a limit", logged(too_many), vec![Cause::RateLimited]),
        ("greylisted", logged(&grey), vec![Cause::Greylisting]),
        ("perhaps greylisted", logged(&said("451 4.7.1 Try again later")), vec![Cause::Greylisting]),
        ("busy", logged(&said("452 4.3.1 Insufficient system resources")), vec![Cause::RateLimited]),
        ("only later", logged(&said("451 Please try again later")), vec![Cause::RateLimited, Cause::Greylisting]),
        ("user unknown", logged(&unknown), vec![Cause::MessageRefused]),
        ("too many recipients", logged(&recipients), vec![Cause::MessageRefused]),
        ("a policy", logged(&said("550 5.7.1 no")), vec![Cause::AddressBlocked, Cause::MessageRefused]),
        ("some name a block", logged_all(&[&unknown, &unknown, &blocked_3]), vec![Cause::MessageRefused]),
        ("some name a limit", logged_all(&[&unknown, &unknown, &limit]), vec![Cause::MessageRefused]),
        ("some greylist", logged_all(&[&unknown, &unknown, &grey]), vec![Cause::MessageRefused]),
        ("the log says that the message does not get through", cut(), vec![Cause::SessionCut]),
        (
            "the log says that no mail server answers",
            logged("host mx.example.net[203.0.113.5] refused to talk to me: SSH-2.0-OpenSSH_9.2"),
            vec![Cause::NotMailServer],
        ),
        (
            "the log says that there is no address",
            not_permitted("connect to mx.example.net[203.0.113.5]:25: Cannot assign requested address"),
            vec![Cause::WrongSourceAddress],
        ),
        (
            "the log says that there is no port",
            not_permitted("connect to mx.example.net[203.0.113.5]:25: Address already in use"),
            vec![Cause::LocalResource],
        ),
        ("no mail server answers a probe", no_mail_server(), vec![Cause::NotMailServer]),
        ("a RST from the destination", with(evidence(&[(9, RST)], works()), refused), vec![Cause::ServerDown]),
        (
            "a RST from nearer",
            with(evidence(&[(9, RST)], works()), traced(Answer::Reset, on_the_way)),
            vec![Cause::MiddleboxForges, Cause::ServerDown],
        ),
        (
            "silence behind a router",
            with(evidence(&[(9, SILENCE)], works()), dropped),
            vec![Cause::RemoteFirewallDrops],
        ),
    ]
}

fn router() -> IpAddr {
    sample::ip("198.51.100.1")
}

fn with(mut evidence: Evidence, traced: Traced) -> Evidence {
    evidence.traced.push(traced);
    evidence
}

fn traced(answer: Answer, born: Born) -> Traced {
    let hops = [Answer::TimeExceeded { from: Some(router()) }, answer];
    let hops = hops.into_iter().zip(1..).map(|(answer, ttl)| Hop { ttl, answer, elapsed_ms: 1.5 }).collect();
    let destination = "203.0.113.5:25".parse().unwrap();
    Traced { trace: Trace { kind: Sent::Syn, destination, source: None, hops }, born }
}

fn probed(reply: u16) -> Evidence {
    let mut evidence = evidence(&[(9, RST)], works());
    evidence.probes.push(Probe {
        source: Some(sample::ip("192.0.2.10")),
        destination: "203.0.113.5:25".parse().unwrap(),
        label: Label::Connected,
        reason: None,
        origin: None,
        active_refusal: false,
        connect_ms: 30.0,
        banner_ms: Some(2.5),
        banner: Some(format!("{reply} mx.example.net no")),
        reply: Some(reply),
        icmp: None,
    });
    evidence
}

fn no_mail_server() -> Evidence {
    let mut evidence = probed(220);
    evidence.subject = super::seen(&[(9, super::failed(Label::Closed, Reason::BeforeBanner, Origin::Remote))]);
    let probe = &mut evidence.probes[0];
    (probe.banner, probe.reply) = (Some("HTTP/1.1 400 Bad Request".to_owned()), None);
    evidence
}

/// No attempt, and a log that says why.
fn not_permitted(words: &str) -> Evidence {
    let mut evidence = evidence(&[], works());
    for row in logged_rows(words) {
        evidence.mail.add(&DeliveryRow { said: Said::NotPermitted, ..row });
    }
    evidence
}

/// Sessions that end while the message is sent.
fn cut() -> Evidence {
    let words = "conversation with mx.example.net[203.0.113.5] timed out while sending message body";
    let mut evidence = evidence(&[(9, super::CONNECTED)], works());
    for row in logged_rows(words) {
        evidence.mail.add(&DeliveryRow { said: Said::LostInSession, ..row });
    }
    evidence
}

/// Nothing fails but the answers.
fn logged_all(answers: &[&str]) -> Evidence {
    let mut evidence = logged(answers[0]);
    evidence.mail = Mail::default();
    for words in answers {
        for row in logged_rows(words) {
            evidence.mail.add(&row);
        }
    }
    evidence
}

/// The same, with one answer.
fn logged(words: &str) -> Evidence {
    let mut evidence = evidence(&[(9, super::CONNECTED)], works());
    logged_rows(words).iter().for_each(|row| evidence.mail.add(row));
    evidence
}

fn logged_rows(words: &str) -> Vec<DeliveryRow> {
    let row = |connect| DeliveryRow {
        time: sample::time(),
        kind: MtaKind::Postfix,
        queue_id: Some("4Wx".to_owned()),
        recipient_domain: Some("example.net".to_owned()),
        status: Some(DeliveryStatus::Deferred),
        host: Some("mx.example.net".to_owned()),
        ip: Some(sample::ip("203.0.113.5")),
        said: if connect == Connect::Seen { Said::Answered } else { Said::Nothing },
        words: words.to_owned(),
        connect,
        attempt: None,
    };
    [Connect::Seen, Connect::Seen, Connect::Seen, Connect::None, Connect::Unlogged].map(row).to_vec()
}
