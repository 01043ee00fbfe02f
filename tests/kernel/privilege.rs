//! What a host can withhold: observer works with what is left, or says in one line
//! what is missing and how to get it, ends with the right exit code, and leaves
//! nothing attached.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Hop, Lab, LabConfig, Mode, Scenario, Tool, Unreachable};
use serde_json::Value;

use crate::condition::{
    BRIEFLY, ENOUGH, Named, after, expect, nobody, nothing_is_attached, one_line, reachable, root, root_bounded_to,
};
use crate::matrix::judge;
use crate::watcher::text;

/// Trials for every host.
pub(crate) const TRIALS: &[Named] = &[
    ("privilege_none", without_any_is_77),
    ("privilege_no_cap_bpf", without_cap_bpf_is_77),
    ("privilege_two_capabilities", two_capabilities_see_events),
    ("privilege_unit", the_units_capabilities_are_what_is_needed),
    ("privilege_memlock", little_locked_memory_is_raised_or_named),
    ("privilege_no_btf", without_btf_is_69),
    ("privilege_no_tracefs", tracefs_is_mounted_privately),
    ("privilege_no_tracefs_nor_mount", missing_tracefs_is_named),
    ("privilege_lockdown", lockdown_is_named),
];

/// Trials for virtual machines that are started for them.
pub(crate) const MACHINE_TRIALS: &[Named] = &[
    ("integrity_loses_nothing", integrity_loses_nothing),
    ("integrity_unprivileged_bpf_disabled", bpf_for_everyone_does_not_matter),
    ("confidentiality_is_refused", confidentiality_is_refused),
    ("confidentiality_unseen", confidentiality_is_named_without_securityfs),
];

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const UNPRIVILEGED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// Takes tracefs away wherever observer looks for it.
const NO_TRACEFS: &str = "while umount /sys/kernel/tracing 2>/dev/null; do :; done; \
                          while umount /sys/kernel/debug 2>/dev/null; do :; done; \
                          ! test -e /sys/kernel/tracing/events";

/// tracefs where systemd has it. A host may have it there or not.
const WITH_TRACEFS: &str = "{ test -e /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing; }";

/// The service, as it is packaged.
const UNIT: &str = include_str!("../../packaging/observer.service");

/// Something of every kind of evidence.
const SOME: [Scenario; 6] = [
    Scenario::Success,
    Scenario::ClosedPort,
    Scenario::DropAbandoned,
    Scenario::Icmp(Unreachable::ALL[0], Hop::Router),
    Scenario::LocalFirewall(Tool::Nft, observer_lab::Verdict::Reset),
    Scenario::NoRoute,
];

fn without_any_is_77() -> Result<()> {
    let output = nobody(&reachable()?, &[]).args(BRIEFLY).output()?;
    expect(&output, 77, "CAP_BPF")?;
    one_line(&output)?;
    nothing_is_attached()
}

fn without_cap_bpf_is_77() -> Result<()> {
    let output = root_bounded_to(&reachable()?, &["perfmon", "net_admin"]).args(BRIEFLY).output()?;
    expect(&output, 77, "CAP_BPF")?;
    one_line(&output)
}

/// What a service is granted: a user of its own and two capabilities. Kernels
/// without reasons for drops want one more to show where they drop packets.
fn two_capabilities_see_events() -> Result<()> {
    let binary = reachable()?;
    let lab = Lab::up(LabConfig::default())?;
    let granted = if release() < (5, 17) { [ENOUGH, &["syslog"]].concat() } else { ENOUGH.to_vec() };
    see_events(&lab, &|| nobody(&binary, &granted))?;
    if granted != ENOUGH {
        let report = doctor(nobody(&binary, ENOUGH))?;
        let of_drops = hooks(&report)?.iter().filter(|hook| text(hook, "/symbol") == "kfree_skb");
        let causes: Vec<_> = of_drops.map(|hook| text(hook, "/cause")).collect();
        let is_named = causes.iter().any(|cause| cause.contains("CAP_SYSLOG"));
        ensure!(is_named, "with {ENOUGH:?} doctor does not name what is missing: {causes:?}");
    }
    nothing_is_attached()
}

