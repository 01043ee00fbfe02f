//! Debian packages: installed, or unpacked where installing one would start a server or
//! remove another. apt chooses what they depend on, so that names of libraries, which differ
//! between releases, are none of ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

use super::{has, quietly};
use crate::privilege;

/// Installs packages, without those that they only recommend.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    update()?;
    let absent: Vec<&str> = packages.iter().copied().filter(|package| !is_known(package)).collect();
    ensure!(absent.is_empty(), "no package source of this machine has {}", absent.join(", "));
    let mut apt = privilege::command("env");
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
    apt.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
    quietly(apt.args(["install", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("solve it, or install {} otherwise", packages.join(", ")))
}

/// Unpacks a package, with what it depends on and this machine lacks, into a directory.
/// Nothing is installed, no script runs, and no root is needed.
pub(super) fn unpack(package: &str, to: &Path) -> Result<()> {
    update()?;
    let archives = to.join(".archives");
    if archives.exists() {
        fs::remove_dir_all(&archives).context("remove what an earlier try left")?;
    }
    fs::create_dir_all(archives.join("partial")).with_context(|| format!("make {}", archives.display()))?;
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-y", "-o", "Debug::NoLocking=1", "-o", "Acquire::Retries=3"]);
    apt.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display()));
    // Also where it is installed, which does not mean that its files are where they are looked for.
    apt.args(["install", "--reinstall", "--download-only", "--no-install-recommends", package]);
    quietly(&mut apt)?;
    let mut count = 0;
    for entry in fs::read_dir(&archives).context("list what was fetched")? {
        let archive = entry.context("list what was fetched")?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            quietly(Command::new("dpkg-deb").arg("-x").args([&archive, to]))?;
            count += 1;
        }
    }
    ensure!(count > 0, "apt-get fetched nothing for {package}");
    fs::remove_dir_all(&archives).context("remove the archives")
}

fn is_known(package: &str) -> bool {
    Command::new("apt-cache").args(["show", package]).output().is_ok_and(|output| output.status.success())
}

/// Brings the package lists up to date, once. One source that fails need not matter.
fn update() -> Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    ensure!(
        has("apt-get"),
        "this machine has no apt-get: install your distribution's packages of the same purpose, in PATH"
    );
    DONE.get_or_init(|| {
        let mut apt = privilege::command("apt-get");
        apt.args(["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "update"]);
        if let Err(error) = quietly(&mut apt) {
            eprintln!("x: trying with the package lists that are here: {error:#}");
        }
    });
    Ok(())
}
