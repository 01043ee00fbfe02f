//! The mail server's log: its rotations, and the names in it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use observer_lab::{Case, Family, Lab, LabConfig, LifeTrial, Mode, Scenario, port};
use rustix::process::Signal;

use crate::daemon::{Daemon, Place, wait};

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "two rotations of a mail log within half a minute lose nothing",
        name: "life_mail_log_renamed",
        trial: two_rotations_lose_nothing,
    },
    LifeTrial {
        promise: "a mail log that is copied and cut twice loses nothing",
        name: "life_mail_log_copied",
        trial: copies_lose_nothing,
    },
    LifeTrial {
        promise: "a file of a mail log that came and went is counted and said",
        name: "life_mail_log_gone",
        trial: a_file_that_came_and_went_is_said,
    },
    LifeTrial {
        promise: "with a key no name of the mail log leaves observer",
        name: "life_hidden_names",
        trial: no_name_leaves,
    },
];

/// A daemon that reads a log.
struct Reading {
    place: Place,
    daemon: Daemon,
}

impl Reading {
    fn start(rest: &str) -> Result<Self> {
        let place = Place::new()?;
        let directory = place.directory().display().to_string();
        fs::write(place.path("mail.log"), "")?;
        let port = port();
        let text = format!(
            "[watch]\nports = [{port}]\n[history]\npath = '{directory}/history.sqlite'\n[socket]\npath = '{directory}/observer.sock'\ngroup = '0'\n\
             [spool]\ndirectory = '{directory}/spool'\n\
             [sink.reference]\ntype = 'file'\npath = '{directory}/reference.json'\n\
             [mta]\nkind = 'postfix'\nlog = '{directory}/mail.log'\n{rest}"
        );
        fs::write(place.path("observer.toml"), text)?;
        let daemon = Daemon::start(&place)?;
        let reading = Self { place, daemon };
        // It begins at the end of the log, once it has opened it.
        let mut count = 0;
        let reads = || {
            count += 1;
            reading.log(&format!("FIRST{count}"))?;
            Ok(!reading.read()?.is_empty())
        };
        wait(Duration::from_secs(60), reads).context("it does not read the log")?;
        Ok(reading)
    }

    fn path(&self) -> PathBuf {
        self.place.path("mail.log")
    }

    /// A message that was put off without a connect, in the log.
    fn log(&self, id: &str) -> Result<()> {
        self.log_to("mail.log", id)
    }

    /// The same, in a file that had the log's name.
    fn log_to(&self, name: &str, id: &str) -> Result<()> {
        let text = "relay=none, delay=1, delays=0/0/0/0, dsn=4.4.3, status=deferred (Host not found, try again)";
        append(&self.place.path(name), &format!("{}postfix/smtp[7]: {id}: to=<a@d.example>, {text}\n", stamp()))
    }

    /// Renames, as logrotate does.
    fn rotate(&self) -> Result<()> {
        let [first, second] = [self.place.path("mail.log.1"), self.place.path("mail.log.2")];
        if first.exists() {
            fs::rename(&first, &second)?;
        }
        Ok(fs::rename(self.path(), first)?)
    }

