//! The kernel's side of the border: the only user of aya.
//!
//! [`Session`] holds the attached programs; dropping it detaches them. It gives
//! out raw records and counters and judges nothing.

#[cfg(test)]
mod abi;
mod batch;
pub mod btf;
mod by_key;
mod counters;
pub mod counting;
pub mod hooks;
mod layout;
mod load;
mod log;
mod privilege;
mod probers;
pub mod reader;
pub mod ring;
mod stats;
mod symbols;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use aya::maps::MapError;
use aya::{Ebpf, EbpfError};
use observer_common::record::{AttemptRecord, DestinationCounters, DestinationKey, OutcomeKey};
use observer_common::stat::CpuStats;
use observer_core::event::Capabilities;

use btf::Btf;

pub use counters::CounterMaps;
use ring::Ring;

use hooks::{Group, HOOKS, HookReport};
use layout::Layout;
pub use privilege::{Environment, Tracefs, environment};
pub use probers::{Admitted, CONNECTIONS, Probers};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What to load and attach.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Destination ports to watch, at most `MAX_PORTS`.
    pub ports: Vec<u16>,
    /// Successes too become events.
    pub successes: bool,
    /// Attach the tracepoints on connect() where fexit does not load.
    pub syscall_hooks: bool,
    /// Programs that are left out, as if the kernel did not have them.
    pub without: Vec<String>,
    /// Attempts that can be in flight at once.
    pub max_in_flight: u32,
    /// Entries of each of the per-destination counter maps.
    pub max_destinations: u32,
    /// Size of the ring buffer; a power of two of pages.
    pub ring_bytes: u32,
    /// Read what the programs log; they log nothing otherwise.
    pub log: bool,
    /// Connections of this process are attempts like any other.
    pub watch_self: bool,
}