/// With what the packaged unit grants nothing is lost that root has; with less
/// something is, or it is there for other kernels.
fn the_units_capabilities_are_what_is_needed() -> Result<()> {
    let of_unit = |name: &str| -> Result<Vec<String>> {
        let line = UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let words = line.with_context(|| format!("the unit has no {name}"))?.split_whitespace();
        Ok(words.map(|word| word.trim_start_matches("CAP_").to_lowercase()).collect())
    };
    let granted = of_unit("AmbientCapabilities")?;
    ensure!(granted == of_unit("CapabilityBoundingSet")?, "the unit grants more than it allows, or less");
    let binary = reachable()?;
    let with = |capabilities: &[&str]| after(WITH_TRACEFS, &nobody(&binary, capabilities));
    let lost = |observer: Command| -> Result<Vec<String>> {
        let report = doctor(observer)?;
        let is_lost = |hook: &&Value| hook.pointer("/is_lost") != Some(&Value::Bool(false));
        let lost = hooks(&report)?.iter().filter(is_lost).map(|hook| text(hook, "/program").to_owned());
        let mut lost: Vec<String> = lost.collect();
        lost.sort();
        Ok(lost)
    };
    let mut roots = lost(after(WITH_TRACEFS, &root()))?;
    let granted: Vec<&str> = granted.iter().map(String::as_str).collect();
    let withheld = withheld_tracepoints(&after(WITH_TRACEFS, &root()), &with(&granted))?;
    roots.extend(withheld);
    roots.sort();
    let units = lost(with(&granted))?;
    ensure!(units == roots, "with what the unit grants {units:?} are lost, not {roots:?}");
    see_events(&Lab::up(LabConfig::default())?, &|| with(&granted))?;
    let needs_tracefs = tracepoints(&with(&granted))?.iter().any(|hook| text(hook, "/status") == "attached");
    for capability in &granted {
        let is_needed_here = match *capability {
            "syslog" => release() < (5, 17),
            "dac_read_search" => needs_tracefs,
            _ => true,
        };
        let others: Vec<&str> = granted.iter().filter(|other| other != &capability).copied().collect();
        let is_enough = lost(with(&others)).is_ok_and(|lost| lost == roots);
        ensure!(is_enough != is_needed_here, "without {capability}: enough is {is_enough}");
    }
    nothing_is_attached()
}

/// Tracepoints that root has, and that Debian's `kernel.perf_event_paranoid` of 3
/// keeps from everyone without CAP_SYS_ADMIN. That must be said.
fn withheld_tracepoints(root: &Command, unit: &Command) -> Result<Vec<String>> {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")?;
    if paranoid.trim().parse::<i32>()? <= 2 {
        return Ok(Vec::new());
    }
    let is_attached = |hook: &&Value| text(hook, "/status") == "attached";
    let roots: Vec<Value> = tracepoints(root)?.iter().filter(is_attached).cloned().collect();
    let units = tracepoints(unit)?;
    for hook in &roots {
        let same = units.iter().find(|unit| text(unit, "/program") == text(hook, "/program"));
        let cause = same.map_or("", |hook| text(hook, "/cause"));
        ensure!(cause.contains("perf_event_paranoid"), "no cure in '{cause}'");
    }
    Ok(roots.iter().map(|hook| text(hook, "/program").to_owned()).collect())
}

