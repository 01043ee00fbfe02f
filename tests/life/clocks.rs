//! A wall clock that is set while observer runs. The machine's is left alone: a library
//! before the C library's moves it for observer alone.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use observer_lab::{Case, Family, Ip, Lab, LabConfig, LifeTrial, Mode, Observation, Scenario, destination};
use serde_json::Value;

use crate::daemon::{Daemon, Place, wait};

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "attempts are joined with the mail server's log whatever the wall clock is set to",
        name: "life_clock_mail_log",
        trial: lines_and_attempts_meet_whatever_the_clock_shows,
    },
    LifeTrial {
        promise: "a wall clock that is set begins, ends and stops no alert",
        name: "life_clock_alerts",
        trial: alerts_go_on_whatever_the_clock_shows,
    },
];

/// What the wall clock is set to, against what it shows: an hour back, a day ahead, and
/// right again.
const SET: [i64; 4] = [0, -3_600, 86_400, 0];

/// Adds the seconds in a file to CLOCK_REALTIME.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static volatile int64_t *ahead;
static int (*real)(clockid_t, struct timespec *);
__attribute__((constructor)) static void begin(void) {
    real = dlsym(RTLD_NEXT, "clock_gettime");
    int file = open(getenv("CLOCK_FILE"), O_RDONLY);
    ahead = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += *ahead;
    return result;
}
"#;

/// observer's wall clock.
struct WallClock {
    file: File,
    ahead: SignedDuration,
}

impl WallClock {
    /// A daemon with a clock that can be set.
    fn with_daemon(place: &Place) -> Result<(Self, Daemon)> {
        let (source, library, offset) = (place.path("clock.c"), place.path("clock.so"), place.path("clock"));
        std::fs::write(&source, SHIM)?;
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
        ensure!(compiled.context("cc")?.success(), "a C compiler is needed: this trial sets the clock of one process");
        let file = OpenOptions::new().write(true).create_new(true).open(&offset)?;
        let clock = Self { file, ahead: SignedDuration::ZERO };
        clock.write()?;
        let mut observer = Command::new(env!("CARGO_BIN_EXE_observer"));
        observer.env("LD_PRELOAD", &library).env("CLOCK_FILE", &offset);
        Ok((clock, Daemon::start_by(observer, place)?))
    }

    fn set(&mut self, ahead_s: i64) -> Result<()> {
        self.ahead = SignedDuration::from_secs(ahead_s);
        self.write()
    }

    fn write(&self) -> Result<()> {
        Ok(self.file.write_all_at(&self.ahead.as_secs().to_ne_bytes(), 0)?)
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead
    }
}

fn events(place: &Place) -> Result<Vec<Value>> {
    let records = place.json("reference.json")?.into_iter();
    Ok(records.filter(|record| record["schema"] == "observer.event.v1").collect())
}

fn refused(lab: &Lab) -> Result<Observation> {
    let case = Case { scenario: Scenario::ClosedPort, family: Family::V4, mode: Mode::Blocking };
    lab.run(&[case], observer_lab::port())?.pop().context("no attempt")
}

fn lines_and_attempts_meet_whatever_the_clock_shows() -> Result<()> {
    let place = Place::new()?;
    let log = place.path("mail.log");
    std::fs::write(&log, "")?;
    place.configure(&format!("[mta]\nkind = 'postfix'\nlog = '{}'\n", log.display()))?;
    let (mut clock, daemon) = WallClock::with_daemon(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let ip = destination(Scenario::ClosedPort, Ip::V4);
    for (phase, ahead) in SET.into_iter().enumerate() {
        clock.set(ahead)?;
        // On a busy machine one may be late for its event; all are, where the join stands still.
        let (mut is_joined, mut last) = (false, Value::Null);
        for nth in 0..10 {
            let attempt = refused(&lab)?;
            let id = format!("4BCDE{phase}{nth}");
            let mut file = OpenOptions::new().append(true).open(&log)?;
            let stamp = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
            let said = format!("connect to mx.example.net[{ip}]:{}: Connection refused", observer_lab::port());
            // As a mail server's words take some time to its log.
            std::thread::sleep(Duration::from_millis(300));
            writeln!(file, "{stamp} mx1 postfix/smtp[{}]: {said}", attempt.pid)?;
            writeln!(
                file,
                "{stamp} mx1 postfix/smtp[{}]: {id}: to=<a@example.net>, relay=none, delay=1, delays=0/0/0.1/0, \
                 dsn=4.4.1, status=deferred ({said})",
                attempt.pid
            )?;
            let of = |event: &Value| event["process"]["pid"] == attempt.pid;
            wait(Duration::from_secs(30), || Ok(events(&place)?.iter().any(of)))
                .with_context(|| format!("the event of attempt {id} does not come"))?;
            let event = events(&place)?.into_iter().find(of).context("it was there")?;
            if event["mta"]["queue_id"] == id {
                let time: Timestamp = event["time"].as_str().unwrap_or_default().parse()?;
                let off = time.duration_since(clock.now()).abs();
                ensure!(off < SignedDuration::from_mins(5), "{off:?} off the clock: {event}");
                is_joined = true;
                break;
            }
            last = event;
        }
        ensure!(is_joined, "with the clock set {ahead} s ahead no attempt of ten was joined: {last}");
    }
    daemon.end().map(drop)
}

fn alerts_go_on_whatever_the_clock_shows() -> Result<()> {
    let place = Place::new()?;
    place.configure("")?;
    let (mut clock, daemon) = WallClock::with_daemon(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    // Each phase, another destination fails: that this is told of shows that there was a look.
    let failing =
        [Scenario::ClosedPort, Scenario::ResetBeforeBanner, Scenario::ClosedBeforeBanner, Scenario::DropTimeout];
    let mut told = 0;
    for (ahead, scenario) in SET.into_iter().zip(failing) {
        clock.set(ahead)?;
        let case = |scenario| Case { scenario, family: Family::V4, mode: Mode::NonBlocking };
        lab.run(&[[case(Scenario::Success); 20], [case(scenario); 20]].concat(), observer_lab::port())?;
        let alerts = || -> Result<Vec<Value>> {
            let records = place.json("reference.json")?.into_iter();
            Ok(records.filter(|record| record["schema"] == "observer.alert.v1").collect())
        };
        wait(Duration::from_secs(90), || Ok(alerts()?.len() > told))
            .with_context(|| format!("with the clock set {ahead} s ahead nothing is told: {}", daemon.said()))?;
        let alerts = alerts()?;
        let ended: Vec<_> = alerts.iter().filter(|alert| alert["change"] == "ended").collect();
        ensure!(ended.is_empty(), "with the clock set {ahead} s ahead something ended: {ended:?}");
        for alert in &alerts[told..] {
            let time: Timestamp = alert["time"].as_str().unwrap_or_default().parse()?;
            let off = time.duration_since(clock.now()).abs();
            ensure!(off < SignedDuration::from_mins(5), "{off:?} off the clock: {alert}");
        }
        told = alerts.len();
    }
    daemon.end().map(drop)
}
