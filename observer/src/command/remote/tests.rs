//! Daemons are ends of sockets that say what they are made to say.

use std::sync::Arc;

use observer_core::alert::Alert;
use observer_core::event::Event;
use observer_core::wire::Joined;
use tokio::net::UnixListener;

use super::*;

const V0: &str = include_str!("../../../../tests/fixtures/wire-v0/daemon.jsonl");
const V0_REFUSAL: &str = include_str!("../../../../tests/fixtures/wire-v0/refusal.jsonl");

/// Answers each connection with one of these, and returns what it was asked.
async fn daemon(listener: UnixListener, answers: Vec<String>) -> Vec<String> {
    let mut asked = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let length = stream.read(&mut request).await.unwrap();
        asked.push(String::from_utf8(request[..length].to_vec()).unwrap());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    asked
}

async fn connect(answers: &[&str]) -> (Result<Option<Remote>, Failure>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
    let daemon = tokio::spawn(daemon(listener, answers));
    let request = Request { successes: true, known: Some(7), ..Request::default() };
    let remote = Remote::connect(&SourceArgs { socket: Some(socket), config: None, standalone: false }, &request).await;
    (remote, daemon.await.unwrap())
}

/// Notes what it is handed.
#[derive(Default)]
struct Notes {
    events: usize,
    others: usize,
    as_they_came: Vec<String>,
}

impl Consumer for Notes {
    fn event(&mut self, _: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        self.events += 1;
        Ok(ControlFlow::Continue(()))
    }

    fn event_as_it_came(&mut self, event: &Arc<Event>, json: &str) -> Result<ControlFlow<()>, Failure> {
        self.as_they_came.push(json.to_owned());
        self.event(event)
    }

    fn alert(&mut self, _: &Alert) -> Result<(), Failure> {
        self.others += 1;
        Ok(())
    }

    fn delivery(&mut self, _: &Joined) -> Result<(), Failure> {
        self.others += 1;
        Ok(())
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Continue(()))
    }
}

#[tokio::test]
async fn a_daemon_of_protocol_0_is_asked_again_in_its_words_and_read() {
    let (remote, asked) = connect(&[V0_REFUSAL, V0]).await;
    let remote = remote.ok().flatten().expect("a connection");
    assert_eq!(asked[0], "{\"successes\":true,\"alerts\":false,\"accounts\":false,\"protocol\":1,\"known\":7}\n");
    assert_eq!(asked[1], "{\"successes\":true,\"alerts\":false,\"accounts\":false}\n");
    let text = remote.begins_now().unwrap();
    assert!(text.contains("observer run 0.1.0"), "{text}");
    let mut notes = Notes::default();
    let summary = remote.finish(&mut notes).await.ok().flatten().expect("a summary");
    assert_eq!((notes.events, notes.others, summary.events), (26, 3, 26));
}

#[tokio::test]
async fn a_later_daemon_is_read_as_far_as_it_is_understood() {
    let later = V0
        .replace("\"version\":\"0.1.0\"", "\"version\":\"9.0.0\",\"protocol\":9,\"mood\":\"good\"")
        .replace("\"label\":\"silent\"", "\"label\":\"greylisted\"")
        .replace("{\"account\":", "{\"weather\":");
    let (remote, _) = connect(&[&later]).await;
    let remote = remote.ok().flatten().expect("a connection");
    assert_eq!(remote.begins_now(), None);
    let mut notes = Notes::default();
    assert!(remote.finish(&mut notes).await.ok().flatten().is_some());
    assert_eq!((notes.events, notes.as_they_came.len()), (26, 26));
    assert_eq!(notes.as_they_came.iter().filter(|json| json.contains("greylisted")).count(), 1);
}

