//! What verbs need of this machine beside the toolchain and bpf-linker, which `./x` sees to:
//! a table from purpose to needs, and how each need is met.

mod debian;
mod fetched;
mod python;
pub(crate) mod tools;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Error, Result, anyhow, bail};

use crate::cargo;

/// What a verb does, as far as it matters to what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Bench,
    Fuzz,
    /// The lab's network namespaces.
    Lab,
    Lint,
    Package,
    Receivers,
    /// `./x test`.
    Test,
    /// `./x test --all`.
    TestAll,
    VmTest,
    /// With machines of another processor.
    VmTestArm,
}

/// Something that has to be on this machine.
#[derive(Debug)]
pub(crate) struct Need {
    /// What people call it.
    name: &'static str,
    is_met: fn() -> bool,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Debian packages; those of all needs are installed at once.
    Install(&'static [&'static str]),
    Do(fn() -> Result<()>),
    /// The same, of what is built from sources.
    Compile(fn() -> Result<()>),
}

/// A table: what each purpose needs, by groups.
fn groups(purpose: Purpose) -> &'static [&'static [Need]] {
    match purpose {
        Purpose::Lab => &[LAB],
        Purpose::Bench => &[LAB, PEERS],
        Purpose::Fuzz => &[FUZZING],
        Purpose::Lint => &[LINTING, DEPENDENCIES],
        Purpose::Package => &[PACKING],
        Purpose::Receivers => &[LAB, RUNNER, RECEIVER, RECEIVERS, TENZIR],
        Purpose::Test => &[LAB, RUNNER, LINTING, DEFINITIONS, BROWSER, RECEIVER, MAIL_SERVER],
        Purpose::TestAll => &[
            LAB,
            RUNNER,
            LINTING,
            DEFINITIONS,
            BROWSER,
            RECEIVER,
            MAIL_SERVER,
            DEPENDENCIES,
            RECEIVERS,
            MAIL_SERVERS,
            PACKING,
            PACKAGE_LINTING,
            CLEAN_ROOT,
            FUZZING,
            MACHINES,
        ],
        Purpose::VmTest => &[LAB, MACHINES],
        Purpose::VmTestArm => &[LAB, MACHINES, MACHINES_ARM],
    }
}

const LAB: &[Need] = &[
    Need { name: "iproute2", is_met: || has("ip"), way: Way::Install(&["iproute2"]) },
    Need { name: "nftables", is_met: || has("nft"), way: Way::Install(&["nftables"]) },
    Need {
        name: "iptables",
        is_met: || has("iptables-restore") && has("ip6tables-restore"),
        way: Way::Install(&["iptables"]),
    },
];

const PEERS: &[Need] = &[
    Need { name: "tcpstates", is_met: || has("tcpstates"), way: Way::Install(&["libbpf-tools"]) },
    Need { name: "bpftrace", is_met: || has("bpftrace"), way: Way::Install(&["bpftrace"]) },
    Need { name: "tcpdump", is_met: || has("tcpdump"), way: Way::Install(&["tcpdump"]) },
];

const RUNNER: &[Need] = &[Need {
    name: "cargo-nextest",
    is_met: || tools::NEXTEST.is_here(),
    way: Way::Compile(|| tools::NEXTEST.install()),
}];

const LINTING: &[Need] =
    &[Need { name: "shellcheck", is_met: || has("shellcheck"), way: Way::Install(&["shellcheck"]) }];

/// Four minutes to build: not for those who want an answer soon.
const DEPENDENCIES: &[Need] =
    &[Need { name: "cargo-deny", is_met: || tools::DENY.is_here(), way: Way::Compile(|| tools::DENY.install()) }];

/// The official definitions that output is checked against, and what checks it.
const DEFINITIONS: &[Need] = &[
    Need { name: "Node.js", is_met: || has("node"), way: Way::Install(&["nodejs"]) },
    Need { name: "npm", is_met: || has("npm"), way: Way::Install(&["npm"]) },
    Need { name: "the definition of ECS", is_met: fetched::has_ecs, way: Way::Do(fetched::fetch_ecs) },
    Need { name: "the definition of OCSF", is_met: || python::OCSF.is_here(), way: Way::Do(python::fetch_ocsf) },
    Need { name: "pySigma", is_met: || python::SIGMA.is_here(), way: Way::Do(|| python::SIGMA.fetch()) },
    Need { name: "promtool", is_met: fetched::has_prometheus, way: Way::Do(fetched::fetch_prometheus) },
];

