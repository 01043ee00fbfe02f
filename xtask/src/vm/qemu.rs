//! A virtual machine: booted, listened to, and ended in any case.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::plan::Mark;

/// How qemu is asked to be a machine. One processor: with two, qemu 7.2 crashes
/// its guests. Time inside follows the instructions executed and skips idleness
/// (`-icount`), so that a busy host does not disturb what is measured inside.
const MACHINE: [&str; 17] = [
    "-accel",
    "tcg",
    "-smp",
    "1",
    "-m",
    "1024",
    "-nodefaults",
    "-display",
    "none",
    "-no-reboot",
    "-nic",
    "none",
    "-icount",
    "shift=1,sleep=off",
    "-rtc",
    "base=utc,clock=vm",
    "-monitor",
];

/// What every kernel is told beside its console, the first serial port: a machine
/// that has gone wrong in the kernel ends.
const COMMAND_LINE: &str = "quiet panic=-1 oops=panic rdinit=/init";

/// A machine to boot.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) arch: Arch,
    pub(crate) kernel: &'a Path,
    pub(crate) image: &'a Path,
    /// Beside what every kernel is told.
    pub(crate) command_line: &'a str,
    /// It is ended after this.
    pub(crate) limit: Duration,
    /// Where all that it says is kept, with the seconds since its start before each line; the kernel's console beside
    /// it.
    pub(crate) log: &'a Path,
}

/// What became of a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Seconds of the machine's own time until its first program ran.
    pub(crate) up_seconds: Option<f64>,
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// The steps that began, in order.
    pub(crate) steps: Vec<StepRun>,
    /// Why it failed as a whole; `None`: it came to the end of its plan.
    pub(crate) failure: Option<String>,
}

/// What became of a step of the plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepRun {
    pub(crate) name: String,
    /// `None`: the machine ended before.
    pub(crate) code: Option<i32>,
    /// What it wrote.
    pub(crate) lines: Vec<String>,
}

impl Run {
    /// The step of that name.
    pub(crate) fn step(&self, name: &str) -> Option<&StepRun> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// Ends the machine when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a machine that has ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Boots it and listens until it ends, or its time is over.
    ///
    /// # Errors
    /// That qemu cannot be started. What goes wrong inside is in [`Run::failure`].
    pub(crate) fn boot(&self) -> Result<Run> {
        let start = Instant::now();
        let console = self.log.with_extension("console");
        let mut qemu = Command::new(self.arch.qemu())
            .args(self.arch.machine())
            .args(MACHINE)
            .arg("none")
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.image)
            .args(["-append", &format!("console={} {COMMAND_LINE} {}", self.arch.console(), self.command_line)])
            .args(["-serial", &format!("file:{}", console.display()), "-chardev", "stdio,id=report"])
            .args(self.arch.report_port())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: is it installed?", self.arch.qemu()))?;
        let stdout = qemu.stdout.take().context("qemu's stdout")?;
        let stderr = qemu.stderr.take().context("qemu's stderr")?;
        let mut running = Running(qemu);
        let (tell, told) = mpsc::channel();
        let complain = tell.clone();
        thread::spawn(move || each_line(stdout, |line| tell.send(line).is_ok()));
        thread::spawn(move || each_line(stderr, |line| complain.send(format!("qemu: {line}")).is_ok()));
        let mut log = File::create(self.log).with_context(|| format!("write {}", self.log.display()))?;
        let mut listener = Listener::default();
        loop {
            let left = self.limit.saturating_sub(start.elapsed());
            match told.recv_timeout(left) {
                Ok(line) => {
                    writeln!(log, "[{:>5.1}] {line}", start.elapsed().as_secs_f64()).context("write the log")?;
                    listener.hear(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    listener.fail(format!("not done within {} s", self.limit.as_secs()));
                    break;
                }
            }
        }
        if listener.run.failure.is_none() && !listener.is_done {
            _ = running.0.wait();
            listener.fail(last_words(&console));
        }
        listener.run.wall = start.elapsed();
        Ok(listener.run)
    }
}

fn each_line(from: impl std::io::Read, mut take: impl FnMut(String) -> bool) {
    for line in BufReader::new(from).split(b'\n') {
        let Ok(line) = line else { return };
        if !take(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()) {
            return;
        }
    }
}

/// Why a machine ended that did not say so itself.
fn last_words(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let is_cause = |line: &&str| line.contains("Kernel panic") || line.contains("Oops") || line.contains("BUG:");
    let line = text.lines().find(is_cause).or_else(|| text.lines().rev().find(|line| !line.trim().is_empty()));
    format!("the machine ended before its plan: {}", line.unwrap_or("without a word").trim())
}

#[derive(Default)]
struct Listener {
    run: Run,
    is_in_step: bool,
    is_done: bool,
}

impl Listener {
    fn hear(&mut self, line: String) {
        match Mark::in_line(&line) {
            Some(Mark::Up { seconds }) => self.run.up_seconds = Some(seconds),
            Some(Mark::Fatal { cause }) => self.fail(cause),
            Some(Mark::Begin { step }) => {
                self.run.steps.push(StepRun { name: step, ..StepRun::default() });
                self.is_in_step = true;
            }
            Some(Mark::End { code, .. }) => {
                self.is_in_step = false;
                if let Some(step) = self.run.steps.last_mut() {
                    step.code = Some(code);
                }
            }
            Some(Mark::Done) => self.is_done = true,
            None => {
                if let Some(step) = self.run.steps.last_mut().filter(|_| self.is_in_step) {
                    step.lines.push(line);
                }
            }
        }
    }

    fn fail(&mut self, cause: String) {
        self.run.failure.get_or_insert(cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[String]) -> Listener {
        let mut listener = Listener::default();
        lines.iter().for_each(|line| listener.hear(line.clone()));
        listener
    }

    #[test]
    fn what_a_step_writes_is_the_steps() {
        let begin = |step: &str| Mark::Begin { step: step.to_owned() }.line();
        let end = |step: &str, code| Mark::End { step: step.to_owned(), code }.line();
        let listener = heard(&[
            Mark::Up { seconds: 2.5 }.line(),
            "noise".to_owned(),
            begin("doctor"),
            "{}".to_owned(),
            end("doctor", 0),
            begin("tests"),
            "test result: FAILED. 1 passed; 1 failed; 0 ignored".to_owned(),
            end("tests", 101),
            Mark::Done.line(),
        ]);
        assert!(listener.is_done && listener.run.failure.is_none());
        assert_eq!(listener.run.up_seconds, Some(2.5));
        assert_eq!(listener.run.step("doctor").unwrap().lines, ["{}"]);
        assert_eq!(listener.run.step("tests").unwrap().code, Some(101));
    }

    #[test]
    fn a_machine_that_falls_silent_is_not_done() {
        let listener = heard(&[Mark::Begin { step: "tests".to_owned() }.line(), "half of".to_owned()]);
        assert!(!listener.is_done);
        assert_eq!(listener.run.step("tests").unwrap().code, None);
    }

    #[test]
    fn a_panic_is_the_cause() {
        let console = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(console.path(), "x\n[ 1.0] Kernel panic - not syncing: Oops\n[ 1.1] Rebooting\n").unwrap();
        assert!(last_words(console.path()).contains("Kernel panic - not syncing"));
        assert!(last_words(Path::new("/nonexistent")).contains("without a word"));
    }
}
