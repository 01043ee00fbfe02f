//! The unix socket that readers of `observer run` connect to. Its mode says who may,
//! which the kernel checks at connect(2), see unix(7): nothing else is needed.

use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use tokio::net::{UnixListener, UnixStream};

/// Readable and writable, which is what connecting takes, by the owner and the group.
const MODE: u32 = 0o660;

/// A listening socket; its file goes with it.
pub(super) struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// A socket's file, which goes with this; whatever else is there by then stays.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Socket {
    /// Listens at `path`, for root and for the members of `group`. Where there is
    /// no such group, for root alone: the second value says so.
    ///
    /// # Errors
    /// If anything but a socket that no process has bound is there, or the directory cannot
    /// be written to.
    pub(super) fn listen(path: &Path, group: &str) -> io::Result<(Self, Option<String>)> {
        vacate(path)?;
        if let Some(directory) = path.parent() {
            make_passable(directory)?;
        }
        // Nobody finds the socket before it is theirs.
        let new = unfinished(path);
        vacate(&new)?;
        let listener = UnixListener::bind(&new)?;
        let metadata = fs::symlink_metadata(&new)?;
        let mut file = SocketFile { path: new, identity: (metadata.dev(), metadata.ino()) };
        let remark = admit(&file.path, group)?;
        rename(&file.path, path)?;
        path.clone_into(&mut file.path);
        Ok((Self { listener, file }, remark))
    }

    /// The same for another thread's runtime.
    pub(super) fn into_std(self) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
        Ok((self.listener.into_std()?, self.file))
    }

    /// The next reader.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|there| there.file_type().is_socket() && (there.dev(), there.ino()) == self.identity);
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where a socket is until it is whole.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// What is in the place of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Nothing.
    None,
    /// A socket that no process has bound: its process has ended.
    Stale,
    /// A socket that a process has bound.
    InUse,
    /// Anything else.
    Other(&'static str),
}

impl Occupant {
    /// What is at `path`. Follows no symbolic link, and disturbs nobody.
    ///
    /// # Errors
    /// If it cannot be known.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if there.file_type().is_socket() => is_bound(path).map(|is_bound| match is_bound {
                true => Self::InUse,
                false => Self::Stale,
            }),
            Ok(there) => Ok(Self::Other(kind(there.file_type()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::None),
            Err(error) => Err(error),
        }
    }

    /// Why it cannot make room for a socket at `path`, and what to do; `None`: it can.
    pub(super) fn objection(self, path: &Path) -> Option<String> {
        let path = path.display();
        match self {
            Self::None | Self::Stale => None,
            Self::InUse => Some(format!("{path} is in use by another process: end it, or name another path")),
            Self::Other(what) => Some(format!(
                "{path} is {what}, and only a socket that no process listens on is replaced: move it away, or name \
                 another path"
            )),
        }
    }
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        kind if kind.is_file() => "a regular file",
        _ => "no socket",
    }
}

/// Whether a process has bound the socket's file: `unix_find_other` in net/unix/af_unix.c refuses
/// the connection where none has. A datagram socket waits for nobody and, where the other end is a
/// stream, is told so without being seen there.
fn is_bound(path: &Path) -> io::Result<bool> {
    let probe = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => Ok(false),
        // It went while it was looked at.
        Err(Errno::NOENT) => Ok(false),
        Ok(()) | Err(Errno::PROTOTYPE | Errno::PERM | Errno::AGAIN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Makes room at a path, if nothing but a stale socket is in the way.
fn vacate(path: &Path) -> io::Result<()> {
    let occupant = Occupant::at(path)?;
    if let Some(objection) = occupant.objection(path) {
        let kind = if occupant == Occupant::InUse { io::ErrorKind::AddrInUse } else { io::ErrorKind::AlreadyExists };
        return Err(io::Error::new(kind, objection));
    }
    match occupant {
        Occupant::Stale => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Gives a socket its name; what came there meanwhile stays.
fn rename(new: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not every file system can.
        Err(Errno::INVAL | Errno::NOSYS) => vacate(path).and_then(|()| fs::rename(new, path)),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory through which everyone may pass, whatever the umask: it is the
/// socket that says who may connect.
pub(super) fn make_passable(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

/// Root alone, then the group too.
fn admit(path: &Path, group: &str) -> io::Result<Option<String>> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let Some(gid) = group_id(group) else { return Ok(Some(unknown_group(group))) };
    chown(path, None, Some(gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok(None)
}

/// A group's number, by its name or as a number.
pub(super) fn group_id(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| uzers::get_group_by_name(group).map(|group| group.gid()))
}

/// What a user who may not connect to this socket can do.
pub(super) fn admission(path: &Path) -> String {
    let of_group = |group: uzers::Group| group.name().to_string_lossy().into_owned();
    match fs::metadata(path).map_or(0, |socket| socket.gid()) {
        0 => "be root, or let observer run have a [socket] group that you are in".to_owned(),
        gid => {
            let group = uzers::get_group_by_gid(gid).map_or_else(|| gid.to_string(), of_group);
            format!("join the socket's group ({group}), or be root")
        }
    }
}

/// What follows from a group that there is not.
pub(super) fn unknown_group(group: &str) -> String {
    format!("there is no group {group}: only root can read from the socket")
}

#[cfg(test)]
mod tests;