/// In which the report's page is looked at.
const BROWSER: &[Need] =
    &[Need { name: "Chromium", is_met: || has("chromium"), way: Way::Install(&["chromium", "fonts-dejavu-core"]) }];

const RECEIVER: &[Need] = &[
    Need { name: "rsyslog", is_met: fetched::has_rsyslog, way: Way::Install(&["rsyslog", "rsyslog-gnutls"]) },
    Need { name: "nats-server", is_met: || has("nats-server"), way: Way::Install(&["nats-server"]) },
];

const RECEIVERS: &[Need] = &[
    Need { name: "syslog-ng", is_met: fetched::has_syslog_ng, way: Way::Do(fetched::fetch_syslog_ng) },
    Need { name: "systemd-journal-remote", is_met: fetched::has_journal, way: Way::Do(fetched::fetch_journal) },
    Need { name: "promtool", is_met: fetched::has_prometheus, way: Way::Do(fetched::fetch_prometheus) },
];

/// Half a gigabyte: only for those who ask for it.
const TENZIR: &[Need] =
    &[Need { name: "Tenzir", is_met: || python::TENZIR.is_here(), way: Way::Do(|| python::TENZIR.fetch()) }];

const MAIL_SERVER: &[Need] = &[
    Need { name: "Postfix", is_met: fetched::has_postfix, way: Way::Do(fetched::fetch_postfix) },
    Need { name: "dnsmasq", is_met: fetched::has_dnsmasq, way: Way::Do(fetched::fetch_dnsmasq) },
];

const MAIL_SERVERS: &[Need] = &[
    Need { name: "Exim", is_met: fetched::has_exim, way: Way::Do(fetched::fetch_exim) },
    Need { name: "OpenSMTPD", is_met: fetched::has_opensmtpd, way: Way::Do(fetched::fetch_opensmtpd) },
];

const PACKING: &[Need] = &[
    Need { name: "cargo-deb", is_met: || tools::DEB.is_here(), way: Way::Compile(|| tools::DEB.install()) },
    Need { name: "cargo-generate-rpm", is_met: || tools::RPM.is_here(), way: Way::Compile(|| tools::RPM.install()) },
];

/// What Debian and distributions of rpm have against a package.
const PACKAGE_LINTING: &[Need] = &[
    Need { name: "lintian", is_met: || has("lintian"), way: Way::Install(&["lintian"]) },
    Need { name: "rpmlint", is_met: || has("rpmlint"), way: Way::Install(&["rpmlint"]) },
];

/// A system to install packages in.
const CLEAN_ROOT: &[Need] = &[
    Need { name: "debootstrap", is_met: || has("debootstrap"), way: Way::Install(&["debootstrap"]) },
    Need { name: "rpm", is_met: || has("rpm"), way: Way::Install(&["rpm"]) },
    Need { name: "a clean root", is_met: fetched::has_clean_root, way: Way::Do(fetched::make_clean_root) },
];

const FUZZING: &[Need] = &[
    Need { name: "g++", is_met: || has("c++"), way: Way::Install(&["g++"]) },
    Need { name: "cargo-fuzz", is_met: || tools::FUZZ.is_here(), way: Way::Compile(|| tools::FUZZ.install()) },
    Need { name: "Miri", is_met: tools::has_miri, way: Way::Do(tools::install_miri) },
];

const MACHINES: &[Need] =
    &[Need { name: "qemu", is_met: || has("qemu-system-x86_64"), way: Way::Install(&["qemu-system-x86"]) }];

