//! A machine that others use, for tests that must not mind: another observer, and programs
//! that want all of its processors.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::{cargo, privilege};

/// Mounts tracefs for the tests that need root, as most hosts have it: see `tests/privileged.rs`.
pub(crate) const WITH_TRACEFS: (&str, &str) = ("OBSERVER_TEST_TRACEFS", "mounted");

/// Seconds after which all of it ends by itself, should this program be killed.
const AT_MOST: u32 = 1_800;

/// Goes on until it is dropped.
pub(crate) struct Crowd(Vec<Child>);

impl Crowd {
    /// Starts `observer watch`, and a loop for each processor.
    ///
    /// # Errors
    /// That the other observer does not watch, with what it said.
    pub(crate) fn gather() -> Result<Self> {
        let binary = cargo::build_debug_observer()?;
        let mut crowd = Self(Vec::new());
        let mut other = privilege::command(binary.as_os_str());
        other
            .args(["watch", "--standalone", "--duration", &format!("{AT_MOST}s")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut other = other.spawn().context("start another observer")?;
        let stderr = other.stderr.take().context("its stderr")?;
        crowd.0.push(other);
        let mut said = String::new();
        let mut stderr = BufReader::new(stderr);
        stderr.read_line(&mut said).context("read what the other observer says")?;
        ensure!(said.contains("watching"), "the other observer does not watch: {said}");
        // Nobody reads the rest, and it must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let mut busy = Command::new("timeout");
            busy.args([&AT_MOST.to_string(), "sh", "-c", "while :; do :; done"]);
            crowd.0.push(busy.spawn().context("start a loop")?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            privilege::end(child);
        }
    }
}
