//! The kernel's side of the border: the only user of aya.
//!
//! [`Session`] holds the attached programs; dropping it detaches them. It gives
//! out raw records and counters and judges nothing.

#[cfg(test)]
mod abi;
pub mod btf;
pub mod hooks;
mod layout;
mod load;
mod log;
mod privilege;
mod symbols;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfError};
use observer_common::record::{AttemptRecord, DestinationCounters, DestinationKey, OutcomeKey};
use observer_common::stat;
use tokio::io::unix::AsyncFd;

use crate::event::Capabilities;
use crate::ledger::Counters;
use btf::Btf;

use hooks::{HOOKS, HookReport};
use layout::Layout;
pub use privilege::{Environment, Tracefs, environment};

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
    ring: AsyncFd<RingFd>,
    reports: Vec<HookReport>,
    log: Option<log::KernelLog>,
    skipped_runs: u64,
}

/// A ring buffer that tokio can wait for.
struct RingFd(RingBuf<MapData>);

impl AsRawFd for RingFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Session {
    /// Loads and attaches. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// See [`AttachError`]; nothing stays attached then.
    pub fn attach(settings: &Settings) -> Result<Self, AttachError> {
        let environment = environment();
        privilege::check(&environment)?;
        let btf = read_btf()?;
        let layout = Layout::read(&btf, environment.version())
            .map_err(|member| AttachError::Kernel(format!("this kernel's BTF lacks {member}, which observer needs")))?;
        let mut ebpf = load::load(settings, &layout).map_err(|error| AttachError::of_load(&error, &environment))?;
        let log = settings.log.then(|| log::open(&mut ebpf)).transpose()?;
        let reports = load::attach(&mut ebpf, &btf, settings, &layout);
        // Where nothing may read kernel memory, the first that tries ends it for all.
        let ends_all = || reports.last().filter(|_| reports.len() < HOOKS.len());
        if let Some(report) = reports.iter().find(|report| report.is_core_lost(&reports)).or_else(ends_all) {
            let hooks::Status::Failed(cause) = &report.status else {
                return Err(AttachError::Other(format!("{} was not attached", report.hook.symbol)));
            };
            return Err(AttachError::of_core(report.hook.symbol, cause, &environment));
        }
        let ring = ebpf.take_map("EVENTS").ok_or_else(|| AttachError::Other("no map EVENTS".to_owned()))?;
        let ring = RingBuf::try_from(ring).map_err(|error| AttachError::Other(error.to_string()))?;
        // SAFETY: the descriptor is the map's own; AsyncFd owns the map, and so
        // the descriptor stays open while it is registered.
        let ring = unsafe { AsyncFd::register(RingFd(ring)) };
        let ring = ring.map_err(|error| AttachError::Other(error.to_string()))?;
        Ok(Self { ebpf, ring, reports, log, skipped_runs: 0 })
    }

    /// What became of each hook.
    pub fn reports(&self) -> &[HookReport] {
        &self.reports
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

    /// Waits until the kernel says that the ring buffer fills up.
    ///
    /// # Errors
    /// Those of epoll.
    pub async fn filling(&self) -> io::Result<()> {
        self.ring.readable().await.map(|mut guard| guard.clear_ready())
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
        // A run that had begun elsewhere ends within microseconds.
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    }

    /// Hands every record that waits in the ring buffer to `take`, at most
    /// `limit`. True if there may be more.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> bool {
        let ring = &mut self.ring.get_mut().0;
        for _ in 0..limit {
            match ring.next() {
                Some(item) => take(&item),
                None => return false,
            }
        }
        true
    }

    /// The counters of [`stat`], summed over the CPUs: quick to read.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn stats(&self) -> Result<[u64; stat::COUNT as usize], MapError> {
        let per_cpu: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map("STATS")?)?;
        let mut stats = [0; stat::COUNT as usize];
        for (index, sum) in (0..).zip(&mut stats) {
            *sum = per_cpu.get(&index, 0)?.iter().sum();
        }
        Ok(stats)
    }

    /// The counters by destination and end code.
    ///
    /// # Errors
    /// As [`Session::stats`].
    pub fn outcomes(&self) -> Result<Vec<(OutcomeKey, u64)>, MapError> {
        let outcomes: HashMap<_, Key<OutcomeKey>, u64> = HashMap::try_from(self.map("OUTCOMES")?)?;
        Ok(outcomes.iter().filter_map(Result::ok).map(|(key, count)| (key.0, count)).collect())
    }

    /// All counters, read now. While hooks are attached and attempts come and go,
    /// the parts are some microseconds apart; see [`Session::detach`].
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn counters(&self) -> Result<Counters, MapError> {
        let destinations: HashMap<_, Key<DestinationKey>, Value<DestinationCounters>> =
            HashMap::try_from(self.map("DESTINATIONS")?)?;
        Ok(Counters {
            outcomes: self.outcomes()?,
            destinations: destinations.iter().filter_map(Result::ok).map(|(key, value)| (key.0, value.0)).collect(),
            ..self.totals()?
        })
    }

    /// As [`Session::counters`], without those by destination: cheap enough for
    /// every second.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub fn totals(&self) -> Result<Counters, MapError> {
        let attempts: HashMap<_, u64, Value<AttemptRecord>> = HashMap::try_from(self.map("ATTEMPTS")?)?;
        let in_flight = attempts.keys().filter(Result::is_ok).count() as u64;
        Ok(Counters { stats: self.stats()?, in_flight, outcomes: Vec::new(), destinations: Vec::new() })
    }

    /// Runs of the kernel programs that the kernel skipped because the same
    /// program was running on that CPU (`recursion_misses`). An end that was
    /// skipped is caught by a later hook. Kept after [`Session::detach`].
    pub fn skipped_runs(&self) -> u64 {
        let fds = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        self.skipped_runs + fds.map(|fd| recursion_misses(fd.as_fd())).sum::<u64>()
    }

    fn map(&self, name: &str) -> Result<&aya::maps::Map, MapError> {
        self.ebpf.map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
    }
}

fn recursion_misses(fd: impl AsFd) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// A map key of the ABI crate; aya asks for its own marker trait.
#[derive(Clone, Copy)]
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
