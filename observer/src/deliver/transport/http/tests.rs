use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::certificates::Authority;
use super::*;
use crate::deliver::message::MessageKind;
use crate::deliver::target::Tls;

const HEC_OK: &str = r#"{"text":"Success","code":0}"#;

struct Request {
    head: String,
    body: String,
}

fn messages(count: usize) -> Vec<Message> {
    (0..count)
        .map(|nth| Message {
            kind: MessageKind::Event,
            label: None,
            id: format!("mx1-{nth}"),
            body: format!("{{\"nth\":{nth}}}\n").into_bytes(),
        })
        .collect()
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn exchange(stream: &mut (impl Read + Write), answer: &str) -> Option<Request> {
    let mut reader = BufReader::new(&mut *stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()?;
    Some(Request { head, body: String::from_utf8(body).unwrap() })
}

/// Gives these answers, one a connection.
fn scripted(answers: Vec<String>, tls: Option<Arc<ServerConfig>>) -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let mut socket = listener.accept().unwrap().0;
            let request = match &tls {
                None => exchange(&mut socket, &answer),
                Some(config) => {
                    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket);
                    let request = exchange(&mut stream, &answer);
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                    request
                }
            };
            if let Some(request) = request {
                let _ = sender.send(request);
            }
        }
    });
    (port, requests)
}

fn target(port: u16, protocol: HttpProtocol) -> HttpTarget {
    HttpTarget {
        protocol,
        url: format!("http://127.0.0.1:{port}/post?x=secret"),
        token_file: None,
        tls: Tls::default(),
        timeout: Duration::from_secs(5),
    }
}

fn served(protocol: HttpProtocol, answers: &[String]) -> (Http, Receiver<Request>) {
    let (port, requests) = scripted(answers.to_vec(), None);
    (Http::new(&target(port, protocol)).unwrap(), requests)
}

fn places(sent: &Sent) -> Vec<usize> {
    sent.refused.iter().map(|(nth, _)| *nth).collect()
}

fn bulk() -> HttpProtocol {
    HttpProtocol::Bulk { index: "logs".to_owned() }
}

#[test]
fn hec_takes_a_batch_with_a_token_that_may_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (port, requests) = scripted(vec![answer(200, HEC_OK), answer(200, HEC_OK)], None);
    let token_file = Some(file.path().to_owned());
    let mut http = Http::new(&HttpTarget { token_file, ..target(port, HttpProtocol::SplunkHec) }).unwrap();
    for (token, count) in [("one", 2), ("two", 4)] {
        std::fs::write(file.path(), format!("{token}\nanother line\n")).unwrap();
        assert_eq!(http.send(&messages(2)), Ok(Sent::default()));
        let request = requests.recv().unwrap();
        assert!(request.head.contains(&format!("authorization: Splunk {token}\r\n")), "{}", request.head);
        assert!(request.head.starts_with("POST /post?x=secret HTTP/1.1"));
        assert_eq!(request.body, "{\"nth\":0}\n{\"nth\":1}\n");
        assert_eq!(http.confirmed(), Ok(count));
    }
}

