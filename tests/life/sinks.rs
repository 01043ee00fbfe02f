//! What becomes of records when queues, disks and configurations change under
//! `observer run`: nothing is lost in silence, and nothing goes where it does not belong.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig, LifeTrial};
use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, Place, free_port, wait};
use crate::disk::{Disk, Traced};
use crate::frozen::Receiver;

/// Every trial of this file.
pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "no receiver gets what was written for another kind",
        name: "life_reload_framing",
        trial: no_receiver_gets_what_was_written_for_another_kind,
    },
    LifeTrial {
        promise: "a sink that changes and changes back within a second delivers everything",
        name: "life_reload_back",
        trial: a_sink_that_goes_and_comes_back_delivers_everything,
    },
    LifeTrial {
        promise: "what a removed sink leaves is named, and delivered when it is back",
        name: "life_reload_removed",
        trial: what_a_removed_sink_leaves_is_named_and_delivered_when_it_is_back,
    },
    LifeTrial {
        promise: "a reload names the sinks that do not work",
        name: "life_reload_broken",
        trial: a_reload_says_which_sink_does_not_work,
    },
    LifeTrial {
        promise: "retention of history makes room on a full disk",
        name: "life_history_full_disk",
        trial: retention_makes_room_on_a_full_disk,
    },
    LifeTrial {
        promise: "a file that was truncated on a full disk has no hole and no half line",
        name: "life_file_full_disk",
        trial: a_truncated_file_on_a_full_disk_has_no_hole,
    },
    LifeTrial {
        promise: "the directory of a spool is synced",
        name: "life_spool_synced",
        trial: the_directory_of_a_spool_is_synced,
    },
];

const EVENTS: u32 = 500;
const SOON: Duration = Duration::from_secs(60);

/// A sink of the same name and format goes from syslog to Elasticsearch while messages wait.
fn no_receiver_gets_what_was_written_for_another_kind() -> Result<()> {
    let place = Place::new()?;
    let (bulk, away) = (Bulk::start()?, free_port()?);
    write(&place, &place.path("spool"), &syslog_sink(away, "json"))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = || lab.blast(EVENTS, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1);
    blast()?;
    wait_for_spooled(&place, EVENTS)?;
    let elastic =
        format!("[sink.siem]\ntype = 'elasticsearch'\nformat = 'json'\nurl = 'http://127.0.0.1:{}/_bulk'\n", bulk.port);
    write(&place, &place.path("spool"), &elastic)?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for("configuration loaded again, 1 sink", SOON)?;
    blast()?;
    wait(SOON, || Ok(bulk.bodies().len() >= EVENTS as usize)).with_context(|| daemon.said())?;
    let strange = bulk.bodies().into_iter().find(|body| serde_json::from_str::<Value>(body).is_err());
    ensure!(strange.is_none(), "Elasticsearch got what was written for syslog: {strange:?}");
    // What waits for syslog is named with its place, once the old sink has given up.
    daemon.wait_for("siem.syslog-json", SOON)?;
    ensure!(daemon.said().contains(&format!("holds {EVENTS} messages")), "{}", daemon.said());
    daemon.end().map(drop)
}

/// A to B to A, within a second, with the receiver away.
fn a_sink_that_goes_and_comes_back_delivers_everything() -> Result<()> {
    let place = Place::new()?;
    let port = free_port()?;
    let configure = |format: &str| write(&place, &place.path("spool"), &syslog_sink(port, format));
    configure("json")?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = || lab.blast(EVENTS, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1);
    blast()?;
    // Those of the other format would stay in its spool.
    wait_for_spooled(&place, EVENTS)?;
    for format in ["cef", "json"] {
        configure(format)?;
        daemon.signal(Signal::HUP)?;
        // Each is heard, and none is waited for longer.
        thread::sleep(Duration::from_millis(400));
    }
    blast()?;
    let receiver = Receiver::at(port)?;
    let has_all = || Ok(receiver.ids().into_iter().collect::<BTreeSet<_>>().len() == 2 * EVENTS as usize);
    wait(2 * SOON, has_all).with_context(|| format!("{} came: {}", receiver.count(), daemon.said()))?;
    daemon.wait_for("configuration loaded again, 1 sink", SOON)?;
    daemon.end().map(drop)
}