/// Maps count as locked memory before Linux 5.11.
fn little_locked_memory_is_raised_or_named() -> Result<()> {
    const LITTLE: &str = "ulimit -l 64";
    let output = after(LITTLE, &root()).args(BRIEFLY).output()?;
    expect(&output, 0, "watching").context("root may raise the limit")?;
    let binary = reachable()?;
    let output = after(LITTLE, &nobody(&binary, ENOUGH)).args(BRIEFLY).output()?;
    if release() >= (5, 11) {
        return expect(&output, 0, "watching");
    }
    expect(&output, 77, "RLIMIT_MEMLOCK")?;
    expect(&output, 77, "LimitMEMLOCK=infinity")?;
    one_line(&output)?;
    let doctor = after(LITTLE, &nobody(&binary, ENOUGH)).arg("doctor").output()?;
    expect(&doctor, 77, "LimitMEMLOCK=infinity")?;
    let output = after(LITTLE, &nobody(&binary, &["bpf", "perfmon", "sys_resource"])).args(BRIEFLY).output()?;
    expect(&output, 0, "watching").context("CAP_SYS_RESOURCE raises the limit")?;
    nothing_is_attached()
}

fn without_btf_is_69() -> Result<()> {
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    let output = after(hide, &root()).args(BRIEFLY).output()?;
    expect(&output, 69, "CONFIG_DEBUG_INFO_BTF")?;
    one_line(&output)?;
    let doctor = after(hide, &root()).arg("doctor").output()?;
    expect(&doctor, 69, "/sys/kernel/btf/vmlinux")?;
    ensure!(said(&doctor, "BTF ")?.contains("no: observer needs it"), "doctor: {doctor:?}");
    nothing_is_attached()
}

fn tracefs_is_mounted_privately() -> Result<()> {
    let before = fs::read_to_string("/proc/self/mounts")?;
    let output = after(NO_TRACEFS, &root()).args(BRIEFLY).output()?;
    expect(&output, 0, "watching")?;
    let hooks = tracepoints(&after(NO_TRACEFS, &root()))?;
    ensure!(hooks.iter().all(|hook| text(hook, "/status") != "failed"), "{hooks:?}");
    // Where one is needed, it must have been attached by way of that mount.
    ensure!(release() < (7, 0) || hooks.iter().any(|hook| text(hook, "/status") == "attached"), "{hooks:?}");
    ensure!(fs::read_to_string("/proc/self/mounts")? == before, "a mount was left behind");
    Ok(())
}

/// Without the right to mount it, only the hooks that need it are missing.
fn missing_tracefs_is_named() -> Result<()> {
    let binary = reachable()?;
    let observer = || after(NO_TRACEFS, &nobody(&binary, ENOUGH));
    expect(&observer().args(BRIEFLY).output()?, 0, "watching")?;
    let hooks = tracepoints(&observer())?;
    let failed: Vec<_> = hooks.iter().filter(|hook| text(hook, "/status") == "failed").collect();
    ensure!(hooks.iter().all(|hook| text(hook, "/status") != "attached"), "{hooks:?}");
    for hook in &failed {
        ensure!(text(hook, "/cause").contains("mount -t tracefs tracefs"), "no cure in {hook}");
    }
    ensure!(release() < (7, 0) || !failed.is_empty(), "{hooks:?}");
    Ok(())
}

/// With a file in the place of the kernel's word; see [`MACHINE_TRIALS`] for the
/// real thing.
fn lockdown_is_named() -> Result<()> {
    let fake = |mode: &str| format!("mount -t tmpfs none /sys/kernel/security && echo '{mode}' >{LOCKDOWN}");
    let output = after(&fake("none integrity [confidentiality]"), &root()).args(BRIEFLY).output()?;
    expect(&output, 69, "lockdown")?;
    one_line(&output)?;
    let output = after(&fake("none [integrity] confidentiality"), &root()).args(BRIEFLY).output()?;
    expect(&output, 0, "watching")
}

fn integrity_loses_nothing() -> Result<()> {
    ensure_lockdown("[integrity]")?;
    let report = doctor(root())?;
    ensure!(text(&report, "/lockdown") == "integrity", "doctor: {report}");
    let hooks = hooks(&report)?;
    let lost: Vec<_> = hooks.iter().filter(|hook| hook.pointer("/is_lost") != Some(&Value::Bool(false))).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    see_events(&Lab::up(LabConfig::default())?, &root)
}

