//! A root file system to install into.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// Where `./x` has made a clean root with systemd.
const CLEAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/clean-root");
/// Where `./x package` leaves packages.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/package");

/// The package of this kind.
pub(crate) fn package(kind: &str) -> Result<PathBuf> {
    let built = fs::read_dir(PACKAGES).context("there are no packages: ./x package builds them")?;
    let mut paths = built.filter_map(|entry| Some(entry.ok()?.path()));
    let found = paths.find(|path| path.extension() == Some(OsStr::new(kind)));
    found.with_context(|| format!("there is no .{kind} in target/package: ./x package builds it"))
}

/// What a command writes to stdout.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    Ok(stdout.into_owned())
}

/// A copy of the clean root; gone when dropped.
pub(crate) struct CleanRoot(TempDir);

impl CleanRoot {
    pub(crate) fn make() -> Result<Self> {
        ensure!(Path::new(CLEAN).is_dir(), "there is no clean root in .cache: ./x setup makes it");
        let directory = tempfile::tempdir()?;
        let root = directory.path().join("root");
        said(Command::new("cp").args(["--archive", "--reflink=auto", CLEAN]).arg(&root))?;
        Ok(Self(directory))
    }

    /// A path in it, without the first slash.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join("root").join(path)
    }

    /// A command in it, where /proc is mounted for it alone.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let enter = r#"mount -t proc proc "$1/proc" && exec chroot "$@""#;
        command.args(["--mount", "sh", "-c", enter, "sh"]).arg(self.path("")).arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        said(&mut self.command(program, arguments)).map(drop)
    }

    /// A command as the service's user, without capabilities.
    pub(crate) fn said_by_user(&self, command: &[&str]) -> Result<String> {
        let as_user = ["--reuid", "observer", "--regid", "observer", "--init-groups"];
        said(&mut self.command("setpriv", &[&as_user, command].concat()))
    }

    pub(crate) fn install_deb(&self, deb: &Path) -> Result<()> {
        fs::copy(deb, self.path("tmp/observer.deb"))?;
        self.run("dpkg", &["--install", "/tmp/observer.deb"])
    }

    /// The same package, of a later version.
    pub(crate) fn newer_deb(&self, deb: &Path) -> Result<PathBuf> {
        let (tree, newer) = (self.0.path().join("newer"), self.0.path().join("newer.deb"));
        said(Command::new("dpkg-deb").arg("--raw-extract").args([deb, &tree]))?;
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control)?;
        let line = |line: &str| if line.starts_with("Version:") { "Version: 99\n".into() } else { format!("{line}\n") };
        fs::write(&control, text.lines().map(line).collect::<String>())?;
        said(Command::new("dpkg-deb").arg("--build").args([&tree, &newer]))?;
        Ok(newer)
    }

    /// rpm of this host, on this root.
    pub(crate) fn rpm(&self, arguments: &[&str], package: &Path) -> Result<()> {
        let mut command = Command::new("unshare");
        let with_proc = r#"mount -t proc proc "$1/proc" && exec rpm --root "$@""#;
        command.args(["--mount", "sh", "-c", with_proc, "sh"]).arg(self.path(""));
        command.args(arguments).arg("--nodeps").arg(package);
        said(&mut command).map(drop)
    }
}
