use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::thread;

use super::super::unix_syslog::UnixSyslog;
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

fn confirm(transport: &mut dyn Transport, count: u64) -> Result<(), Trouble> {
    let until = Instant::now() + TIMEOUT;
    while transport.confirmed()? < count {
        assert!(Instant::now() < until, "not confirmed in time");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn udp_carries_a_message_each() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = Remote { host: "127.0.0.1".to_owned(), port: socket.local_addr().unwrap().port() };
    let mut datagrams = Datagrams::new(Way::Udp(remote), TIMEOUT);
    assert_eq!(datagrams.send(&messages(0..2)), Ok(Sent::default()));
    for nth in 0..2 {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], format!("<28>1 message {nth}").as_bytes());
    }
    assert_eq!(datagrams.confirmed(), Ok(0));
    confirm(&mut datagrams, 2).unwrap();
}

#[test]
fn a_udp_port_that_nobody_listens_on_is_trouble_and_confirms_nothing() {
    // It keeps the port, and takes datagrams of one peer alone, which is not this.
    let keeper = UdpSocket::bind("127.0.0.1:0").unwrap();
    keeper.connect("127.0.0.1:9").unwrap();
    let port = keeper.local_addr().unwrap().port();
    let mut datagrams = Datagrams::new(Way::Udp(Remote { host: "127.0.0.1".to_owned(), port }), TIMEOUT);
    let trouble = datagrams.send(&messages(0..1)).and_then(|_| confirm(&mut datagrams, 1)).unwrap_err();
    assert!(trouble.to_string().contains("nobody listens"), "{trouble}");
}

#[test]
fn what_does_not_fit_is_refused_and_the_rest_arrives() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = Remote { host: "127.0.0.1".to_owned(), port: socket.local_addr().unwrap().port() };
    let mut batch = messages(0..3);
    batch[1].body = vec![b'x'; 70_000];
    let sent = Datagrams::new(Way::Udp(remote), TIMEOUT).send(&batch).unwrap();
    assert_eq!(sent.refused, [(1, "70000 bytes do not fit into a datagram".to_owned())]);
    for nth in [0, 2] {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], format!("<28>1 message {nth}").as_bytes());
    }
}

#[test]
fn a_unix_receiver_has_what_it_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut syslog = UnixSyslog::new(path, TIMEOUT);
    syslog.send(&messages(0..2)).unwrap();
    socket.recv(&mut [0; 100]).unwrap();
    thread::sleep(HOLD + Duration::from_millis(100));
    assert_eq!(syslog.confirmed(), Ok(0), "one was not read");
    socket.recv(&mut [0; 100]).unwrap();
    confirm(&mut syslog, 2).unwrap();
}

#[test]
fn a_unix_receiver_that_ended_before_it_read_has_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut syslog = UnixSyslog::new(path.clone(), TIMEOUT);
    syslog.send(&messages(0..2)).unwrap();
    drop(socket);
    // Another one takes its place at once, before anybody has looked.
    std::fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    let trouble = confirm(&mut syslog, 1).unwrap_err();
    assert!(trouble.to_string().contains("taken its place"), "{trouble}");
    syslog.send(&messages(0..2)).unwrap();
    for _ in 0..2 {
        socket.recv(&mut [0; 100]).unwrap();
    }
    confirm(&mut syslog, 2).unwrap();
}

#[test]
fn a_unix_receiver_that_does_not_read_costs_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let _socket = UnixDatagram::bind(&path).unwrap();
    let mut syslog = UnixSyslog::new(path, Duration::from_millis(200));
    let start = Instant::now();
    let trouble = syslog.send(&messages(0..20_000)).unwrap_err();
    assert!(trouble.to_string().contains("does not read"), "{trouble}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_socket_that_is_not_there_is_temporary_trouble() {
    let mut syslog = UnixSyslog::new("/nonexistent/log".into(), TIMEOUT);
    assert!(matches!(syslog.send(&messages(0..1)), Err(Trouble::Temporary(_))));
}