    /// The ids of messages that history has.
    fn read(&self) -> Result<BTreeSet<String>> {
        let path = self.place.path("history.sqlite");
        let history = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        history.busy_timeout(Duration::from_secs(5))?;
        let mut statement = history.prepare("SELECT queue_id FROM delivery WHERE queue_id IS NOT NULL")?;
        let ids = statement.query_map((), |row| row.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    fn wait_for(&self, ids: &[&str]) -> Result<()> {
        let has_all = || {
            let read = self.read()?;
            Ok(ids.iter().all(|id| read.contains(*id)))
        };
        wait(Duration::from_secs(60), has_all).with_context(|| format!("{:?} of {ids:?}", self.read()))
    }

    /// Does this while observer does not look.
    fn unseen(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.daemon.signal(Signal::STOP)?;
        let done = work();
        self.daemon.signal(Signal::CONT)?;
        done
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    Ok(OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())?)
}

fn stamp() -> String {
    format!("{:.6} mx1 ", Timestamp::now())
}

fn two_rotations_lose_nothing() -> Result<()> {
    let reading = Reading::start("")?;
    reading.unseen(|| {
        reading.log("AAAAA1")?;
        reading.rotate()?;
        reading.log("AAAAA2")?;
        reading.rotate()?;
        reading.log("AAAAA3")
    })?;
    reading.wait_for(&["AAAAA1", "AAAAA2", "AAAAA3"])?;
    // What writes has not been told of either.
    reading.log_to("mail.log.2", "AAAAA4")?;
    reading.log_to("mail.log.1", "AAAAA5")?;
    reading.log("AAAAA6")?;
    reading.wait_for(&["AAAAA4", "AAAAA5", "AAAAA6"])?;
    let said = reading.daemon.end()?;
    ensure!(!said.contains("not all was read"), "{said}");
    Ok(())
}

fn copies_lose_nothing() -> Result<()> {
    let reading = Reading::start("")?;
    let copy_and_cut = |to: &str| -> Result<()> {
        fs::copy(reading.path(), reading.place.path(to))?;
        Ok(OpenOptions::new().write(true).open(reading.path())?.set_len(0)?)
    };
    reading.unseen(|| {
        reading.log("AAAAA1")?;
        copy_and_cut("mail.log.2")?;
        reading.log("AAAAA2")?;
        copy_and_cut("mail.log.1")?;
        reading.log("AAAAA3")
    })?;
    reading.wait_for(&["AAAAA1", "AAAAA2", "AAAAA3"])?;
    let said = reading.daemon.end()?;
    ensure!(!said.contains("not all was read"), "{said}");
    Ok(())
}

fn a_file_that_came_and_went_is_said() -> Result<()> {
    let reading = Reading::start("")?;
    reading.unseen(|| {
        reading.rotate()?;
        reading.log("AAAAA1")?;
        reading.rotate()?;
        // As if it was compressed at once.
        fs::remove_file(reading.place.path("mail.log.1"))?;
        reading.log("AAAAA2")
    })?;
    reading.wait_for(&["AAAAA2"])?;
    reading.daemon.wait_for("not all was read (files that came and went: 1, ", Duration::from_secs(30))?;
    ensure!(!reading.read()?.contains("AAAAA1"), "it was read");
    reading.daemon.end()?;
    Ok(())
}

/// Of a refused connect Postfix logs the host in a line without the recipient.
fn no_name_leaves() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let key = Place::new()?;
    key.keep_secret("names.key", "0123456789abcdef0123456789abcdef")?;
    let reading = Reading::start(&format!("domain_key_file = '{}'", key.path("names.key").display()))?;
    let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_observer"))
        .args(["watch", "--format", "json", "--socket"])
        .arg(reading.place.path("observer.sock"))
        .stdout(fs::File::create(reading.place.path("watch.json"))?)
        .stderr(fs::File::create(reading.place.path("watch.err"))?)
        .spawn()?;
    let watches = || Ok(fs::read_to_string(reading.place.path("watch.err"))?.contains("watching"));
    wait(Duration::from_secs(20), watches).context("no reader")?;
    let case = Case { scenario: Scenario::ClosedPort, family: Family::V4, mode: Mode::NonBlocking };
    for id in ["AAAAA1", "AAAAA2"] {
        let seen = lab.run(&[case], port())?;
        let client = seen.first().context("no attempt")?;
        let refused = format!("connect to mx.hidden-name.example[{}]:{}: Connection refused", client.dst_ip, port());
        append(
            &reading.path(),
            &format!(
                "{stamp}postfix/smtp[{pid}]: {refused}\n{stamp}postfix/smtp[{pid}]: {id}: to=<a@hidden-name.example>, \
                 relay=none, delay=1, delays=0/0/0.1/0, dsn=4.4.1, status=deferred ({refused})\n",
                stamp = stamp(),
                pid = client.pid
            ),
        )?;
    }
    reading.wait_for(&["AAAAA1", "AAAAA2"])?;
    let is_joined =
        || Ok(reading.place.lines("reference.json")?.iter().filter(|line| line.contains("hashed-")).count() > 1);
    wait(Duration::from_secs(30), is_joined).context("the sink has no event with a delivery")?;
    rustix::process::kill_process(rustix::process::Pid::from_child(&watch), Signal::INT)?;
    watch.wait()?;
    reading.daemon.end()?;
    for entry in fs::read_dir(reading.place.directory())? {
        let path = entry?.path();
        if path.is_file() && path != reading.place.path("mail.log") {
            let bytes = fs::read(&path)?;
            let is_in = bytes.windows(11).any(|piece| piece.eq_ignore_ascii_case(b"hidden-name"));
            ensure!(!is_in, "{} has the name", path.display());
        }
    }
    Ok(())
}
