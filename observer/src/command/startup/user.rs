//! The user as which files are looked at.

use std::thread;

use caps::{CapSet, CapsHashSet};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::super::Failure;
use super::super::confinement::OF_ROOT;
use crate::config::GROUP;

/// The packaged service's user, who has the name of its group.
const SERVICE: &str = GROUP;

/// A user with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command) struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The user of that name.
    ///
    /// # Errors
    /// If there is none.
    pub(in crate::command) fn named(name: &str) -> Result<Self, Failure> {
        let found = uzers::get_user_by_name(name);
        let found = found.ok_or_else(|| Failure::usage(&format!("unknown user {name:?}: see getent passwd")))?;
        Ok(Self { name: name.to_owned(), uid: found.uid(), gid: found.primary_group_id() })
    }

    /// The service's user, if this is root and there is one.
    pub(in crate::command) fn of_service() -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        is_root.then(|| Self::named(SERVICE).ok()).flatten()
    }

    /// The name.
    pub(in crate::command) fn name(&self) -> &str {
        &self.name
    }

    /// Makes this thread that user's. The system calls as they are, and not the C library's,
    /// change no other thread.
    fn adopt(&self) -> rustix::io::Result<()> {
        let groups = uzers::get_user_groups(&self.name, self.gid).unwrap_or_default();
        let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(group.gid())).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    }
}

/// Does it as this user, or as the one whom this process has, with the capabilities that observer
/// has left once it is attached.
///
/// # Errors
/// If this process may not become that user.
pub(in crate::command) fn as_user<T: Send>(user: Option<&User>, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            if let Some(user) = user.filter(|user| user.uid != rustix::process::geteuid().as_raw()) {
                user.adopt().map_err(|error| Failure::new(&format!("cannot become the user {}", user.name), error))?;
            }
            let kept = if rustix::process::geteuid().is_root() { kept_by_root() } else { CapsHashSet::new() };
            // Of this thread alone, as capabilities are.
            let _ = caps::set(None, CapSet::Effective, &kept);
            Ok(work())
        });
        thread.join().unwrap_or_else(|_| Err(Failure::new("bug in observer, please report it", "the check crashed")))
    })
}

/// What [`Confinement`](super::super::confinement::Confinement) leaves to root.
fn kept_by_root() -> CapsHashSet {
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    OF_ROOT.into_iter().filter(|capability| permitted.contains(capability)).collect()
}

/// The name of the user whose rights this thread has, for a person to read.
pub(super) fn current() -> String {
    let uid = rustix::process::geteuid().as_raw();
    match uzers::get_user_by_uid(uid) {
        Some(user) => user.name().to_string_lossy().into_owned(),
        None => format!("the user {uid}"),
    }
}

/// Whether this thread has the rights of the packaged service.
pub(super) fn is_service() -> bool {
    current() == SERVICE
}

/// Whether the user of this thread may give a file to that group.
pub(super) fn may_give_to(gid: u32) -> bool {
    let is_own = || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid));
    rustix::process::geteuid().is_root() || rustix::process::getegid().as_raw() == gid || is_own()
}
