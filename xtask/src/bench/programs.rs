//! The kernel's own statistics of a process's BPF programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// What one program did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// `run_time_ns`
    pub(crate) ns: u64,
    /// `run_cnt`
    pub(crate) hits: u64,
    /// `recursion_misses`: runs that the kernel skipped.
    pub(crate) skipped: u64,
}

/// Runs by the program's name.
pub(crate) type ByName = BTreeMap<String, Runs>;

/// While it lives, the kernel takes the time of every run of every program
/// (`BPF_ENABLE_STATS`, Linux 5.8). It ends with this process, however that ends.
pub(crate) struct Stats {
    _fd: OwnedFd,
}

impl Stats {
    pub(crate) fn enable() -> Result<Self> {
        let fd = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("enable the kernel's BPF statistics")?;
        Ok(Self { _fd: fd })
    }
}

/// The programs of one process, as they are now.
#[derive(Debug)]
pub(crate) struct Programs(BTreeMap<(String, u32), Runs>);

impl Programs {
    /// Those that the process has open, itself or through a link.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let own = ids(pid)?;
        let mut runs = BTreeMap::new();
        for program in aya::programs::loaded_programs() {
            let program = program.context("list the loaded programs")?;
            if !own.contains(&program.id()) {
                continue;
            }
            // Gone between the list and this look.
            let Ok(fd) = program.fd() else { continue };
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            let info = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            let name = program.name_as_str().unwrap_or_default().to_owned();
            runs.insert((name, program.id()), runs_of(&info));
        }
        Ok(Self(runs))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// What ran since `before`. Programs of one name are one.
    pub(crate) fn since(&self, before: &Self) -> ByName {
        let mut by_name = ByName::new();
        for (key, now) in &self.0 {
            let then = before.0.get(key).copied().unwrap_or_default();
            by_name.entry(key.0.clone()).or_default().add(Runs {
                ns: now.ns.saturating_sub(then.ns),
                hits: now.hits.saturating_sub(then.hits),
                skipped: now.skipped.saturating_sub(then.skipped),
            });
        }
        by_name
    }
}

impl Runs {
    pub(crate) fn add(&mut self, other: Self) {
        self.ns += other.ns;
        self.hits += other.hits;
        self.skipped += other.skipped;
    }

    /// Of all programs together.
    pub(crate) fn total(by_name: &ByName) -> Self {
        let mut total = Self::default();
        by_name.values().for_each(|runs| total.add(*runs));
        total
    }
}

/// The ids of the programs that a process has open.
fn ids(pid: u32) -> Result<BTreeSet<u32>> {
    let ids = descriptors(pid)?.into_iter().filter_map(|info| u32::try_from(field(&info, "prog_id")?).ok());
    Ok(ids.collect())
}

/// What the kernel says of each descriptor of a process.
fn descriptors(pid: u32) -> Result<Vec<String>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut all = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("list {directory}"))? {
        // One that was closed between the list and this look cannot be read.
        all.extend(fs::read_to_string(entry.context("list descriptors")?.path()));
    }
    Ok(all)
}

/// Bytes of the kernel's memory in the maps that a process has open (`memlock`).
pub(crate) fn map_bytes(pid: u32) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for info in descriptors(pid)? {
        maps.extend(field(&info, "map_id").zip(field(&info, "memlock")));
    }
    Ok(maps.values().sum())
}

fn runs_of(info: &str) -> Runs {
    let number = |name| field(info, name).unwrap_or_default();
    Runs { ns: number("run_time_ns"), hits: number("run_cnt"), skipped: number("recursion_misses") }
}

fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "pos:\t0\nprog_type:\t17\nprog_id:\t41\nrun_time_ns:\t900\nrun_cnt:\t3\nrecursion_misses:\t1\n";

    #[test]
    fn descriptor_info_is_read() {
        assert_eq!(field(INFO, "prog_id"), Some(41));
        assert_eq!(runs_of(INFO), Runs { ns: 900, hits: 3, skipped: 1 });
        assert_eq!(runs_of("pos:\t0\n"), Runs::default());
    }

    #[test]
    fn programs_of_one_name_are_one() {
        let runs = |ns| Runs { ns, hits: 1, skipped: 0 };
        let before = Programs(BTreeMap::from([(("a".to_owned(), 1), runs(10))]));
        let after = Programs(BTreeMap::from([(("a".to_owned(), 1), runs(15)), (("a".to_owned(), 2), runs(7))]));
        let since = after.since(&before);
        assert_eq!(since.get("a").unwrap().ns, 12);
        assert_eq!(Runs::total(&since).hits, 1);
    }
}