#[tokio::test]
async fn what_cannot_be_understood_is_said_with_both_versions() {
    for garbage in ["HTTP/1.1 400 Bad Request\r\n", "{\"hello\":{\"name\":\"x\"}}\n", "{\"lost\":{\"events\":1}}\n"] {
        let (remote, _) = connect(&[garbage]).await;
        let text = remote.err().expect("no connection").text;
        let expected = format!("not an observer socket, or an incompatible version (this {VERSION}): {RESTART}");
        assert!(text.ends_with(&expected), "{text}");
    }
    let later = "{\"hello\":{\"version\":\"9.0.0\",\"ports\":[25],\"hooks\":3,\"protocol\":9}}\n{\"event\":{\"schema\":\"observer.event.v2\"}}\n";
    let (remote, _) = connect(&[later]).await;
    let mut remote = remote.ok().flatten().expect("a connection");
    let Ok(mut stop) = Stop::new(Some(Duration::from_secs(60))) else { panic!("no signals") };
    let text = remote.until(&mut stop, &mut Notes::default()).await.expect_err("it was understood").text;
    assert!(text.contains(&format!("incompatible version (daemon 9.0.0, this {VERSION})")), "{text}");
    assert!(text.ends_with(RESTART), "{text}");
}

#[tokio::test]
async fn whoever_stops_in_the_middle_of_a_line_reads_the_rest_of_it() {
    let summary = V0.find("{\"summary\"").unwrap();
    let (first, rest) = V0.split_at(summary - 100);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        // The request, and that no more is wanted.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        stream.write_all(rest.as_bytes()).await.unwrap();
    });
    let remote =
        Remote::connect(&SourceArgs { socket: Some(socket), config: None, standalone: false }, &Request::default())
            .await;
    let mut remote = remote.ok().flatten().expect("a connection");
    let mut notes = Notes::default();
    let Ok(mut stop) = Stop::new(Some(Duration::from_secs(2))) else { panic!("no signals") };
    assert!(remote.until(&mut stop, &mut notes).await.is_ok());
    assert!(!remote.text.is_empty(), "it did not stop in a line");
    let summary = remote.finish(&mut notes).await.ok().flatten().expect("a summary");
    assert_eq!((notes.events, summary.events), (26, 26));
    daemon.await.unwrap();
}

#[tokio::test]
async fn when_the_daemon_ends_its_summary_is_read() {
    let (remote, _) = connect(&[include_str!("../../../../tests/fixtures/wire-v0/ended-daemon.jsonl")]).await;
    let mut remote = remote.ok().flatten().expect("a connection");
    let Ok(mut stop) = Stop::new(Some(Duration::from_secs(60))) else { panic!("no signals") };
    let text = remote.until(&mut stop, &mut Notes::default()).await.expect_err("it goes on").text;
    assert!(text.contains("observer run has ended"), "{text}");
    assert!(remote.finish(&mut Notes::default()).await.ok().flatten().is_some(), "no summary");
}

#[tokio::test]
async fn a_refusal_is_said_as_it_is() {
    let full = "{\"refusal\":{\"cause\":\"16 readers are served already\",\"protocol\":1}}\n";
    let (remote, asked) = connect(&[full]).await;
    let text = remote.err().expect("no connection").text;
    assert!(text.ends_with("16 readers are served already"), "{text}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_socket_that_was_named_and_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("observer.toml");
    let socket = directory.path().join("observer.sock");
    std::fs::write(&file, format!("[socket]\npath = '{}'\n", socket.display())).unwrap();
    let ask = async |named: Option<&std::path::Path>| {
        let args = SourceArgs { socket: named.map(Into::into), config: Some(file.clone()), standalone: false };
        Remote::connect(&args, &Request::default()).await
    };
    assert!(matches!(ask(None).await, Ok(None)), "hooks of its own");
    std::fs::write(directory.path().join("file"), "").unwrap();
    for (name, what) in
        [("none", "no observer run listens there"), ("file", "it is a regular file"), ("", "it is a directory")]
    {
        let text = ask(Some(&directory.path().join(name))).await.err().expect("an error").text;
        assert!(text.contains(what) && text.contains(name), "{text}");
    }
    // The configured one is found where it is up.
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = tokio::spawn(daemon(listener, vec![V0.to_owned()]));
    assert!(matches!(ask(None).await, Ok(Some(_))));
    daemon.await.unwrap();
}
