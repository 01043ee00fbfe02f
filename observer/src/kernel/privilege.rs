//! What this host allows, asked before anything is tried.

use std::path::Path;
use std::{fs, io};

use super::AttachError;

/// What helps against missing privileges.
pub(super) const CURE: &str = "run observer as root, or give it CAP_BPF and CAP_PERFMON";

/// Why lockdown in confidentiality mode leaves nothing to do, and what helps.
pub(super) const CONFIDENTIALITY: &str = "kernel lockdown is in confidentiality mode, which forbids every program to \
                                          read kernel memory: boot with lockdown=integrity or less";

/// How errors of the standard library name EPERM.
pub(super) const EPERM: &str = "(os error 1)";

/// Before it, maps and programs count as locked memory.
const COUNTS_BY_CGROUP: (u32, u32) = (5, 11);

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Where programs look for tracefs.
pub(super) const TRACEFS: &str = "/sys/kernel/tracing";

/// The state of tracefs, which classic tracepoints are attached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tracefs {
    /// It is mounted, and this process may read it.
    Readable,
    /// This process may not read it: as mounted by default, only root may.
    Forbidden,
    /// It is not mounted.
    Absent,
}

/// The parts of this host that decide what observer can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `/proc/sys/kernel/osrelease`.
    pub release: String,
    /// The kernel's BTF is there.
    pub has_btf: bool,
    /// Effective capabilities, a bit each.
    pub capabilities: u64,
    /// The lockdown mode in force, if the kernel has lockdown.
    pub lockdown: Option<String>,
    /// `/proc/sys/kernel/unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<String>,
    /// tracefs, where programs look for it.
    pub tracefs: Tracefs,
    /// Soft limit of RLIMIT_MEMLOCK in bytes; `None`: unlimited.
    pub memlock: Option<u64>,
}

impl Environment {
    /// True if the effective capabilities hold this one.
    pub fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// The first two numbers of the release; zero for what is no number.
    pub fn version(&self) -> (u32, u32) {
        let is_end = |c: char| !c.is_ascii_digit();
        let mut numbers = self.release.split(is_end).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// True if programs can be loaded: CAP_BPF and CAP_PERFMON, or
    /// CAP_SYS_ADMIN, which older kernels ask for and which contains both.
    pub fn can_load(&self) -> bool {
        self.has(CAP_SYS_ADMIN) || (self.has(CAP_BPF) && self.has(CAP_PERFMON))
    }

    /// Bytes of kernel memory that maps and programs may take, where there is a
    /// limit: `None` on kernels that do not count them as locked memory.
    pub fn memlock_limit(&self) -> Option<u64> {
        self.memlock.filter(|_| self.version() < COUNTS_BY_CGROUP)
    }

    /// True if lockdown forbids all reading of kernel memory.
    pub fn is_confidential(&self) -> bool {
        self.lockdown.as_deref() == Some("confidentiality")
    }

    /// Why the kernel refuses maps to one who may load them, if that can be why.
    pub(super) fn memlock_cause(&self) -> Option<String> {
        let kibibytes = self.memlock_limit()? >> 10;
        Some(format!(
            "RLIMIT_MEMLOCK is {kibibytes} KiB, too little for the kernel's maps, which count as locked memory before \
             Linux 5.11: set LimitMEMLOCK=infinity in the service unit, run ulimit -l unlimited, or give observer \
             CAP_SYS_RESOURCE"
        ))
    }
}

/// Reads this host's state.
pub fn environment() -> Environment {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    Environment {
        release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        has_btf: fs::metadata(super::VMLINUX).is_ok(),
        capabilities: read("/proc/self/status").as_deref().and_then(effective_capabilities).unwrap_or(0),
        lockdown: read("/sys/kernel/security/lockdown").as_deref().and_then(lockdown_mode),
        unprivileged_bpf_disabled: read("/proc/sys/kernel/unprivileged_bpf_disabled"),
        tracefs: tracefs(),
        memlock: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
    }
}

/// Whether the numbers of tracepoints can be read from tracefs.
pub(super) fn tracefs() -> Tracefs {
    match fs::read_dir(Path::new(TRACEFS).join("events")) {
        Ok(_) => Tracefs::Readable,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Tracefs::Forbidden,
        Err(_) => Tracefs::Absent,
    }
}

/// Refuses before the kernel does, with a message that names the cause.
pub(super) fn check(environment: &Environment) -> Result<(), AttachError> {
    if !environment.can_load() {
        return Err(AttachError::Permission(format!("not permitted to load kernel programs: {CURE}")));
    }
    if environment.is_confidential() {
        return Err(AttachError::Kernel(CONFIDENTIALITY.to_owned()));
    }
    Ok(())
}

/// True if the kernel's verifier refused a program because it may not read kernel
/// memory: lockdown's doing, whether or not its mode can be seen.
pub(super) fn is_reading_refused(cause: &str) -> bool {
    // The first is how newer kernels put it.
    let refusals = ["cannot use helper bpf_probe_read", "unknown func bpf_probe_read"];
    refusals.iter().any(|refusal| cause.contains(refusal))
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// `none [integrity] confidentiality` means integrity.
fn lockdown_mode(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Environment {
        Environment {
            release: "6.18".to_owned(),
            has_btf: true,
            capabilities: 1 << CAP_BPF | 1 << CAP_PERFMON,
            lockdown: None,
            unprivileged_bpf_disabled: None,
            tracefs: Tracefs::Absent,
            memlock: None,
        }
    }

    #[test]
    fn two_capabilities_are_enough_and_one_is_not() {
        assert!(check(&host()).is_ok());
        let error = check(&Environment { capabilities: 1 << CAP_BPF, ..host() }).unwrap_err();
        assert!(matches!(&error, AttachError::Permission(text) if text.contains("CAP_PERFMON")));
    }

    #[test]
    fn confidentiality_is_refused_and_integrity_is_not() {
        let lockdown = |mode: &str| Environment { lockdown: lockdown_mode(mode), ..host() };
        assert!(check(&lockdown("none [integrity] confidentiality")).is_ok());
        let error = check(&lockdown("none integrity [confidentiality]")).unwrap_err();
        assert!(matches!(error, AttachError::Kernel(_)));
    }

    #[test]
    fn locked_memory_is_a_cause_before_5_11_only() {
        let limited = |release: &str| Environment { release: release.to_owned(), memlock: Some(65_536), ..host() };
        assert!(limited("5.10.0-46").memlock_cause().unwrap().contains("RLIMIT_MEMLOCK is 64 KiB"));
        assert_eq!(limited("5.11.0").memlock_cause(), None);
        assert_eq!(Environment { memlock: None, ..limited("5.10.0") }.memlock_cause(), None);
    }

    #[test]
    fn the_verifiers_refusal_to_read_is_lockdown() {
        for refusal in
            ["program of this type cannot use helper bpf_probe_read#4", "unknown func bpf_probe_read_kernel#113"]
        {
            let cause = format!("Invalid argument (os error 22): {refusal}");
            let error = AttachError::of_core("tcp_destroy_sock", &cause, &host());
            assert_eq!(error.to_string(), CONFIDENTIALITY);
        }
        let error = AttachError::of_core("tcp_destroy_sock", "Invalid argument (os error 22): R2 invalid", &host());
        assert!(error.to_string().contains("tcp_destroy_sock"));
    }

    #[test]
    fn reads_capabilities() {
        assert_eq!(effective_capabilities("CapPrm:\t0\nCapEff:\t000000c000000000\n"), Some(0xc0_0000_0000));
        assert_eq!(effective_capabilities("CapEff: nonsense"), None);
    }
}
