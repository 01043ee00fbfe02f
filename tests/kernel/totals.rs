//! `observer top`, `observer report` and history against what the clients saw:
//! many destinations, events lost by the thousand.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::history::Daemon;
use crate::screen::Screen;
use crate::watcher::OBSERVER;

const ATTEMPTS: u32 = 10_000;
const CLIENTS: u32 = 8;
/// Addresses, each with a port that refuses and one for each [`Behaviour`].
const ADDRESSES: u32 = 125;
/// Holds a few hundred events.
const RING: &str = "64K";

/// Columns, and lines for every destination at once.
const SCREEN: [NonZeroU16; 2] = [NonZeroU16::new(240).unwrap(), NonZeroU16::new(560).unwrap()];

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Behaviour {
    Greet,
    Close,
    Reset,
}

/// Attempts to a destination by the label that its clients would give.
type Totals = BTreeMap<SocketAddr, BTreeMap<String, u64>>;

/// 10,000 attempts to 500 destinations while three observers stand still.
pub(crate) fn totals_are_the_clients_own() -> Result<()> {
    let servers = Servers::start()?;
    let ports = servers.ports().map(|port| port.to_string()).join(",");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("observer/history.sqlite");
    let daemon = Daemon::start(&["run", "--port", &ports, "--ring-size", RING, "--history"], &path)?;
    let report = Report::start(&ports)?;
    let mut top = Screen::start(&["top", "--standalone", "--port", &ports, "--ring-size", RING], SCREEN)?;
    top.wait_for("quit", Duration::from_secs(20))?;

    let observers = [daemon.pid(), Pid::from_child(&report.0), top.pid()];
    signal(&observers, Signal::STOP)?;
    let seen = servers.serve(attempts);
    signal(&observers, Signal::CONT)?;
    let seen = seen?;
    ensure!(seen.len() == 500, "{} destinations, not 500", seen.len());

    top.wait_for(&format!(" {ATTEMPTS} attempts,"), Duration::from_secs(30))?;
    // Over all time, not the last minutes.
    top.write(b"5")?;
    top.wait_for("in flight 0; attempts lost 0", Duration::from_secs(30))?;
    agrees(&top, &briefly(&seen))?;
    top.end(b"q")?;
    compare("report", &seen, &report.end()?)?;
    let (said, _) = daemon.end(Signal::TERM)?;
    let lost = said.lines().find(|line| line.starts_with("events:")).unwrap_or_default();
    ensure!(lost.contains("ring buffer full"), "no event was lost: {said}");
    compare("history", &seen, &recorded(&path)?)?;
    println!(
        "{ATTEMPTS} attempts to {} destinations: top, report and history agree with the clients; {lost}",
        seen.len()
    );
    Ok(())
}

/// A screen is drawn in pieces, and a slow machine shows half of one for a while.
fn agrees(top: &Screen, seen: &BTreeMap<SocketAddr, [u64; 2]>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let compared = shown(&top.text()).and_then(|shown| compare("top", seen, &shown));
        if compared.is_ok() || Instant::now() >= deadline {
            return compared;
        }
        thread::sleep(Duration::from_millis(250));
    }
}

fn signal(observers: &[Pid], signal: Signal) -> Result<()> {
    Ok(observers.iter().try_for_each(|&pid| kill_process(pid, signal))?)
}

fn compare<T: PartialEq + std::fmt::Debug>(
    whose: &str,
    expected: &BTreeMap<SocketAddr, T>,
    found: &BTreeMap<SocketAddr, T>,
) -> Result<()> {
    let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(key)));
    let wrong: Vec<_> = keys.filter(|key| expected.get(key) != found.get(key)).collect();
    let Some(first) = wrong.first() else { return Ok(()) };
    bail!(
        "{whose}: {} destinations differ, such as {first}: {:?}, not {:?}",
        wrong.len(),
        found.get(first),
        expected.get(first)
    )
}

/// Attempts and failures, which is what `top` has room for.
fn briefly(totals: &Totals) -> BTreeMap<SocketAddr, [u64; 2]> {
    let brief = |labels: &BTreeMap<String, u64>| {
        let attempts: u64 = labels.values().sum();
        [attempts, attempts - labels.get("connected").copied().unwrap_or(0)]
    };
    totals.iter().map(|(&destination, labels)| (destination, brief(labels))).collect()
}

/// The servers of one run, and a port that refuses.
struct Servers {
    listeners: [(TcpListener, Behaviour); 3],
    /// Bound and not listening, so that nobody else listens.
    refusing: (OwnedFd, u16),
}

impl Servers {
    fn start() -> Result<Self> {
        let listen = |behaviour| -> Result<_> {
            let listener = TcpListener::bind("0.0.0.0:0")?;
            listener.set_nonblocking(true)?;
            Ok((listener, behaviour))
        };
        let listeners = [listen(Behaviour::Greet)?, listen(Behaviour::Close)?, listen(Behaviour::Reset)?];
        Ok(Self { listeners, refusing: bound()? })
    }

    fn ports(&self) -> [u16; 4] {
        let port = |at: usize| self.listeners[at].0.local_addr().map_or(0, |addr| addr.port());
        [port(0), port(1), port(2), self.refusing.1]
    }

    /// Serves while `work` runs.
    fn serve<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for (listener, behaviour) in &self.listeners {
                scope.spawn(|| serve(listener, *behaviour, &is_over));
            }
            let done = work(self);
            is_over.store(true, Ordering::Relaxed);
            done
        })
    }
}

