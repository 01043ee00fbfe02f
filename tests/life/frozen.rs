//! Spool, history and a file on a disk that stands still while attempts go on: readers see
//! them meanwhile, and after it everything is everywhere, in order.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig, LifeTrial};

use crate::daemon::{Daemon, Place, wait};
use crate::disk::Disk;
use crate::watcher::Watcher;

/// One takes seconds, and one minutes.
pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "a disk that stands still for seconds loses nothing and holds up nobody",
        name: "life_frozen_disk",
        trial: a_disk_that_stands_still_holds_up_nobody,
    },
    LifeTrial {
        promise: "nor does one that stands still for a minute, in a flood",
        name: "life_frozen_disk_minute",
        trial: nor_does_it_for_a_minute_in_a_flood,
    },
];

/// Attempts a second.
const RATE: u32 = 10_000;
/// The first attempts.
const BEFORE: Duration = Duration::from_secs(1);
/// How long the disk is not frozen, to compare with; less where the trial is shorter.
const CONTROL: Duration = Duration::from_secs(10);
/// A reader that has got nothing for so long gets no more.
const STILL: Duration = Duration::from_secs(2);
/// What a reader has after this, it has in time for a busy machine.
const GRACE: Duration = Duration::from_secs(5);
/// A reader keeps up if it never gets an event later than this.
const KEEPS_UP: Duration = Duration::from_millis(500);
/// A reader that kept up may be twice as late, and this much more, while the disk stands still.
const ADDED: Duration = Duration::from_secs(1);
/// Attempts are made this often, so that they do not come all at once.
const EVERY: Duration = Duration::from_millis(250);
/// On a busy machine; what it took is printed.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(240);

fn a_disk_that_stands_still_holds_up_nobody() -> Result<()> {
    freeze_for(Duration::from_secs(6))
}

fn nor_does_it_for_a_minute_in_a_flood() -> Result<()> {
    freeze_for(Duration::from_secs(60))
}

fn freeze_for(time: Duration) -> Result<()> {
    let control = time.min(CONTROL);
    let attempts = RATE * u32::try_from((time + control + BEFORE).as_secs())?;
    // Four times what an event takes in a file, a spool, and history.
    let disk = Disk::mount((u64::from(attempts) * 12_000).max(256 << 20))?;
    let receiver = Receiver::start()?;
    let lab = Lab::up(LabConfig::default())?;
    let place = Place::new()?;
    let socket = place.path("observer.sock");
    // 1,500 bytes an event: more than one takes.
    let queue = (u64::from(attempts) * 1_500).max(16 << 20);
    std::fs::write(place.path("observer.toml"), configuration(&disk.path(), &socket, queue, receiver.port))?;
    let daemon = Daemon::start(&place)?;
    let socket = socket.to_str().context("no UTF-8")?;
    let reader = Watcher::read_as(std::process::Command::new(crate::watcher::OBSERVER), socket, &["--successes"])?;
    // What it writes, also when nobody else may read the file.
    let had = Lines::of(Path::new(&format!("/proc/{}/fd/1", reader.pid())))?;

    // Some before, so that every file is open and not new.
    let before = flood(&lab, BEFORE)?.made();
    had.wait_until_still();
    let moving = Watched::during(&lab, &had, control)?;
    had.wait_until_still();
    let frozen = disk.freeze()?;
    let start = Instant::now();
    // It thaws when a reader has what was made meanwhile, or has had its time: it does not wait
    // for the disk. In a flood on a busy machine it can lose some, which is its own affair.
    let standing = Watched::during(&lab, &had, time)?;
    let held = start.elapsed();
    drop(frozen);
    println!("the disk moves: {moving}\nit stands still: {standing}");
    let made = before + moving.made + standing.made;

    let thawed = Instant::now();
    while receiver.count() < made as usize && thawed.elapsed() < CAUGHT_UP_WITHIN {
        thread::sleep(Duration::from_millis(100));
    }
    let caught_up = thawed.elapsed();
    reader.stop()?.ensure_balanced()?;
    // What the disk did not take in time is lost at the end.
    let recorded = || Ok(ids_in_history(&disk.path().join("history/history.sqlite"))?.len() == made as usize);
    wait(CAUGHT_UP_WITHIN, recorded).with_context(|| daemon.said())?;
    let said = daemon.end()?;
    let ids = ids_in_file(&disk.path().join("events.json"))?;
    ensure!(ids.len() == made as usize, "the file has {} of {made}: {said}", ids.len());
    same("the receiver", &ids, &receiver.ids())?;
    same("history", &ids, &ids_in_history(&disk.path().join("history/history.sqlite"))?)?;
    ensure!(!said.contains("dropped ("), "{said}");
    standing.ensure_as_good_as(&moving)?;
    println!(
        "{made} attempts; frozen for {:.1} s; the receiver had all {:.1} s after it",
        held.as_secs_f64(),
        caught_up.as_secs_f64(),
    );
    Ok(())
}

