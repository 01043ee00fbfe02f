//! The kernel's own statistics of the BPF programs that are loaded.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// Time spent in one program, and how often it ran.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) ns: u64,
    pub(crate) hits: u64,
}

/// Every program's runs, by the kernel's id and name.
pub(crate) type Snapshot = BTreeMap<(u32, String), Runs>;

/// While it lives, the kernel takes the time of every run
/// (`BPF_ENABLE_STATS`, Linux 5.8); it costs each run some tens of nanoseconds.
pub(crate) struct Stats {
    _fd: OwnedFd,
}

impl Stats {
    pub(crate) fn enable() -> Result<Self> {
        let fd = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("enable the kernel's BPF statistics")?;
        Ok(Self { _fd: fd })
    }
}

/// The runs of every loaded program so far.
pub(crate) fn snapshot() -> Result<Snapshot> {
    let mut runs = Snapshot::new();
    for program in aya::programs::loaded_programs() {
        let program = program.context("list the loaded programs")?;
        // Gone between the list and this look.
        let Ok(fd) = program.fd() else { continue };
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        let name = program.name_as_str().unwrap_or_default().to_owned();
        runs.insert((program.id(), name), Runs { ns: field("run_time_ns"), hits: field("run_cnt") });
    }
    Ok(runs)
}

/// What ran from one snapshot to the other, by name.
pub(crate) fn between(before: &Snapshot, after: &Snapshot) -> BTreeMap<String, Runs> {
    let mut runs: BTreeMap<String, Runs> = BTreeMap::new();
    for (key, now) in after {
        let then = before.get(key).copied().unwrap_or_default();
        let sum = runs.entry(key.1.clone()).or_default();
        sum.ns += now.ns.saturating_sub(then.ns);
        sum.hits += now.hits.saturating_sub(then.hits);
    }
    runs.retain(|_, runs| runs.hits > 0);
    runs
}
