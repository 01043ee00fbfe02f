//! Connections of every kind, and what observer wrote of them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Lab, LabConfig, Mode, Storm, matrix, port};
use serde_json::Value;

use crate::daemon::{Daemon, Place};

/// Names of processes that try to be something else: the kernel keeps 15 bytes.
const HOSTILE: [&std::ffi::CStr; 4] =
    [c"a\nMESSAGE=b\n", c"\"]\\|=a\tb", c"\x1b[31m\r\xe2\x80\xae", c"\xff\xfe @cee: {"];

/// The records of the file `reference.json`.
pub(crate) struct Recorded {
    pub(crate) events: usize,
    pub(crate) records: Vec<Value>,
}

impl Recorded {
    pub(crate) fn print(&self, receivers: &str) {
        let others = self.records.len() - self.events;
        println!("{} events and {others} other records at {receivers}, every field equal", self.events);
    }
}

/// What was done.
pub(crate) struct Made {
    pids: BTreeSet<u32>,
    /// Attempts.
    pub(crate) seen: usize,
}

/// Every way for a connection to end, a storm of a thousand, and processes of hostile
/// names.
pub(crate) fn make() -> Result<Made> {
    let lab = Lab::up(LabConfig::default())?;
    // Not every kernel shows those that fail before a SYN.
    let is_shown = |case: &Case| case.mode != Mode::FastOpen;
    let cases: Vec<Case> = matrix().into_iter().filter(is_shown).step_by(3).collect();
    let (cases, storm) = (lab.run(&cases, port())?, lab.storm(Storm { attempts: 1_000, ..Storm::default() })?);
    let mut pids: BTreeSet<u32> = cases.iter().map(|case| case.pid).chain(storm.iter().map(|one| one.pid)).collect();
    pids.insert(std::process::id());
    HOSTILE.into_iter().try_for_each(attempt_as)?;
    Ok(Made { pids, seen: cases.len() + storm.len() + HOSTILE.len() })
}

/// The same with a daemon, which has ended after it.
pub(crate) fn record(place: &Place) -> Result<Recorded> {
    let daemon = Daemon::start(place)?;
    let Made { pids, seen } = make()?;
    // Minutes and alerts come too, and end with the daemon.
    std::thread::sleep(Duration::from_millis(500));
    let said = daemon.end()?;
    let records = place.json("reference.json")?;
    let pid =
        |record: &Value| record.pointer("/process/pid").and_then(Value::as_u64).and_then(|pid| pid.try_into().ok());
    let events = records.iter().filter(|record| pid(record).is_some_and(|pid| pids.contains(&pid))).count();
    ensure!(events == seen, "{seen} attempts, and {events} events in the file: {said}");
    let is_hostile = |record: &&Value| record["process"]["comm"].as_str().is_some_and(|comm| comm.contains('\n'));
    records.iter().find(is_hostile).context("no event has a process of two lines")?;
    Ok(Recorded { events, records })
}

/// One attempt of a thread of this name; whether somebody listens is no matter.
fn attempt_as(name: &'static std::ffi::CStr) -> Result<()> {
    let attempt = move || {
        rustix::thread::set_name(name)?;
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port())));
        anyhow::Ok(())
    };
    std::thread::spawn(attempt).join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
}
