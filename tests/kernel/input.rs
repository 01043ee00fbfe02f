//! What a user or a host can get wrong: one clear line that names the cause and
//! the cure, the right exit code, nothing left attached.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::watcher::OBSERVER;

/// A trial and its name.
type Named = (&'static str, fn() -> Result<()>);

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] = &[
    ("input_usage", usage_is_refused_with_2),
    ("input_not_root", without_root_is_77),
    ("input_no_capability", without_cap_bpf_is_77),
    ("input_capabilities_suffice", two_capabilities_suffice),
    ("input_no_btf", without_btf_is_69),
    ("input_lockdown", lockdown_is_named),
    ("input_no_tracefs", tracefs_is_mounted_privately),
    ("input_full_disk", a_full_disk_is_one_error),
    ("input_closed_pipe", a_closed_pipe_is_quiet),
    ("input_signals", signals_end_with_the_summary),
    ("input_starts_fast_and_light", starts_and_stays_light),
];

fn usage_is_refused_with_2() -> Result<()> {
    for (args, cause) in [
        (vec!["watch", "--no-such-flag"], "--no-such-flag"),
        (vec!["watch", "--destination", "203.0.113.0/33"], "203.0.113.0/33"),
        (vec!["watch", "--port", "0"], "65535"),
        (vec!["watch", "--port", "smtp"], "smtp"),
        (vec!["watch", "--label", "nonsense"], "nonsense"),
        (vec!["watch", "--duration=-3s"], "-3s"),
        (vec!["watch", "--ring-size", "5000"], "5000"),
        (vec!["whatever"], "whatever"),
    ] {
        let output = Command::new(OBSERVER).args(&args).output()?;
        expect(&output, 2, cause).with_context(|| format!("{args:?}"))?;
    }
    nothing_is_attached()
}

fn without_root_is_77() -> Result<()> {
    let output = bounded(Command::new(reachable()?.path())).uid(65_534).gid(65_534).output()?;
    expect(&output, 77, "CAP_BPF")?;
    one_line(&output)
}

fn without_cap_bpf_is_77() -> Result<()> {
    let output = with_capabilities("cap_perfmon,cap_net_admin", true)?;
    expect(&output, 77, "CAP_BPF")
}

/// The core needs no other privilege; without CAP_SYS_ADMIN and tracefs the
/// hooks on connect() say so.
fn two_capabilities_suffice() -> Result<()> {
    let output = with_capabilities("cap_bpf,cap_perfmon", false)?;
    expect(&output, 0, "watching")
}

fn without_btf_is_69() -> Result<()> {
    let output = in_mounts("mount -t tmpfs none /sys/kernel/btf", "watch --duration 1s")?;
    expect(&output, 69, "CONFIG_DEBUG_INFO_BTF")?;
    one_line(&output)
}

fn lockdown_is_named() -> Result<()> {
    let fake = |mode: &str| {
        format!("mount -t tmpfs none /sys/kernel/security && echo '{mode}' >/sys/kernel/security/lockdown")
    };
    let output = in_mounts(&fake("none integrity [confidentiality]"), "watch --duration 1s")?;
    expect(&output, 69, "lockdown")?;
    let output = in_mounts(&fake("none [integrity] confidentiality"), "watch --duration 1s")?;
    expect(&output, 0, "watching")
}

fn tracefs_is_mounted_privately() -> Result<()> {
    let before = std::fs::read_to_string("/proc/self/mounts")?;
    let output = bounded(Command::new(OBSERVER)).output()?;
    expect(&output, 0, "watching")?;
    ensure!(std::fs::read_to_string("/proc/self/mounts")? == before, "a mount was left behind");
    Ok(())
}

fn a_full_disk_is_one_error() -> Result<()> {
    let mut command = Command::new(OBSERVER);
    command.args(["watch", "--count", "1", "--duration", "5s"]);
    let child = command.stdout(File::options().write(true).open("/dev/full")?).stderr(Stdio::piped()).spawn()?;
    refuse_until_ended(child).and_then(|output| expect(&output, 1, "No space left on device"))
}

