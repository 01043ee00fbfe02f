//! `observer config check` and `observer run` on the same configurations: what the one passes the
//! other runs, without a word that the check did not say; what the one refuses so does the other.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, ChildStderr, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use observer_lab::LifeTrial;
use rcgen::CertifiedKey;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use crate::configurations::Generator;
use crate::daemon::{Place, mortal, spawn};
use crate::watcher::OBSERVER;

pub(crate) const TRIALS: &[LifeTrial] = &[LifeTrial {
    promise: "what config check passes run runs, what it refuses run refuses for the same reason",
    name: "life_check_and_run",
    trial: check_and_run_agree,
}];

const CONFIGURATIONS: u64 = 100;
/// Of those that run, and of those that do not, so that the trial says something.
const LEAST: usize = 25;
/// Runs at the same time, each with a place of its own.
const AT_ONCE: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// What `observer run` says when all is well, and does not begin with what was configured.
const IN_ORDER: [&str; 2] = ["confined: ", "recording outbound TCP connections"];
const IDLE: &str = "watching outbound TCP connections";
/// What a problem says where only a part does not work: `observer run` goes on without it.
const PART: &str = "does not work: ";

fn check_and_run_agree() -> Result<()> {
    let next = AtomicU64::new(0);
    let (results, disagreements) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= CONFIGURATIONS {
                        break;
                    }
                    match agree(seed) {
                        Ok(runs) => lock(&results).push(runs),
                        Err(error) => lock(&disagreements).push(format!("configuration {seed}: {error:#}")),
                    }
                }
            });
        }
    });
    let (results, disagreements) = (results.into_inner()?, disagreements.into_inner()?);
    ensure!(disagreements.is_empty(), "{} disagreements:\n\n{}", disagreements.len(), disagreements.join("\n\n"));
    let run = results.iter().filter(|runs| **runs).count();
    ensure!(run >= LEAST && results.len() - run >= LEAST, "{run} run, {} do not", results.len() - run);
    Ok(())
}

/// A thread that panicked has pushed nothing by halves.
fn lock<T>(shared: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `observer run` runs with this configuration.
fn agree(seed: u64) -> Result<bool> {
    let place = Place::new()?;
    let _sockets = furnish(&place)?;
    let port = u16::try_from(20_000 + seed)?;
    let (text, wrong) = Generator::new(seed, observer_lab::port(), port).configuration();
    let text = text.replace("DIR", &place.directory().display().to_string());
    std::fs::write(place.path("observer.toml"), &text)?;
    let check = check(&place)?;
    let run = Run::of(&place)?;
    let compared = compare(&check, &run).and_then(|()| nothing_passes_silently(&text, &wrong, &check));
    compared.with_context(|| format!("check {check:#?}\n{run:#?}\n{text}"))?;
    Ok(run.has_started)
}

fn compare(check: &Check, run: &Run) -> Result<()> {
    let is_part = |line: &&String| line.contains(PART);
    let unsaid: Vec<_> = run.said.iter().filter(|line| !check.said.contains(line) && !is_in_order(line)).collect();
    ensure!(unsaid.is_empty(), "run says what the check does not: {unsaid:#?}");
    let said: BTreeSet<_> = run.said.iter().collect();
    let hidden: Vec<_> = check.said.iter().filter(|line| !said.contains(line)).collect();
    ensure!(hidden.is_empty(), "the check says what run does not: {hidden:#?}");
    if run.has_started {
        ensure!(run.ended_well, "run did not end in order");
        let is_passed = check.is_passed || check.said.iter().any(|line| is_part(&line));
        ensure!(is_passed, "run runs what the check refuses");
        return Ok(());
    }
    ensure!(!check.is_passed, "run refuses what the check passes");
    let wholes = |said: &[String]| said.iter().filter(|line| !is_part(line)).cloned().collect::<Vec<_>>();
    ensure!(wholes(&check.said) == wholes(&run.said), "in another order");
    ensure!(run.code == Some(78), "run ends with {:?}", run.code);
    Ok(())
}

/// Whatever is wrong with another value.
fn nothing_passes_silently(text: &str, wrong: &[usize], check: &Check) -> Result<()> {
    let is_said = |line: &&usize| check.said.iter().any(|said| said.contains(&format!("/observer.toml:{line}:")));
    let lines: Vec<_> = text.lines().collect();
    let silent: Vec<_> = wrong.iter().filter(|line| !is_said(line)).filter_map(|line| lines.get(line - 1)).collect();
    ensure!(silent.is_empty(), "the check says nothing of {silent:?}");
    Ok(())
}

fn is_in_order(line: &str) -> bool {
    let text = line.strip_prefix("observer: ").unwrap_or(line);
    IN_ORDER.iter().chain([&IDLE]).any(|known| text.starts_with(known))
}

#[derive(Debug)]
struct Check {
    is_passed: bool,
    said: Vec<String>,
}

fn check(place: &Place) -> Result<Check> {
    let mut observer = mortal(Command::new(OBSERVER));
    let output = observer.args(["config", "check", "--user", "root"]).arg(place.path("observer.toml")).output()?;
    let said = String::from_utf8(output.stderr)?.lines().map(str::to_owned).collect();
    Ok(Check { is_passed: output.status.success(), said })
}

#[derive(Debug)]
struct Run {
    has_started: bool,
    /// Until it was told to end.
    said: Vec<String>,
    ended_well: bool,
    code: Option<i32>,
}

impl Run {
    fn of(place: &Place) -> Result<Self> {
        let mut observer = spawn(Command::new(OBSERVER), place)?;
        let mut stderr = BufReader::new(observer.stderr.take().context("no stderr")?);
        let said = until_it_records(&mut stderr)?;
        let has_started = said.last().is_some_and(|line| line.contains("; SIGTERM or Ctrl-C ends"));
        if has_started {
            kill_process(Pid::from_child(&observer), Signal::TERM)?;
            stderr.read_to_string(&mut String::new())?;
        }
        let status = ended(&mut observer)?;
        Ok(Self { has_started, said, ended_well: status.success(), code: status.code() })
    }
}

fn until_it_records(stderr: &mut BufReader<ChildStderr>) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let mut line = String::new();
    while stderr.read_line(&mut line)? > 0 {
        said.push(line.trim_end().to_owned());
        if line.contains("outbound TCP connections") {
            break;
        }
        line.clear();
    }
    Ok(said)
}

fn ended(observer: &mut Child) -> Result<std::process::ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = observer.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            observer.kill()?;
            observer.wait()?;
            bail!("observer run does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What the configurations name.
fn furnish(place: &Place) -> Result<(UnixListener, UnixDatagram)> {
    for (name, text) in [("text", "one line\n"), ("empty", ""), ("mail.log", ""), ("open-token", "token\n")] {
        std::fs::write(place.path(name), text)?;
    }
    std::fs::create_dir(place.path("directory"))?;
    std::os::unix::fs::symlink("nowhere/at/all", place.path("dangling"))?;
    mknodat(CWD, place.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    place.keep_secret("token", "token")?;
    place.keep_secret("domains.key", "0123456789abcdef0123456789abcdef")?;
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(place.path("cert.pem"), cert.pem())?;
    place.keep_secret("cert.key", &signing_key.serialize_pem())?;
    // One whose process has ended.
    drop(UnixListener::bind(place.path("stale"))?);
    Ok((UnixListener::bind(place.path("taken"))?, UnixDatagram::bind(place.path("log"))?))
}
