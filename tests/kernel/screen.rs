//! observer on a pseudo-terminal of any size.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use observer_lab::Terminal;
use rustix::process::Pid;

use crate::watcher::OBSERVER;

/// A program and the terminal that it draws on.
pub(crate) struct Screen {
    child: Child,
    keyboard: File,
    terminal: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    /// Starts observer with these arguments on `columns` by `lines`.
    pub(crate) fn start(args: &[&str], [columns, lines]: [NonZeroU16; 2]) -> Result<Self> {
        let Terminal { controller, device } = Terminal::open([columns, lines])?;
        let child = Command::new(OBSERVER)
            .args(args)
            .envs([("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")])
            .stdin(device.try_clone()?)
            .stdout(device)
            .stderr(Stdio::inherit())
            .spawn()?;
        let terminal = Arc::new(Mutex::new(vt100::Parser::new(lines, columns, 0)));
        let mut output = controller.try_clone()?;
        let shared = Arc::clone(&terminal);
        thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            // An error is the end: the program has closed its side.
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                locked(&shared).process(&bytes[..len]);
            }
        });
        Ok(Self { child, keyboard: controller, terminal })
    }

    /// The program's process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What the terminal shows, a line each.
    pub(crate) fn text(&self) -> String {
        locked(&self.terminal).screen().contents()
    }

    /// Waits until the terminal shows this.
    pub(crate) fn wait_for(&self, text: &str, at_most: Duration) -> Result<()> {
        let deadline = Instant::now() + at_most;
        while !self.text().contains(text) {
            if Instant::now() > deadline {
                bail!("no '{text}' within {at_most:?} on: {}", self.text());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Types.
    pub(crate) fn write(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.keyboard.write_all(keys)?)
    }

    /// Types what ends the program, and waits for that.
    pub(crate) fn end(mut self, keys: &[u8]) -> Result<()> {
        self.write(keys)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "it ended with {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("it did not end: {}", self.text())
    }
}

fn locked(terminal: &Mutex<vt100::Parser>) -> MutexGuard<'_, vt100::Parser> {
    // A parser that panicked shows what it had.
    terminal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
