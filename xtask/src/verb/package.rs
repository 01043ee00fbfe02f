//! build the .deb and the .rpm

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::cargo;

/// Build the .deb and the .rpm
///
/// Both land in target/package. The same commit gives the same bytes, wherever its checkout lies: times are the commit's,
/// or what SOURCE_DATE_EPOCH says.
#[derive(Debug, clap::Args)]
pub(crate) struct Package {}

impl Package {
    pub(crate) fn run(self) -> Result<ExitCode> {
        compile()?;
        for package in pack(&cargo::root().join(PACKAGES))? {
            println!("{}", package.strip_prefix(cargo::root()).unwrap_or(&package).display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where packages land, below the root of the workspace.
const PACKAGES: &str = "target/package";
/// Where they are built: with flags of their own, which would undo other builds.
const BUILD: &str = "target/package-build";
/// Features that the packages have and a plain build has not.
const FEATURES: &str = "nats";

/// Builds both packages, and fails unless packing once more gives the same bytes.
pub(crate) fn build_and_compare() -> Result<()> {
    compile()?;
    let again = cargo::root().join(BUILD).join("again");
    let (first, second) = (pack(&cargo::root().join(PACKAGES))?, pack(&again)?);
    for (first, second) in first.iter().zip(&second) {
        let is_same = fs::read(first)? == fs::read(second)?;
        ensure!(is_same, "packed twice, {} differs", first.display());
        println!("{}: {} bytes, twice the same", first.display(), first.metadata()?.len());
    }
    Ok(())
}

fn compile() -> Result<()> {
    run(&mut compilation()?)?;
    write_pages(&cargo::root().join(BUILD).join("release"))
}

/// The command that compiles what is packed.
pub(crate) fn compilation() -> Result<Command> {
    let mut cargo = cargo::command("build");
    cargo
        .args(["--release", "--package", "observer", "--bin", "observer", "--features", FEATURES, "--target-dir"])
        .arg(cargo::root().join(BUILD))
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_ENCODED_RUSTFLAGS", remapped()?.join("\u{1f}"));
    Ok(cargo)
}

/// Packs what was compiled into a directory that holds nothing else then.
fn pack(directory: &Path) -> Result<Vec<PathBuf>> {
    let epoch = epoch()?;
    if directory.exists() {
        fs::remove_dir_all(directory).context("remove the packages of before")?;
    }
    fs::create_dir_all(directory)?;
    let deb = ["deb", "--package", "observer", "--no-build", "--no-strip", "--quiet", "--output"];
    let rpm = ["generate-rpm", "--package", "observer", "--output"];
    for arguments in [&deb[..], &rpm[..]] {
        let mut command = Command::new("cargo");
        command.current_dir(cargo::root()).args(arguments).arg(directory);
        run(command.env("CARGO_TARGET_DIR", cargo::root().join(BUILD)).env("SOURCE_DATE_EPOCH", &epoch))?;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    ensure!(files.len() == 2, "not two packages, but {files:?}");
    Ok(files)
}

/// So that no path of this machine gets into the binary.
fn remapped() -> Result<[String; 3]> {
    let home = |name: &str, below: &str| {
        let given = std::env::var_os(name).map(PathBuf::from);
        given.or_else(|| Some(std::env::home_dir()?.join(below))).context("there is no home directory")
    };
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let rustc = Command::new("rustc").current_dir(cargo::root()).args(["--print", "sysroot"]).output();
    let sysroot = String::from_utf8(rustc.context("start rustc")?.stdout).context("rustc's directory is no text")?;
    Ok([
        remap(cargo::root(), "/usr/src/observer"),
        remap(&home("CARGO_HOME", ".cargo")?, "/usr/src/cargo"),
        remap(Path::new(sysroot.trim()), "/usr/src/rust"),
    ])
}

/// Man pages and completions, which the program itself prints.
fn write_pages(release: &Path) -> Result<()> {
    let share = release.join("share");
    fs::create_dir_all(&share)?;
    for (name, arguments) in [
        ("observer.8", ["man", "observer"]),
        ("observer.toml.5", ["man", "observer.toml"]),
        ("observer.bash", ["completions", "bash"]),
        ("_observer", ["completions", "zsh"]),
        ("observer.fish", ["completions", "fish"]),
    ] {
        let output = Command::new(release.join("observer")).args(arguments).output().context("start observer")?;
        ensure!(output.status.success(), "observer {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(share.join(name), output.stdout)?;
        if arguments[0] == "man" {
            // -n: no time in it.
            run(Command::new("gzip").args(["--force", "--best", "-n"]).arg(share.join(name)))?;
        }
    }
    Ok(())
}

/// Seconds since 1970 that stand in the packages.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let git = Command::new("git").current_dir(cargo::root()).args(["log", "-1", "--format=%ct"]).output();
    let git = git.context("start git; or set SOURCE_DATE_EPOCH")?;
    ensure!(git.status.success(), "git does not know this commit's time: set SOURCE_DATE_EPOCH");
    Ok(String::from_utf8_lossy(&git.stdout).trim().to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
