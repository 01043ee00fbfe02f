use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use jiff::Timestamp;
use observer_common::stat;
use observer_core::count::Totals;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::*;
use crate::kernel::hooks::HOOKS;

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// A machine that is busy with other work needs it.
const PATIENCE: Duration = Duration::from_secs(20);

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn reading(attempts: u64) -> Reading {
    let mut totals = Totals::default();
    totals.stats[stat::ATTEMPTS as usize] = attempts;
    Reading {
        now: Timestamp::UNIX_EPOCH,
        totals,
        events_delivered: 0,
        events_malformed: 0,
        events_unnamed: 0,
        limits: Vec::new(),
        skipped_runs: 0,
        hooks: Vec::new(),
        sinks: Vec::new(),
        history: None,
        readers: None,
        mta: None,
    }
}

fn serve(listen: &Listen) -> MetricsServer {
    MetricsServer::serve(listen, "no-such-group", Metrics::new(Timestamp::UNIX_EPOCH, 0)).unwrap().0
}

/// Ticks as the daemon does until `client` is done.
async fn while_ticking<T>(server: &mut MetricsServer, client: impl Future<Output = T>) -> T {
    let ticking = async {
        loop {
            server.tick(|| reading(42));
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = ticking => unreachable!("it goes on for ever"),
        done = timeout(PATIENCE, client) => done.unwrap(),
    }
}

/// What is answered before the server ends the connection, in whatever way.
fn say_to(mut stream: impl io::Read + io::Write, request: &str) -> String {
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let request = request.to_owned();
    spawn_blocking(move || say_to(connect(address), &request)).await.unwrap()
}

#[tokio::test]
async fn a_scrape_gets_the_text() {
    let mut server = serve(&Listen::Tcp(local()));
    let address = server.address().unwrap();
    let answer = while_ticking(&mut server, ask(address, SCRAPE)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\nobserver_attempts_total 42\n"), "{body}");
}

#[tokio::test]
async fn all_else_is_refused() {
    let mut server = serve(&Listen::Tcp((Ipv6Addr::LOCALHOST, 0).into()));
    let address = server.address().unwrap();
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /metrics/x HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "405"),
        ("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "405"),
        ("no HTTP at all\r\n\r\n", "400"),
        (&long, "431"),
    ] {
        let answer = while_ticking(&mut server, ask(address, request)).await;
        // What was sent and not read resets the connection, and the answer may be lost by that.
        let is_lost = status == "431" && answer.is_empty();
        assert!(is_lost || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60} was answered {answer}");
    }
}

#[tokio::test]
async fn those_who_say_nothing_hold_up_nobody() {
    let mut server = serve(&Listen::Tcp(local()));
    let address = server.address().unwrap();
    let mut idle = Vec::new();
    for _ in 0..3 * http::MAX_CONNECTIONS {
        idle.push(connect(address));
    }
    let answer = timeout(Duration::from_secs(4), while_ticking(&mut server, ask(address, SCRAPE))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The oldest had to go.
    assert_eq!(idle[0].read(&mut [0]).unwrap_or(0), 0);
    assert!(server.crowded_out.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_request_that_never_ends_is_let_go() {
    let mut server = serve(&Listen::Tcp(local()));
    let address = server.address().unwrap();
    let mut slow = connect(address);
    slow.write_all(b"GET /metr").unwrap();
    let answer = while_ticking(&mut server, ask(address, SCRAPE)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let ended = spawn_blocking(move || slow.read_to_end(&mut Vec::new()));
    // An error would be the client's own patience that ended.
    while_ticking(&mut server, ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_kernel_is_not_read_for_each_who_asks() {
    let mut server = serve(&Listen::Tcp(local()));
    let address = server.address().unwrap();
    let mut reads = 0;
    for _ in 0..5 {
        let client = tokio::spawn(async move { ask(address, SCRAPE).await });
        while !client.is_finished() {
            server.tick(|| {
                reads += 1;
                reading(1)
            });
            sleep(Duration::from_millis(2)).await;
        }
        assert!(client.await.unwrap().contains("observer_attempts_total 1"));
    }
    // A slow machine may take more than a second for all of them.
    assert!((1..5).contains(&reads), "{reads}");
}

#[tokio::test]
async fn a_question_that_is_not_answered_is_a_503() {
    let mut server = serve(&Listen::Tcp(local()));
    let address = server.address().unwrap();
    let client = tokio::spawn(async move { ask(address, SCRAPE).await });
    drop(server.asks.recv().await.unwrap());
    assert!(client.await.unwrap().starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_at() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9", "[::ffff:192.0.2.1]:9"] {
        let listen = Listen::Tcp(address.parse().unwrap());
        let error = MetricsServer::serve(&listen, "observer", Metrics::new(Timestamp::UNIX_EPOCH, 0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address}");
        assert!(error.to_string().contains("no loopback address"), "{error}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_not_for_everybody_and_goes_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.sock");
    let group = uzers::get_group_by_gid(uzers::get_current_gid()).unwrap();
    let group = group.name().to_str().unwrap();
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH, 0);
    let (mut server, remark) = MetricsServer::serve(&Listen::Unix(path.clone()), group, metrics).unwrap();
    assert_eq!(remark, None);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let at = path.clone();
    let client = spawn_blocking(move || say_to(UnixStream::connect(at).unwrap(), SCRAPE));
    let answer = while_ticking(&mut server, client).await.unwrap();
    assert!(answer.contains("observer_attempts_total 42"), "{answer}");
    drop(server);
    sleep(Duration::from_millis(20)).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_somebody_serves_is_theirs_and_one_that_was_left_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _first = serve(&Listen::Unix(path.clone()));
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH, 0);
    let error = MetricsServer::serve(&Listen::Unix(path.clone()), "no-such-group", metrics).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn without_the_group_only_root_may_connect() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.sock");
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH, 0);
    let (_server, remark) = MetricsServer::serve(&Listen::Unix(path.clone()), "no-such-group", metrics).unwrap();
    assert!(remark.unwrap().contains("no-such-group"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_hook_that_is_not_needed_is_left_out() {
    let report = |group, status| {
        let named = HOOKS.iter().rfind(|hook| hook.group == group).unwrap();
        hook(&HookReport { hook: named, status })
    };
    assert_eq!(report(Group::Core, HookStatus::Skipped("another stands in".to_owned())), None);
    let core = report(Group::Unpreempted, HookStatus::Attached).unwrap();
    // The symbol alone would be two hooks' name.
    assert_eq!((&*core.name, &*core.group, core.is_attached), ("inet_sock_set_state_classic", "core", true));
    let connect = report(Group::ConnectFunction, HookStatus::Failed("EPERM".to_owned())).unwrap();
    assert_eq!((&*connect.group, connect.is_attached), ("connect", false));
    assert_eq!(report(Group::Evidence, HookStatus::Attached).unwrap().group, "evidence");
}
