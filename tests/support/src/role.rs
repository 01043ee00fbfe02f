//! Processes of the lab: the program that links it, started again with a role.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::{attempt, blast, demo, hold, ns, relay, server, storm};

/// The variable that marks a process as a role and says which.
const VARIABLE: &str = "OBSERVER_LAB_ROLE";

/// What a process of the lab does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Delays packets between client and router.
    Relay { client: PathBuf, router: PathBuf, delay: Duration },
    /// Listens on the server.
    Server { ns: PathBuf, ports: Vec<u16> },
    /// Takes what this host redirects to itself: resets it, or serves it on the second port.
    Redirected { ns: PathBuf, ports: [u16; 2] },
    /// Makes one attempt.
    Attempt { ns: PathBuf, parent: i32, order: attempt::Order },
    /// Makes one process's share of a storm.
    Storm { ns: PathBuf, parent: i32, order: storm::Order },
    /// Makes refused connects as fast as it can.
    Blast { ns: PathBuf, parent: i32, order: blast::Order },
    /// Keeps attempts in flight.
    Hold { ns: PathBuf, order: hold::Order },
    /// Makes one kind of attempt, again and again.
    Demo { ns: PathBuf, order: demo::Order },
}

impl Role {
    fn run(self) -> Result<()> {
        name_thread("observer-lab")?;
        match self {
            Self::Relay { client, router, delay } => relay::run(&client, &router, delay),
            Self::Server { ns, ports } => {
                ns::enter(&ns)?;
                server::run(&ports)
            }
            Self::Redirected { ns, ports: [resets, serves] } => {
                ns::enter(&ns)?;
                server::take_redirected(resets, serves)
            }
            Self::Attempt { ns, parent, order } => {
                die_with(parent)?;
                ns::enter(&ns)?;
                attempt::run(&order, parent)
            }
            Self::Storm { ns, parent, order } => {
                die_with(parent)?;
                ns::enter(&ns)?;
                storm::run(&order)
            }
            Self::Blast { ns, parent, order } => {
                die_with(parent)?;
                ns::enter(&ns)?;
                blast::run(&order)
            }
            Self::Hold { ns, order } => {
                ns::enter(&ns)?;
                hold::run(&order)
            }
            Self::Demo { ns, order } => {
                ns::enter(&ns)?;
                demo::run(&order)
            }
        }
    }
}

/// Must be the first thing in `main` of every program that links the lab: a
/// process that the lab started runs its role here and exits; any other returns.
pub fn dispatch_role() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let result = serde_json::from_str::<Role>(&text).context("read the role").and_then(Role::run);
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("lab role: {error:#}");
            1
        }
    };
    std::process::exit(code);
}

/// Tells the lab that this role is up.
pub(crate) fn announce_ready() -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(b"ready\n").and_then(|()| stdout.flush()).context("announce ready")
}

/// Has the kernel kill this process when the one that waits for it dies. For
/// roles whose parent thread waits for them: the signal comes when that thread
/// ends. Roles that live as long as a lab watch their stdin instead.
pub(crate) fn die_with(parent: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("set the parent death signal")?;
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        bail!("the lab died before its role started");
    }
    Ok(())
}

/// Gives the calling thread its name, the `comm` that the kernel records: at most
/// 15 bytes, or the kernel cuts it.
pub(crate) fn name_thread(name: &str) -> Result<()> {
    let name = std::ffi::CString::new(name).context("a thread's name")?;
    rustix::thread::set_name(&name).context("PR_SET_NAME")
}

/// Asks to run as soon as there is something to do, so that the times a client
/// measures are the network's and not the scheduler's. A refusal costs accuracy
/// only, so it is none of the caller's business.
pub(crate) fn hurry() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters outlive the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
}

/// This process's id.
pub(crate) fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// A running role. Killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    // Held open: its end tells a long-lived role that the lab is gone.
    _stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a role whose complaints go to this process's stderr.
    pub(crate) fn start(role: &Role) -> Result<Self> {
        Self::spawn(role, Stdio::inherit())
    }

    /// Starts a role whose complaints end up in the error of [`Process::finish`].
    pub(crate) fn start_quiet(role: &Role) -> Result<Self> {
        Self::spawn(role, Stdio::piped())
    }

    fn spawn(role: &Role, stderr: Stdio) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("observer-lab")
            .env(VARIABLE, serde_json::to_string(role).context("write the role")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("start a role from /proc/self/exe")?;
        let stdout = child.stdout.take().context("the role's stdout")?;
        Ok(Self { _stdin: child.stdin.take(), stdout: BufReader::new(stdout), child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the role has announced that it is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        match self.line()?.as_deref() {
            Some("ready") => Ok(()),
            other => {
                bail!("the role said {other:?} instead of ready; does main() call observer_lab::dispatch_role() first?")
            }
        }
    }

    /// The next line that the role writes; `None` at its end.
    pub(crate) fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let length = self.stdout.read_line(&mut line).context("read from the role")?;
        Ok((length > 0).then(|| line.trim_end().to_owned()))
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill the role")
    }

    /// Waits for the role to end; an error if it failed by itself.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let status = self.child.wait().context("wait for the role")?;
        if status.success() {
            return Ok(());
        }
        let mut complaint = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut complaint).context("read the role's stderr")?;
        }
        bail!("the role failed, {status}: {}", complaint.trim())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
