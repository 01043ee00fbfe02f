//! A cgroup in which connect() is refused, by a BPF program of two instructions.

use std::fs::{self, File};
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use crate::ns;
use crate::role::own_pid;
use crate::sock;

/// Enumerators of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;
const BPF_CGROUP_INET6_CONNECT: u32 = 11;

/// `r0 = 0; exit`: zero denies, with EPERM.
static DENY: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The start of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The start of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// A cgroup whose processes cannot connect. Removed on drop; its programs go with it.
#[derive(Debug)]
pub(crate) struct DenyingCgroup {
    path: PathBuf,
}

impl DenyingCgroup {
    pub(crate) fn create() -> Result<Self> {
        static SEQUENCE: AtomicU32 = AtomicU32::new(0);
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{sequence}-deny", ns::PREFIX, own_pid());
        let path = hierarchy()?.join(name);
        fs::create_dir(&path).with_context(|| format!("create cgroup {}", path.display()))?;
        let cgroup = Self { path };
        let directory = File::open(&cgroup.path).context("open the cgroup")?;
        sock::raise_memlock_limit();
        for attach_type in [BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET6_CONNECT] {
            let program = load(attach_type)?;
            attach(directory.as_raw_fd(), program.as_raw_fd(), attach_type)?;
        }
        Ok(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DenyingCgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("lab: remove cgroup {}: {error}", self.path.display());
        }
    }
}

/// Moves this process into a cgroup.
pub(crate) fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("join cgroup {}", cgroup.display()))
}

/// Removes cgroups of labs whose process is gone.
pub(crate) fn sweep() -> Result<()> {
    let Ok(hierarchy) = hierarchy() else { return Ok(()) };
    for entry in fs::read_dir(&hierarchy).with_context(|| format!("list {}", hierarchy.display()))? {
        let entry = entry.context("list cgroups")?;
        let owner = ns::owner(&entry.file_name().to_string_lossy());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another lab may have swept it first.
            _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

/// Where the unified hierarchy is mounted.
fn hierarchy() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    mount_point(&mounts).context("no cgroup2 file system is mounted: mount one, e.g. on /sys/fs/cgroup")
}

fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}

fn load(attach_type: u32) -> Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        instruction_count: DENY.len() as u32,
        instructions: DENY.as_ptr().addr() as u64,
        license: c"MIT".as_ptr().addr() as u64,
        expected_attach_type: attach_type,
        ..LoadAttributes::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes).context("load the program that denies connect()")?;
    // SAFETY: BPF_PROG_LOAD has just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(cgroup: RawFd, program: RawFd, attach_type: u32) -> Result<()> {
    let attributes =
        AttachAttributes { target: cgroup.cast_unsigned(), program: program.cast_unsigned(), attach_type, flags: 0 };
    bpf(BPF_PROG_ATTACH, &attributes).context("attach the program that denies connect()")?;
    Ok(())
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> std::io::Result<RawFd> {
    // SAFETY: the kernel reads the given number of bytes of the attributes, whose
    // pointers are to statics.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_beside_the_old_one() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"), None);
    }
}
