//! What the outside world adds to an attempt: names for the kernel's numbers.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::attempt::{Attempt, Task};
use crate::event::{Host, Surroundings};

/// Distinct cgroups remembered; a host has a few hundred. When full it is
/// emptied: the next events look up again.
const MAX_CGROUPS: usize = 4_096;
/// Directories of the cgroup hierarchy looked at in search of one id.
const MAX_WALK: usize = 20_000;

/// This host's name and boot.
///
/// # Errors
/// If procfs is not mounted.
pub fn host() -> io::Result<Host> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let boot_id = read("/proc/sys/kernel/random/boot_id")?;
    let boot = boot_id.split('-').next().unwrap_or_default().to_owned();
    Ok(Host { name: read("/proc/sys/kernel/hostname")?, boot })
}

/// Looks up names, and remembers those that do not change.
pub struct Names {
    netns: u32,
    mount: Option<PathBuf>,
    cgroups: HashMap<u64, Option<String>>,
    interfaces: HashMap<u32, Option<String>>,
}

impl Names {
    /// Names as seen from this process's network namespace and mounts.
    pub fn new() -> Self {
        let netns = fs::metadata("/proc/self/ns/net").map(|meta| meta.ino() as u32).unwrap_or(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self { netns, mount: cgroup2_mount(&mounts), cgroups: HashMap::new(), interfaces: HashMap::new() }
    }

    /// To be called before each batch of attempts: interfaces are renamed.
    pub fn refresh(&mut self) {
        self.interfaces.clear();
    }

    /// The names that belong to an attempt.
    pub fn of(&mut self, attempt: &Attempt) -> Surroundings {
        Surroundings {
            iface: attempt.iif.map(|index| self.interface(index, attempt.netns)),
            route_iface: attempt.oif.map(|index| self.interface(index, attempt.netns)),
            cgroup: attempt.process.as_ref().and_then(|task| self.cgroup(task)),
            destination: None,
        }
    }

    /// The interface's name; its number where it lies in another network
    /// namespace, whose names are not to be had from here.
    fn interface(&mut self, index: u32, netns: u32) -> String {
        let mut named = || self.interfaces.entry(index).or_insert_with(|| interface_name(index)).clone();
        let name = if netns == self.netns { named() } else { None };
        name.unwrap_or_else(|| format!("if{index}"))
    }

    fn cgroup(&mut self, task: &Task) -> Option<String> {
        if let Some(known) = self.cgroups.get(&task.cgroup) {
            return known.clone();
        }
        if self.cgroups.len() >= MAX_CGROUPS {
            self.cgroups.clear();
        }
        let mount = self.mount.as_deref()?;
        // The process may be gone and its number reused: the inode decides.
        let of_process = cgroup_of_process(task.pid).filter(|path| inode(mount, path) == Some(task.cgroup));
        let path = of_process.or_else(|| find_inode(mount, task.cgroup));
        self.cgroups.insert(task.cgroup, path.clone());
        path
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

fn interface_name(index: u32) -> Option<String> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    netdevice::index_to_name(socket, index).ok()
}

fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut line| {
        let path = line.nth(1)?;
        (line.next() == Some("cgroup2")).then(|| PathBuf::from(path))
    })
}

fn cgroup_of_process(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn inode(mount: &Path, cgroup: &str) -> Option<u64> {
    let path = mount.join(cgroup.trim_start_matches('/'));
    fs::metadata(path).map(|meta| meta.ino()).ok()
}

fn find_inode(mount: &Path, wanted: u64) -> Option<String> {
    let mut left = vec![mount.to_owned()];
    for _ in 0..MAX_WALK {
        let dir = left.pop()?;
        if fs::metadata(&dir).is_ok_and(|meta| meta.ino() == wanted) {
            let below = dir.strip_prefix(mount).ok()?;
            return Some(format!("/{}", below.to_string_lossy()));
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        left.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cgroup2_mount() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("nonsense\n\n"), None);
    }

    #[test]
    fn names_the_loopback_interface_here_and_numbers_others() {
        let mut names = Names::new();
        let own = names.netns;
        assert_eq!(names.interface(1, own), "lo");
        assert_eq!(names.interface(7, own.wrapping_add(1)), "if7");
    }
}
