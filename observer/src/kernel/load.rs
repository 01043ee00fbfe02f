//! Loads the programs and attaches each hook on its own.

use std::io;
use std::thread;

use aya::programs::{FEntry, FExit, ProgramError, RawTracePoint, TracePoint};
use aya::{Ebpf, EbpfError, EbpfLoader};
use observer_common::MAX_PORTS;

use super::Settings;
use super::btf::Btf;
use super::hooks::{Group, HOOKS, Hook, HookKind, HookReport, HookStatus};
use super::layout::Layout;
use super::privilege::{TRACEFS, Tracefs, is_reading_refused, tracefs};
use super::stats;

/// The kernel programs, built by build.rs.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-ebpf"));

const PORT_GLOBALS: [&str; MAX_PORTS] =
    ["PORT_0", "PORT_1", "PORT_2", "PORT_3", "PORT_4", "PORT_5", "PORT_6", "PORT_7"];

/// Loads the object with this kernel's numbers. Nothing is attached yet.
pub(super) fn load(settings: &Settings, layout: &Layout) -> Result<Ebpf, EbpfError> {
    let mut ports = [0_u16; MAX_PORTS];
    for (slot, port) in ports.iter_mut().zip(&settings.ports) {
        *slot = *port;
    }
    let own_pid = if settings.watch_self { 0 } else { std::process::id() };
    let namespace = pid_namespace();
    let send_successes = u8::from(settings.successes);
    let follow = u8::from(layout.can_follow_connect);
    let wake_bytes = u64::from(settings.ring_bytes / 4);
    let log_level = if settings.log { aya_log::Level::Trace as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    for (global, value) in &layout.globals {
        loader.override_global(global, value, true);
    }
    let drop = layout.netfilter_drop.clone().unwrap_or_default();
    loader.override_global("NF_HOOK_SLOW", &drop.start, true).override_global("NF_HOOK_SLOW_END", &drop.end, true);
    for (global, port) in PORT_GLOBALS.iter().zip(&ports) {
        loader.override_global(global, port, true);
    }
    loader
        .override_global("OBSERVER_PID", &own_pid, true)
        .override_global("PID_NAMESPACE", &namespace.inode, true)
        .override_global("PID_NAMESPACE_DEV", &namespace.device, true)
        .override_global("SEND_SUCCESSES", &send_successes, true)
        .override_global("FOLLOW_CONNECT", &follow, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .override_global("WAKE_BYTES", &wake_bytes, true)
        .map_max_entries("ATTEMPTS", settings.max_in_flight)
        .map_max_entries("DESTINATIONS", settings.max_destinations)
        .map_max_entries("OUTCOMES_0", settings.max_destinations)
        .map_max_entries("OUTCOMES_1", settings.max_destinations)
        .map_max_entries("STATS", stats::cpus())
        .map_max_entries("EVENTS", settings.ring_bytes);
    loader.load(OBJECT)
}

/// Inode number of the initial pid namespace: PROC_PID_INIT_INO in include/linux/proc_ns.h.
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// A pid namespace as the kernel programs are told of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct PidNamespace {
    /// 0 for the initial one.
    inode: u64,
    device: u64,
}

/// This process's. Taken for the initial one where procfs does not tell.
fn pid_namespace() -> PidNamespace {
    match rustix::fs::stat("/proc/self/ns/pid") {
        Ok(stat) if stat.st_ino != INITIAL_PID_NAMESPACE => {
            // The kernel's own dev_t, MKDEV in include/linux/kdev_t.h, not that of stat(2).
            let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
            PidNamespace { inode: stat.st_ino, device: u64::from(major) << 20 | u64::from(minor) }
        }
        _ => PidNamespace::default(),
    }
}

/// Attaches every hook that this kernel has, that settings want and that is
/// needed beside the others.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, settings: &Settings, layout: &Layout) -> Vec<HookReport> {
    let mut vmlinux = Vmlinux::default();
    let mut reports: Vec<HookReport> = Vec::with_capacity(HOOKS.len());
    for hook in HOOKS {
        let status = match refusal(hook, btf, settings, layout, &reports) {
            Some(status) => status,
            None => {
                let is_lost = |report: &HookReport| matches!(report.status, HookStatus::Failed(_));
                let may_mount = !reports.iter().any(|report| report.hook.group == Group::Core && is_lost(report));
                attach_one(ebpf, hook, &mut vmlinux, may_mount)
            }
        };
        // No other that reads would load either.
        let is_futile = matches!(&status, HookStatus::Failed(cause) if is_reading_refused(cause));
        reports.push(HookReport { hook, status });
        if is_futile {
            break;
        }
    }
    reports
}

