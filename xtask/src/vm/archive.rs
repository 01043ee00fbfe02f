//! Debian's kernels, through an apt of our own: its lists, its cache and its
//! idea of what is installed lie in `.cache/vm/apt`, and the host's are left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use super::arch::Arch;
use super::pinned::Pinned;

/// Where which kernels are: 5.10; 6.1 and 6.12; 6.16 and later. And programs for a
/// processor that is not this host's.
const SOURCES: [(&str, &str); 4] = [
    ("http://deb.debian.org/debian-security", "bullseye-security"),
    ("http://deb.debian.org/debian-security", "bookworm-security"),
    ("http://deb.debian.org/debian", "trixie-backports"),
    ("http://deb.debian.org/debian", "bookworm"),
];

/// Debian's keys, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Package lists older than this are fetched again.
const LISTS_LAST: Duration = Duration::from_hours(24);

/// An apt of our own.
#[derive(Debug)]
pub(crate) struct Archive {
    root: PathBuf,
    pub(crate) arch: Arch,
    /// Why the package lists are not of today, if they are not.
    stale: Option<String>,
}

impl Archive {
    /// Sets it up below `root` and brings its package lists up to date. Without a
    /// network the last ones are used.
    pub(crate) fn open(root: &Path, arch: Arch) -> Result<Self> {
        for directory in ["lists/partial", "cache/archives/partial", "dpkg"] {
            fs::create_dir_all(root.join(directory)).with_context(|| format!("make {}", root.display()))?;
        }
        let write = |name: &str, text: &str| fs::write(root.join(name), text).with_context(|| format!("write {name}"));
        write("dpkg/status", "")?;
        write("sources.list", &sources(arch))?;
        write("apt.conf", &configuration(root, arch))?;
        let mut archive = Self { root: root.to_owned(), arch, stale: None };
        archive.update()?;
        Ok(archive)
    }

    fn update(&mut self) -> Result<()> {
        let stamp = self.root.join("updated");
        let age = fs::metadata(&stamp).and_then(|stamp| stamp.modified()).ok();
        if age.and_then(|then| SystemTime::now().duration_since(then).ok()).is_some_and(|age| age < LISTS_LAST) {
            return Ok(());
        }
        let output = self.apt("apt-get", &["update", "--error-on=any"])?;
        if output.status.success() {
            return fs::write(&stamp, "").context("note the time");
        }
        self.stale = Some(complaint(&output));
        Ok(())
    }

    /// The kernel of a series such as `6.12`, as `uname -r` has it: the pinned one, or the
    /// newest where there is none.
    ///
    /// # Errors
    /// That it is not to be had, with the cause.
    pub(crate) fn choose(&self, series: &str) -> Result<String> {
        let output = self.apt("apt-cache", &["pkgnames", "linux-image-"])?;
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(pinned) = Pinned::of_series(series).filter(|_| self.arch == Arch::X86) {
            if names.lines().any(|name| name.strip_prefix("linux-image-") == Some(pinned.release)) {
                return Ok(pinned.release.to_owned());
            }
            println!("vm-test: WARNING: {} is no longer in Debian's archive: raise it in vm/pinned.rs", pinned.release);
        }
        let stale = self.stale.as_deref().map(|cause| format!(" (apt-get update: {cause})")).unwrap_or_default();
        newest(names.lines(), series, self.arch)
            .with_context(|| format!("Debian's archive has no kernel {series}{stale}"))
    }

