//! Python packages, each set in an environment of its own, with the hash of every file.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{cache, debian, quietly};
use crate::cargo;

/// Packages, and where they go.
#[derive(Debug)]
pub(crate) struct Environment {
    /// A requirements file below the root of the workspace.
    requirements: &'static str,
    /// Below `.cache`.
    place: &'static str,
    /// More arguments for pip.
    options: &'static [&'static str],
}

pub(crate) const SIGMA: Environment =
    Environment { requirements: "tests/sigma/requirements.txt", place: "sigma", options: &[] };
pub(crate) const OCSF: Environment =
    Environment { requirements: "tests/formats/requirements.txt", place: "formats/python", options: &["--no-deps"] };
pub(crate) const TENZIR: Environment = Environment {
    requirements: "tests/receivers/requirements.txt",
    place: "tenzir",
    options: &["--no-deps", "--no-cache-dir"],
};

/// The version of OCSF that events are written in.
const OCSF_VERSION: &str = "1.8.0";

impl Environment {
    /// Whether it is there as the requirements have it now.
    pub(super) fn is_here(&self) -> bool {
        let wanted = fs::read(cargo::root().join(self.requirements)).ok();
        wanted.is_some() && wanted == fs::read(self.stamp()).ok()
    }

    pub(super) fn fetch(&self) -> Result<()> {
        self.make()?;
        self.note()
    }

    fn make(&self) -> Result<()> {
        let place = cache().join(self.place);
        if place.exists() {
            fs::remove_dir_all(&place).context("remove the one before")?;
        }
        let mut probe = Command::new("python3");
        probe.args(["-c", "import ensurepip"]).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            debian::install(&["python3-venv"])?;
        }
        quietly(Command::new("python3").args(["-m", "venv"]).arg(&place)).context("make a Python environment")?;
        let mut pip = Command::new(self.python());
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--require-hashes"]).args(self.options);
        quietly(pip.arg("--requirement").arg(cargo::root().join(self.requirements)))
            .context("does this machine reach https://pypi.org?")
    }

    fn note(&self) -> Result<()> {
        fs::copy(cargo::root().join(self.requirements), self.stamp()).map(drop).context("note what was fetched")
    }

    fn stamp(&self) -> PathBuf {
        cache().join(self.place).join("requirements.txt")
    }

    fn python(&self) -> PathBuf {
        cache().join(self.place).join("bin/python")
    }
}

/// OCSF's definition, and its schemas as JSON.
pub(super) fn fetch_ocsf() -> Result<()> {
    OCSF.make()?;
    let schemas = cache().join("formats/ocsf");
    fs::create_dir_all(&schemas).context("make room for the schemas")?;
    let mut python = Command::new(OCSF.python());
    quietly(python.arg(cargo::root().join("tests/formats/ocsf.py")).arg(schemas).arg(OCSF_VERSION))
        .context("write the schemas")?;
    OCSF.note()
}
