//! What a virtual machine has for a root file system: programs of this host with
//! the libraries that they need, and the programs under test.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::cpio::Archive;
use super::kernel::Module;
use super::plan::{PLAN, Plan};
use crate::cargo::TestPrograms;

/// What the lab and the trials start.
const TOOLS: [&str; 11] =
    ["sh", "cat", "mount", "umount", "unshare", "setpriv", "ip", "ss", "nft", "iptables-restore", "ip6tables-restore"];

/// What iptables opens by itself at run time.
const PLUGINS: [&str; 4] = ["libxt_standard.so", "libxt_tcp.so", "libipt_REJECT.so", "libip6t_REJECT.so"];
const PLUGIN_DIRECTORIES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib64/xtables", "/usr/lib/xtables", "/lib/xtables"];

/// Where programs are that are not in a user's PATH.
const SYSTEM_PATH: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

const DIRECTORIES: [&str; 7] = ["dev", "proc", "sys", "tmp", "run", "etc", "modules"];
/// Directories of a userland that no test looks into.
const UNNEEDED: [&str; 5] = ["usr/share", "usr/include", "perl-base", "gconv", "etc"];
/// Links of a host that has moved these below /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The part that is the same for every kernel. Tools come from this host, or from
/// a `userland` for another processor.
pub(crate) fn base(programs: &TestPrograms, init: &Path, userland: Option<&Path>) -> Result<Vec<u8>> {
    let mut files = Files::default();
    match userland {
        None => files.add_hosts(programs, init)?,
        Some(userland) => {
            files.add_tree(userland, userland)?;
            files.add(&programs.observer)?;
            files.add(&programs.tests)?;
        }
    }
    let mut archive = Archive::new(Vec::new());
    for name in DIRECTORIES {
        archive.directory(name).context("write the image")?;
    }
    archive.device("dev/console", (5, 1)).context("write the image")?;
    archive.file("init", 0o755, &stripped(init)?).context("write the image")?;
    files.write(&mut archive, userland.is_none())?;
    archive.finish().context("write the image")
}

/// The part for one kernel and one plan; it goes behind the base.
pub(crate) fn own(modules: &[Module], plan: &Plan) -> Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    for module in modules {
        archive.file(&format!("modules/{}", module.name), 0o644, &module.content).context("write the image")?;
    }
    let plan = serde_json::to_vec(plan).context("write the plan")?;
    archive.file(PLAN.trim_start_matches('/'), 0o644, &plan).context("write the image")?;
    archive.finish().context("write the image")
}

fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(SYSTEM_PATH.map(PathBuf::from));
    let mut found = places.map(|place| place.join(program)).filter(|file| file.is_file());
    found.next().with_context(|| format!("{program} is not installed"))
}

/// Files of this host by where they lie inside, without the leading slash.
#[derive(Default)]
struct Files(BTreeMap<String, PathBuf>);

impl Files {
    /// This host's tools, what iptables opens by itself, and the programs, each
    /// with its libraries.
    fn add_hosts(&mut self, programs: &TestPrograms, init: &Path) -> Result<()> {
        for tool in TOOLS {
            self.add_program(&find(tool)?)?;
        }
        let plugins = PLUGIN_DIRECTORIES.iter().map(Path::new).find(|directory| directory.exists());
        let plugins = plugins.context("no directory with iptables' extensions: install iptables")?;
        for plugin in PLUGINS.map(|name| plugins.join(name)).iter().filter(|plugin| plugin.exists()) {
            self.add_program(plugin)?;
        }
        for program in [&programs.observer, &programs.tests] {
            self.add_program(program)?;
        }
        self.add_libraries(init)
    }

