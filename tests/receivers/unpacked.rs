//! Programs of Debian packages that `./x` unpacks below `.cache`, because installing
//! them would remove another, or start a server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Where programs are, in a root or in a package.
const DIRECTORIES: [&str; 6] = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/systemd", "lib/systemd"];
/// Deeper than that, no package has libraries.
const DEPTH: u32 = 4;

/// A program of the packages below `.cache/NAME`, with their libraries, or else of
/// this host.
pub(crate) fn program(name: &str, program: &str) -> Result<Command> {
    let unpacked = root(name);
    let roots = [unpacked.as_path(), Path::new("/")];
    let directories = roots.iter().flat_map(|root| DIRECTORIES.map(|directory| root.join(directory)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file = directories
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file());
    let mut command = Command::new(file.with_context(|| format!("no {program} here: ./x setup fetches it"))?);
    let mut libraries = Vec::new();
    collect(&unpacked, DEPTH, &mut libraries);
    if !libraries.is_empty() {
        command.env("LD_LIBRARY_PATH", joined(&libraries)?);
    }
    Ok(command)
}

/// Directories of the packages below `.cache/NAME`, or else of this host, that have
/// this file.
pub(crate) fn directories_with(name: &str, file: &str) -> Result<OsString> {
    let mut libraries = Vec::new();
    for root in [root(name), PathBuf::from("/usr/lib")] {
        collect(&root, DEPTH, &mut libraries);
    }
    libraries.retain(|directory| directory.join(file).is_file());
    joined(&libraries)
}

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache").join(name)
}

fn joined(directories: &[PathBuf]) -> Result<OsString> {
    Ok(std::env::join_paths(directories)?)
}

/// All directories with shared libraries in them.
fn collect(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut has_libraries = false;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, found);
        }
        has_libraries |= path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    }
    if has_libraries {
        found.push(directory.to_owned());
    }
}