/// What a reader had of a flood [`GRACE`] after it.
struct Watched {
    made: u32,
    took: Duration,
    had: u32,
    /// How long after the attempt it had the one that was the latest; `None` if not all came.
    behind: Option<Duration>,
}

impl Watched {
    fn during(lab: &Lab, lines: &Lines, time: Duration) -> Result<Self> {
        let before = lines.count();
        let flood = flood(lab, time)?;
        let made = flood.made();
        let _ = wait(GRACE, || Ok(lines.count() >= before + made));
        let had = lines.count() - before;
        let behind = flood.parts.iter().map(|part| lines.behind(before + part.made, part.at));
        let behind = behind.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        Ok(Self { made, took: flood.took, had, behind })
    }

    /// Processors can be what a reader waits for, with the disk or without: then it had as much without.
    fn ensure_as_good_as(&self, control: &Self) -> Result<()> {
        let of = |one: &Self, other: &Self| u64::from(one.had) * u64::from(other.made);
        ensure!(
            2 * of(self, control) >= of(control, self),
            "a reader had {self} beside a frozen disk, and {control} before"
        );
        let limit = control.behind.filter(|behind| *behind <= KEEPS_UP).map(|behind| 2 * behind + ADDED);
        let is_in_time = |limit| self.behind.is_some_and(|behind| behind <= limit);
        ensure!(limit.is_none_or(is_in_time), "a reader had {self} beside a frozen disk, and {control} before");
        Ok(())
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = f64::from(self.made) / self.took.as_secs_f64();
        write!(f, "{} of {} attempts, {rate:.0} a second", self.had, self.made)?;
        match self.behind {
            Some(behind) => write!(f, ", each within {:.2} s", behind.as_secs_f64()),
            None => Ok(()),
        }
    }
}

fn configuration(disk: &Path, socket: &Path, queue: u64, port: u16) -> String {
    let (disk, socket) = (disk.display(), socket.display());
    format!(
        "[watch]\nports = [{}]\n[kernel]\nring_size = '16M'\n[socket]\npath = '{socket}'\ngroup = '0'\n\
         [history]\npath = '{disk}/history/history.sqlite'\nqueue_size = '{queue}'\nretain_size = '4G'\n\
         [spool]\ndirectory = '{disk}/spool'\n\
         [sink.file]\ntype = 'file'\npath = '{disk}/events.json'\nqueue_size = '{queue}'\nsend = ['failures']\n\
         [sink.siem]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{port}'\nformat = 'json'\n\
         queue_size = '{queue}'\nspool_size = '4G'\nsend = ['failures']\n",
        observer_lab::port()
    )
}

/// Attempts made at [`RATE`], or as near to it as this machine comes.
struct Flood {
    parts: Vec<Part>,
    took: Duration,
}

/// So many were made by then, all refused.
struct Part {
    made: u32,
    at: Instant,
}

impl Flood {
    fn made(&self) -> u32 {
        self.parts.last().map_or(0, |part| part.made)
    }
}