/// 0: everyone may load programs, 2: no more, 1: no more, and that is final.
fn bpf_for_everyone_does_not_matter() -> Result<()> {
    let binary = reachable()?;
    let lab = Lab::up(LabConfig::default())?;
    for value in ["0", "2", "1"] {
        fs::write(UNPRIVILEGED, value).with_context(|| format!("write {value} to {UNPRIVILEGED}"))?;
        let output = nobody(&binary, &[]).args(BRIEFLY).output()?;
        expect(&output, 77, "CAP_BPF").with_context(|| format!("at {value}, without capabilities"))?;
        one_line(&output)?;
        let observer = || nobody(&binary, ENOUGH);
        ensure!(text(&doctor(observer())?, "/unprivileged_bpf_disabled") == value, "doctor does not say {value}");
        see_events(&lab, &observer).with_context(|| format!("at {value}, with {ENOUGH:?}"))?;
    }
    nothing_is_attached()
}

fn confidentiality_is_refused() -> Result<()> {
    ensure_lockdown("[confidentiality]")?;
    let history = tempfile::tempdir()?;
    let history = history.path().join("history.db").display().to_string();
    for arguments in [BRIEFLY.to_vec(), vec!["run", "--history", &history], vec!["doctor"]] {
        let output = root().args(&arguments).output()?;
        expect(&output, 69, "lockdown=integrity").with_context(|| format!("{arguments:?}"))?;
        one_line(&output)?;
        nothing_is_attached()?;
    }
    let output = root().arg("doctor").output()?;
    ensure!(said(&output, "lockdown ")?.contains("confidentiality: "), "doctor: {output:?}");
    Ok(())
}

/// The kernel's refusal alone must be enough to name the cause.
fn confidentiality_is_named_without_securityfs() -> Result<()> {
    ensure_lockdown("[confidentiality]")?;
    let output = after("umount /sys/kernel/security", &root()).args(BRIEFLY).output()?;
    expect(&output, 69, "lockdown=integrity")?;
    one_line(&output)?;
    nothing_is_attached()
}

fn ensure_lockdown(mode: &str) -> Result<()> {
    let found = fs::read_to_string(LOCKDOWN).with_context(|| format!("read {LOCKDOWN}"))?;
    ensure!(found.contains(mode), "this machine is not in {mode}: {found}");
    Ok(())
}

/// A few real attempts are named rightly by this observer, and its ledger balances.
fn see_events(lab: &Lab, observer: &dyn Fn() -> Command) -> Result<()> {
    let ways = [(Family::V4, Mode::NonBlocking), (Family::V4, Mode::Blocking), (Family::V6, Mode::NonBlocking)];
    let cases = SOME.into_iter().flat_map(|scenario| {
        let cases = ways.map(|(family, mode)| Case { scenario, family, mode });
        cases.into_iter().filter(|case| case.scenario.exists_for(case.family.ip()))
    });
    judge(lab, observer, cases.collect())
}

fn doctor(mut observer: Command) -> Result<Value> {
    let output = observer.args(["doctor", "--json"]).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("doctor said {output:?}"))
}

fn hooks(report: &Value) -> Result<&Vec<Value>> {
    let hooks = report.pointer("/hooks").and_then(Value::as_array).filter(|hooks| !hooks.is_empty());
    hooks.with_context(|| format!("doctor names no hooks: {report}"))
}

/// The hooks that are attached through tracefs.
fn tracepoints(observer: &Command) -> Result<Vec<Value>> {
    let mut again = Command::new(observer.get_program());
    again.args(observer.get_args());
    let hooks = hooks(&doctor(again)?)?.iter().filter(|hook| text(hook, "/kind") == "tracepoint").cloned().collect();
    Ok(hooks)
}

/// The line of stdout that begins so.
fn said(output: &Output, start: &str) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    line.with_context(|| format!("no line '{start}' in: {stdout}"))
}

/// The kernel's first two numbers.
pub(crate) fn release() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
