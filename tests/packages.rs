//! The packages, installed, upgraded, removed and purged in a clean root: needs root.
//! `./x test` builds them and makes the root, with debootstrap.
//!
//! - `deb`: the life of the Debian package.
//! - `deb_runs`: what it installed runs as its user, with its unit's capabilities.
//! - `rpm`: the life of the other one, in a root that has no such packages: what it
//!   depends on is not looked at.
//! - `unit`: systemd finds no fault with the unit, and little that is exposed.

#[path = "packages/clean_root.rs"]
mod clean_root;
#[path = "privileged.rs"]
mod privileged;

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use crate::clean_root::{CleanRoot, package, said};

fn main() -> ExitCode {
    let args = match privileged::begin("packages' tests") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let trials = vec![
        Trial::test("deb", run(the_debian_package_keeps_what_is_the_administrators)),
        Trial::test("deb_runs", run(what_it_installs_runs)),
        Trial::test("rpm", run(the_rpm_keeps_what_is_the_administrators)),
        Trial::test("unit", run(systemd_has_nothing_against_the_unit)),
    ];
    privileged::run(&args, trials).exit_code()
}

fn run(trial: fn() -> Result<()>) -> impl FnOnce() -> Result<(), libtest_mimic::Failed> {
    move || trial().map_err(|error| format!("{error:?}").into())
}

const CONFIG: &str = "etc/observer/observer.toml";
const SPOOLED: &str = "var/lib/observer/spool/siem/1";
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/observer.service";

/// What both packages install, beside what each system has elsewhere.
const INSTALLED: [&str; 9] = [
    "usr/bin/observer",
    CONFIG,
    "usr/lib/systemd/system/observer.service",
    "usr/lib/sysusers.d/observer.conf",
    "usr/lib/tmpfiles.d/observer.conf",
    "usr/share/bash-completion/completions/observer",
    "usr/share/observer/schema/observer.event.v1.json",
    "usr/share/observer/grafana/observer.json",
    "usr/share/observer/prometheus/observer.rules.yml",
];

/// The directories that are observer's alone.
const DIRECTORIES: [&str; 7] = [
    "etc/observer",
    "usr/share/doc/observer",
    "usr/share/observer",
    "usr/share/observer/grafana",
    "usr/share/observer/prometheus",
    "usr/share/observer/schema",
    "usr/share/observer/sigma",
];
/// The same, made at installation; and that of the licences, which the .rpm alone has.
const OF_SYSTEM: [&str; 4] = ["run/observer", "usr/share/licenses/observer", "var/lib/observer", "var/log/observer"];

fn the_debian_package_keeps_what_is_the_administrators() -> Result<()> {
    let root = CleanRoot::make()?;
    root.install_deb(&package("deb")?)?;
    looks_installed(&root)?;
    ensure!(root.path(ENABLED).is_symlink(), "the unit is not enabled");
    for page in ["usr/share/man/man8/observer.8.gz", "usr/share/man/man5/observer.toml.5.gz"] {
        let text = said(Command::new("zcat").arg(root.path(page)))?;
        ensure!(text.contains(".TH"), "{page} is no manual page");
    }
    for directory in DIRECTORIES {
        let owners = said(&mut root.command("dpkg", &["--search", &format!("/{directory}")]))?;
        ensure!(owners.trim() == format!("observer: /{directory}"), "/{directory}: {owners}");
    }
    change(&root)?;
    root.install_deb(&root.newer_deb(&package("deb")?)?)?;
    ensure!(said(&mut root.command("dpkg-query", &["-W", "-f=${Version}", "observer"]))? == "99", "not upgraded");
    is_kept(&root)?;
    root.run("dpkg", &["--remove", "observer"])?;
    ensure!(!root.path("usr/bin/observer").exists(), "the program is left");
    is_kept(&root)?;
    root.run("dpkg", &["--purge", "observer"])?;
    is_gone(&root)?;
    ensure!(!root.path(ENABLED).is_symlink(), "/{ENABLED} is left");
    Ok(())
}

fn the_rpm_keeps_what_is_the_administrators() -> Result<()> {
    let root = CleanRoot::make()?;
    let rpm = package("rpm")?;
    root.rpm(&["--install"], &rpm)?;
    looks_installed(&root)?;
    root.rpm(&["--erase"], "observer".as_ref())?;
    is_gone(&root).context("where nothing was changed")?;
    root.rpm(&["--install"], &rpm)?;
    looks_installed(&root)?;
    change(&root)?;
    root.rpm(&["--upgrade", "--replacepkgs"], &rpm)?;
    is_kept(&root)?;
    root.rpm(&["--erase"], "observer".as_ref())?;
    ensure!(!root.path("usr/bin/observer").exists(), "the program is left");
    let saved = root.path(&format!("{CONFIG}.rpmsave"));
    ensure!(fs::read_to_string(saved)?.ends_with(CHANGE), "the configuration is lost");
    ensure!(root.path(SPOOLED).exists(), "the spool is lost");
    ensure!(!root.path("usr/share/observer").exists(), "/usr/share/observer is left");
    Ok(())
}

