//! What `observer run` gives up once it has attached: its capabilities, see
//! capabilities(7), and by Landlock the right to write outside the directories of its
//! configuration and to execute anything but journalctl, if the journal is read, see
//! landlock(7). Threads that start later inherit both, so it comes before the first of
//! them.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, AccessFs, AccessNet, LandlockStatus, NetPort, RestrictionStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use object::read::elf::{ElfFile64, ProgramHeader as _};

use super::Failure;
use super::mta_log;
use super::socket::make_passable;
use crate::config::{Config, Listen, MtaLog};
use crate::deliver::target::Target;
use crate::store::history::make_directory;

/// What root keeps: to write to files of other users, and to give its sockets to a group.
pub(super) const OF_ROOT: [Capability; 2] = [Capability::CAP_CHOWN, Capability::CAP_DAC_OVERRIDE];

/// The rights that are left.
pub(super) struct Confinement {
    capabilities: CapsHashSet,
    /// Directories that may be written to; `None`: Landlock does not restrict.
    writable: Option<Vec<PathBuf>>,
    /// What this kernel's Landlock is too old to restrict.
    unrestricted: Vec<&'static str>,
    /// Whether journalctl may be started.
    reads_journal: bool,
}

impl Confinement {
    /// Gives up what this configuration does not need. `is_enough` tells whether the
    /// kernel's counters can be read with what is left.
    ///
    /// # Errors
    /// If the kernel refuses to take rights away. One without Landlock is no error.
    pub(super) fn enter(config: &Config, is_enough: impl Fn() -> bool) -> Result<Self, Failure> {
        let writable = directories(config);
        let executable = config.mta.as_ref().map(executables).unwrap_or_default();
        let status = restrict(&writable, &executable, config)
            .map_err(|error| Failure::new("cannot restrict writing by Landlock", error))?;
        let capabilities = drop_capabilities(rustix::process::geteuid().is_root(), is_enough)
            .map_err(|error| Failure::new("cannot give up capabilities", error))?;
        let reads_journal = !executable.is_empty();
        let unrestricted = unrestricted(&status.ruleset, status.landlock);
        let writable = (status.ruleset != RulesetStatus::NotEnforced).then_some(writable);
        Ok(Self { capabilities, writable, unrestricted, reads_journal })
    }

    /// A directory that `config` writes to and this process no longer may.
    pub(super) fn forbidden(&self, config: &Config) -> Option<PathBuf> {
        let writable = self.writable.as_ref()?;
        directories(config).into_iter().find(|wanted| !writable.iter().any(|allowed| wanted.starts_with(allowed)))
    }
}

/// `keeping CAP_BPF, writing to /run/observer and /var/lib/observer only`, and what the
/// kernel is too old for: `; not restricted by the Landlock of this kernel: ...`.
impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kept: Vec<_> = self.capabilities.iter().map(Capability::to_string).collect();
        kept.sort();
        match kept.as_slice() {
            [] => f.write_str("without capabilities")?,
            kept => write!(f, "keeping {}", kept.join(" and "))?,
        }
        match self.writable.as_deref() {
            None => f.write_str("; this kernel has no Landlock to restrict where it writes")?,
            Some([]) => f.write_str(", writing no files")?,
            Some(writable) => {
                let names: Vec<_> = writable.iter().map(|path| path.display().to_string()).collect();
                write!(f, ", writing to {} only", names.join(" and "))?;
            }
        }
        if self.reads_journal {
            f.write_str(", starting journalctl")?;
        }
        match self.unrestricted.as_slice() {
            [] => Ok(()),
            parts => write!(f, "; not restricted by the Landlock of this kernel: {}", parts.join(", ")),
        }
    }
}

/// What is asked of Landlock beyond its first version, and since which one it knows that:
/// landlock(7), VERSIONS. Moving files between directories is not among them: before it
/// could be allowed it was forbidden.
const LATER: [(ABI, &str); 4] = [
    (ABI::V3, "truncating files elsewhere (needs Linux 6.2)"),
    (ABI::V4, "listening on TCP ports (needs Linux 6.7)"),
    (ABI::V5, "ioctl(2) on devices (needs Linux 6.10)"),
    (ABI::V6, "signals to other processes (needs Linux 6.12)"),
];

