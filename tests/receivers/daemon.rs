//! A running `observer run`, and the files of its sinks.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The daemon, with a directory for all that it writes.
pub(crate) struct Daemon {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

/// Where a daemon's files are.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the configuration: all files are here, and a sink `reference` writes
    /// everything to a file.
    pub(crate) fn configure(&self, sinks: &str) -> Result<()> {
        let directory = self.0.path().display();
        let text = format!(
            "[watch]\nports = [{}]\n[history]\nenabled = false\n[socket]\nenabled = false\n[spool]\ndirectory = '{directory}/spool'\n\
             [sink.reference]\ntype = 'file'\npath = '{directory}/reference.json'\n\
             send = ['failures', 'successes', 'minutes', 'alerts']\n{sinks}",
            observer_lab::port()
        );
        Ok(std::fs::write(self.path("observer.toml"), text)?)
    }

    /// Writes a file that nobody else may read, with this as its line.
    pub(crate) fn keep_secret(&self, name: &str, secret: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path(name), format!("{secret}\n"))?;
        Ok(std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600))?)
    }

    /// The lines of a file; none if it is not there.
    pub(crate) fn lines(&self, name: &str) -> Result<Vec<String>> {
        match std::fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| name.to_owned()),
        }
    }

    /// Its lines as JSON.
    pub(crate) fn json(&self, name: &str) -> Result<Vec<Value>> {
        let parse = |line: String| serde_json::from_str(&line).with_context(|| format!("{name}: {line}"));
        self.lines(name)?.into_iter().map(parse).collect()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }
}

impl Daemon {
    /// Starts it with the configuration of this place, and waits until it records.
    pub(crate) fn start(place: &Place) -> Result<Self> {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_observer")), place)
    }

    /// As [`Self::start`], by a command that becomes observer.
    pub(crate) fn start_by(observer: Command, place: &Place) -> Result<Self> {
        let mut child = spawn(observer, place)?;
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let daemon = Self { child, said };
        daemon.wait_for("outbound TCP connections", Duration::from_secs(30))?;
        Ok(daemon)
    }

    /// All that it said on stderr.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until it has said this.
    pub(crate) fn wait_for(&self, text: &str, at_most: Duration) -> Result<()> {
        wait(at_most, || Ok(self.said().contains(text)))
            .with_context(|| format!("it did not say '{text}': {}", self.said()))
    }

    /// The processes that it has started.
    pub(crate) fn children(&self) -> Result<Vec<Pid>> {
        let mut children = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("children"))?;
            children.extend(text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
        }
        Ok(children)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Ends it in order, within ten seconds: two on a machine with nothing else to do.
    pub(crate) fn end(mut self) -> Result<String> {
        let start = Instant::now();
        self.signal(Signal::TERM)?;
        let status = self.child.wait()?;
        let took = start.elapsed();
        // The rest of what it said is on its way.
        thread::sleep(Duration::from_millis(100));
        let said = self.said();
        ensure!(status.success(), "{status}: {said}");
        ensure!(took < Duration::from_secs(10), "the end took {took:?}");
        ensure!(said.contains(": balances"), "{said}");
        Ok(said)
    }

    /// Ends it as nothing else does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process does not outlive the thread that starts it.
pub(crate) fn mortal(mut command: Command) -> Command {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the call is a single prctl(2), which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command
}

/// `observer run` with the configuration of this place, by a command that becomes observer. What it
/// says is to be read.
pub(crate) fn spawn(observer: Command, place: &Place) -> Result<Child> {
    let mut command = mortal(observer);
    command.args(["run", "--config"]).arg(place.path("observer.toml"));
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

/// Waits until something is so.
pub(crate) fn wait(at_most: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + at_most;
    while !is_so()? {
        if Instant::now() > deadline {
            bail!("not so after {at_most:?}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The id of a record.
pub(crate) fn id(record: &Value) -> &str {
    record["id"].as_str().unwrap_or_default()
}

/// A port that nobody else takes: the network namespace is this process's own, and what the
/// kernel chooses is higher.
pub(crate) fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(26_000);
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    ensure!(port < 32_000, "too many ports");
    Ok(port)
}