/// Why nothing could be attached; each says the cure.
#[derive(Debug)]
pub enum AttachError {
    /// The kernel or its BTF lacks what the core needs.
    Kernel(String),
    /// Not enough privileges.
    Permission(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(text) | Self::Permission(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for AttachError {}

impl AttachError {
    fn of_load(error: &EbpfError, environment: &Environment) -> Self {
        let text = one_line(&chain(error));
        if text.contains(privilege::EPERM) {
            if let Some(cause) = environment.memlock_cause() {
                return Self::Permission(cause);
            }
            return Self::Permission(format!("the kernel refused to load BPF maps: {text}; {}", privilege::CURE));
        }
        Self::Other(format!("loading the kernel programs failed: {text}"))
    }

    /// Of a hook without which there is nothing to observe.
    fn of_core(symbol: &str, cause: &str, environment: &Environment) -> Self {
        if privilege::is_reading_refused(cause) {
            return Self::Kernel(privilege::CONFIDENTIALITY.to_owned());
        }
        match environment.memlock_cause().filter(|_| cause.contains(privilege::EPERM)) {
            Some(memlock) => Self::Permission(memlock),
            None => Self::Kernel(format!("the hook {symbol} could not be attached: {cause}")),
        }
    }
}

/// The attached kernel programs.
pub struct Session {
    ebpf: Ebpf,
    reports: Vec<HookReport>,
    log: Option<log::KernelLog>,
    skipped_runs: u64,
    probers: Arc<Probers>,
}

/// What the programs fill; each for one thread.
pub struct Channels {
    /// Finished attempts.
    pub ring: Ring,
    /// Exact counts.
    pub counters: CounterMaps,
}

impl Session {
    /// Loads and attaches.
    ///
    /// # Errors
    /// See [`AttachError`]; nothing stays attached then.
    pub fn attach(settings: &Settings) -> Result<(Self, Channels), AttachError> {
        let environment = environment();
        privilege::check(&environment)?;
        let btf = read_btf()?;
        let layout = Layout::read(&btf, environment.version())
            .map_err(|member| AttachError::Kernel(format!("this kernel's BTF lacks {member}, which observer needs")))?;
        let mut ebpf = load::load(settings, &layout).map_err(|error| AttachError::of_load(&error, &environment))?;
        let log = settings.log.then(|| log::open(&mut ebpf)).transpose()?;
        let unusable = |error: MapError| AttachError::Other(format!("the programs' maps cannot be used: {error}"));
        let mut counters = CounterMaps::take(&mut ebpf).map_err(unusable)?;
        let ring = Ring::take(&mut ebpf).map_err(unusable)?;
        let probers = Probers::take(&mut ebpf).map_err(unusable)?;
        let reports = load::attach(&mut ebpf, &btf, settings, &layout);
        // Where nothing may read kernel memory, the first that tries ends it for all.
        let ends_all = || reports.last().filter(|_| reports.len() < HOOKS.len());
        if let Some(report) = reports.iter().find(|report| report.is_core_lost(&reports)).or_else(ends_all) {
            let hooks::HookStatus::Failed(cause) = &report.status else {
                return Err(AttachError::Other(format!("{} was not attached", report.hook.symbol)));
            };
            return Err(AttachError::of_core(report.hook.symbol, cause, &environment));
        }
        let is_classic = |report: &&HookReport| {
            report.is_attached() && matches!(report.hook.kind, hooks::HookKind::Tracepoint { .. })
        };
        let mut classic = reports.iter().filter(is_classic).peekable();
        if classic.peek().is_some() {
            counters.spare_tracepoints(classic.any(|report| report.hook.symbol == "inet_sock_set_state"));
        }
        Ok((Self { ebpf, reports, log, skipped_runs: 0, probers }, Channels { ring, counters }))
    }

    /// What became of each hook.
    pub fn reports(&self) -> &[HookReport] {
        &self.reports
    }

    /// Processes whose connections are no attempts.
    pub fn probers(&self) -> Arc<Probers> {
        Arc::clone(&self.probers)
    }

    /// Writes what the programs have logged to stderr.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Evidence that the attached hooks can deliver.
    pub fn capabilities(&self) -> Capabilities {
        let has = |symbol| self.reports.iter().any(|report| report.hook.symbol == symbol && report.is_attached());
        Capabilities {
            rst_origin: has("tcp_reset"),
            icmp_v4: has("inet_sk_error_report") || has("tcp_v4_err"),
            icmp_v6: has("tcp_v6_err"),
            syn_drops: has("kfree_skb"),
        }
    }

    /// What happens and no attached hook sees: no count has it.
    pub fn unseen(&self) -> Vec<&'static str> {
        let is_attached = |group| {
            let mut of_group = self.reports.iter().filter(|report| report.hook.group == group).peekable();
            of_group.peek().is_some() && of_group.all(HookReport::is_attached)
        };
        let has = |symbol| self.reports.iter().any(|report| report.hook.symbol == symbol && report.is_attached());
        let by_function = is_attached(Group::ConnectFunction);
        let by_syscall = has("sys_enter_connect") && has("sys_exit_connect");
        let unseen = [
            (by_function || by_syscall, "connect() that fails before a SYN"),
            (by_function || has("io_uring_complete"), "connect by io_uring that fails before a SYN"),
            (is_attached(Group::FastOpen), "sendto(MSG_FASTOPEN) that fails before a SYN"),
            // Its socket is known by no hook but that of the connection within it.
            (false, "connect() of an MPTCP socket that fails before a SYN"),
        ];
        unseen.into_iter().filter(|(is_seen, _)| !is_seen).map(|(_, what)| what).collect()
    }

    /// Takes every hook off, so that the counters stand still; what waits in the
    /// ring buffer can still be drained.
    ///
    /// The last look at a socket goes first, lest it end attempts whose real end
    /// is no longer seen; then the state hook, and then what gives it evidence.
    ///
    /// # Errors
    /// Names the hook and the kernel's error.
    pub fn detach(&mut self) -> Result<(), String> {
        self.skipped_runs = self.skipped_runs();
        let goes_first =
            |report: &&HookReport| ["tcp_destroy_sock", "inet_sock_set_state"].contains(&report.hook.symbol);
        let attached: Vec<_> = self.reports.iter().filter(|report| report.is_attached()).collect();
        let (first, rest): (Vec<_>, Vec<_>) = attached.into_iter().partition(goes_first);
        for report in first.into_iter().chain(rest) {
            load::detach(&mut self.ebpf, report.hook).map_err(|cause| format!("{}: {cause}", report.hook.symbol))?;
        }
        // Runs that had begun elsewhere.
        counters::wait_for_programs();
        Ok(())
    }

    /// Runs of the kernel programs that the kernel skipped because the same
    /// program was running on that CPU (`recursion_misses`). An end that was
    /// skipped is caught by a later hook. Kept after [`Session::detach`].
    pub fn skipped_runs(&self) -> u64 {
        let fds = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        self.skipped_runs + fds.map(|fd| recursion_misses(fd.as_fd())).sum::<u64>()
    }
}

fn recursion_misses(fd: impl AsFd) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// A map key of the ABI crate; aya asks for its own marker trait.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
struct Key<T>(T);

/// As [`Key`], for values.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value<T>(T);

// SAFETY: plain data without padding, asserted in observer-common.
unsafe impl aya::Pod for Key<DestinationKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Key<OutcomeKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Value<DestinationCounters> {}
// SAFETY: as above.
unsafe impl aya::Pod for Value<AttemptRecord> {}
// SAFETY: as above: numbers alone.
unsafe impl aya::Pod for Value<CpuStats> {}

fn read_btf() -> Result<Btf, AttachError> {
    let data = fs::read(VMLINUX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => AttachError::Kernel(format!(
            "no {VMLINUX}: observer needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF=y; Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it)"
        )),
        io::ErrorKind::PermissionDenied => {
            AttachError::Permission(format!("{VMLINUX} cannot be read: {error}; {}", privilege::CURE))
        }
        _ => AttachError::Kernel(format!("{VMLINUX} cannot be read: {error}")),
    })?;
    Btf::parse(data, layout::is_wanted).map_err(|error| AttachError::Kernel(format!("{VMLINUX}: {error}")))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
