use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::*;
use crate::deliver::message::MessageKind;

fn target() -> NatsTarget {
    NatsTarget {
        servers: vec!["nats://127.0.0.1:1".to_owned()],
        subject: "observer.v1.mx1".to_owned(),
        credentials: None,
        tls: Tls::default(),
        timeout: Duration::from_secs(2),
    }
}

#[test]
fn a_subject_ends_with_what_the_message_is() {
    let of = |kind, label| last_word(&Message { id: String::new(), kind, label, body: Vec::new() });
    assert_eq!(of(MessageKind::Event, Some(Label::Refused)), "refused");
    assert_eq!(of(MessageKind::Minute, None), "minute");
    assert_eq!(of(MessageKind::Alert, None), "alert");
    assert_eq!(of(MessageKind::Notice, None), "notice");
}

#[test]
fn a_wrong_target_is_refused_in_words() {
    let wrong = [
        NatsTarget { subject: "observer.>".to_owned(), ..target() },
        NatsTarget { subject: "observer..mx1".to_owned(), ..target() },
        NatsTarget { servers: Vec::new(), ..target() },
        NatsTarget { servers: vec!["http://x".to_owned()], ..target() },
        NatsTarget { tls: Tls { server_name: Some("x".to_owned()), ..Tls::default() }, ..target() },
    ];
    for target in wrong {
        assert!(Nats::new(&target).is_err(), "{target:?}");
    }
}

#[test]
fn a_server_that_is_away_is_temporary_trouble() {
    let trouble = Nats::new(&target()).unwrap().send(&messages(&[Label::Refused])).unwrap_err();
    assert!(matches!(trouble, Trouble::Temporary(_)), "{trouble}");
}

#[test]
fn signed_credentials_are_refused_with_the_cure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "-----BEGIN NATS USER JWT-----\nsecret\n").unwrap();
    let nats = Nats::new(&NatsTarget { credentials: Some(file.path().to_owned()), ..target() }).unwrap();
    let cause = nats.connect().unwrap_err();
    assert!(cause.contains("USER:PASSWORD") && !cause.contains("secret"), "{cause}");
}

/// What a stream says to a publish: all of it after the subject of the reply and
/// the subscription's number.
const STORED: &str = "39\r\n{\"stream\":\"s\",\"seq\":1,\"duplicate\":true}\r\n";
const TOO_LONG: &str = "98\r\n{\"error\":{\"code\":400,\"err_code\":10054,\"description\":\"message size exceeds maximum allowed\"},\"a\":1}\r\n";

/// A server that says the same to each publish whose body has the word, and that it
/// stored the others. No word: nobody listens to any subject. Tells subjects,
/// headers and pongs.
fn serve(special: Option<(&'static str, &'static str)>) -> (NatsTarget, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = vec![format!("nats://{}", listener.local_addr().unwrap())];
    let (sender, seen) = mpsc::channel();
    thread::spawn(move || converse(listener.accept().unwrap().0, special, &sender));
    (NatsTarget { servers, timeout: Duration::from_secs(5), ..target() }, seen)
}

fn converse(mut socket: TcpStream, special: Option<(&str, &str)>, seen: &mpsc::Sender<String>) -> Option<()> {
    let info = r#"{"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576,"proto":1,"port":0,"host":"x","go":"x"}"#;
    write!(socket, "INFO {info}\r\n").ok()?;
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    let mut sid = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let words: Vec<_> = line.split_whitespace().collect();
        match words[0] {
            "PING" => write!(socket, "PONG\r\n").ok()?,
            "PONG" => seen.send("PONG".to_owned()).ok()?,
            "SUB" => sid = words[2].to_owned(),
            "HPUB" => {
                let mut rest = vec![0; words[4].parse::<usize>().unwrap() + 2];
                reader.read_exact(&mut rest).ok()?;
                let rest = String::from_utf8(rest).unwrap();
                seen.send(format!("{} {}", words[1], rest.replace("\r\n", " "))).ok()?;
                match special {
                    None => write!(socket, "HMSG {} {sid} 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", words[2]).ok()?,
                    Some((word, answer)) => {
                        let answer = if rest.contains(word) { answer } else { STORED };
                        write!(socket, "MSG {} {sid} {answer}", words[2]).ok()?;
                        if answer == STORED {
                            write!(socket, "PING\r\n").ok()?;
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn messages(labels: &[Label]) -> Vec<Message> {
    let message = |(nth, &label): (usize, &Label)| Message {
        id: format!("mx1-{nth}"),
        kind: MessageKind::Event,
        label: Some(label),
        body: format!("{{\"label\":\"{}\"}}\n", label.as_str()).into_bytes(),
    };
    labels.iter().enumerate().map(message).collect()
}

#[test]
fn each_message_is_acknowledged_under_its_id_or_refused() {
    let (target, seen) = serve(Some(("reset", TOO_LONG)));
    let mut nats = Nats::new(&target).unwrap();
    let mut batch = messages(&[Label::Refused, Label::Reset, Label::Timeout, Label::Refused]);
    batch[3].body = vec![b'x'; 2 << 20];
    let sent = nats.send(&batch).unwrap();
    assert_eq!(sent.refused.iter().map(|(nth, _)| *nth).collect::<Vec<_>>(), [1, 3], "{sent:?}");
    assert!(sent.refused[0].1.contains("message size exceeds"), "{sent:?}");
    assert_eq!(nats.confirmed(), Ok(4));
    let first = seen.iter().next().unwrap();
    assert!(first.starts_with("observer.v1.mx1.refused NATS/1.0 Nats-Msg-Id: mx1-0 "), "{first}");
    nats.close(Duration::from_millis(200));
}

#[test]
fn a_server_without_the_stream_is_temporary_trouble_with_the_cure() {
    let (target, _seen) = serve(None);
    let trouble = Nats::new(&target).unwrap().send(&messages(&[Label::Refused])).unwrap_err();
    assert!(matches!(&trouble, Trouble::Temporary(cause) if cause.contains("nats stream add")), "{trouble}");
}

#[test]
fn an_idle_connection_answers_pings() {
    let (target, seen) = serve(Some(("nothing", TOO_LONG)));
    let mut nats = Nats::new(&target).unwrap();
    nats.send(&messages(&[Label::Refused])).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while !seen.try_iter().any(|what| what == "PONG") {
        assert!(Instant::now() < until, "no pong");
        nats.tended = Instant::now().checked_sub(TEND_EVERY).unwrap();
        assert_eq!(nats.confirmed(), Ok(1));
    }
}