/// What is asked for and not enforced, while the rest is.
fn unrestricted(ruleset: &RulesetStatus, landlock: LandlockStatus) -> Vec<&'static str> {
    match (ruleset, landlock) {
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            let later = LATER.iter().filter(|(since, _)| effective_abi < *since);
            later.map(|(_, what)| *what).collect()
        }
        _ => Vec::new(),
    }
}

/// Where files are written. What the parts that write would make is made now:
/// Landlock's rules are about directories that exist.
fn directories(config: &Config) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    // Who cannot make one is told so by what needs it.
    if let Some(history) = &config.history {
        let _ = make_directory(&history.path);
        directories.push(parent(&history.path));
    }
    if !config.sinks.is_empty() {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(&config.spool);
        directories.push(config.spool.clone());
    }
    for socket in sockets(config) {
        let _ = make_passable(&parent(socket));
        directories.push(parent(socket));
    }
    let files = config.sinks.iter().filter_map(|sink| match &sink.target {
        Target::File(file) => Some(parent(&file.path)),
        _ => None,
    });
    directories.extend(files);
    let resolve = |directory: PathBuf| fs::canonicalize(&directory).unwrap_or(directory);
    let mut directories: Vec<_> = directories.into_iter().map(resolve).collect();
    directories.sort();
    directories.dedup_by(|inner, outer| inner.starts_with(outer));
    directories
}

