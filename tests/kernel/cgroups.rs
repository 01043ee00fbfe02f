//! Whoever makes cgroups by the thousand delays nobody's events.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::condition::Named;
use crate::watcher::OBSERVER;

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] = &[("hostile_cgroups", ten_thousand_cgroups_delay_nobody)];

const CGROUPS: usize = 10_000;
const NOBODY: u32 = 65_534;
/// An event of somebody else's comes within this, but for one in a hundred.
const WITHIN: Duration = Duration::from_millis(200);
/// On a machine that is busy with other work, one round in so many must show it: what
/// observer itself delays, it delays in each.
const ROUNDS: u32 = 3;
/// Between two connects of somebody else's.
const EVERY: Duration = Duration::from_millis(10);
/// The second byte of that one's addresses.
const OTHERS: u8 = 77;
/// For all events to come.
const ALL_WITHIN: Duration = Duration::from_secs(60);

/// A user without privileges, to whom a cgroup is delegated. Makes 10,000 below it, and one
/// process in each, which connects once and ends: when its event is read, /proc knows it no
/// more. Says how many were refused.
const HOSTILE: &str = r#"
cd "$1" && seq -f c%g "$3" | xargs mkdir || exit 1
refused=0
for cgroup in c*; do
    ( echo "$BASHPID" >"$cgroup/cgroup.procs" || exit 3; : >"/dev/tcp/127.0.0.1/$2" ) 2>/dev/null
    [ $? = 1 ] && refused=$((refused + 1))
done
echo "$refused"
"#;

fn ten_thousand_cgroups_delay_nobody() -> Result<()> {
    let mut delays = Vec::new();
    for _ in 0..ROUNDS {
        let delay = round()?;
        if delay < WITHIN {
            return Ok(());
        }
        delays.push(delay);
    }
    bail!("other events came late, in each round: {delays:.1?}")
}

/// Gives within which time 99 of 100 events came that others made beside.
fn round() -> Result<Duration> {
    let cgroup = Delegated::make()?;
    let port = observer_lab::port();
    let watch = Watch::start(port)?;
    let begun = Instant::now();
    let is_over = AtomicBool::new(false);
    let (refused, connected) = thread::scope(|scope| {
        let others = scope.spawn(|| connect_until(&is_over, port));
        let refused = hostile(&cgroup.0, port);
        is_over.store(true, Ordering::Relaxed);
        let connected = others.join().unwrap_or_else(|_| bail!("the other client panicked"));
        anyhow::Ok((refused?, connected?))
    })?;
    let took = begun.elapsed();
    ensure!(refused == CGROUPS, "{refused} connects from {CGROUPS} cgroups were refused");
    let seen = watch.wait_for(refused + connected.len())?;
    let said = watch.end()?;

    let mut delays = Vec::new();
    for (from, at) in &connected {
        let seen = seen.get(from).with_context(|| format!("no event of the connect from {from}"))?;
        delays.push(seen.saturating_duration_since(*at));
    }
    ensure!(delays.len() >= 100, "{} connects beside are too few", delays.len());
    delays.sort_unstable();
    let share = |percent: usize| delays[(delays.len() - 1) * percent / 100];
    println!("{refused} cgroups in {took:.1?}; delay of {} other events:", delays.len());
    println!("median {:.1?}, 99 of 100 within {:.1?}, all within {:.1?}", share(50), share(99), share(100));
    println!("{said}");
    ensure!(said.contains(": balances"), "{said}");
    Ok(share(99))
}

/// Gives how many connects were refused.
fn hostile(cgroup: &Path, port: u16) -> Result<usize> {
    // As a service manager starts a user's service: the move is root's, the rest is not.
    let enter = "echo $$ >\"$1/cgroup.procs\" && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                 --bounding-set=-all bash -c \"$4\" hostile \"$1\" \"$2\" \"$3\"";
    let mut command = Command::new("sh");
    command.args(["-c", enter, "enter"]).arg(cgroup).args([port.to_string(), CGROUPS.to_string()]).arg(HOSTILE);
    let output = command.stdin(Stdio::null()).output().context("sh")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let number = said.trim().parse().ok().filter(|_| output.status.success());
    number.with_context(|| format!("{}: {said} {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Connects from one address after the other, by which their events are told apart. Gives
/// when each was refused.
fn connect_until(is_over: &AtomicBool, port: u16) -> Result<Vec<(IpAddr, Instant)>> {
    let mut connected = Vec::new();
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    for nth in 0..u16::MAX {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let [high, low] = nth.to_be_bytes();
        let from: IpAddr = Ipv4Addr::new(127, OTHERS, high, low).into();
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddr::new(from, 0))?;
        match connect(&socket, &to) {
            Err(Errno::CONNREFUSED) => connected.push((from, Instant::now())),
            result => bail!("{to} did not refuse: {result:?}"),
        }
        thread::sleep(EVERY);
    }
    Ok(connected)
}

/// A cgroup that a user may make others in. Removed with all below it.
struct Delegated(PathBuf);

impl Delegated {
    fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2")).context("no cgroup2 is mounted here")?;
        let made = Self(Path::new(mount[1]).join(format!("observer-trial-{}", std::process::id())));
        fs::create_dir(&made.0).with_context(|| made.0.display().to_string())?;
        for path in [made.0.clone(), made.0.join("cgroup.procs"), made.0.join("cgroup.threads")] {
            chown(&path, Some(NOBODY), Some(NOBODY)).with_context(|| path.display().to_string())?;
        }
        Ok(made)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // Its processes have ended, and leave a moment later.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let below = fs::read_dir(&self.0).into_iter().flatten().flatten();
            below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| {
                let _ = fs::remove_dir(entry.path());
            });
            if fs::remove_dir(&self.0).is_ok() || Instant::now() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// `observer watch`, of which each line is read when it comes.
struct Watch {
    child: Child,
    lines: std::sync::mpsc::Receiver<(Instant, String)>,
}

impl Watch {
    fn start(port: u16) -> Result<Self> {
        let mut command = Command::new(OBSERVER);
        command.args(["watch", "--standalone", "--format", "json", "--port", &port.to_string()]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context(OBSERVER)?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let mut watch = Self { child, lines };
        let stderr = watch.child.stderr.as_mut().context("no stderr")?;
        let mut said = String::new();
        // Unbuffered: the rest is read at the end.
        while !said.ends_with('\n') {
            let mut byte = [0];
            ensure!(stderr.read(&mut byte)? == 1, "it did not start: {said}");
            said.push(char::from(byte[0]));
        }
        ensure!(said.contains("watching"), "it did not start: {said}");
        Ok(watch)
    }

    /// When each event of the other client came, by its local address, once there are so many
    /// of all clients.
    fn wait_for(&self, events: usize) -> Result<HashMap<IpAddr, Instant>> {
        let deadline = Instant::now() + ALL_WITHIN;
        let mut seen = HashMap::new();
        for nth in 0..events {
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, line) = self.lines.recv_timeout(left).with_context(|| format!("{nth} of {events} events came"))?;
            let event: serde_json::Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            let from: Option<Ipv4Addr> = event.pointer("/src/ip").and_then(|ip| ip.as_str()?.parse().ok());
            if let Some(from) = from.filter(|from| from.octets()[1] == OTHERS) {
                ensure!(seen.insert(from.into(), at).is_none(), "two events of {from}");
            }
        }
        Ok(seen)
    }

    fn end(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let mut said = String::new();
        self.child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {said}");
        Ok(said)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