fn flood(lab: &Lab, time: Duration) -> Result<Flood> {
    let start = Instant::now();
    let part = RATE / 1_000 * u32::try_from(EVERY.as_millis())?;
    let (mut made, mut part_at, mut parts) = (0, start, Vec::new());
    while start.elapsed() < time {
        lab.blast(part, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1)?;
        made += part;
        parts.push(Part { made, at: Instant::now() });
        part_at += EVERY;
        thread::sleep(part_at.saturating_duration_since(Instant::now()));
    }
    Ok(Flood { parts, took: start.elapsed() })
}

/// How many lines a file had, and when, while it grows.
struct Lines {
    counted: Arc<Mutex<Vec<(Instant, u32)>>>,
}

impl Lines {
    /// Looks until the `Lines` are dropped.
    fn of(path: &Path) -> Result<Self> {
        let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let counted = Arc::new(Mutex::new(vec![(Instant::now(), 0)]));
        let seen = Arc::downgrade(&counted);
        thread::spawn(move || {
            let (mut lines, mut bytes) = (0, Vec::new());
            while let Some(counted) = seen.upgrade() {
                bytes.clear();
                if file.read_to_end(&mut bytes).is_err() {
                    return;
                }
                lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
                let lines = u32::try_from(lines).unwrap_or(u32::MAX);
                counted.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), lines));
                drop(counted);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Ok(Self { counted })
    }

    fn count(&self) -> u32 {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).last().map_or(0, |&(_, lines)| lines)
    }

    /// Until no more come, or it takes too long.
    fn wait_until_still(&self) {
        let (mut count, mut since) = (self.count(), Instant::now());
        let _ = wait(CAUGHT_UP_WITHIN, || {
            if self.count() > count {
                (count, since) = (self.count(), Instant::now());
            }
            Ok(since.elapsed() > STILL)
        });
    }

    /// How long after `since` there were so many lines; `None` if there never were.
    fn behind(&self, lines: u32, since: Instant) -> Option<Duration> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let &(at, _) = counted.get(counted.partition_point(|&(_, count)| count < lines))?;
        Some(at.saturating_duration_since(since))
    }
}

fn ids_in_file(path: &Path) -> Result<Vec<String>> {
    std::fs::read_to_string(path)?.lines().map(id_in).collect()
}

fn ids_in_history(path: &Path) -> Result<Vec<String>> {
    let connection = rusqlite::Connection::open(path)?;
    let mut rows = connection.prepare("SELECT id FROM attempt ORDER BY seq")?;
    Ok(rows.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn id_in(line: &str) -> Result<String> {
    let id = line.split_once("\"id\":\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    id.map(str::to_owned).with_context(|| format!("no id in {line}"))
}

fn same(who: &str, expected: &[String], found: &[String]) -> Result<()> {
    ensure!(found.len() == expected.len(), "{who} has {} of {}", found.len(), expected.len());
    let other = expected.iter().zip(found).position(|(expected, found)| expected != found);
    ensure!(other.is_none(), "{who} has others, or another order, from {other:?} on");
    Ok(())
}

/// Reads syslog over TCP with octet counting, and keeps ids.
pub(crate) struct Receiver {
    port: u16,
    ids: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(crate) fn start() -> Result<Self> {
        Self::at(0)
    }

    /// At a port of loopback's; 0: any.
    pub(crate) fn at(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        let ids = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&ids);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = receive(stream, &kept);
            }
        });
        Ok(Self { port, ids })
    }

    pub(crate) fn count(&self) -> usize {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn receive(stream: TcpStream, ids: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    loop {
        let mut length = Vec::new();
        reader.read_until(b' ', &mut length)?;
        let length: usize = std::str::from_utf8(&length)?.trim_end().parse()?;
        let mut message = vec![0; length];
        reader.read_exact(&mut message)?;
        let id = id_in(std::str::from_utf8(&message)?)?;
        ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}