    /// Fetches a kernel's packages and unpacks them into `to`.
    pub(crate) fn unpack(&self, release: &str, to: &Path) -> Result<()> {
        let download = self.root.join(format!("cache/{release}"));
        fs::create_dir_all(&download).context("make the cache")?;
        let image = format!("linux-image-{release}");
        let depends = self.apt("apt-cache", &["depends", &image])?;
        ensure!(depends.status.success(), "{}", complaint(&depends));
        let depends = String::from_utf8_lossy(&depends.stdout).into_owned();
        // From Linux 6.19 on the kernel and its modules are packages of their own.
        let parts = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).filter(|name| {
            name.ends_with(release) && (name.starts_with("linux-binary-") || name.starts_with("linux-modules-"))
        });
        let mut arguments = vec!["download", &image];
        arguments.extend(parts);
        let pinned = Pinned::of_release(release);
        let exact: Vec<String> = pinned.into_iter().flat_map(Pinned::packages).collect();
        if !exact.is_empty() {
            arguments = vec!["download"];
            arguments.extend(exact.iter().map(String::as_str));
        }
        let output = self.command("apt-get").args(&arguments).current_dir(&download).output().context("apt-get")?;
        ensure!(output.status.success(), "{}", complaint(&output));
        pinned.map_or(Ok(()), |pinned| verify(pinned, &download))?;
        unpack_all(&download, to)?;
        fs::remove_dir_all(&download).context("empty the cache")
    }

    /// Fetches packages with all that they need and unpacks them into `to`.
    /// Nothing is installed: no script of theirs runs.
    pub(crate) fn unpack_with_dependencies(&self, packages: &[&str], to: &Path) -> Result<()> {
        let mut arguments = vec!["install", "--download-only", "--no-install-recommends", "--yes"];
        arguments.extend(packages);
        let output = self.apt("apt-get", &arguments)?;
        ensure!(output.status.success(), "{}", complaint(&output));
        unpack_all(&self.root.join("cache/archives"), to)
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("{program}: kernels come as Debian packages, which needs apt"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.root.join("apt.conf")).env("LC_ALL", "C");
        command
    }
}

/// Fails unless each file is what was pinned, to the byte.
fn verify(pinned: &Pinned, downloads: &Path) -> Result<()> {
    for entry in fs::read_dir(downloads).context("list what was fetched")? {
        let entry = entry.context("list what was fetched")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let output = Command::new("sha256sum").arg(entry.path()).output().context("sha256sum, of coreutils")?;
        let sum = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = pinned.sum_of(&name).with_context(|| format!("nobody asked for {name}"))?;
        // A name with a backslash in it would change the first character.
        ensure!(sum.starts_with(expected), "{name} is not what was pinned: {sum}");
    }
    Ok(())
}

fn unpack_all(packages: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(packages).context("list what was fetched")? {
        let package = entry.context("list what was fetched")?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let output = Command::new("dpkg-deb").arg("-x").args([&package, to]).output().context("dpkg-deb")?;
            ensure!(output.status.success(), "{}: {}", package.display(), complaint(&output));
        }
    }
    Ok(())
}

fn sources(arch: Arch) -> String {
    let arch = arch.debian();
    let line = |(uri, suite)| format!("deb [arch={arch} signed-by={KEYRING}] {uri} {suite} main\n");
    SOURCES.map(line).concat()
}

/// Everything that apt reads or writes. A proxy of the host's stays in force.
fn configuration(root: &Path, arch: Arch) -> String {
    let (root, arch) = (root.display(), arch.debian());
    format!(
        r#"Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/dpkg/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{arch}";
APT::Architectures "{arch}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"#
    )
}

/// The newest release of a series among package names.
fn newest<'a>(names: impl Iterator<Item = &'a str>, series: &str, arch: Arch) -> Option<String> {
    let releases = names.filter_map(|name| name.strip_prefix("linux-image-")).filter(|release| {
        let rest = release.strip_suffix(arch.flavour()).and_then(|release| release.strip_prefix(series));
        // `linux-image-6.1-cloud-amd64` has no content of its own.
        rest.is_some_and(|rest| rest.starts_with('.'))
    });
    releases.max_by_key(|release| numbers(release)).map(str::to_owned)
}

fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The last line that says what is wrong.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rev().find(|line| line.starts_with("E: ")).or_else(|| text.lines().last());
    line.unwrap_or("it failed without a word").to_owned()
}

/// The kernels of a series that were unpacked earlier, newest first.
pub(crate) fn unpacked(kernels: &Path, series: &str, arch: Arch) -> Result<Vec<String>> {
    let entries = match fs::read_dir(kernels) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => bail!("list {}: {error}", kernels.display()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.context("list kernels")?.file_name().to_string_lossy().into_owned();
        found.extend(newest([format!("linux-image-{name}").as_str()].into_iter(), series, arch));
    }
    found.sort_by_key(|release| std::cmp::Reverse(numbers(release)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_of_a_series_by_number_and_not_by_letter() {
        let names = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-unsigned",
            "linux-image-6.1.0-58-rt-amd64",
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
        ];
        let newest = |series| newest(names.into_iter(), series, Arch::X86);
        assert_eq!(newest("6.1").as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn nothing_of_the_hosts_is_written() {
        let text = configuration(Path::new("/somewhere"), Arch::X86);
        for key in ["Dir::State", "Dir::Cache", "Dir::Etc::sourcelist", "Dir::State::status"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} \"/somewhere"))), "{key}");
        }
    }
}
