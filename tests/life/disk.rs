//! A disk for one trial: a file system in a file, which can be frozen, full, or looked at
//! as a crash of the host would leave it.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A mounted ext4, gone when this is dropped.
pub(crate) struct Disk {
    directory: tempfile::TempDir,
}

/// The disk stands still until this is dropped, or this process ends.
pub(crate) struct Frozen {
    guard: Child,
    release: Option<ChildStdin>,
}

impl Disk {
    /// Makes one of so many bytes, which it takes only as far as they are written.
    pub(crate) fn mount(bytes: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let image = directory.path().join("image");
        std::fs::File::create(&image)?.set_len(bytes)?;
        run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=0"]).arg(&image))?;
        let disk = Self { directory };
        std::fs::create_dir(disk.path())?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        use std::io::Write as _;
        // In ever smaller pieces, for a write takes what fits of a large one.
        let mut filler = std::fs::File::create(self.filler())?;
        for piece in [1 << 20, 1 << 12, 1] {
            let bytes = vec![b'x'; piece];
            while filler.write_all(&bytes).is_ok() {}
        }
        filler.sync_all()?;
        ensure!(self.is_full()?, "the disk has room");
        Ok(())
    }

    /// Gives that room back.
    pub(crate) fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    /// True if not even a small file finds room.
    pub(crate) fn is_full(&self) -> Result<bool> {
        Ok(rustix::fs::statvfs(self.path())?.f_bavail < 256)
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Freezes it: whoever writes to it waits.
    pub(crate) fn freeze(&self) -> Result<Frozen> {
        // A shell thaws it, also when this process is killed: its pipe ends then.
        let script = "fsfreeze -f \"$1\" && echo frozen && read -r _; fsfreeze -u \"$1\"";
        let mut guard = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let release = guard.stdin.take();
        let mut line = String::new();
        let mut said = std::io::BufReader::new(guard.stdout.take().context("no stdout")?);
        std::io::BufRead::read_line(&mut said, &mut line)?;
        let frozen = Frozen { guard, release };
        ensure!(line == "frozen\n", "cannot freeze {}", self.path().display());
        Ok(frozen)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if is_mounted(&self.path()) {
            let _ = run(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.release.take());
        let _ = self.guard.wait();
    }
}

/// Listens to what ext4 syncs, in a trace of its own.
pub(crate) struct Traced {
    tracefs: tempfile::TempDir,
}

impl Traced {
    pub(crate) fn start() -> Result<Self> {
        let traced = Self { tracefs: tempfile::tempdir()? };
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", traced.tracefs.path(), "tracefs", flags, None::<&std::ffi::CStr>)?;
        std::fs::create_dir(traced.instance())?;
        std::fs::write(traced.instance().join("events/ext4/ext4_sync_file_enter/enable"), "1")?;
        Ok(traced)
    }

    fn instance(&self) -> PathBuf {
        self.tracefs.path().join(format!("instances/observer-trial-{}", std::process::id()))
    }

    /// True if fsync(2) of this file or directory was called.
    pub(crate) fn has_synced(&self, path: &Path) -> Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let inode = format!(" ino {} ", path.metadata()?.ino());
        Ok(std::fs::read_to_string(self.instance().join("trace"))?.lines().any(|line| line.contains(&inode)))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.instance());
        let _ = rustix::mount::unmount(self.tracefs.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
