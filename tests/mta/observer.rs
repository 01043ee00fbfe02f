//! A running observer, whose stderr is a file of the world's.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;

/// The binary under test.
pub(crate) const OBSERVER: &str = env!("CARGO_BIN_EXE_observer");

pub(crate) struct Observer(Child);

impl Observer {
    /// Starts it with these arguments and waits until it says `started`.
    pub(crate) fn start(world: &World, args: &[&str], started: &str) -> Result<Self> {
        let said = world.path("observer.err");
        let child = Command::new(OBSERVER)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()?;
        let observer = Self(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !std::fs::read_to_string(&said)?.contains(started) {
            ensure!(Instant::now() < deadline, "observer did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(observer)
    }

    /// Ends it in order; returns what it said.
    pub(crate) fn stop(mut self, world: &World) -> Result<String> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        let status = self.0.wait()?;
        let said = std::fs::read_to_string(world.path("observer.err"))?;
        ensure!(status.success() && said.contains("balances"), "observer ended with {status}: {said}");
        Ok(said)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
