//! What many destinations cost: memory of `observer run`, CPU time of `observer top`.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::Terminal;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

use super::Run;
use super::cpu::Meter;
use super::figures::{Figures, Goal};
use super::subject::Watch;

/// Destinations that `run` gets to know.
const DESTINATIONS: u32 = 20_000;
/// Greatest resident size of `run`, in MB.
const GOAL_MEMORY: f64 = 32.0;
/// Attempts a second for `top`, and to how many destinations.
const RATE: u32 = 1_000;
const SHOWN: u32 = 200;
const SECONDS: u32 = 10;
const SCREEN: [NonZeroU16; 2] = [NonZeroU16::new(80).unwrap(), NonZeroU16::new(24).unwrap()];
/// Greatest share of a CPU that `top` takes, in per cent.
const GOAL_TOP: f64 = 3.0;

/// A port of this host's loopback at which every address refuses.
struct Refusing {
    /// Bound and not listening: nobody else gets the port.
    _socket: OwnedFd,
    port: u16,
}

impl Refusing {
    fn new() -> Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).context("make a socket")?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).context("bind it")?;
        let port = SocketAddrV4::try_from(getsockname(&socket).context("find its port")?)?.port();
        Ok(Self { _socket: socket, port })
    }

    /// Is refused once, by the nth address.
    fn connect(&self, nth: u32) -> Result<()> {
        let [_, high, middle, low] = nth.to_be_bytes();
        let destination = SocketAddrV4::new(Ipv4Addr::new(127, high + 1, middle, low), self.port);
        ensure!(TcpStream::connect(destination).is_err(), "{destination} does not refuse");
        Ok(())
    }
}

/// Resident memory of the daemon when it knows many destinations.
pub(super) fn memory(run: &mut Run, figures: &mut Figures) -> Result<()> {
    figures.progress(&format!("memory of observer run with {DESTINATIONS} destinations"));
    let refusing = Refusing::new()?;
    let directory = tempfile::tempdir().context("make a directory for the history")?;
    let history = directory.path().join("history.sqlite");
    let history = history.to_str().context("the temporary directory's name")?;
    let watch = Watch::spawn(&run.binary, &["run", "--port", &refusing.port.to_string(), "--history", history])?;
    for nth in 0..DESTINATIONS {
        if nth % 1_000 == 0 {
            run.check()?;
        }
        refusing.connect(nth)?;
    }
    // The disk is behind; what waits for it is memory, too.
    thread::sleep(Duration::from_secs(2));
    let [resident, own, highest] = watch.memory(["VmRSS", "RssAnon", "VmHWM"])?;
    if let Some(fault) = watch.stop()?.fault(DESTINATIONS.into(), 0) {
        figures.fault(fault);
    }
    let what = format!("resident with {DESTINATIONS} destinations");
    let measured = format!("{resident:.1} MB, {own:.1} of it its own; {highest:.1} at most");
    figures.goal(&what, &measured, Goal::at_most(resident, GOAL_MEMORY, "MB"), "observer run");
    Ok(())
}

/// CPU time of the live screen while events come in.
pub(super) fn top(run: &mut Run, figures: &mut Figures) -> Result<()> {
    figures.progress(&format!("observer top at {RATE} events a second"));
    let refusing = Refusing::new()?;
    let top = Top::start(run, refusing.port)?;
    paced(run, &refusing, 2)?;
    let meter = Meter::start(Some(top.0.id()))?;
    let began = Instant::now();
    paced(run, &refusing, SECONDS)?;
    let share = meter.read()?.tool.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let rate = f64::from(RATE * SECONDS) / began.elapsed().as_secs_f64();
    let what = format!("a CPU's share, {SHOWN} destinations on 80x24");
    let measured = format!("{share:.1} % at {rate:.0} events/s");
    figures.goal(&what, &measured, Goal::at_most(share, GOAL_TOP, "%"), "observer top");
    Ok(())
}

/// Refused connects at [`RATE`], in steps of 10 ms.
fn paced(run: &mut Run, refusing: &Refusing, seconds: u32) -> Result<()> {
    let began = Instant::now();
    for nth in 0..seconds * RATE {
        if nth % (RATE / 100) == 0 {
            run.check()?;
            let due = Duration::from_secs_f64(f64::from(nth) / f64::from(RATE));
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        refusing.connect(nth % SHOWN)?;
    }
    Ok(())
}

/// `observer top` on a terminal that nobody looks at. Killed on drop.
struct Top(Child);

impl Top {
    fn start(run: &Run, port: u16) -> Result<Self> {
        let Terminal { controller: mut screen, device } = Terminal::open(SCREEN)?;
        let child = Command::new(&run.binary)
            .args(["top", "--standalone", "--port", &port.to_string()])
            .envs([("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")])
            .stdin(device.try_clone()?)
            .stdout(device)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", run.binary.display()))?;
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while screen.read(&mut bytes).is_ok_and(|len| len > 0) {}
        });
        Ok(Self(child))
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
