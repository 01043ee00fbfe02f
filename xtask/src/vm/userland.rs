//! Tools for a processor that is not this host's, from Debian's packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::archive::Archive;

/// What holds [`super::image`]'s tools, and the C library that the programs under
/// test are linked with.
const PACKAGES: [&str; 9] =
    ["dash", "coreutils", "mount", "util-linux", "iproute2", "nftables", "iptables", "libc6", "libgcc-s1"];

/// What Debian's scripts would make at installation: name and target.
const LINKS: [(&str, &str); 2] =
    [("usr/sbin/iptables-restore", "xtables-nft-multi"), ("usr/sbin/ip6tables-restore", "xtables-nft-multi")];

/// A directory with all of it, from the cache or from Debian's archive.
pub(crate) fn fetch(archive: &Archive, cache: &Path) -> Result<PathBuf> {
    let name = format!("userland-{}", archive.arch.debian());
    let (root, unfinished) = (cache.join(&name), cache.join(format!(".{name}")));
    if root.exists() {
        return Ok(root);
    }
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("remove an unfinished userland")?;
    }
    fs::create_dir_all(&unfinished).context("make room for the userland")?;
    archive.unpack_with_dependencies(&PACKAGES, &unfinished).context("fetch the userland")?;
    for (name, target) in LINKS {
        symlink(target, unfinished.join(name)).with_context(|| format!("link {name}"))?;
    }
    fs::rename(&unfinished, &root).context("keep the userland")?;
    Ok(root)
}
