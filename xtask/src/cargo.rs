//! Cargo: its commands, and what it knows of the workspace.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Message, MetadataCommand};

/// All crates but the kernel programs, which do not compile for the host.
pub(crate) const HOST_CRATES: [&str; 3] = ["--workspace", "--exclude", "observer-ebpf"];

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
    if is_ci() && subcommand != "fmt" {
        command.arg("--locked");
    }
    command
}

fn program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Builds `observer` for release and returns where it is.
pub(crate) fn build_observer() -> Result<PathBuf> {
    let mut cargo = command("build")
        .args(["--release", "--package", "observer", "--bin", "observer"])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let stdout = cargo.stdout.take().context("cargo's stdout")?;
    let mut built = None;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("read from cargo")?
            && artifact.target.is_bin()
            && artifact.target.name == "observer"
        {
            built = artifact.executable;
        }
    }
    let status = cargo.wait().context("wait for cargo")?;
    ensure!(status.success(), "building observer failed, see above");
    Ok(built.context("cargo built no executable named observer")?.into())
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
