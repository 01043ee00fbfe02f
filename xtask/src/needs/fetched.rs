//! What is fetched into `.cache` instead of installed, and what else is more than a package.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{cache, debian, has, quietly};
use crate::{cargo, privilege};

/// Whether one of these is there, below `.cache` or in the root.
fn exists(paths: &[&str]) -> bool {
    paths.iter().any(|path| cache().join(path).exists())
}

pub(super) fn has_rsyslog() -> bool {
    let with_tls = |directory: PathBuf| directory.join("rsyslog/lmnsd_gtls.so").exists();
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    has("rsyslogd") && libraries.map(|entry| entry.path()).chain(["/usr/lib64".into()]).any(with_tls)
}

/// Its package would remove rsyslog.
pub(super) fn has_syslog_ng() -> bool {
    has("syslog-ng") || exists(&["syslog-ng/usr/sbin/syslog-ng"])
}

pub(super) fn fetch_syslog_ng() -> Result<()> {
    anew("syslog-ng", "syslog-ng-core")
}

/// Its package would have systemd start a server; and journald may be absent or of another
/// version.
pub(super) fn has_journal() -> bool {
    exists(&[
        "/lib/systemd/systemd-journal-remote",
        "journal/lib/systemd/systemd-journal-remote",
        "journal/usr/lib/systemd/systemd-journal-remote",
    ])
}

pub(super) fn fetch_journal() -> Result<()> {
    anew("journal", "systemd-journal-remote")
}

/// Its package would start a server.
pub(super) fn has_prometheus() -> bool {
    (has("promtool") && has("prometheus")) || exists(&["prometheus/usr/bin/promtool"])
}

pub(super) fn fetch_prometheus() -> Result<()> {
    anew("prometheus", "prometheus")
}

/// Mail servers cannot be installed at once, and installing one would start it.
const MTA: &str = "mta";

pub(super) fn has_postfix() -> bool {
    exists(&["mta/usr/sbin/postfix"])
}

pub(super) fn fetch_postfix() -> Result<()> {
    debian::unpack("postfix", &cache().join(MTA))
}

pub(super) fn has_dnsmasq() -> bool {
    exists(&["mta/usr/sbin/dnsmasq"])
}

pub(super) fn fetch_dnsmasq() -> Result<()> {
    debian::unpack("dnsmasq-base", &cache().join(MTA))
}

pub(super) fn has_exim() -> bool {
    exists(&["mta/exim/usr/sbin/exim4"])
}

/// Apart: its sendmail(8) has the place of Postfix's.
pub(super) fn fetch_exim() -> Result<()> {
    debian::unpack("exim4-daemon-light", &cache().join(MTA).join("exim"))
}

/// Apart: its sendmail(1) has the place of Postfix's.
pub(super) fn has_opensmtpd() -> bool {
    exists(&["mta/opensmtpd/usr/sbin/smtpd"])
}

pub(super) fn fetch_opensmtpd() -> Result<()> {
    debian::unpack("opensmtpd", &cache().join(MTA).join("opensmtpd"))
}

/// Unpacks a package into a directory of `.cache`, which is there only when it is whole.
fn anew(name: &str, package: &str) -> Result<()> {
    let (place, unfinished) = (cache().join(name), cache().join(format!("{name}.new")));
    for old in [&place, &unfinished] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("remove {}", old.display()))?;
        }
    }
    debian::unpack(package, &unfinished)?;
    fs::rename(&unfinished, &place).with_context(|| format!("keep {}", place.display()))
}

const ECS: &str = "formats/ecs";
/// It names every package with its hash.
const LOCK: &str = "package-lock.json";

pub(super) fn has_ecs() -> bool {
    let wanted = fs::read(cargo::root().join("tests/formats").join(LOCK)).ok();
    let place = cache().join(ECS);
    wanted.is_some() && wanted == fs::read(place.join(LOCK)).ok() && place.join("node_modules").exists()
}

pub(super) fn fetch_ecs() -> Result<()> {
    let place = cache().join(ECS);
    fs::create_dir_all(&place).context("make room for it")?;
    let from = |name: &str| cargo::root().join("tests/formats").join(name);
    for name in ["package.json", LOCK] {
        fs::copy(from(name), place.join(name)).with_context(|| format!("copy {name}"))?;
    }
    let outcome = quietly(Command::new("npm").current_dir(&place).args([
        "ci",
        "--loglevel=error",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]));
    if outcome.is_err() {
        // So that the next try does not take it for whole.
        _ = fs::remove_file(place.join(LOCK));
    }
    outcome.context("does this machine reach https://registry.npmjs.org?")
}

const CLEAN_ROOT: &str = "clean-root";

pub(super) fn has_clean_root() -> bool {
    exists(&[CLEAN_ROOT])
}

/// Of this host's Debian, if it is one: what is built here must run there.
pub(super) fn make_clean_root() -> Result<()> {
    let (place, unfinished) = (cache().join(CLEAN_ROOT), cache().join("clean-root.new"));
    quietly(privilege::command("rm").arg("-rf").arg(&unfinished))?;
    fs::create_dir_all(cache()).context("make .cache")?;
    let mut debootstrap = privilege::command("debootstrap");
    debootstrap.args(["--variant=minbase", "--include=systemd,procps", &suite()]).arg(&unfinished);
    quietly(debootstrap.arg("https://deb.debian.org/debian"))
        .context("does this machine reach https://deb.debian.org?")?;
    quietly(privilege::command("mv").args([&unfinished, &place]))
}

/// The code name of this Debian, or one where this is none.
fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    of_release(&text).unwrap_or("trixie").to_owned()
}

fn of_release(text: &str) -> Option<&str> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"'));
    value("VERSION_CODENAME=").filter(|_| value("ID=") == Some("debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_is_known_by_its_release() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(of_release(text), Some("bookworm"));
        assert_eq!(of_release("VERSION_CODENAME=noble\nID=ubuntu\n"), None);
        assert_eq!(of_release(""), None);
    }

    #[test]
    fn the_lock_is_of_the_packages_that_are_asked_for() {
        let read = |name: &str| {
            let path = format!("tests/formats/{name}");
            let text = fs::read_to_string(cargo::root().join(path)).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let (asked, lock) = (read("package.json"), read(LOCK));
        assert_eq!(lock["packages"][""]["dependencies"], asked["dependencies"]);
        let packages = lock["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty());
        let without: Vec<_> = packages.filter(|(_, package)| package["integrity"].is_null()).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
