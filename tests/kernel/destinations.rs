//! More destinations than any table holds, and each is counted to the attempt.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde::Deserialize;

use crate::condition::Named;
use crate::watcher::OBSERVER;

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] = &[
    ("destinations", more_destinations_than_the_kernels_table_holds),
    ("million_destinations", a_million_destinations),
];

/// Nobody listens there in a namespace that was just made.
const PORT: u16 = 47_025;
/// Holds some hundred events, so that most are lost at full speed.
const RING: &str = "128K";
const CLIENTS: u32 = 4;
/// The first come as fast as they can, the others at so many a second: what the kernel
/// counts must be drained by a test's build too.
const AT_FULL_SPEED: u32 = 100_000;
const A_SECOND: u32 = 15_000;
/// A network of which every address is this host's, once there is a route.
const NET: [u16; 4] = [0x2001, 0xdb8, 0x25, 0];
/// Resident memory at the end, without the code: that of a test's build is large. What the flood
/// took is given back once it is over, which is waited for.
const OWN_KB: u64 = 64 << 10;
const SMALL_WITHIN: Duration = Duration::from_secs(90);
/// What it must not reach on a busy machine either, where more attempts pass without an event.
const LIMIT_KB: u64 = 128 << 10;
/// For history to have what the kernel counted.
const WRITTEN_WITHIN: Duration = Duration::from_secs(300);

fn more_destinations_than_the_kernels_table_holds() -> Result<()> {
    trial(100_000)
}

fn a_million_destinations() -> Result<()> {
    trial(1_000_000)
}

/// The nth destination: IPv4 and IPv6 by turns, each address once.
fn destination(nth: u32) -> IpAddr {
    let [_, high, middle, low] = (nth / 2).to_be_bytes();
    if nth.is_multiple_of(2) {
        Ipv4Addr::new(127, high + 1, middle, low).into()
    } else {
        let [a, b, c, d] = NET;
        Ipv6Addr::new(a, b, c, d, 0, 0, ((nth / 2) >> 16) as u16, (nth / 2) as u16).into()
    }
}

fn nth(ip: IpAddr) -> Option<u32> {
    match ip {
        IpAddr::V4(ip) => {
            let [_, high, middle, low] = ip.octets();
            Some(u32::from_be_bytes([0, high.checked_sub(1)?, middle, low]) * 2)
        }
        IpAddr::V6(ip) => {
            let [.., high, low] = ip.segments();
            Some((u32::from(high) << 16 | u32::from(low)) * 2 + 1)
        }
    }
}

/// Attempts to each destination.
fn attempts_to(nth: u32) -> u64 {
    if nth.is_multiple_of(10) { 2 } else { 1 }
}

fn trial(destinations: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let daemon = Daemon::start(directory.path())?;
    let begun = Instant::now();
    let made = thread::scope(|scope| {
        // A namespace of its own, which goes with these threads.
        scope.spawn(|| in_namespace(destinations)).join().unwrap_or_else(|_| bail!("the clients panicked"))
    })?;
    let took = begun.elapsed();
    ensure!(made == (0..destinations).map(attempts_to).sum::<u64>(), "{made} attempts were made");
    let history = directory.path().join("history.sqlite");
    if let Err(error) = wait_for_history(&history, made) {
        bail!("{error:#}: {}", daemon.end()?);
    }
    let mut minutes = Minutes::of(&directory.path().join("minutes.json"), destinations)?;
    minutes.wait_for(made)?;
    let counted = begun.elapsed();
    // What the flood took goes back when it is over.
    let small_until = Instant::now() + SMALL_WITHIN;
    while daemon.status("RssAnon:")? >= OWN_KB && Instant::now() < small_until {
        thread::sleep(Duration::from_secs(1));
    }
    let resident = daemon.status("VmRSS:")?;
    let (highest, own) = (daemon.status("VmHWM:")?, daemon.status("RssAnon:")?);
    let said = daemon.end()?;
    println!("{said}");
    println!("destinations  attempts  connects/s  counted after  resident KiB  at most  its own");
    let (rate, counted) = (made as f64 / took.as_secs_f64(), counted.as_secs());
    println!("{destinations:>12}  {made:>8}  {rate:>10.0}  {counted:>11} s  {resident:>12}  {highest:>7}  {own:>7}");

    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    let ledger = line("ledger:");
    ensure!(ledger.contains(&format!("attempts {made} = outcomes {made} + in flight 0 + lost 0: balances")), "{said}");
    ensure!(!said.contains("counted in total only"), "{said}");
    // The trial is of both, and how many are lost is a matter of speed.
    println!("lost in the ring: {}", line("events:").contains("ring buffer full"));
    minutes.read()?;
    compare("minute records", destinations, &minutes.sums)?;
    compare("history", destinations, &recorded(&history, destinations)?)?;
    ensure!(own < LIMIT_KB, "{own} KiB resident of its own");
    Ok(())
}

fn in_namespace(destinations: u32) -> Result<u64> {
    // SAFETY: this thread gets another network namespace; descriptors stay shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("a network namespace")?;
    ip(&["link", "set", "lo", "up"])?;
    let [a, b, c, d] = NET;
    ip(&["-6", "route", "add", "local", &format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"), "dev", "lo"])?;
    let (next, begun) = (AtomicU32::new(0), Instant::now());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(&next, destinations, begun))).collect();
        let made = clients.into_iter().map(|client| client.join().unwrap_or_else(|_| bail!("a client panicked")));
        made.sum()
    })
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(arguments).status().context("ip")?;
    ensure!(status.success(), "ip {arguments:?}: {status}");
    Ok(())
}