fn what_a_removed_sink_leaves_is_named_and_delivered_when_it_is_back() -> Result<()> {
    let place = Place::new()?;
    let port = free_port()?;
    write(&place, &place.path("spool"), &syslog_sink(port, "json"))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    lab.blast(EVENTS, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1)?;
    wait_for_spooled(&place, EVENTS)?;
    // Where it may write since it started.
    let other = file_sink(&place.path("spool/other.json"), "['alerts']");
    write(&place, &place.path("spool"), &other)?;
    daemon.signal(Signal::HUP)?;
    let left = format!("siem.syslog-json holds {EVENTS} messages");
    daemon.wait_for(&left, SOON)?;
    daemon.end()?;
    // At the next start as well.
    let daemon = Daemon::start(&place)?;
    daemon.wait_for(&left, SOON)?;
    let receiver = Receiver::at(port)?;
    write(&place, &place.path("spool"), &(syslog_sink(port, "json") + &other))?;
    daemon.signal(Signal::HUP)?;
    let has_all = || Ok(receiver.ids().into_iter().collect::<BTreeSet<_>>().len() == EVENTS as usize);
    wait(SOON, has_all).with_context(|| format!("{} came: {}", receiver.count(), daemon.said()))?;
    daemon.end().map(drop)
}

fn a_reload_says_which_sink_does_not_work() -> Result<()> {
    let place = Place::new()?;
    let good = file_sink(&place.path("events.json"), "['failures']");
    write(&place, &place.path("spool"), &good)?;
    let daemon = Daemon::start(&place)?;
    let bad = file_sink(&place.path("missing/events.json"), "['failures']").replace("sink.file", "sink.bad");
    write(&place, &place.path("spool"), &(good.clone() + &bad))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for("not every sink works: sink bad: ", SOON)?;
    ensure!(!daemon.said().contains("loaded again"), "{}", daemon.said());
    // It is tried again: a record has it opened.
    std::fs::create_dir(place.path("missing"))?;
    let lab = Lab::up(LabConfig::default())?;
    lab.blast(1, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1)?;
    wait(SOON, || Ok(place.lines("missing/events.json")?.len() == 1)).with_context(|| daemon.said())?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for("configuration loaded again, 2 sinks", SOON)?;
    daemon.end().map(drop)
}

/// History holds more than it may from now on, and there is no room: what is too much goes,
/// and new events come.
fn retention_makes_room_on_a_full_disk() -> Result<()> {
    let disk = Disk::mount(128 << 20)?;
    let place = Place::new()?;
    let history = disk.path().join("history/history.sqlite");
    let configure = |retain: &str| {
        let path = history.display();
        let text = format!(
            "[watch]\nports = [{}]\n[history]\npath = '{path}'\nretain_size = '{retain}'\n[socket]\nenabled = false\n",
            observer_lab::port()
        );
        std::fs::write(place.path("observer.toml"), text)
    };
    configure("64M")?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let mut made = 0;
    while std::fs::metadata(&history)?.len() < 20 << 20 {
        lab.blast(10_000, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1)?;
        made += 10_000;
        wait(SOON, || Ok(newest(&history)? >= made)).with_context(|| daemon.said())?;
    }
    daemon.end()?;
    disk.fill()?;
    configure("16M")?;
    let daemon = Daemon::start(&place)?;
    lab.blast(2_000, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1)?;
    made += 2_000;
    wait(2 * SOON, || Ok(newest(&history)? >= made && oldest(&history)? > 1))
        .with_context(|| format!("{:?} to {:?} of {made}: {}", oldest(&history), newest(&history), daemon.said()))?;
    let said = daemon.end()?;
    ensure!(said.contains("2000 events recorded") && said.contains("none dropped"), "{said}");
    let verdict: String =
        rusqlite::Connection::open(&history)?.query_row("PRAGMA integrity_check", (), |row| row.get(0))?;
    ensure!(verdict == "ok", "{verdict}");
    Ok(())
}

/// Rows that were ever written.
fn newest(history: &Path) -> Result<u64> {
    number(history, "SELECT coalesce(max(seq), 0) FROM attempt")
}

/// The first that is still there.
fn oldest(history: &Path) -> Result<u64> {
    number(history, "SELECT coalesce(min(seq), 0) FROM attempt")
}

fn number(history: &Path, sql: &str) -> Result<u64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(history, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let number: i64 = connection.query_row(sql, (), |row| row.get(0))?;
    Ok(number.try_into()?)
}

