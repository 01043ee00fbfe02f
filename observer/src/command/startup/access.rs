//! What the user of this thread may do with a path; nothing is opened for writing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, statfs};

use super::user;

/// Directories above a file that are made where they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// None.
    Never,
    /// The last.
    One,
    /// All of them.
    All,
}

/// Why the user cannot make files in this directory.
pub(super) fn directory(directory: &Path, made: Made) -> Result<(), String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => {
            allowed(directory, Access::WRITE_OK | Access::EXEC_OK, "write to the directory")?;
            holds_files(directory)
        }
        Ok(_) => Err(format!("{} is not a directory: name a path in one", directory.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(directory, made),
        Err(error) => Err(unreachable(directory, &error)),
    }
}

/// Why no file can be made here: root may write to these, and the kernel alone makes files in them.
fn holds_files(directory: &Path) -> Result<(), String> {
    const NONE: [libc::c_long; 9] = [
        libc::PROC_SUPER_MAGIC,
        libc::SYSFS_MAGIC,
        libc::CGROUP_SUPER_MAGIC,
        libc::CGROUP2_SUPER_MAGIC,
        libc::DEBUGFS_MAGIC,
        libc::TRACEFS_MAGIC,
        libc::SECURITYFS_MAGIC,
        libc::BPF_FS_MAGIC,
        libc::DEVPTS_SUPER_MAGIC,
    ];
    match statfs(directory) {
        Ok(of) if NONE.contains(&of.f_type) => {
            Err(format!("{} is the kernel's and holds no files of others: name another path", directory.display()))
        }
        _ => Ok(()),
    }
}

fn missing(path: &Path, made: Made) -> Result<(), String> {
    let shown = path.display();
    if fs::symlink_metadata(path).is_ok() {
        return Err(format!("{shown} is a symbolic link to nothing: make what it leads to, or remove it"));
    }
    match (made, path.parent()) {
        (Made::One, Some(parent)) => directory(parent, Made::Never),
        (Made::All, Some(parent)) => directory(parent, Made::All),
        _ => Err(format!("there is no directory {shown}: make it, for {} to write to", user::current())),
    }
}

/// Why the user cannot write to this file, which is made where it is missing.
pub(super) fn writable(path: &Path, made: Made) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(format!("{} is a directory: name a file", path.display())),
        Ok(_) => allowed(path, Access::READ_OK | Access::WRITE_OK, "write to"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                // A file is made where it leads to.
                return directory(&leads_to(path), Made::Never);
            }
            directory(parent(path), made)
        }
        Err(error) => Err(unreachable(path, &error)),
    }
}

fn leads_to(link: &Path) -> PathBuf {
    let target = fs::read_link(link).unwrap_or_default();
    let target = parent(link).join(target);
    parent(&target).to_owned()
}

/// Why the user cannot read this file.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(format!("{} is a directory: name a file", path.display())),
        Ok(found) if !found.is_file() => Err(format!("{} is not a regular file: name one", path.display())),
        Ok(_) => File::open(path).map(drop).map_err(|error| unreachable(path, &error)),
        Err(error) => Err(unreachable(path, &error)),
    }
}

/// The directory of a file.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn allowed(path: &Path, access: Access, what: &str) -> Result<(), String> {
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|error| {
        let (user, shown) = (user::current(), path.display());
        match error {
            rustix::io::Errno::ACCESS => format!("{user} may not {what} {shown}: allow it, or name another path"),
            error => format!("{user} cannot {what} {shown}: {}", io::Error::from(error)),
        }
    })
}

fn unreachable(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file {shown}: put it there, or name another one"),
        io::ErrorKind::PermissionDenied => format!("{} may not read {shown}: allow it", user::current()),
        io::ErrorKind::NotADirectory => format!("{shown} lies below a file: name a path in a directory"),
        _ => format!("{shown}: {error}"),
    }
}
