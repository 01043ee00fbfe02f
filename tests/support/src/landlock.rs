//! A Landlock domain in which no TCP connect() is allowed: a security module's refusal.

use std::io::Error;

use anyhow::{Context as _, Result, ensure};
use libc::{SYS_landlock_create_ruleset, SYS_landlock_restrict_self};

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: u32 = 1;
/// `LANDLOCK_ACCESS_NET_CONNECT_TCP` of the same.
const CONNECT_TCP: u64 = 1 << 1;
/// The first version that knows of connect().
const FIRST_WITH_CONNECT: i64 = 4;

/// The start of `struct landlock_ruleset_attr`.
#[repr(C)]
struct Attributes {
    files: u64,
    network: u64,
}

/// True if this kernel's Landlock is switched on and can refuse connect().
pub fn can_deny_connect() -> bool {
    // SAFETY: with this flag the kernel reads no attributes.
    let version = unsafe { libc::syscall(SYS_landlock_create_ruleset, std::ptr::null::<Attributes>(), 0, VERSION) };
    version >= FIRST_WITH_CONNECT
}

/// From now on connect() of the calling thread fails with EACCES.
pub(crate) fn deny_connect() -> Result<()> {
    let attributes = Attributes { files: 0, network: CONNECT_TCP };
    // SAFETY: the kernel reads the attributes, of their size, during the call.
    let ruleset =
        unsafe { libc::syscall(SYS_landlock_create_ruleset, &raw const attributes, size_of::<Attributes>(), 0) };
    ensure!(ruleset >= 0, "landlock_create_ruleset: {}", Error::last_os_error());
    rustix::thread::set_no_new_privs(true).context("PR_SET_NO_NEW_PRIVS")?;
    // SAFETY: the descriptor is the one that was made above; it is closed with the process.
    let result = unsafe { libc::syscall(SYS_landlock_restrict_self, ruleset, 0) };
    ensure!(result == 0, "landlock_restrict_self: {}", Error::last_os_error());
    Ok(())
}
