//! Cargo: its commands, and what it knows of the workspace.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Artifact, Message, MetadataCommand};

use crate::vm::Arch;

/// All crates but the kernel programs, which do not compile for the host, with all
/// that can be left out.
pub(crate) const HOST_CRATES: [&str; 4] = ["--workspace", "--exclude", "observer-ebpf", "--all-features"];

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Whether continuous integration runs this, by the variable that all of them set.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// A cargo command in the root of the workspace. In continuous integration it
/// does not change Cargo.lock.
pub(crate) fn command(subcommand: &str) -> Command {
    let mut command = Command::new(program());
    command.current_dir(root()).arg(subcommand);
    // What `cargo run` says of this program: build scripts that look at it would run again
    // whenever cargo is called without it.
    let is_of_xtask = |name: &OsString| {
        name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    };
    std::env::vars_os().map(|(name, _)| name).filter(is_of_xtask).for_each(|name| _ = command.env_remove(name));
    if is_ci() && !["fmt", "nextest"].contains(&subcommand) {
        command.arg("--locked");
    }
    command
}

fn program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Fetches all sources, so that the first build can be without a network. The kernel programs
/// build `core` themselves, and cargo wants all that Rust's library depends on for that.
pub(crate) fn fetch_sources() -> Result<()> {
    let fetch = |cargo: &mut Command| -> Result<()> {
        let status = cargo.status().context("start cargo")?;
        ensure!(status.success(), "cargo fetch: {status}");
        Ok(())
    };
    fetch(&mut command("fetch"))?;
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output().context("start rustc")?;
    let library = String::from_utf8_lossy(&rustc.stdout).trim_end().to_owned() + "/lib/rustlib/src/rust/library";
    let mut cargo = Command::new(program());
    cargo.current_dir(root()).args(["fetch", "--locked", "--manifest-path", &format!("{library}/Cargo.toml")]);
    fetch(cargo.env("RUSTC_BOOTSTRAP", "1"))
}

/// Builds `observer` for release and returns where it is.
pub(crate) fn build_observer() -> Result<PathBuf> {
    let mut cargo = command("build");
    cargo.args(["--release", "--package", "observer", "--bin", "observer"]);
    observer_of(&mut cargo)
}

/// Builds `observer` as tests have it and returns where it is.
pub(crate) fn build_debug_observer() -> Result<PathBuf> {
    let mut cargo = command("build");
    // The same choice of crates as for tests, or cargo builds it again.
    cargo.args(HOST_CRATES).args(["--bin", "observer"]);
    observer_of(&mut cargo)
}

fn observer_of(cargo: &mut Command) -> Result<PathBuf> {
    let built = artifacts(cargo)?
        .into_iter()
        .find(|artifact| artifact.target.is_bin() && artifact.target.name == "observer")
        .and_then(|artifact| artifact.executable);
    Ok(built.context("cargo built no executable named observer")?.into())
}

/// The programs of the tests in the kernel.
#[derive(Debug)]
pub(crate) struct TestPrograms {
    /// The test program.
    pub(crate) tests: PathBuf,
    /// `observer` as the test program knows it: by this path.
    pub(crate) observer: PathBuf,
}

/// The command that builds them. On this host it is what runs them here too, built once: to
/// compile all of it better takes longer than that saves in emulated processors.
fn test_programs(arch: Arch) -> Command {
    let mut cargo = command("test");
    cargo.args(["--no-run", "--test", "kernel"]);
    match arch {
        Arch::X86 => cargo.args(HOST_CRATES),
        Arch::Arm => cargo.args(["--package", "observer"]),
    };
    cross(&mut cargo, arch);
    cargo
}

/// Builds the test program `kernel` and the `observer` that it tests, for virtual
/// machines with this processor.
pub(crate) fn build_test_programs(arch: Arch) -> Result<TestPrograms> {
    let mut cargo = test_programs(arch);
    let (mut tests, mut observer) = (None, None);
    for artifact in artifacts(&mut cargo)? {
        match artifact.target.name.as_str() {
            "kernel" if artifact.target.is_test() => tests = artifact.executable,
            "observer" if artifact.target.is_bin() => observer = artifact.executable,
            _ => {}
        }
    }
    Ok(TestPrograms {
        tests: tests.context("cargo built no test program named kernel")?.into(),
        observer: observer.context("cargo built no executable named observer")?.into(),
    })
}

/// This very program, for virtual machines with this processor.
pub(crate) fn build_xtask(arch: Arch) -> Result<PathBuf> {
    if arch.target().is_none() {
        return std::env::current_exe().context("find this program");
    }
    let mut cargo = command("build");
    cargo.args(["--package", "xtask", "--bin", "xtask"]);
    cross(&mut cargo, arch);
    let built = artifacts(&mut cargo)?.into_iter().find(|artifact| artifact.target.name == "xtask");
    Ok(built.and_then(|artifact| artifact.executable).context("cargo built no executable named xtask")?.into())
}

fn cross(cargo: &mut Command, arch: Arch) {
    if let Some(target) = arch.target() {
        cargo.args(["--target", target, "--config", &format!("target.{target}.linker='{}'", arch.linker())]);
    }
}

/// Runs a cargo command that builds, and returns what it has built.
fn artifacts(command: &mut Command) -> Result<Vec<Artifact>> {
    let mut cargo = command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let stdout = cargo.stdout.take().context("cargo's stdout")?;
    let mut artifacts = Vec::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("read from cargo")? {
            artifacts.push(artifact);
        }
    }
    let status = cargo.wait().context("wait for cargo")?;
    ensure!(status.success(), "the build failed, see above");
    Ok(artifacts)
}

/// The names of the integration tests that need root. Their `[[test]]` has
/// `test = false`, which keeps them out of a plain `cargo test`.
pub(crate) fn privileged_tests() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .cargo_path(program())
        .current_dir(root())
        .no_deps()
        .exec()
        .context("ask cargo what the workspace consists of")?;
    let mut names: Vec<String> = metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets)
        .filter(|target| target.is_test() && !target.test)
        .map(|target| target.name)
        .collect();
    names.sort();
    Ok(names)
}
