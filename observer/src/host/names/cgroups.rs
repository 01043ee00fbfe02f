//! The cgroup2 hierarchy: paths for the kernel's ids, which are inode numbers.
//!
//! Users make directories in what is delegated to them, as many and with names as long
//! as they like: a walk is bounded in number, bytes and time.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two walks, and the longest of them.
const WALK_EVERY: Duration = Duration::from_secs(3);
const WALK_WITHIN: Duration = Duration::from_millis(500);
/// Directories that a walk finds, and bytes of their paths.
const DIRECTORIES: usize = 65_536;
const PATH_BYTES: usize = 8 << 20;

/// Where cgroups are found.
pub(super) struct Cgroups {
    mount: PathBuf,
    /// As of the last walk.
    index: Index,
    walk_at: Instant,
}

impl Cgroups {
    /// Below the first cgroup2 mount of `/proc/self/mounts`, if there is one.
    pub(super) fn mounted(mounts: &str) -> Option<Self> {
        let mount = cgroup2_mount(mounts)?;
        Some(Self { mount, index: Index::default(), walk_at: Instant::now() })
    }

    /// The path of the cgroup, if the process is in it, or if the last walk has found it.
    pub(super) fn path(&self, id: u64, pid: u32) -> Option<String> {
        self.of_process(id, pid).or_else(|| self.found(id))
    }

    /// The path, if the last walk has found it.
    pub(super) fn found(&self, id: u64) -> Option<String> {
        self.index.paths.get(&id).map(|path| path.to_string())
    }

    /// True if the last walk saw all that there was: what it has not found is not there.
    pub(super) fn is_whole(&self) -> bool {
        self.index.is_whole
    }

    fn of_process(&self, id: u64, pid: u32) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        // The process may be gone and its number reused: the inode decides.
        let place = self.mount.join(path.trim_start_matches('/'));
        (fs::metadata(place).ok()?.ino() == id).then(|| path.to_owned())
    }

    /// Until a walk may begin.
    pub(super) fn until_walk(&self) -> Duration {
        self.walk_at.saturating_duration_since(Instant::now())
    }

    /// Looks at the hierarchy, from the top down.
    pub(super) fn walk(&mut self) {
        let limits =
            Limits { directories: DIRECTORIES, path_bytes: PATH_BYTES, deadline: Instant::now() + WALK_WITHIN };
        // The old one goes first: there is room for one.
        self.index = Index::default();
        self.index = index(&self.mount, &limits);
        self.walk_at = Instant::now() + WALK_EVERY;
    }
}

/// What a walk has found.
#[derive(Default)]
struct Index {
    /// Paths by inode number.
    paths: HashMap<u64, Arc<str>>,
    is_whole: bool,
}

/// Where a walk ends.
struct Limits {
    directories: usize,
    path_bytes: usize,
    deadline: Instant,
}

/// What there is below `mount`, within limits; what is nearer the top comes first.
fn index(mount: &Path, limits: &Limits) -> Index {
    let mut paths = HashMap::new();
    if let Ok(top) = fs::metadata(mount) {
        paths.insert(top.ino(), Arc::from("/"));
    }
    let mut bytes = 0;
    let mut level: Vec<Arc<str>> = vec![Arc::from("")];
    while !level.is_empty() {
        let mut below = Vec::new();
        for directory in level {
            let entries = fs::read_dir(mount.join(directory.trim_start_matches('/'))).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let path: Arc<str> = format!("{directory}/{}", entry.file_name().to_string_lossy()).into();
                bytes += path.len();
                let has_room = paths.len() < limits.directories && bytes <= limits.path_bytes;
                if !has_room || Instant::now() >= limits.deadline {
                    return Index { paths, is_whole: false };
                }
                paths.insert(entry.ino(), Arc::clone(&path));
                below.push(path);
            }
            // There may be nothing but directories in which there is nothing.
            if Instant::now() >= limits.deadline {
                return Index { paths, is_whole: false };
            }
        }
        level = below;
    }
    Index { paths, is_whole: true }
}

fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut line| {
        let path = line.nth(1)?;
        (line.next() == Some("cgroup2")).then(|| PathBuf::from(path))
    })
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
    fn a_walk_finds_each_directory_and_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        for nth in 0..50 {
            fs::create_dir_all(directory.path().join(format!("slice-{nth}/unit.service"))).unwrap();
        }
        let later = Instant::now() + Duration::from_secs(60);
        let walk = |directories, path_bytes, deadline| {
            let index = index(directory.path(), &Limits { directories, path_bytes, deadline });
            (index.paths.len(), index.is_whole)
        };
        assert_eq!(walk(1_000, 10_000, later), (101, true));
        assert_eq!(walk(60, 10_000, later), (60, false));
        assert_eq!(walk(1_000, 10_000, Instant::now()), (1, false));
        let (found, is_whole) = walk(1_000, 100, later);
        // Paths of 8 or 9 bytes, and the top.
        assert!((12..=13).contains(&found) && !is_whole, "{found}");

        let whole = index(directory.path(), &Limits { directories: 101, path_bytes: 10_000, deadline: later });
        let one = fs::metadata(directory.path().join("slice-7/unit.service")).unwrap().ino();
        assert_eq!(whole.paths.get(&one).map(|path| &**path), Some("/slice-7/unit.service"));
    }
}