/// Takes destinations until there are no more; gives how often it was refused.
fn client(next: &AtomicU32, destinations: u32, begun: Instant) -> Result<u64> {
    const AT_ONCE: u32 = 64;
    let mut made = 0;
    loop {
        let first = next.fetch_add(AT_ONCE, Ordering::Relaxed);
        if first >= destinations {
            return Ok(made);
        }
        let due = begun
            + Duration::from_secs(1).mul_f64(f64::from(first.saturating_sub(AT_FULL_SPEED)) / f64::from(A_SECOND));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for nth in first..destinations.min(first + AT_ONCE) {
            for _ in 0..attempts_to(nth) {
                refuse(SocketAddr::new(destination(nth), PORT))?;
                made += 1;
            }
        }
    }
}

fn refuse(to: SocketAddr) -> Result<()> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match connect(&socket, &to) {
        Err(Errno::CONNREFUSED) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{to} did not refuse")),
        Ok(()) => bail!("{to} accepted"),
    }
}

fn wait_for_history(path: &Path, made: u64) -> Result<()> {
    let deadline = Instant::now() + WRITTEN_WITHIN;
    let connection = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    loop {
        let sum: Option<i64> =
            connection.query_row("SELECT CAST(sum(count) AS INTEGER) FROM minute", (), |row| row.get(0))?;
        let written = u64::try_from(sum.unwrap_or(0))?;
        if written == made {
            return Ok(());
        }
        ensure!(written < made, "history counts {written} of {made}");
        ensure!(Instant::now() < deadline, "history has {written} of {made}");
        thread::sleep(Duration::from_secs(1));
    }
}

fn compare(whose: &str, destinations: u32, found: &[u64]) -> Result<()> {
    let differs = |nth: &u32| found[*nth as usize] != attempts_to(*nth);
    let wrong = (0..destinations).filter(differs).count();
    let Some(first) = (0..destinations).find(differs) else { return Ok(()) };
    bail!(
        "{whose}: {wrong} of {destinations} destinations differ, such as {}: {}, not {}",
        destination(first),
        found[first as usize],
        attempts_to(first)
    )
}

#[derive(Deserialize)]
struct Minute {
    dst: Dst,
    label: String,
    count: u64,
}

#[derive(Deserialize)]
struct Dst {
    ip: Option<IpAddr>,
    port: Option<u16>,
}

/// The minute records at the sink, read as they come.
struct Minutes {
    lines: BufReader<File>,
    /// The beginning of a line that is still being written.
    line: String,
    /// By destination.
    sums: Vec<u64>,
}

impl Minutes {
    fn of(path: &Path, destinations: u32) -> Result<Self> {
        let lines = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
        Ok(Self { lines, line: String::new(), sums: vec![0; destinations as usize] })
    }

    /// Minutes are told when they are over.
    fn wait_for(&mut self, made: u64) -> Result<()> {
        let deadline = Instant::now() + WRITTEN_WITHIN;
        loop {
            let told = self.read()?;
            if told == made {
                return Ok(());
            }
            ensure!(told < made && Instant::now() < deadline, "the sink has {told} of {made}");
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Takes what is there. Gives the sum of all.
    fn read(&mut self) -> Result<u64> {
        while self.lines.read_line(&mut self.line)? > 0 && self.line.ends_with('\n') {
            let line = std::mem::take(&mut self.line);
            let minute: Minute = serde_json::from_str(&line).with_context(|| line.clone())?;
            let known = minute.dst.ip.and_then(nth).and_then(|nth| self.sums.get_mut(nth as usize));
            let sum = known.with_context(|| format!("no destination of these: {line}"))?;
            ensure!(minute.label == "refused" && minute.dst.port == Some(PORT), "{line}");
            *sum += minute.count;
        }
        Ok(self.sums.iter().sum())
    }
}

fn recorded(path: &Path, destinations: u32) -> Result<Vec<u64>> {
    let connection = rusqlite::Connection::open(path)?;
    let mut query = connection.prepare("SELECT dst_ip, count FROM minute WHERE label = 'refused'")?;
    let mut rows = query.query(())?;
    let mut sums = vec![0; destinations as usize];
    while let Some(row) = rows.next()? {
        let ip: Option<String> = row.get(0)?;
        let ip: IpAddr = ip.context("a count without its address")?.parse()?;
        let known = nth(ip).and_then(|nth| sums.get_mut(nth as usize));
        *known.with_context(|| format!("no destination of these: {ip}"))? += u64::try_from(row.get::<_, i64>(1)?)?;
    }
    Ok(sums)
}

/// `observer run` with history and one sink, which gets minute records.
struct Daemon {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Daemon {
    fn start(directory: &Path) -> Result<Self> {
        let config = directory.join("observer.toml");
        let place = directory.display();
        let text = format!(
            "[watch]\nports = [{PORT}]\n[kernel]\nring_size = '{RING}'\n[history]\npath = '{place}/history.sqlite'\n\
             retain_size = '8G'\n[socket]\nenabled = false\n[spool]\ndirectory = '{place}/spool'\n[sink.minutes]\n\
             type = 'file'\npath = '{place}/minutes.json'\nsend = ['minutes']\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(OBSERVER);
        command.args(["run", "--config"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().context(OBSERVER)?;
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut daemon = Self { child, stderr };
        let mut said = String::new();
        while !said.contains("outbound TCP connections") {
            let read = daemon.stderr.read_line(&mut said)?;
            ensure!(read > 0, "it did not start: {said}");
        }
        Ok(daemon)
    }

    /// A line of its status, in KiB.
    fn status(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        line.split_whitespace().next().context("no number")?.parse().context(line.to_owned())
    }

    fn end(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {said}");
        Ok(said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
