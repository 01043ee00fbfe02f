//! Readers that join a daemon: what they begin with, what they end with, and daemons of other
//! versions.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::LifeTrial;

use crate::daemon::{Daemon, Place, mortal};
use crate::screen::Screen;
use crate::watcher::{OBSERVER, Watcher};

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "top and watch begin with what the daemon knows",
        name: "life_readers_known",
        trial: top_and_watch_begin_with_what_the_daemon_knows,
    },
    LifeTrial {
        promise: "a reader that is stopped in a burst gets a summary that balances",
        name: "life_readers_burst",
        trial: a_reader_that_is_stopped_in_a_burst_gets_a_summary_that_balances,
    },
    LifeTrial {
        promise: "readers and daemons of different versions talk, or say which they are",
        name: "life_versions",
        trial: readers_and_daemons_of_different_versions_talk_or_say_which_they_are,
    },
];

const REFUSED: usize = 37;
const CONNECTED: usize = 5;

/// A daemon that watches this port, and serves readers.
fn daemon(place: &Place, port: u16) -> Result<(Daemon, String)> {
    let socket = place.path("observer.sock").to_str().context("no UTF-8")?.to_owned();
    let text =
        format!("[watch]\nports = [{port}]\n[history]\nenabled = false\n[socket]\npath = '{socket}'\ngroup = '0'\n");
    std::fs::write(place.path("observer.toml"), text)?;
    Ok((Daemon::start(place)?, socket))
}

fn refuse(address: SocketAddr, attempts: usize) -> Result<()> {
    for _ in 0..attempts {
        ensure!(TcpStream::connect(address).is_err(), "something listens on {address}");
    }
    Ok(())
}

/// Connections that are greeted and closed in order.
fn greet(server: &TcpListener, connections: usize) -> Result<()> {
    for _ in 0..connections {
        let mut client = TcpStream::connect(server.local_addr()?)?;
        let (mut accepted, _) = server.accept()?;
        accepted.write_all(b"220 mx.example.net\r\n")?;
        client.read_exact(&mut [0; 4])?;
    }
    Ok(())
}

fn top_and_watch_begin_with_what_the_daemon_knows() -> Result<()> {
    let place = Place::new()?;
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let refusing = SocketAddr::from(([127, 0, 0, 2], port));
    let (daemon, socket) = daemon(&place, port)?;
    greet(&server, CONNECTED)?;
    refuse(refusing, REFUSED)?;
    let patience = Duration::from_secs(30);
    let all = format!("{} attempts, {REFUSED} failed", REFUSED + CONNECTED);
    let size = [200, 40].map(|length| NonZeroU16::new(length).unwrap_or(NonZeroU16::MIN));
    let mut top = Screen::start(&["top", "--socket", &socket], size)?;
    top.wait_for(&all, patience)?;
    // 10 minutes, an hour, a day, all: one after the other, with the help between them.
    for key in [b"2", b"3", b"4", b"5"] {
        top.write(b"?")?;
        top.wait_for("closes the help", patience)?;
        // Escape and a digit at once would be another key.
        top.write(b"?")?;
        top.write(key)?;
        top.wait_for(&all, patience)?;
    }
    let row = format!("{refusing}");
    // Attempts, failures and streak; until the help has gone from its line.
    let has_counts = |line: &str| {
        line.contains(&row) && line.split_whitespace().filter(|word| *word == REFUSED.to_string()).count() >= 2
    };
    let until = Instant::now() + patience;
    while !top.text().lines().any(has_counts) {
        ensure!(Instant::now() < until, "attempts, failures and streak are not {REFUSED}: {}", top.text());
        thread::sleep(Duration::from_millis(50));
    }
    // A network of another length, and from now on nothing twice.
    let wide = Screen::start(&["top", "--socket", &socket, "--prefix-v4", "8"], size)?;
    wide.wait_for(&all, patience)?;
    let watch = Watcher::read_as(Command::new(OBSERVER), &socket, &[])?;
    refuse(refusing, 3)?;
    let more = format!("{} attempts, {} failed", REFUSED + CONNECTED + 3, REFUSED + 3);
    top.wait_for(&more, patience)?;
    wide.wait_for(&more, patience)?;
    wide.end(b"q")?;
    top.end(b"q")?;
    watch.wait_for(3, patience)?;
    let seen = watch.stop()?;
    ensure!(seen.events.len() == 3 && seen.number("attempts")? == 3, "{}", seen.summary);
    let before = format!("{} attempts before, {REFUSED} failed", REFUSED + CONNECTED);
    ensure!(seen.summary.matches(&before).count() == 2, "{}", seen.summary);
    let failing = format!("{refusing}: {REFUSED} failures in a row, first failed ");
    ensure!(seen.summary.contains(&failing), "{}", seen.summary);
    ensure!(seen.summary.contains(&format!("last 24h {}, {REFUSED} failed", REFUSED + CONNECTED)), "{}", seen.summary);
    daemon.end()?;
    Ok(())
}

