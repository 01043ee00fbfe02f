//! The first program inside a virtual machine: sets the machine up, runs the
//! plan, says what happened, and ends the machine.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use super::plan::{Mark, PLAN, Plan, Step};

/// The serial port for marks and what the steps write; the other is the kernel's,
/// which on the ARM board is of another kind.
const REPORT: &str = if cfg!(target_arch = "aarch64") { "/dev/ttyS0" } else { "/dev/ttyS1" };

/// What to mount where. Not tracefs: observer has to find its way without. Nor
/// anything on /tmp, where the programs under test may lie.
const MOUNTS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("securityfs", "/sys/kernel/security"),
];

/// Must be the first thing in `main`: as the first program of a virtual machine
/// this never returns, and elsewhere it does nothing.
pub(crate) fn dispatch() {
    if !rustix::process::getpid().is_init() || !Path::new(PLAN).exists() {
        return;
    }
    if let Err(error) = run() {
        // Where the port itself is missing, the console has to do.
        let line = Mark::Fatal { cause: format!("{error:#}") }.line();
        let told = OpenOptions::new().write(true).open(REPORT).and_then(|mut report| writeln!(report, "{line}"));
        if told.is_err() {
            println!("{line}");
        }
    }
    rustix::fs::sync();
    // A machine that does not restart ends: qemu is told so.
    let refused = reboot(RebootCommand::Restart);
    unreachable_by_design(&refused);
}

/// The kernel panics when its first program ends, which ends the machine too.
fn unreachable_by_design(refused: &rustix::io::Result<()>) {
    println!("the machine does not restart: {refused:?}");
    std::process::exit(1);
}

fn run() -> Result<()> {
    for (kind, point) in MOUNTS {
        fs::create_dir_all(point).with_context(|| format!("make {point}"))?;
        let mounted = mount(kind, point, kind, MountFlags::empty(), None);
        // A kernel without lockdown has no use for securityfs.
        ensure!(mounted.is_ok() || kind == "securityfs", "mount {kind} on {point}: {mounted:?}");
    }
    let plan: Plan = serde_json::from_slice(&fs::read(PLAN).context("read the plan")?).context("read the plan")?;
    say(&Mark::Up { seconds: uptime()? })?;
    for module in &plan.modules {
        load(module).with_context(|| format!("load {}", module.display()))?;
    }
    rustix::system::sethostname(b"vm").context("name the machine")?;
    let is_up = Command::new("ip").args(["link", "set", "lo", "up"]).env("PATH", PATH).status().context("ip")?;
    ensure!(is_up.success(), "the loopback device does not come up: {is_up}");
    for step in &plan.steps {
        say(&Mark::Begin { step: step.name.clone() })?;
        let code = run_step(step).with_context(|| format!("step {}", step.name))?;
        say(&Mark::End { step: step.name.clone(), code })?;
    }
    say(&Mark::Done)
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

fn run_step(step: &Step) -> Result<i32> {
    let report = || OpenOptions::new().write(true).open(REPORT).context(REPORT);
    let status = Command::new(&step.program)
        .args(&step.arguments)
        .env_clear()
        .envs([("PATH", PATH), ("HOME", "/"), ("TMPDIR", "/tmp")])
        .envs(step.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(report()?)
        .stderr(report()?)
        .status()
        .with_context(|| format!("start {}", step.program.display()))?;
    Ok(status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1))
}

fn load(module: &Path) -> Result<()> {
    let file = File::open(module).context("open it")?;
    match finit_module(file, CString::default().as_c_str(), 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).context("finit_module"),
    }
}

fn say(mark: &Mark) -> Result<()> {
    let mut report = OpenOptions::new().write(true).open(REPORT).context(REPORT)?;
    writeln!(report, "{}", mark.line()).context(REPORT)
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime").context("read /proc/uptime")?;
    let seconds = text.split_whitespace().next().context("/proc/uptime is empty")?;
    seconds.parse().with_context(|| format!("/proc/uptime says {seconds}"))
}