/// Why a hook is not even tried.
fn refusal(hook: &Hook, btf: &Btf, settings: &Settings, layout: &Layout, before: &[HookReport]) -> Option<HookStatus> {
    if settings.without.iter().any(|program| program == hook.program) {
        return Some(HookStatus::Failed("left out by --without-hook".to_owned()));
    }
    let is_pair_attached = |group| {
        let mut pair = before.iter().filter(|report| report.hook.group == group).peekable();
        pair.peek().is_some() && pair.all(HookReport::is_attached)
    };
    let is_connect = matches!(hook.group, Group::ConnectFunction | Group::ConnectSyscall | Group::FastOpen);
    if is_connect && !layout.can_follow_connect {
        return Some(HookStatus::Failed(format!("BTF lacks {}", layout.absent.join(", "))));
    }
    if hook.symbol == "io_uring_complete" && !layout.can_follow_uring {
        return Some(HookStatus::Failed(format!("BTF lacks {}", layout.absent.join(", "))));
    }
    if hook.group == Group::ConnectSyscall {
        if is_pair_attached(Group::ConnectFunction) {
            return Some(HookStatus::Skipped("__sys_connect_file does its work for less".to_owned()));
        }
        if !settings.syscall_hooks {
            return Some(HookStatus::Skipped("switched off by --no-syscall-hooks".to_owned()));
        }
    }
    if hook.group == Group::Unpreempted {
        if !layout.has_preemptible_tracepoints {
            return Some(HookStatus::Skipped(
                "before Linux 7.0 the raw one costs less and cannot be preempted".to_owned(),
            ));
        }
        if !layout.records.contains(&hook.symbol) {
            return Some(HookStatus::Failed("this kernel gives it other members".to_owned()));
        }
    }
    if hook.symbol == "kfree_skb" && !layout.has_drop_reasons && layout.netfilter_drop.is_none() {
        let cause = "this kernel gives no drop reasons, and /proc/kallsyms hides where it drops packets (CAP_SYSLOG)";
        return Some(HookStatus::Failed(cause.to_owned()));
    }
    if before.iter().any(|report| report.hook.symbol == hook.symbol && report.is_attached()) {
        return Some(HookStatus::Skipped("the one that cannot be preempted does its work".to_owned()));
    }
    hook.absence(btf).map(HookStatus::Failed)
}

fn attach_one(ebpf: &mut Ebpf, hook: &Hook, vmlinux: &mut Vmlinux, may_mount: bool) -> HookStatus {
    let attached = match hook.kind {
        HookKind::RawTracepoint { .. } => raw_tracepoint(ebpf, hook),
        HookKind::Fentry { .. } | HookKind::Fexit { .. } => function(ebpf, hook, vmlinux),
        HookKind::Tracepoint { category } => tracepoint(ebpf, hook, category, may_mount),
    };
    match attached {
        Ok(()) => HookStatus::Attached,
        Err(cause) => HookStatus::Failed(cause),
    }
}

fn raw_tracepoint(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), String> {
    let program: &mut RawTracePoint = program(ebpf, hook)?;
    program.load().map_err(|error| cause(&error))?;
    program.attach(hook.symbol).map(drop).map_err(|error| cause(&error))
}

fn function(ebpf: &mut Ebpf, hook: &Hook, vmlinux: &mut Vmlinux) -> Result<(), String> {
    let btf = vmlinux.get()?;
    if matches!(hook.kind, HookKind::Fexit { .. }) {
        let program: &mut FExit = program(ebpf, hook)?;
        program.load(hook.symbol, btf).map_err(|error| vmlinux_cause(&error))?;
        program.attach().map(drop).map_err(|error| cause(&error))
    } else {
        let program: &mut FEntry = program(ebpf, hook)?;
        program.load(hook.symbol, btf).map_err(|error| vmlinux_cause(&error))?;
        program.attach().map(drop).map_err(|error| cause(&error))
    }
}

