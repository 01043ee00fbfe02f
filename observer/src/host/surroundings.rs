//! This host's own name.

use std::fs;
use std::io;

use observer_core::event::Host;

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
