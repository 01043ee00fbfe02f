use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{self, Receiver as Inbox};
use std::thread;

use rustls::{ServerConfig, ServerConnection};

use super::super::certificates::Authority;
use super::*;
use crate::deliver::message::MessageKind;

const TIMEOUT: Duration = Duration::from_secs(5);

fn messages(range: std::ops::Range<usize>) -> Vec<Message> {
    range
        .map(|nth| Message {
            kind: MessageKind::Event,
            label: None,
            id: format!("mx1-{nth}"),
            body: format!("<28>1 message {nth}").into_bytes(),
        })
        .collect()
}

fn listen() -> (TcpListener, Remote) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Remote { host: "127.0.0.1".to_owned(), port })
}

/// Takes octet-counted frames apart; what is left over is a broken frame.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let (frame, rest) = bytes[space + 1..].split_at(length);
        frames.push(String::from_utf8(frame.to_vec()).unwrap());
        bytes = rest;
    }
    frames
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    messages(range).into_iter().map(|message| String::from_utf8(message.body).unwrap()).collect()
}

/// Asks until so many are confirmed, or something is wrong.
fn confirm(transport: &mut dyn Transport, count: u64) -> Result<(), Trouble> {
    let until = Instant::now() + TIMEOUT;
    while transport.confirmed()? < count {
        assert!(Instant::now() < until, "not confirmed in time");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Reads one connection to its end.
fn reads_all(listener: TcpListener) -> Inbox<Vec<u8>> {
    let (sender, inbox) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        sender.send(bytes).unwrap();
    });
    inbox
}

#[test]
fn messages_arrive_whole_and_are_confirmed_after_the_hold() {
    let (listener, remote) = listen();
    let inbox = reads_all(listener);
    let mut stream = Stream::new(Receiver::Tcp(remote), TIMEOUT);
    let start = Instant::now();
    stream.send(&messages(0..3)).unwrap();
    stream.send(&messages(3..5)).unwrap();
    assert_eq!(stream.confirmed(), Ok(0));
    confirm(&mut stream, 5).unwrap();
    assert!(start.elapsed() >= HOLD);
    stream.close(TIMEOUT);
    assert_eq!(frames(&inbox.recv_timeout(TIMEOUT).unwrap()), texts(0..5));
}

#[test]
fn what_a_receiver_had_not_read_when_it_ended_is_not_confirmed() {
    let (listener, remote) = listen();
    let mut stream = Stream::new(Receiver::Tcp(remote), TIMEOUT);
    stream.send(&messages(0..100)).unwrap();
    let accepted = listener.accept().unwrap().0;
    thread::sleep(Duration::from_millis(300));
    assert_eq!(stream.confirmed(), Ok(0), "the kernel has acknowledged it, and that is not enough");
    // What kill -9 does: unread bytes make it a reset.
    drop(accepted);
    let trouble = confirm(&mut stream, 1).unwrap_err();
    assert!(trouble.to_string().contains("tcp 127.0.0.1:"), "{trouble}");
    // And everything comes again, to whoever listens now.
    let inbox = reads_all(listener);
    stream.send(&messages(0..100)).unwrap();
    confirm(&mut stream, 100).unwrap();
    stream.close(TIMEOUT);
    assert_eq!(frames(&inbox.recv_timeout(TIMEOUT).unwrap()), texts(0..100));
}

#[test]
fn a_receiver_that_closes_in_order_is_noticed_before_the_next_batch() {
    let (listener, remote) = listen();
    let mut stream = Stream::new(Receiver::Tcp(remote), TIMEOUT);
    stream.send(&messages(0..1)).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    accepted.read_exact(&mut [0; 5]).unwrap();
    rustix::net::shutdown(&accepted, Shutdown::Write).unwrap();
    thread::sleep(Duration::from_millis(50));
    let trouble = stream.send(&messages(1..2)).unwrap_err();
    assert!(trouble.to_string().contains("closed the connection"), "{trouble}");
}

#[test]
fn an_idle_connection_may_end_without_trouble() {
    let (listener, remote) = listen();
    let mut stream = Stream::new(Receiver::Tcp(remote), TIMEOUT);
    stream.send(&messages(0..2)).unwrap();
    let accepted = listener.accept().unwrap().0;
    (&accepted).read_exact(&mut [0; 10]).unwrap();
    let reader = thread::spawn(move || {
        accepted.set_read_timeout(Some(HOLD + Duration::from_millis(500))).unwrap();
        let _ = (&accepted).read_to_end(&mut Vec::new());
    });
    confirm(&mut stream, 2).unwrap();
    reader.join().unwrap();
    let inbox = reads_all(listener);
    stream.send(&messages(2..4)).unwrap();
    confirm(&mut stream, 4).unwrap();
    stream.close(TIMEOUT);
    assert_eq!(frames(&inbox.recv_timeout(TIMEOUT).unwrap()), texts(2..4));
}