fn a_reader_that_is_stopped_in_a_burst_gets_a_summary_that_balances() -> Result<()> {
    let place = Place::new()?;
    // Bound, and not listening: refused, and nobody else's.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let refusing = SocketAddr::from(([127, 0, 0, 2], port));
    let (daemon, socket) = daemon(&place, port)?;
    let is_over = AtomicBool::new(false);
    let stopped = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = TcpStream::connect(refusing);
                }
            });
        }
        let stopped = stop_readers(&socket);
        is_over.store(true, Ordering::Relaxed);
        stopped
    });
    stopped?;
    daemon.end()?;
    Ok(())
}

fn stop_readers(socket: &str) -> Result<()> {
    for round in 0..6 {
        let reader = Watcher::read_as(Command::new(OBSERVER), socket, &["--successes"])?;
        reader.wait_for(100 * (1 + round), Duration::from_secs(20))?;
        let seen = reader.stop()?;
        seen.ensure_balanced().with_context(|| format!("round {round}: {}", seen.summary))?;
        ensure!(seen.number("attempts")? > 0, "round {round}: {}", seen.summary);
    }
    Ok(())
}

/// What `observer run` 0.1.0 wrote.
const V0: &str = include_str!("../fixtures/wire-v0/daemon.jsonl");
const V0_REFUSAL: &str = include_str!("../fixtures/wire-v0/refusal.jsonl");

/// `observer watch` for two seconds, reading from something that answers each connection with
/// one of these.
fn watch_of(place: &Place, name: &str, answers: &[&str], args: &[&str]) -> Result<(Output, Vec<String>)> {
    let socket = place.path(name);
    let listener = UnixListener::bind(&socket)?;
    let mut child = mortal(Command::new(OBSERVER));
    let child = child
        .args(["watch", "--successes", "--alerts", "--duration", "2s", "--socket"])
        .arg(&socket)
        .args(args)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let mut asked = Vec::new();
    for answer in answers {
        let (stream, _) = listener.accept()?;
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request)?;
        asked.push(request);
        let summary = answer.find("{\"summary\"").unwrap_or(answer.len());
        (&stream).write_all(&answer.as_bytes()[..summary])?;
        if summary < answer.len() {
            // It comes when the reader wants no more; one that cannot go on takes none.
            if (&stream).read_to_end(&mut Vec::new()).is_ok() {
                let _ = (&stream).write_all(&answer.as_bytes()[summary..]);
            }
        }
    }
    Ok((child.wait_with_output()?, asked))
}

fn readers_and_daemons_of_different_versions_talk_or_say_which_they_are() -> Result<()> {
    let place = Place::new()?;
    let version = env!("CARGO_PKG_VERSION");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // One that was before there were protocols is asked again, in its words.
    let (output, asked) = watch_of(&place, "old", &[V0_REFUSAL, V0], &["--format", "json"])?;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    ensure!(asked[1] == "{\"successes\":true,\"alerts\":true,\"accounts\":false}\n", "{asked:?}");
    ensure!(out.lines().count() == 27, "26 events and an alert: {out}");
    ensure!(err.contains("counts begin now: observer run 0.1.0 does not send earlier ones"), "{err}");
    ensure!(err.contains("ledger: attempts 26"), "no summary: {err}");
    // A later one, with values that this one does not know.
    let later = V0
        .replace("\"version\":\"0.1.0\"", "\"version\":\"9.0.0\",\"protocol\":9")
        .replace("\"label\":\"silent\"", "\"label\":\"greylisted\",\"new\":{\"code\":450}")
        .replace("\"change\":\"began\"", "\"change\":\"paused\"");
    let (output, _) = watch_of(&place, "later-text", &[&later], &[])?;
    let out = text(&output.stdout);
    ensure!(out.lines().count() == 29 && out.contains("greylisted") && out.contains("alone: 8 of 8"), "{out}");
    let (output, _) = watch_of(&place, "later-json", &[&later], &["--format", "json"])?;
    let out = text(&output.stdout);
    ensure!(out.contains("\"label\":\"greylisted\",\"new\":{\"code\":450}"), "{out}");
    // One that cannot be understood, and what is none.
    let beyond = later.replace("observer.event.v1", "observer.event.v2");
    for (name, answer, expected) in [
        ("beyond", &*beyond, format!("incompatible version (daemon 9.0.0, this {version})")),
        ("other", "220 mx.example.net ESMTP\r\n", format!("or an incompatible version (this {version})")),
    ] {
        let (output, _) = watch_of(&place, name, &[answer], &[])?;
        let err = text(&output.stderr);
        let last = err.lines().find(|line| line.contains("incompatible")).unwrap_or_default();
        ensure!(last.contains(&expected) && last.ends_with("restart the daemon, or use --standalone"), "{err}");
        ensure!(!output.status.success(), "{err}");
    }
    Ok(())
}