fn sockets(config: &Config) -> impl Iterator<Item = &Path> {
    let of_metrics = config.metrics.as_ref().and_then(|metrics| match &metrics.listen {
        Listen::Unix(path) => Some(path.as_path()),
        Listen::Tcp(_) => None,
    });
    config.socket.as_ref().map(|socket| socket.path.as_path()).into_iter().chain(of_metrics)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The program that is started later, and the dynamic linker that it names, which the
/// kernel opens for execution too. Libraries need no such right.
fn executables(log: &MtaLog) -> Vec<PathBuf> {
    let program = mta_log::program(log);
    let linker = program.as_deref().and_then(dynamic_linker);
    program.into_iter().chain(linker).collect()
}

/// The program header `PT_INTERP`, elf(5).
fn dynamic_linker(program: &Path) -> Option<PathBuf> {
    let bytes = fs::read(program).ok()?;
    let elf = ElfFile64::<object::Endianness>::parse(bytes.as_slice()).ok()?;
    let mut headers = elf.elf_program_headers().iter();
    let name = headers.find_map(|header| header.interpreter(elf.endian(), elf.data()).ok().flatten())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// Restricts as much as the kernel can.
fn restrict(writable: &[PathBuf], executable: &[PathBuf], config: &Config) -> Result<RestrictionStatus, RulesetError> {
    let write = AccessFs::from_write(ABI::V6);
    // Where a program that is started has its stderr.
    let null: &[&str] = if executable.is_empty() { &[] } else { &["/dev/null"] };
    let mut ruleset = Ruleset::default()
        .handle_access(write | AccessFs::Execute)?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(writable, write))?
        .add_rules(path_beneath_rules(executable, AccessFs::Execute))?
        .add_rules(path_beneath_rules(null, AccessFs::WriteFile))?;
    if let Some(Listen::Tcp(address)) = config.metrics.as_ref().map(|metrics| &metrics.listen) {
        ruleset = ruleset.add_rule(NetPort::new(address.port(), AccessNet::BindTcp))?;
    }
    ruleset.restrict_self()
}

/// The capabilities that are left. Before Linux 5.19 reading a map takes CAP_BPF where
/// `kernel.unprivileged_bpf_disabled` is set: `__sys_bpf` in kernel/bpf/syscall.c.
fn drop_capabilities(is_root: bool, is_enough: impl Fn() -> bool) -> Result<CapsHashSet, CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let mut kept = CapsHashSet::new();
    if is_root {
        kept.extend(OF_ROOT.iter().filter(|capability| permitted.contains(capability)));
    }
    // A kernel without ambient capabilities, before Linux 4.3, is without BTF too.
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    if !is_enough() && permitted.contains(&Capability::CAP_BPF) {
        kept.insert(Capability::CAP_BPF);
        caps::set(None, CapSet::Effective, &kept)?;
    }
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::config::{Surroundings, parse};

    fn config(directory: &Path) -> Config {
        let directory = directory.display();
        let text = format!(
            "[history]\npath = '{directory}/state/history.db'\n[socket]\npath = '{directory}/run/socket'\n\
             [sink.file]\ntype = 'file'\npath = '{directory}/log/events.json'\n[spool]\ndirectory = '{directory}/state/spool'\n"
        );
        parse(&[("test", &text)], &Surroundings::default()).unwrap()
    }

    #[test]
    fn directories_are_those_of_the_configuration_each_once() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("log")).unwrap();
        let found = directories(&config(place.path()));
        let base = place.path().canonicalize().unwrap();
        assert_eq!(found, ["log", "run", "state"].map(|name| base.join(name)));
        assert!(found.iter().all(|directory| directory.is_dir()));
    }

    /// Capabilities and Landlock are of a thread: this one ends with the test.
    #[test]
    fn nothing_is_written_elsewhere_nor_executed_and_capabilities_are_gone() {
        let place = tempfile::tempdir().unwrap();
        let config = config(place.path());
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let confined = thread::spawn({
            let (config, elsewhere) = (config.clone(), elsewhere.clone());
            move || {
                let confinement = Confinement::enter(&config, || true).unwrap();
                let mut other = config.clone();
                other.spool = elsewhere.clone();
                let of_thread = fs::read_to_string("/proc/thread-self/status").unwrap();
                (
                    confinement.to_string(),
                    fs::write(place.path().join("state/file"), "").is_ok(),
                    fs::write(elsewhere.join("file"), "").is_ok(),
                    std::process::Command::new("/bin/true").status().is_ok(),
                    (confinement.forbidden(&config), confinement.forbidden(&other)),
                    of_thread,
                )
            }
        });
        let (said, inside, outside, executed, forbidden, status) = confined.join().unwrap();
        assert!(inside);
        let is_restricted = said.contains("only");
        assert_eq!(outside, !is_restricted, "{said}");
        assert_eq!(executed, !is_restricted, "{said}");
        let wanted = is_restricted.then(|| elsewhere.clone());
        assert_eq!(forbidden, (None, wanted));
        let kept = OF_ROOT.iter().fold(0, |mask, capability| mask | capability.bitmask());
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        for set in ["CapEff:", "CapPrm:"] {
            assert_eq!(of(set) & !kept, 0, "{set} {status}");
        }
        assert_eq!((of("CapInh:"), of("CapAmb:")), (0, 0));
    }

    #[test]
    fn what_an_older_landlock_does_not_restrict_is_said() {
        let of = |abi| {
            unrestricted(
                &RulesetStatus::PartiallyEnforced,
                LandlockStatus::Available { effective_abi: abi, kernel_abi: None },
            )
        };
        assert_eq!(of(ABI::V2).len(), LATER.len());
        assert_eq!(
            of(ABI::V4),
            ["ioctl(2) on devices (needs Linux 6.10)", "signals to other processes (needs Linux 6.12)"]
        );
        assert!(of(ABI::V6).is_empty());
        let confinement = Confinement {
            capabilities: CapsHashSet::new(),
            writable: Some(vec!["/run/observer".into()]),
            unrestricted: of(ABI::V5),
            reads_journal: false,
        };
        assert_eq!(
            confinement.to_string(),
            "without capabilities, writing to /run/observer only; not restricted by the Landlock of this kernel: \
             signals to other processes (needs Linux 6.12)"
        );
    }

    #[test]
    fn what_reading_maps_needs_is_kept() {
        let kept = thread::spawn(|| drop_capabilities(false, || false).unwrap()).join().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(kept.contains(&Capability::CAP_BPF), is_root, "{kept:?}");
        assert!(kept.len() <= 1);
    }
}