/// `copytruncate` of logrotate, then no room, then room again.
fn a_truncated_file_on_a_full_disk_has_no_hole() -> Result<()> {
    let disk = Disk::mount(32 << 20)?;
    let place = Place::new()?;
    let events = disk.path().join("events.json");
    write(&place, &place.path("spool"), &file_sink(&events, "['failures']"))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = |count| lab.blast(count, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1);
    let lines =
        |path: &Path| -> Result<usize> { Ok(std::fs::read(path)?.iter().filter(|&&byte| byte == b'\n').count()) };
    blast(1_000)?;
    wait(SOON, || Ok(lines(&events)? == 1_000)).with_context(|| daemon.said())?;
    let copied = std::fs::read(&events)?.len();
    std::fs::File::options().write(true).open(&events)?.set_len(0)?;
    disk.fill()?;
    blast(3_000)?;
    // It has tried, more than once.
    wait(SOON, || Ok(daemon.said().contains("sink file cannot deliver"))).with_context(|| daemon.said())?;
    disk.empty()?;
    wait(SOON, || Ok(lines(&events)? == 3_000))
        .with_context(|| format!("{:?} lines behind {copied} bytes: {}", lines(&events), daemon.said()))?;
    let text = std::fs::read_to_string(&events)?;
    let whole = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    ensure!(!text.contains('\0') && whole == 3_000, "{whole} whole lines, or a hole in them");
    // What is still missing is said when there is room again.
    daemon.wait_for("sink file is delivering again", SOON)?;
    daemon.end().map(drop)
}

/// As ext4 tells of fsync(2).
fn the_directory_of_a_spool_is_synced() -> Result<()> {
    let disk = Disk::mount(64 << 20)?;
    let place = Place::new()?;
    let spools = disk.path().join("spool");
    write(&place, &spools, &syslog_sink(free_port()?, "json"))?;
    let traced = Traced::start()?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    lab.blast(1, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 1)?;
    wait_for_spooled_in(&spools, 1)?;
    let spool = std::fs::read_dir(&spools)?.next().context("no spool")??.path();
    wait(SOON, || traced.has_synced(&spool)).with_context(|| format!("{} is not synced", spool.display()))?;
    ensure!(traced.has_synced(&spools)?, "{} is not synced", spools.display());
    daemon.end().map(drop)
}

pub(crate) fn write(place: &Place, spools: &Path, sinks: &str) -> Result<()> {
    let text = format!(
        "[watch]\nports = [{}]\n[history]\nenabled = false\n[socket]\nenabled = false\n[spool]\ndirectory = '{}'\n{sinks}",
        observer_lab::port(),
        spools.display()
    );
    Ok(std::fs::write(place.path("observer.toml"), text)?)
}

pub(crate) fn file_sink(path: &Path, send: &str) -> String {
    format!("[sink.file]\ntype = 'file'\npath = '{}'\nsend = {send}\n", path.display())
}

fn syslog_sink(port: u16, format: &str) -> String {
    format!(
        "[sink.siem]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{port}'\nformat = '{format}'\n\
         send = ['failures']\n"
    )
}

fn wait_for_spooled(place: &Place, events: u32) -> Result<()> {
    wait_for_spooled_in(&place.path("spool"), events)
}

/// Until so many records lie below this directory, each of which has an id.
fn wait_for_spooled_in(spools: &Path, events: u32) -> Result<()> {
    let segments = || -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for spool in std::fs::read_dir(spools)? {
            for file in std::fs::read_dir(spool?.path())? {
                files.push(file?.path());
            }
        }
        Ok(files)
    };
    let spooled = || -> Result<usize> {
        let files = segments()?.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "segment"));
        let texts = files.map(|path| Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned()));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        Ok(texts.iter().map(|text| text.matches("observer.event.v1").count()).sum())
    };
    wait(SOON, || Ok(spooled()? >= events as usize)).with_context(|| format!("{:?} spooled", spooled()))
}

/// An endpoint of `_bulk` that takes everything, and keeps the documents.
struct Bulk {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Bulk {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(Self { port, bodies })
    }

    fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: TcpStream, bodies: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(reader.read_line(&mut line)? > 0, "the end");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        // An action, and the document on the next line.
        let text = String::from_utf8_lossy(&body);
        let documents: Vec<String> = text.lines().skip(1).step_by(2).map(str::to_owned).collect();
        let items = vec!["{\"create\":{\"status\":201}}"; documents.len()].join(",");
        bodies.lock().unwrap_or_else(PoisonError::into_inner).extend(documents);
        let answer = format!("{{\"errors\":false,\"items\":[{items}]}}");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}