fn a_closed_pipe_is_quiet() -> Result<()> {
    let mut command = Command::new(OBSERVER);
    let mut child =
        command.args(["watch", "--duration", "5s"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(child.stdout.take());
    let output = refuse_until_ended(child)?;
    expect(&output, 0, "ledger:")?;
    ensure!(!String::from_utf8_lossy(&output.stderr).contains("pipe"), "it was not quiet");
    Ok(())
}

fn signals_end_with_the_summary() -> Result<()> {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut command = Command::new(OBSERVER);
        let mut child = command.arg("watch").stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut stderr = std::io::BufReader::new(child.stderr.take().context("no stderr")?);
        let mut text = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut text)?;
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal)?;
        std::io::Read::read_to_string(&mut stderr, &mut text)?;
        let status = child.wait()?;
        ensure!(status.success() && text.contains("balances"), "{signal:?}: {status}: {text}");
    }
    nothing_is_attached()
}

/// Bounds with room for a debug build and a busy machine; the benchmark has the
/// figures.
fn starts_and_stays_light() -> Result<()> {
    let start = Instant::now();
    let watcher = crate::watcher::Watcher::start(&[])?;
    let took = start.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", watcher.pid()))?;
    let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned();
    println!("attached and watching after {took:?}, {rss}");
    watcher.stop()?;
    ensure!(took < Duration::from_secs(10), "attaching took {took:?}");
    Ok(())
}

/// Loopback refuses a connection now and then until the child ends.
fn refuse_until_ended(mut child: std::process::Child) -> Result<Output> {
    let deadline = Instant::now() + Duration::from_secs(15);
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "observer did not end");
        let _ = std::net::TcpStream::connect("127.0.0.1:25");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(child.wait_with_output()?)
}

fn bounded(mut command: Command) -> Command {
    command.args(["watch", "--duration", "1s"]).stdin(Stdio::null());
    command
}

/// A copy of the binary where every user can read it.
fn reachable() -> Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let copy = tempfile::Builder::new().prefix("observer-").tempfile_in("/tmp")?;
    std::fs::copy(OBSERVER, copy.path())?;
    std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755))?;
    // An open descriptor for writing would make the file busy.
    let (_, path) = copy.into_parts();
    Ok(tempfile::NamedTempFile::from_parts(File::open(&path)?, path))
}

fn with_capabilities(capabilities: &str, as_root: bool) -> Result<Output> {
    let binary = reachable()?;
    let list = capabilities.split(',').map(|name| format!("+{}", name.trim_start_matches("cap_")));
    let list = list.collect::<Vec<_>>().join(",");
    let mut command = Command::new("setpriv");
    if as_root {
        command.args(["--bounding-set", &format!("-all,{list}")]);
    } else {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps", &format!("-all,{list}"), "--ambient-caps", &format!("-all,{list}")]);
    }
    Ok(bounded_args(command.arg(binary.path())).output()?)
}

fn bounded_args(command: &mut Command) -> &mut Command {
    command.args(["watch", "--duration", "1s"]).stdin(Stdio::null())
}

/// Runs observer in a mount namespace of its own, after a shell command there.
fn in_mounts(prepare: &str, arguments: &str) -> Result<Output> {
    let script = format!("{prepare} && exec {OBSERVER} {arguments}");
    Ok(Command::new("unshare").args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).output()?)
}

fn expect(output: &Output, code: i32, cause: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "ended with {}, not {code}: {stderr}", output.status);
    ensure!(stderr.contains(cause), "'{cause}' is not named: {stderr}");
    Ok(())
}

fn one_line(output: &Output) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(stderr.lines().count() == 1, "more than one line: {stderr}");
    Ok(())
}

/// No kernel program of observer's is left in this kernel.
fn nothing_is_attached() -> Result<()> {
    // The kernel frees programs a grace period after their last user.
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let left: Vec<String> = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .filter_map(|program| program.name_as_str().map(str::to_owned))
            .filter(|name| name.starts_with("inet_sock_set_s") || name.starts_with("tcp_receive_res"))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left in the kernel: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