fn bound() -> Result<(OwnedFd, u16)> {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    let addr = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, addr.port()))
}

fn serve(listener: &TcpListener, behaviour: Behaviour, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((session, _)) => answer(session, behaviour),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_micros(100)),
            Err(_) => {}
        }
    }
}

/// What the client does not see of this, it does not count either.
fn answer(mut session: TcpStream, behaviour: Behaviour) {
    match behaviour {
        Behaviour::Greet => {
            let _ = session.write_all(b"220 mx.example.net ESMTP\r\n");
        }
        Behaviour::Close => {}
        Behaviour::Reset => {
            let _ = rustix::net::sockopt::set_socket_linger(&session, Some(Duration::ZERO));
        }
    }
}

/// Every client's attempts, each to a destination of its choice.
fn attempts(servers: &Servers) -> Result<Totals> {
    let ports = servers.ports();
    let mut totals = Totals::new();
    let clients: Vec<Result<Vec<(SocketAddr, &'static str)>>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || client_attempts(client, ports))).collect();
        clients.into_iter().map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?).collect()
    });
    for client in clients {
        for (destination, label) in client? {
            *totals.entry(destination).or_default().entry(label.to_owned()).or_default() += 1;
        }
    }
    Ok(totals)
}

fn client_attempts(client: u32, ports: [u16; 4]) -> Result<Vec<(SocketAddr, &'static str)>> {
    let each = ATTEMPTS / CLIENTS;
    let attempt = |nth: u32| {
        // Every destination gets its share, and all at once.
        let nth = client + nth * CLIENTS;
        let host = u8::try_from(nth / 4 % ADDRESSES)? + 1;
        let destination = SocketAddr::from((Ipv4Addr::new(127, 7, 25, host), ports[nth as usize % 4]));
        Ok((destination, label(destination)?))
    };
    (0..each).map(attempt).collect()
}

/// Tries once, and names what came of it.
fn label(destination: SocketAddr) -> Result<&'static str> {
    let mut session = match TcpStream::connect(destination) {
        Ok(session) => session,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok("refused"),
        // The server's RST may come before connect() has returned.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok("reset"),
        Err(error) => return Err(error).with_context(|| destination.to_string()),
    };
    session.set_read_timeout(Some(Duration::from_secs(30)))?;
    match session.read(&mut [0; 64]) {
        Ok(0) => Ok("closed"),
        Ok(_) => Ok("connected"),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok("reset"),
        Err(error) => Err(error).with_context(|| destination.to_string()),
    }
}

/// What `top` shows of attempts and failures. Its graph is no number, and all
/// before the failures are.
fn shown(text: &str) -> Result<BTreeMap<SocketAddr, [u64; 2]>> {
    let header = text.lines().find(|line| line.starts_with("destination ")).context("no header")?;
    let header = header.replace(|c: char| !c.is_ascii(), " ");
    let columns: Vec<&str> = header.split_whitespace().skip_while(|&name| name != "attempts").collect();
    let failed = columns.iter().position(|&name| name == "failed").context("no column failed")?;
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(destination) = words.next().and_then(|word| word.parse().ok()) else { continue };
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let row = [numbers.first(), numbers.get(failed)].map(|number| number.copied().unwrap_or(0));
        ensure!(rows.insert(destination, row).is_none(), "{destination} is shown twice");
    }
    Ok(rows)
}

/// `observer report --live`, until it is ended.
struct Report(Child);

impl Report {
    fn start(ports: &str) -> Result<Self> {
        let options = ["--format", "json", "--top", "0", "--ring-size", RING, "--port", ports];
        let args = [&["report", "--standalone", "--live", "2m"][..], &options[..]].concat();
        let mut child = Command::new(OBSERVER).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("no stderr")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut line)?;
        let report = Self(child);
        ensure!(line.contains("capturing"), "report did not start: {line}");
        Ok(report)
    }

    fn end(mut self) -> Result<Totals> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        let mut text = String::new();
        self.0.stdout.take().context("no stdout")?.read_to_string(&mut text)?;
        ensure!(self.0.wait()?.success(), "report failed: {text}");
        let report: Value = serde_json::from_str(&text)?;
        let mut totals = Totals::new();
        for destination in report["destinations"].as_array().context("no destinations")? {
            let field = |name: &str| destination[name].as_str().unwrap_or_default().to_owned();
            let port = u16::try_from(destination["port"].as_u64().context("no port")?)?;
            let labels: BTreeMap<String, u64> = serde_json::from_value(destination["labels"].clone())?;
            let labels = labels.into_iter().filter(|&(_, count)| count > 0).collect();
            totals.insert(SocketAddr::new(field("ip").parse()?, port), labels);
        }
        Ok(totals)
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn recorded(path: &Path) -> Result<Totals> {
    let connection = rusqlite::Connection::open(path)?;
    let mut query = connection
        .prepare("SELECT dst_ip, dst_port, label, CAST(sum(count) AS INTEGER) FROM minute GROUP BY 1, 2, 3")?;
    let mut rows = query.query(())?;
    let mut totals = Totals::new();
    while let Some(row) = rows.next()? {
        let destination = SocketAddr::new(row.get::<_, String>(0)?.parse()?, row.get(1)?);
        let count: i64 = row.get(3)?;
        totals.entry(destination).or_default().insert(row.get(2)?, count.try_into()?);
    }
    Ok(totals)
}