/// Nothing is left, empty directories included.
fn is_gone(root: &CleanRoot) -> Result<()> {
    for path in DIRECTORIES.iter().chain(&OF_SYSTEM).chain(&INSTALLED) {
        ensure!(!root.path(path).exists(), "/{path} is left");
    }
    Ok(())
}

fn looks_installed(root: &CleanRoot) -> Result<()> {
    for file in INSTALLED {
        ensure!(root.path(file).exists(), "/{file} is not there");
    }
    let version = root.said_by_user(&["observer", "--version"])?;
    ensure!(version.trim() == concat!("observer ", env!("CARGO_PKG_VERSION")), "{version}");
    root.said_by_user(&["observer", "config", "check"]).context("its user cannot read the configuration")?;
    for (directory, mode) in [("var/lib/observer", "750"), ("var/log/observer", "750"), ("etc/observer", "755")] {
        let found = said(&mut root.command("stat", &["-c", "%U %a", &format!("/{directory}")]))?;
        let owner = if directory.starts_with("etc") { "root" } else { "observer" };
        ensure!(found.trim() == format!("{owner} {mode}"), "/{directory}: {found}");
    }
    Ok(())
}

const CHANGE: &str = "\n[kernel]\nmax_in_flight = 1024\n";

/// What an administrator and a running observer leave there.
fn change(root: &CleanRoot) -> Result<()> {
    let config = fs::read_to_string(root.path(CONFIG))?;
    fs::write(root.path(CONFIG), config + CHANGE)?;
    fs::create_dir_all(root.path(SPOOLED).parent().context("no directory")?)?;
    Ok(fs::write(root.path(SPOOLED), "undelivered")?)
}

fn is_kept(root: &CleanRoot) -> Result<()> {
    ensure!(fs::read_to_string(root.path(CONFIG))?.ends_with(CHANGE), "the configuration is lost");
    ensure!(fs::read_to_string(root.path(SPOOLED))? == "undelivered", "the spool is lost");
    Ok(())
}

/// As the unit starts it: its user, its capabilities, its paths.
fn what_it_installs_runs() -> Result<()> {
    let root = CleanRoot::make()?;
    root.install_deb(&package("deb")?)?;
    let unit = fs::read_to_string(root.path("usr/lib/systemd/system/observer.service"))?;
    let granted = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).context("no capabilities")?;
    let granted = granted.split(' ').map(|name| name.trim_start_matches("CAP_").to_lowercase());
    let granted = granted.fold("-all".to_owned(), |list, name| format!("{list},+{name}"));
    let observer = format!(
        "ulimit -l unlimited; mount --rbind /sys {root}/sys && mount -t proc proc {root}/proc && exec chroot {root} setpriv \
         --reuid observer --regid observer --init-groups --inh-caps {granted} --ambient-caps {granted} observer run",
        root = root.path("").display()
    );
    let log = root.path("observer.log");
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &observer])
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(&log)?.contains("outbound TCP connections") {
        if Instant::now() > deadline || child.try_wait()?.is_some() {
            let _ = child.kill();
            bail!("it did not start: {}", fs::read_to_string(&log)?);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let socket = said(&mut root.command("stat", &["-c", "%U:%G %a", "/run/observer/observer.sock"]));
    let report = a_member_of_the_group_reads(&root);
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let status = child.wait()?;
    ensure!(status.success(), "it ended with {status}: {}", fs::read_to_string(&log)?);
    let socket = socket?;
    ensure!(socket.trim() == "observer:observer 660", "the socket: {socket}");
    report.context("while it runs")?;
    a_member_of_the_group_reads(&root).context("when it has ended")
}

fn a_member_of_the_group_reads(root: &CleanRoot) -> Result<()> {
    let member =
        ["--reuid", "nobody", "--regid", "observer", "--clear-groups", "observer", "report", "--format", "json"];
    let report = said(&mut root.command("setpriv", &member))?;
    ensure!(report.contains("observer.report.v1"), "no report: {report}");
    Ok(())
}

/// The most that `systemd-analyze security` may find exposed, in tenths.
const EXPOSED_AT_MOST: &str = "30";

fn systemd_has_nothing_against_the_unit() -> Result<()> {
    let root = CleanRoot::make()?;
    root.install_deb(&package("deb")?)?;
    let unit = "/usr/lib/systemd/system/observer.service";
    root.run("systemd-analyze", &["verify", "--man=no", unit])?;
    let security = ["security", "--offline=yes", "--no-pager", "--threshold", EXPOSED_AT_MOST, unit];
    let verdict = said(&mut root.command("systemd-analyze", &security))?;
    println!("{}", verdict.lines().last().unwrap_or_default());
    Ok(())
}
