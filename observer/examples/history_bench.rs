//! How fast history is written and read: `cargo run --release -p observer
//! --example history_bench [EVENTS [FILE]]`. The file goes to TMPDIR and is removed, unless it
//! is named: then `observer diagnose --history FILE` and others can be tried on it.
//!
//! CPU time is shown beside wall-clock time: on a machine that is busy with
//! something else, it is the figure that can be compared.

mod measure;

use std::borrow::Cow;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use observer::config::QUEUE;
use observer::store::history::{Entry, History, Question, Recorder, Retention, Writer};
use observer_core::event::{Endpoint, Event, Evidence, Process, SCHEMA};
use observer_core::label::{Label, Origin, Reason};

use self::measure::{cpu_time, resident_kib};

/// Rows of one transaction, as the writer thread makes them.
const BATCH: u64 = 4_096;
/// Destinations that the events go to.
const DESTINATIONS: u32 = 20_000;
/// The events lie evenly in this span, and end now.
const SPAN: SignedDuration = SignedDuration::from_hours(24);
/// Each question is asked so often; the median is shown.
const REPEATS: usize = 11;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let events: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let directory = tempfile::tempdir()?;
    let path = std::env::args().nth(2).map_or_else(|| directory.path().join("history.sqlite"), PathBuf::from);
    let end = Timestamp::now();
    let idle = resident_mb()?;

    let mut recorder = Recorder::open(&path, Retention::default(), end)?;
    let start = Instant::now();
    let cpu = cpu_time();
    let (mut making, mut making_cpu) = (Duration::ZERO, Duration::ZERO);
    for first in (0..events).step_by(BATCH as usize) {
        let (made, made_cpu) = (Instant::now(), cpu_time());
        let batch: Vec<Entry> =
            (first..events.min(first + BATCH)).map(|number| Entry::from(&event(number, events, end))).collect();
        making += made.elapsed();
        making_cpu += cpu_time() - made_cpu;
        recorder.record(&batch, &[])?;
    }
    recorder.checkpoint()?;
    let writing = start.elapsed() - making;
    let writing_cpu = cpu_time() - cpu - making_cpu;
    row("write", "events a second", events as f64 / writing.as_secs_f64());
    row("write", "events a second of CPU time", events as f64 / writing_cpu.as_secs_f64());
    row("file", "bytes an event", std::fs::metadata(&path)?.len() as f64 / events as f64);
    row("resident", "MB more than idle, writing", resident_mb()? - idle);
    drop(recorder);

    let history = History::open_read_only(&path)?;
    let since = end - SPAN / 2;
    let hour =
        Question { since: Some(since), until: Some(since + SignedDuration::from_hours(1)), ..Question::default() };
    ask("one hour: outcomes", || history.outcomes(&hour).map(|outcomes| outcomes.len() as u64))?;
    ask("one hour: by destination", || {
        let mut count = 0;
        history.destinations(&hour, |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    })?;
    ask("one hour: by minute", || {
        let mut count = 0;
        history.minutes(&hour, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    })?;
    ask("one hour: every attempt", || history.attempts(&hour, |_| ControlFlow::Continue(())))?;
    ask("all: outcomes", || history.outcomes(&Question::default()).map(|outcomes| outcomes.len() as u64))?;
    row("resident", "MB more than idle, after reading", resident_mb()? - idle);
    thread(&directory.path().join("thread.sqlite"), events.min(200_000), end)
}

/// The same through the writer's thread, from a caller that waits for room.
fn thread(path: &std::path::Path, events: u64, end: Timestamp) -> Outcome<()> {
    let writer = Writer::start(Recorder::open(path, Retention::default(), end)?, QUEUE, |line| eprintln!("{line}"))?;
    let made: Vec<Arc<Event>> = (0..events).map(|number| Arc::new(event(number, events, end))).collect();
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    for event in &made {
        loop {
            let offered = Instant::now();
            let is_taken = writer.offer(Arc::clone(event));
            longest = longest.max(offered.elapsed());
            if is_taken {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let status = writer.finish(Duration::from_secs(60));
    if status.written != events {
        return Err(format!("{status:?}").into());
    }
    row("thread", "events a second", events as f64 / start.elapsed().as_secs_f64());
    row("thread", "longest wait of its caller, ms", longest.as_secs_f64() * 1_000.0);
    Ok(())
}

fn ask(name: &str, mut question: impl FnMut() -> observer::store::history::Result<u64>) -> Outcome<()> {
    let mut took = Vec::new();
    let mut answers = 0;
    let cpu = cpu_time();
    for _ in 0..REPEATS {
        let start = Instant::now();
        answers = question()?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1_000.0 / REPEATS as f64;
    row(name, &format!("ms, {cpu:.1} ms of CPU time ({answers} rows)"), took[REPEATS / 2].as_secs_f64() * 1_000.0);
    Ok(())
}

fn row(what: &str, unit: &str, value: f64) {
    println!("{what:<28} {value:>12.1} {unit}");
}

/// Failures of four kinds and successes, to many destinations, with all that an
/// event commonly carries.
fn event(number: u64, events: u64, end: Timestamp) -> Event {
    let (label, reason) = [
        (Label::Connected, None),
        (Label::Refused, Some(Reason::Rst)),
        (Label::Timeout, Some(Reason::Abandoned)),
        (Label::Reset, Some(Reason::BeforeBanner)),
    ][(number % 4) as usize];
    let is_failure = label != Label::Connected;
    let target = (number.wrapping_mul(2_654_435_761) % u64::from(DESTINATIONS)) as u32;
    let before = SPAN.as_nanos() / i128::from(events) * i128::from(events - number);
    Event {
        schema: SCHEMA,
        id: format!("mx1-6f0c2d9e-{:x}.{}", 4_500_000_000 + number * 86_400_000, number % 4),
        time: end - SignedDuration::from_nanos(i64::try_from(before).unwrap_or(0)),
        host: "mx1".to_owned(),
        label,
        reason,
        origin: is_failure.then_some(Origin::Remote),
        active_refusal: is_failure.then_some(label != Label::Timeout),
        errno: is_failure.then(|| "ECONNREFUSED".to_owned()),
        src: Endpoint { ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, (number % 4) as u8))), port: Some(45_890) },
        dst: Endpoint { ip: Some(IpAddr::V4(Ipv4Addr::from(0xc612_0000 + target))), port: Some(25) },
        started: None,
        elapsed: Some(Duration::from_micros(31_402)),
        handshake: None,
        syn_retransmits: 0,
        evidence: Evidence {
            rst_ttl: Some(57),
            route_iface: Some("eth0".to_owned()),
            missing: vec![Cow::Borrowed("icmp_from")],
            ..Evidence::default()
        },
        process: Some(Process {
            pid: 1203,
            uid: 89,
            comm: "smtp".to_owned(),
            cgroup: Some("/system.slice/postfix.service".to_owned()),
            netns: 4_026_531_840,
        }),
        mta: None,
        destination: None,
    }
}

/// The resident memory of this process.
fn resident_mb() -> Outcome<f64> {
    Ok(resident_kib()? as f64 / 1_024.0)
}