const MACHINES_ARM: &[Need] = &[
    Need { name: "qemu for ARM", is_met: || has("qemu-system-aarch64"), way: Way::Install(&["qemu-system-arm"]) },
    Need {
        name: "a linker for ARM",
        is_met: || has("aarch64-linux-gnu-gcc"),
        way: Way::Install(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
    },
    Need { name: "Rust for ARM", is_met: || false, way: Way::Do(tools::add_arm_target) },
];

/// Sees to everything that this purpose needs and this machine lacks. Goes on after a
/// failure, so that one source that is down hides no other.
///
/// # Errors
/// Everything that could not be had, and why.
pub(crate) fn meet(purpose: Purpose) -> Result<()> {
    let lacking: Vec<&Need> = groups(purpose).iter().copied().flatten().filter(|need| !(need.is_met)()).collect();
    let lanes: [Vec<&Need>; 2] = lacking.into_iter().partition(|need| !matches!(need.way, Way::Compile(_))).into();
    // What is fetched leaves the processors to what is compiled.
    let failures: Vec<_> = thread::scope(|scope| {
        let lanes = lanes.map(|needs| scope.spawn(move || meet_in_turn(&needs)));
        lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_else(|_| vec![anyhow!("a thread panicked")])).collect()
    });
    if failures.is_empty() {
        return Ok(());
    }
    let causes: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
    bail!("{}", causes.join("\n"))
}

/// What could not be had.
fn meet_in_turn(needs: &[&Need]) -> Vec<Error> {
    let mut failures = Vec::new();
    let packages = needs.iter().flat_map(|need| match need.way {
        Way::Install(packages) => packages,
        _ => &[],
    });
    let packages: Vec<&str> = packages.copied().collect();
    if !packages.is_empty() {
        failures.extend(timed(&packages.join(", "), || debian::install(&packages)).err());
    }
    for need in needs {
        let (Way::Do(meet) | Way::Compile(meet)) = need.way else { continue };
        // Two groups can name it.
        if !(need.is_met)() {
            failures.extend(timed(need.name, meet).err());
        }
    }
    failures
}

fn timed(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("x: installing {name}");
    let start = Instant::now();
    work().with_context(|| format!("installing {name} failed"))?;
    eprintln!("x: installed {name} in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Where all lies that is not installed.
fn cache() -> PathBuf {
    cargo::root().join(".cache")
}

/// Whether there is a program of this name in PATH.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Runs a command whose output is shown only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {program}: is it installed?"))?;
    let Some(complaint) = complaint(&output) else { return Ok(()) };
    let arguments: Vec<_> = command.get_args().map(|argument| argument.display().to_string()).collect();
    bail!("`{program} {}`: {complaint}", arguments.join(" "))
}

/// How a command failed, and the last of what it said; `None` if it did not fail.
pub(crate) fn complaint(output: &Output) -> Option<String> {
    const SHOWN: usize = 25;
    if output.status.success() {
        return None;
    }
    let said = [&*output.stdout, &*output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
    Some(format!("{}\n{}", output.status, last.join("\n")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(purpose: Purpose) -> Vec<&'static str> {
        groups(purpose).iter().copied().flatten().map(|need| need.name).collect()
    }

    #[test]
    fn the_small_tier_needs_a_part_of_what_all_tests_need() {
        let (small, all) = (names(Purpose::Test), names(Purpose::TestAll));
        assert!(small.iter().all(|name| all.contains(name)), "{small:?} {all:?}");
        for large in [
            "cargo-deny",
            "cargo-fuzz",
            "Miri",
            "a clean root",
            "cargo-deb",
            "lintian",
            "rpmlint",
            "qemu",
            "Exim",
            "syslog-ng",
        ] {
            assert!(all.contains(&large) && !small.contains(&large), "{large}");
        }
    }

    #[test]
    fn all_tests_need_what_their_parts_need() {
        let all: HashSet<_> = names(Purpose::TestAll).into_iter().collect();
        for purpose in [Purpose::Fuzz, Purpose::Lab, Purpose::Lint, Purpose::Package, Purpose::VmTest] {
            assert!(names(purpose).iter().all(|name| all.contains(name)), "{purpose:?}");
        }
    }

    #[test]
    fn what_a_failed_command_says_is_in_the_error() {
        let error = quietly(Command::new("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("reason") && error.contains("exit status: 3"), "{error}");
        assert!(quietly(&mut Command::new("true")).is_ok());
    }

    #[test]
    fn programs_are_found_in_path() {
        assert!(has("sh"));
        assert!(!has("no-such-program-here"));
    }
}
