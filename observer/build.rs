//! Builds the kernel programs and leaves their object in OUT_DIR.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

/// The name of their package, and of the object.
const OBJECT: &str = "observer-ebpf";

fn main() -> Result<()> {
    // What a fuzzer runs attaches nowhere, and is built without bpf-linker and LLVM.
    if std::env::var_os("CARGO_CFG_FUZZING").is_some() {
        println!("cargo::rerun-if-changed=build.rs");
        let object = PathBuf::from(std::env::var("OUT_DIR")?).join(OBJECT);
        return fs::write(&object, []).with_context(|| object.display().to_string());
    }
    // As this script runs, not as it was compiled: a copied target directory holds it too.
    let here = std::env::var("CARGO_MANIFEST_DIR")?;
    let root = format!("{here}/../observer-ebpf");
    println!("cargo::rerun-if-changed={root}/src");
    println!("cargo::rerun-if-changed={here}/../observer-common/src");
    // build-std is unstable; the toolchain is a pinned stable one. The variable
    // reaches the nested build only: set for the workspace, it would let every
    // host crate use unstable features too.
    // Trimmed, so that the object is the same wherever the sources lie: paths stand in
    // its line information.
    for (name, value) in
        [("RUSTC_BOOTSTRAP", "1"), ("CARGO_UNSTABLE_TRIM_PATHS", "true"), ("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all")]
    {
        // SAFETY: this build script is single-threaded here.
        unsafe { std::env::set_var(name, value) };
    }
    let pinned = std::env::var("RUSTUP_TOOLCHAIN").ok();
    // Without rustup the one toolchain that is installed has no name to pass on.
    let toolchain = Toolchain::Custom(pinned.as_deref().unwrap_or("stable"));
    let package = Package { name: OBJECT, root_dir: &root, ..Package::default() };
    aya_build::build_ebpf([package], toolchain)
        .context("building the kernel programs failed; `./x setup` installs what it needs (bpf-linker, rust-src)")
}
