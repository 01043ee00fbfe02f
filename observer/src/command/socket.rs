//! The unix socket that readers of `observer run` connect to. Its mode says who may,
//! which the kernel checks at connect(2), see unix(7): nothing else is needed.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Readable and writable, which is what connecting takes, by the owner and the group.
const MODE: u32 = 0o660;

/// A listening socket; its file goes with it.
pub(super) struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// A socket's file, which goes with this.
pub(super) struct SocketFile(PathBuf);

impl Socket {
    /// Listens at `path`, for root and for the members of `group`. Where there is
    /// no such group, for root alone: the second value says so.
    ///
    /// # Errors
    /// If another process listens there, or the directory cannot be written to.
    pub(super) fn listen(path: &Path, group: &str) -> io::Result<(Self, Option<String>)> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another observer run listens there"));
        }
        if let Some(directory) = path.parent() {
            make_passable(directory)?;
        }
        // Nobody finds the socket before it is theirs; renaming it over an old one
        // leaves no moment without either.
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        let remark = admit(&new, group)?;
        fs::rename(&new, path)?;
        Ok((Self { listener, file: SocketFile(path.to_owned()) }, remark))
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
        let _ = fs::remove_file(&self.0);
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
    let gid = group.parse().ok().or_else(|| uzers::get_group_by_name(group).map(|group| group.gid()));
    let Some(gid) = gid else {
        return Ok(Some(format!("there is no group {group}: only root can read from the socket")));
    };
    chown(path, None, Some(gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok(None)
}