#[test]
fn hec_names_the_event_that_it_refuses() {
    let bad = answer(400, r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":1}"#);
    let (mut http, requests) = served(HttpProtocol::SplunkHec, &[bad, answer(200, HEC_OK)]);
    let sent = http.send(&messages(3)).unwrap();
    assert_eq!(places(&sent), [1]);
    assert!(sent.refused[0].1.contains("cannot be blank"), "{sent:?}");
    requests.recv().unwrap();
    assert_eq!(requests.recv().unwrap().body, "{\"nth\":0}\n{\"nth\":2}\n");
}

#[test]
fn an_invalid_event_number_beyond_the_batch_ends_too() {
    let bad = answer(400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":99}"#);
    let (mut http, _requests) = served(HttpProtocol::SplunkHec, &[bad.clone(), bad.clone(), bad]);
    assert_eq!(places(&http.send(&messages(2)).unwrap()), [0, 1]);
}

#[test]
fn a_busy_receiver_and_a_broken_answer_are_temporary() {
    let answers = [
        answer(503, r#"{"text":"Server is busy","code":9}"#),
        answer(429, "slow down"),
        answer(500, ""),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"text\"".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
        "\u{0}nonsense\r\n\r\n".to_owned(),
        String::new(),
        answer(200, &"x".repeat(5 << 20)),
    ];
    let (mut http, _requests) = served(HttpProtocol::SplunkHec, &answers);
    for script in &answers {
        let trouble = http.send(&messages(2)).unwrap_err();
        assert!(matches!(trouble, Trouble::Temporary(_)), "{script:.80} {trouble}");
        assert!(!trouble.to_string().contains("secret"), "{trouble}");
        assert_eq!(http.confirmed(), Ok(0));
    }
}

#[test]
fn a_stalled_receiver_costs_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let timeout = Duration::from_millis(300);
    let mut http = Http::new(&HttpTarget { timeout, ..target(port, bulk()) }).unwrap();
    let start = Instant::now();
    assert!(matches!(http.send(&messages(1)), Err(Trouble::Temporary(_))));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_bad_token_is_waited_for_and_then_costs_one_batch() {
    let denied = answer(403, r#"{"text":"Invalid token","code":4}"#);
    let (mut http, _requests) = served(HttpProtocol::SplunkHec, &[denied.clone(), denied.clone(), denied]);
    assert!(matches!(http.send(&messages(1)), Err(Trouble::Temporary(cause)) if cause.contains("Invalid token")));
    http.turned_away = Some(Instant::now().checked_sub(PATIENCE).unwrap());
    assert!(matches!(http.send(&messages(1)), Err(Trouble::Permanent(_))));
    assert!(matches!(http.send(&messages(1)), Err(Trouble::Temporary(_))), "the next batch waits as long");
}

#[test]
fn what_is_no_receiver_takes_nothing() {
    let page = "<html>please log in</html>";
    let moved = "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for protocol in [HttpProtocol::SplunkHec, bulk(), HttpProtocol::Otlp] {
        let batch = [Message {
            kind: MessageKind::Event,
            label: None,
            id: "mx1-0".to_owned(),
            body: b"{\"resourceLogs\":[{}]}\n".to_vec(),
        }];
        let answers = [answer(200, page), moved.to_owned(), answer(404, page), answer(401, page)];
        let (mut http, _requests) = served(protocol, &answers);
        for script in &answers {
            let trouble = http.send(&batch).unwrap_err();
            assert!(matches!(trouble, Trouble::Temporary(_)), "{script} {trouble}");
        }
        assert!(http.turned_away.is_some());
    }
}

#[test]
fn a_receiver_that_asks_to_wait_is_left_alone() {
    let busy = "HTTP/1.1 429 Slow\r\nretry-after: 30\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
    let (mut http, requests) = served(bulk(), &[busy]);
    assert!(http.send(&messages(1)).is_err());
    let trouble = http.send(&messages(1)).unwrap_err();
    assert!(trouble.to_string().contains("asked to wait"), "{trouble}");
    assert_eq!(requests.iter().count(), 1);
}

#[test]
fn bulk_creates_by_id_and_judges_each() {
    let items = [
        r#"{"create":{"status":201}}"#,
        r#"{"create":{"status":409,"error":{"type":"version_conflict"}}}"#,
        r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse"}}}"#,
    ];
    let body = format!(r#"{{"took":1,"errors":true,"items":[{}]}}"#, items.join(","));
    let (mut http, requests) = served(bulk(), &[answer(200, &body)]);
    let sent = http.send(&messages(3)).unwrap();
    assert_eq!(sent.refused, [(2, "400: mapper_parsing_exception: failed to parse".to_owned())]);
    let request = requests.recv().unwrap();
    assert!(request.head.contains("content-type: application/x-ndjson"));
    assert!(
        request.body.starts_with("{\"create\":{\"_id\":\"mx1-0\",\"_index\":\"logs\"}}\n{\"nth\":0}\n{\"create\""),
        "{}",
        request.body
    );
}

#[test]
fn bulk_tries_again_when_an_item_could_not_now_or_the_answer_is_short() {
    let item = |status: u16| answer(200, &format!(r#"{{"items":[{{"create":{{"status":{status}}}}}]}}"#));
    let answers = [item(429), item(503), item(404), answer(200, r#"{"items":[]}"#)];
    let (mut http, _requests) = served(bulk(), &answers);
    for script in &answers {
        assert!(matches!(http.send(&messages(1)), Err(Trouble::Temporary(_))), "{script}");
    }
}

#[test]
fn bulk_takes_a_receivers_word_that_there_were_no_errors() {
    let short = |errors: bool, status: u16| {
        answer(200, &format!(r#"{{"errors":{errors},"items":[{{"create":{{"status":{status}}}}}]}}"#))
    };
    let (mut http, _requests) = served(bulk(), &[short(false, 201), short(true, 201), short(false, 429)]);
    assert_eq!(http.send(&messages(3)), Ok(Sent::default()));
    for _ in 0..2 {
        assert!(matches!(http.send(&messages(3)), Err(Trouble::Temporary(_))));
    }
}

#[test]
fn a_batch_that_is_too_large_is_halved() {
    let large = answer(413, "too large");
    let one = answer(200, r#"{"items":[{"create":{"status":201}}]}"#);
    let (mut http, requests) = served(bulk(), &[large.clone(), one, large]);
    let sent = http.send(&messages(2)).unwrap();
    assert_eq!(places(&sent), [1]);
    assert_eq!(requests.iter().count(), 3);
}

#[test]
fn otlp_merges_requests_and_finds_what_is_rejected() {
    let batch: Vec<_> = (0..3)
        .map(|nth| Message {
            kind: MessageKind::Event,
            label: None,
            id: format!("mx1-{nth}"),
            body: format!("{{\"resourceLogs\":[{{\"n\":{nth}}}]}}\n").into_bytes(),
        })
        .collect();
    let some = answer(200, r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#);
    let (mut http, requests) = served(HttpProtocol::Otlp, &[some.clone(), some, answer(200, "{}")]);
    let sent = http.send(&batch).unwrap();
    assert_eq!(sent.refused, [(0, "rejected: too old".to_owned())]);
    let bodies: Vec<_> = requests.iter().map(|request| request.body).collect();
    assert_eq!(bodies[0], r#"{"resourceLogs":[{"n":0},{"n":1},{"n":2}]}"#);
    assert_eq!(bodies[2], r#"{"resourceLogs":[{"n":1},{"n":2}]}"#);
}

#[test]
fn otlp_refuses_what_the_format_did_not_write() {
    let mut batch =
        vec![Message { kind: MessageKind::Event, label: None, id: "x".to_owned(), body: b"{\"schema\":1}\n".to_vec() }];
    batch.push(Message {
        kind: MessageKind::Event,
        label: None,
        id: "y".to_owned(),
        body: b"{\"resourceLogs\":[{}]}\n".to_vec(),
    });
    let (mut http, _requests) = served(HttpProtocol::Otlp, &[answer(200, "")]);
    assert_eq!(places(&http.send(&batch).unwrap()), [0]);
}

#[test]
fn https_with_a_client_certificate_and_a_name_of_its_own() {
    let authority = Authority::new();
    let shown = authority.issue("server", "siem.example", false);
    let (port, requests) = scripted(vec![answer(200, HEC_OK)], Some(authority.server(&shown, true)));
    let client = authority.issue("client", "mx1", false);
    let tls = Tls { server_name: Some("siem.example".to_owned()), ..authority.trusted(Some(client)) };
    let url = format!("https://127.0.0.1:{port}/services/collector/event");
    let mut http = Http::new(&HttpTarget { url, tls, ..target(port, HttpProtocol::SplunkHec) }).unwrap();
    assert_eq!(http.send(&messages(1)), Ok(Sent::default()));
    let head = requests.recv().unwrap().head;
    assert!(head.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{head}");
}

#[test]
fn https_refuses_an_expired_or_foreign_certificate() {
    for (name, is_expired) in [("127.0.0.1", true), ("other.example", false)] {
        let authority = Authority::new();
        let shown = authority.issue("server", name, is_expired);
        let (port, _requests) = scripted(vec![answer(200, HEC_OK)], Some(authority.server(&shown, false)));
        let (url, tls) = (format!("https://127.0.0.1:{port}/"), authority.trusted(None));
        let mut http = Http::new(&HttpTarget { url, tls, ..target(port, HttpProtocol::SplunkHec) }).unwrap();
        let trouble = http.send(&messages(1)).unwrap_err();
        assert!(trouble.to_string().contains("certificate"), "{trouble}");
    }
}

#[test]
fn a_wrong_url_or_token_file_is_said_in_words() {
    for url in ["siem.example", "ftp://siem.example/", "http://", "https:///x"] {
        assert!(Http::new(&HttpTarget { url: url.to_owned(), ..target(1, bulk()) }).is_err(), "{url}");
    }
    let token_file = Some(PathBuf::from("/nonexistent/token"));
    let trouble = Http::new(&HttpTarget { token_file, ..target(1, bulk()) }).unwrap().send(&messages(1)).unwrap_err();
    assert!(trouble.to_string().contains("/nonexistent/token"), "{trouble}");
}
