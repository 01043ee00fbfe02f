//! build the .deb and the .rpm

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo;

/// Build the .deb and the .rpm
///
/// Both land in target/package. The same commit gives the same bytes, wherever its checkout lies: times are the commit's,
/// or what SOURCE_DATE_EPOCH says. The .deb names as its maintainer who DEBFULLNAME and DEBEMAIL say builds it.
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
    let release = cargo::root().join(BUILD).join("release");
    write_pages(&release)?;
    write_changelogs(&release.join("share"))
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
    let maintainer = maintainer()?.map(|maintainer| format!("--maintainer={maintainer}"));
    let mut deb = vec!["deb", "--package", "observer", "--no-build", "--no-strip", "--quiet"];
    deb.extend(maintainer.as_deref());
    deb.push("--output");
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
            compress(&share.join(name))?;
        }
    }
    Ok(())
}

/// The program's changelog and the Debian package's, whose one name is that of who builds it.
fn write_changelogs(share: &Path) -> Result<()> {
    let debian = fs::read_to_string(cargo::root().join(DEBIAN_CHANGELOG)).context("read the package's changelog")?;
    let maintainer = maintainer()?.unwrap_or_else(|| NOBODY.to_owned());
    let program = fs::read_to_string(cargo::root().join("CHANGELOG.md")).context("read the changelog")?;
    for (name, text) in [("changelog.Debian", debian.replace(NOBODY, &maintainer)), ("changelog", program)] {
        fs::write(share.join(name), text).with_context(|| format!("write the {name}"))?;
        compress(&share.join(name))?;
    }
    Ok(())
}

const DEBIAN_CHANGELOG: &str = "packaging/debian/changelog";
/// Who stands in the Debian package where nobody is named: the project has no address.
const NOBODY: &str = "The observer developers <observer@invalid>";

/// Who builds the packages, by the two variables that Debian's tools read.
fn maintainer() -> Result<Option<String>> {
    let given = |name| std::env::var(name).ok();
    named(given("DEBFULLNAME").as_deref().unwrap_or_default(), given("DEBEMAIL").as_deref().unwrap_or_default())
}

/// The same, of their values; an empty one is as none.
fn named(name: &str, address: &str) -> Result<Option<String>> {
    let is_whole = |text: &str| !text.contains(|c: char| c.is_control() || c == '<' || c == '>');
    match (name.trim(), address.trim()) {
        ("", "") => Ok(None),
        ("", _) => bail!("DEBEMAIL is set, and DEBFULLNAME is not: set both, or none"),
        (_, "") => bail!("DEBFULLNAME is set, and DEBEMAIL is not: set both, or none"),
        (name, address) => {
            ensure!(is_whole(name), "DEBFULLNAME={name:?} is no name: leave out <, > and line ends");
            let is_address = is_whole(address) && address.contains('@') && !address.contains(' ');
            ensure!(is_address, "DEBEMAIL={address:?} is no address: it is as in you@example.org");
            Ok(Some(format!("{name} <{address}>")))
        }
    }
}

/// Replaces a file by what gzip makes of it.
fn compress(file: &Path) -> Result<()> {
    // -n: no time in it.
    run(Command::new("gzip").args(["--force", "--best", "-n"]).arg(file))
}

/// The package of this kind, `deb` or `rpm`, that was built last.
pub(crate) fn built(kind: &str) -> Result<PathBuf> {
    let directory = cargo::root().join(PACKAGES);
    let entries = fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let found = paths.find(|path| path.extension().is_some_and(|extension| extension == kind));
    found.with_context(|| format!("there is no .{kind} in {}", directory.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(cargo::root().join(path)).unwrap()
    }

    #[test]
    fn the_newest_version_of_the_debian_changelog_is_cargos() {
        let changelog = read(DEBIAN_CHANGELOG);
        let newest = changelog.lines().next().unwrap_or_default();
        assert!(newest.starts_with(concat!("observer (", env!("CARGO_PKG_VERSION"), "-1) ")), "{newest}");
    }

    #[test]
    fn nobody_has_one_name_everywhere() {
        assert!(read(DEBIAN_CHANGELOG).lines().any(|line| line.starts_with(&format!(" -- {NOBODY}  "))));
        assert!(read("observer/Cargo.toml").contains(&format!("maintainer = {NOBODY:?}")));
    }

    #[test]
    fn who_builds_is_named_by_both_variables_or_by_none() {
        assert_eq!(named("", " ").unwrap(), None);
        assert_eq!(named("Ann Other", "ann@example.org").unwrap().unwrap(), "Ann Other <ann@example.org>");
        for (name, address) in [("Ann", ""), ("", "a@b"), ("Ann", "nowhere"), ("A\nB: c", "a@b"), ("Ann", "A <a@b>")] {
            let error = named(name, address).unwrap_err().to_string();
            assert!(error.contains("DEBEMAIL") || error.contains("DEBFULLNAME"), "{error}");
        }
    }

    /// A comment is a reason for what stands below it, up to an empty line.
    #[test]
    fn every_exception_from_the_lints_of_packages_has_its_reason() {
        for file in ["packaging/debian/lintian-overrides", "packaging/rpm/rpmlint.toml"] {
            let text = read(file);
            for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
                assert!(block.trim_start().starts_with('#'), "{file}: without a reason: {block}");
            }
        }
    }
}
