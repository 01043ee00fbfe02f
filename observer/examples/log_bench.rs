//! How fast a mail server's log is read: `cargo run --release -p observer --example
//! log_bench [LINES]`. The file goes to TMPDIR.
//!
//! Postfix's lines of a busy minute are written, read and parsed, and then joined with
//! the attempts that they tell of, all on one thread. CPU time is shown beside
//! wall-clock time: on a machine that is busy with something else, it is the figure
//! that can be compared.

mod measure;

use std::error::Error;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use observer::follow::{Follower, From, Place};
use observer_core::join::{Attempt, Joiner, Settings, Verdict};
use observer_core::mta::{Line, MtaKind};

use self::measure::{cpu_time, resident_kib};

/// Lines of one delivery: a connect that failed, what became of two recipients, and two that
/// tell nothing of deliveries.
const LINES_EACH: u64 = 5;
/// Processes that deliver.
const PROCESSES: u64 = 100;
/// Between two deliveries: 10,000 a second, and 50,000 lines.
const EVERY: SignedDuration = SignedDuration::from_micros(100);
/// Between two looks at what can be settled.
const SETTLE_EVERY: SignedDuration = SignedDuration::from_millis(100);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let lines: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let deliveries = lines / LINES_EACH;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("mail.log");
    let start = Timestamp::now() - SignedDuration::from_hours(1);
    write(&path, deliveries, start)?;
    let idle = resident_mb()?;

    let place = Place::File(path);
    let (began, cpu) = (Instant::now(), cpu_time());
    let counts = read(&place, |_| ())?;
    rate("read and parse", counts, began, cpu);

    let settings = Settings { max_waiting: 1 << 17, ..Settings::default() };
    let (mut joiner, mut joined) = (Joiner::new(settings), Joined::default());
    let (mut next, mut settled_at) = (0, start);
    let (began, cpu) = (Instant::now(), cpu_time());
    let counts = read(&place, |line| {
        let time = line.time;
        while next < deliveries && end(start, next) <= time {
            joiner.attempt(attempt(start, next));
            next += 1;
        }
        joiner.line(line);
        if time >= settled_at + SETTLE_EVERY {
            settled_at = time;
            joined.count(joiner.settle(time - SignedDuration::from_millis(500)).attempts);
        }
    })?;
    (next..deliveries).for_each(|number| joiner.attempt(attempt(start, number)));
    row("resident", "MB more than idle", resident_mb()? - idle);
    joined.count(joiner.finish().attempts);
    rate("read, parse and join", counts, began, cpu);
    row("attempts", "joined to the right message", joined.right as f64);
    row("attempts", "ambiguous or without a line", joined.other as f64);
    if joined.wrong > 0 {
        return Err(format!("{} attempts joined wrongly", joined.wrong).into());
    }
    Ok(())
}

#[derive(Default)]
struct Joined {
    right: u64,
    wrong: u64,
    other: u64,
}

impl Joined {
    fn count(&mut self, attempts: Vec<observer_core::join::Judged>) {
        for judged in attempts {
            let id = judged.mta.and_then(|mta| mta.queue_id);
            match (judged.verdict, id) {
                (Verdict::Joined, Some(id)) if id == judged.id => self.right += 1,
                (_, Some(_)) => self.wrong += 1,
                _ => self.other += 1,
            }
        }
    }
}

fn read(place: &Place, mut take: impl FnMut(Line)) -> Outcome<u64> {
    let mut follower = Follower::open(MtaKind::Postfix, place, From::Back(u64::MAX))?;
    let now = Timestamp::now();
    while follower.poll(now, &mut take)? {}
    Ok(follower.counts().lines)
}

fn pid(number: u64) -> u64 {
    1_000 + number % PROCESSES
}

fn host(number: u64) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, u8::try_from(number % 251).unwrap_or(0))
}

fn end(start: Timestamp, number: u64) -> Timestamp {
    start + EVERY * i32::try_from(number).unwrap_or(i32::MAX)
}

fn queue_id(number: u64) -> String {
    format!("4dHq{number:010}")
}

fn attempt(start: Timestamp, number: u64) -> Attempt {
    let ended = end(start, number);
    Attempt {
        id: queue_id(number),
        pid: u32::try_from(pid(number)).ok(),
        source: None,
        ip: IpAddr::V4(host(number)),
        port: 25,
        started: ended - SignedDuration::from_millis(2),
        ended,
        is_accepted: false,
    }
}

fn write(path: &Path, deliveries: u64, start: Timestamp) -> Outcome<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for number in 0..deliveries {
        let (time, pid, host, id) = (end(start, number), pid(number), host(number), queue_id(number));
        let writer = format!("{time:.6} mx1 postfix/smtp[{pid}]: ");
        let words = format!("connect to mx{number}.example.net[{host}]:25: Connection refused");
        writeln!(
            file,
            "{time:.6} mx1 postfix/qmgr[7]: {id}: from=<list@example.org>, size=4711, nrcpt=2 (queue active)"
        )?;
        writeln!(file, "{writer}{words}")?;
        for recipient in ["john.doe", "jane"] {
            writeln!(
                file,
                "{writer}{id}: to=<{recipient}@d{number}.example>, relay=none, delay=0.14, delays=0.1/0.02/0.02/0, \
                 dsn=4.4.1, status=deferred ({words})"
            )?;
        }
        writeln!(
            file,
            "{time:.6} mx1 postfix/smtpd[9]: disconnect from unknown[192.0.2.99] ehlo=1 mail=1 rcpt=1 quit=1 commands=4"
        )?;
    }
    Ok(file.flush()?)
}

fn rate(what: &str, lines: u64, began: Instant, cpu: Duration) {
    row(what, "lines a second", lines as f64 / began.elapsed().as_secs_f64());
    row(what, "lines a second of CPU time", lines as f64 / (cpu_time() - cpu).as_secs_f64());
}

fn row(what: &str, unit: &str, value: f64) {
    println!("{what:<28} {value:>12.1} {unit}");
}

/// The resident memory of this process.
fn resident_mb() -> Outcome<f64> {
    Ok(resident_kib()? as f64 / 1_024.0)
}