    /// All below a directory that is to be the root inside.
    fn add_tree(&mut self, root: &Path, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
            let path = entry.context("list the userland")?.path();
            let inside = path.strip_prefix(root).context("it lies below")?.to_string_lossy().into_owned();
            if path.is_symlink() || path.is_file() {
                self.0.insert(inside, path);
            } else if !UNNEEDED.iter().any(|unneeded| inside.ends_with(unneeded)) {
                self.add_tree(root, &path)?;
            }
        }
        Ok(())
    }

    fn add_program(&mut self, program: &Path) -> Result<()> {
        self.add(program)?;
        self.add_libraries(program)
    }

    fn add_libraries(&mut self, program: &Path) -> Result<()> {
        let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("ldd")?;
        let text = String::from_utf8_lossy(&output.stdout);
        for library in libraries(&text) {
            self.add(Path::new(library))?;
        }
        let lacks = text.lines().find(|line| line.contains("not found"));
        ensure!(lacks.is_none(), "{} lacks a library: {}", program.display(), lacks.unwrap_or_default().trim());
        Ok(())
    }

    /// Under the name that it is asked for by, in the directory that really holds
    /// that name.
    fn add(&mut self, file: &Path) -> Result<()> {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let directory = directory.canonicalize().with_context(|| format!("find {}", directory.display()))?;
        let inside = directory.join(file.file_name().context("a file has a name")?);
        self.0.insert(inside.to_string_lossy().trim_start_matches('/').to_owned(), file.to_owned());
        Ok(())
    }

    fn write(&self, archive: &mut Archive<impl Write>, is_hosts: bool) -> Result<()> {
        let mut directories: Vec<&str> = self.0.keys().flat_map(|path| parents(path)).collect();
        for name in MERGED.iter().filter(|_| is_hosts) {
            if let Ok(to) = fs::read_link(Path::new("/").join(name)) {
                archive.symlink(name, &to.to_string_lossy()).context("write the image")?;
            }
        }
        directories.sort_unstable();
        directories.dedup();
        for directory in directories.iter().filter(|directory| !DIRECTORIES.contains(directory)) {
            archive.directory(directory).context("write the image")?;
        }
        for (inside, file) in &self.0 {
            if let Some(to) = fs::read_link(file).ok().filter(|_| !is_hosts) {
                archive.symlink(inside, &to.to_string_lossy()).context("write the image")?;
                continue;
            }
            let mode = fs::metadata(file).with_context(|| format!("read {}", file.display()))?.permissions().mode();
            archive.file(inside, mode, &stripped(file)?).context("write the image")?;
        }
        Ok(())
    }
}

/// Every directory above a path, the outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| path.get(..at).unwrap_or_default())
}

/// The libraries that `ldd` names, the loader included.
fn libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines().filter_map(|line| {
        let name = line.split_once("=> ").map_or(line, |(_, file)| file);
        name.split_whitespace().next().filter(|file| file.starts_with('/'))
    })
}

/// The content of a program without its debugging symbols, which are most of it
/// and which nobody reads inside; as it is where that does not work.
fn stripped(file: &Path) -> Result<Vec<u8>> {
    const SMALL: u64 = 4 << 20;
    let read = || fs::read(file).with_context(|| format!("read {}", file.display()));
    if fs::metadata(file).with_context(|| format!("read {}", file.display()))?.len() < SMALL {
        return read();
    }
    let target = tempfile::NamedTempFile::new().context("make a temporary file")?;
    let strip = Command::new("strip").arg("--strip-debug").arg("-o").arg(target.path()).arg(file).output();
    if strip.is_ok_and(|output| output.status.success()) {
        return fs::read(target.path()).context("read the stripped program");
    }
    read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                   \tlibno.so => not found\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = libraries(ldd).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(libraries("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn parents_come_from_the_outside_in() {
        assert_eq!(parents("usr/lib/x/libc.so").collect::<Vec<_>>(), ["usr", "usr/lib", "usr/lib/x"]);
        assert_eq!(parents("init").count(), 0);
    }

    #[test]
    fn a_program_brings_its_libraries() {
        let mut files = Files::default();
        files.add_program(&find("sh").unwrap()).unwrap();
        assert!(files.0.keys().any(|path| path.ends_with("/sh")), "{:?}", files.0);
        assert!(files.0.keys().any(|path| path.contains("libc.so")), "{:?}", files.0);
    }
}