/// `may_mount`: nothing needed has failed so far. In lockdown's confidentiality mode
/// it has, and there Linux 6.12 and 7.3 crash when a mount of tracefs ends.
fn tracepoint(ebpf: &mut Ebpf, hook: &Hook, category: &str, may_mount: bool) -> Result<(), String> {
    let program: &mut TracePoint = program(ebpf, hook)?;
    program.load().map_err(|error| cause(&error))?;
    match tracefs() {
        Tracefs::Readable => {
            return program.attach(category, hook.symbol).map(drop).map_err(|error| perf_cause(&error));
        }
        Tracefs::Forbidden => return Err(format!("this user may not read {TRACEFS}: grant CAP_DAC_READ_SEARCH")),
        Tracefs::Absent => {}
    }
    if !may_mount {
        return Err("tracefs is not mounted, and what observer needs could not be loaded anyway".to_owned());
    }
    // tracefs is needed only to learn the tracepoint's number. A thread of its
    // own has a mount namespace of its own, and both end here.
    thread::scope(|scope| {
        let attach = scope.spawn(|| {
            mount_tracefs_privately().map_err(|error| {
                format!("tracefs is not mounted, nor can it be here ({error}): mount -t tracefs tracefs {TRACEFS}")
            })?;
            program.attach(category, hook.symbol).map(drop).map_err(|error| perf_cause(&error))
        });
        attach.join().map_err(|_| "the attaching thread panicked".to_owned())?
    })
}

/// Takes a hook off and unloads its program.
pub(super) fn detach(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), String> {
    let detached = match hook.kind {
        HookKind::RawTracepoint { .. } => program::<RawTracePoint>(ebpf, hook)?.unload(),
        HookKind::Fentry { .. } => program::<FEntry>(ebpf, hook)?.unload(),
        HookKind::Fexit { .. } => program::<FExit>(ebpf, hook)?.unload(),
        HookKind::Tracepoint { .. } => program::<TracePoint>(ebpf, hook)?.unload(),
    };
    detached.map_err(|error| cause(&error))
}

fn mount_tracefs_privately() -> io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: this thread shares no file descriptor table afterwards with
    // nobody's knowledge: only its mount namespace and working directory split.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("tracefs", TRACEFS, "tracefs", MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY, None)?;
    Ok(())
}

fn program<'a, P>(ebpf: &'a mut Ebpf, hook: &Hook) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(hook.program).ok_or_else(|| format!("no program {} in the object", hook.program))?;
    program.try_into().map_err(|error: ProgramError| cause(&error))
}

/// One line: the kernel's own error, and the end of what its verifier said.
fn cause(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            // Behind the complaint come statistics.
            let is_complaint = |line: &&str| {
                let statistics = ["processed ", "stack depth ", "subprog ", "verification time "];
                !line.trim().is_empty() && !statistics.iter().any(|start| line.starts_with(start))
            };
            // Newer kernels put advice behind it.
            let refusal = log.lines().find(|line| is_reading_refused(line));
            let line = refusal.or_else(|| log.lines().rev().find(is_complaint));
            format!("{io_error}{}", line.map(|line| format!(": {line}")).unwrap_or_default())
        }
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        error => error.to_string(),
    }
}

/// Debian and Ubuntu keep perf events from all but CAP_SYS_ADMIN by a value that
/// other kernels do not know.
fn perf_cause(error: &ProgramError) -> String {
    let said = cause(error);
    if said.contains("perf_event_open") && said.contains("Permission denied") {
        return format!("{said}: set kernel.perf_event_paranoid to 2, or grant CAP_SYS_ADMIN");
    }
    said
}

fn vmlinux_cause(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
            "refused by this machine's policy (EPERM)".to_owned()
        }
        error => cause(error),
    }
}

/// aya's own view of the kernel's BTF, which fentry and fexit need: parsed when
/// the first of them is loaded, and dropped with the last.
#[derive(Default)]
struct Vmlinux(Option<aya::Btf>);

impl Vmlinux {
    fn get(&mut self) -> Result<&aya::Btf, String> {
        if self.0.is_none() {
            self.0 = Some(aya::Btf::from_sys_fs().map_err(|error| error.to_string())?);
        }
        self.0.as_ref().ok_or_else(|| "no BTF".to_owned())
    }
}