#[test]
fn a_receiver_that_stalls_costs_the_timeout_and_no_more() {
    let (listener, remote) = listen();
    let mut stream = Stream::new(Receiver::Tcp(remote), Duration::from_millis(300));
    let large =
        vec![Message { kind: MessageKind::Event, label: None, id: "mx1-1".to_owned(), body: vec![b'x'; 32 << 20] }];
    let start = Instant::now();
    let trouble = stream.send(&large).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(trouble.to_string().contains("in time"), "{trouble}");
    drop(listener);
    assert!(matches!(stream.send(&messages(0..1)), Err(Trouble::Temporary(_))));
}

#[test]
fn a_unix_stream_confirms_what_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = super::super::unix_syslog::UnixSyslog::new(path, TIMEOUT);
    stream.send(&messages(0..3)).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    thread::sleep(HOLD + Duration::from_millis(100));
    assert_eq!(stream.confirmed(), Ok(0), "nobody has read it");
    let expected = texts(0..3).join("\n") + "\n";
    let mut bytes = vec![0; expected.len()];
    accepted.read_exact(&mut bytes).unwrap();
    confirm(&mut stream, 3).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

/// Serves one TLS connection to its end: what came, and whether it ended in order.
fn serves(listener: TcpListener, config: Arc<ServerConfig>) -> Inbox<io::Result<Vec<u8>>> {
    let (sender, inbox) = mpsc::channel();
    thread::spawn(move || {
        let socket: TcpStream = listener.accept().unwrap().0;
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        let mut bytes = Vec::new();
        // Without close_notify this is an error.
        let read = stream.read_to_end(&mut bytes).map(|_| bytes);
        let _ = stream.flush();
        let _ = sender.send(read);
    });
    inbox
}

#[test]
fn tls_with_a_client_certificate_ends_with_close_notify() {
    let authority = Authority::new();
    let (listener, remote) = listen();
    let shown = authority.issue("server", "127.0.0.1", false);
    let inbox = serves(listener, authority.server(&shown, true));
    let client = authority.issue("client", "mx1", false);
    let mut stream = Stream::new(Receiver::Tls(remote, authority.trusted(Some(client))), TIMEOUT);
    stream.send(&messages(0..200)).unwrap();
    confirm(&mut stream, 200).unwrap();
    stream.close(TIMEOUT);
    assert_eq!(frames(&inbox.recv_timeout(TIMEOUT).unwrap().unwrap()), texts(0..200));
}

#[test]
fn a_client_without_its_certificate_is_told_and_nothing_is_confirmed() {
    let authority = Authority::new();
    let (listener, remote) = listen();
    let shown = authority.issue("server", "127.0.0.1", false);
    let _inbox = serves(listener, authority.server(&shown, true));
    let mut stream = Stream::new(Receiver::Tls(remote, authority.trusted(None)), TIMEOUT);
    let trouble = stream.send(&messages(0..1)).and_then(|_| confirm(&mut stream, 1)).unwrap_err();
    assert!(trouble.to_string().contains("CertificateRequired") || trouble.to_string().contains("broke"), "{trouble}");
}

fn handshake_trouble(shown_for: &str, is_expired: bool) -> String {
    let authority = Authority::new();
    let (listener, remote) = listen();
    let shown = authority.issue("server", shown_for, is_expired);
    let _inbox = serves(listener, authority.server(&shown, false));
    let mut stream = Stream::new(Receiver::Tls(remote, authority.trusted(None)), TIMEOUT);
    let trouble = stream.send(&messages(0..1)).unwrap_err();
    assert!(matches!(trouble, Trouble::Temporary(_)), "a certificate can be renewed");
    trouble.to_string()
}

#[test]
fn an_expired_or_foreign_certificate_is_refused() {
    let expired = handshake_trouble("127.0.0.1", true);
    assert!(expired.contains("expired"), "{expired}");
    let foreign = handshake_trouble("other.example", false);
    assert!(foreign.contains("not valid for name"), "{foreign}");
}

#[test]
fn a_server_name_stands_in_for_the_host() {
    let authority = Authority::new();
    let (listener, remote) = listen();
    let shown = authority.issue("server", "siem.example", false);
    let _inbox = serves(listener, authority.server(&shown, false));
    let tls = Tls { server_name: Some("siem.example".to_owned()), ..authority.trusted(None) };
    Stream::new(Receiver::Tls(remote, tls), TIMEOUT).send(&messages(0..1)).unwrap();
}

#[test]
fn files_that_are_not_certificates_are_named() {
    let authority = Authority::new();
    let client = authority.issue("client", "mx1", false);
    let (_listener, remote) = listen();
    let swapped = crate::deliver::target::ClientCertificate { chain: client.key.clone(), key: client.chain.clone() };
    let tls = authority.trusted(Some(swapped));
    let trouble = Stream::new(Receiver::Tls(remote, tls), TIMEOUT).send(&messages(0..1)).unwrap_err();
    assert!(trouble.to_string().contains("client.pem"), "{trouble}");
}
