//! run the tests that need root on several kernels, in virtual machines

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cargo;
use crate::needs::Purpose;
use crate::report::Tally;
use crate::vm::{Arch, Boot, Outcome, SETTINGS, Setting, Suite, Tested, readme};

/// The oldest that is supported, the stable ones since, and the newest.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

/// The oldest, one in the middle and the newest: what every run of all tests
/// includes.
pub(crate) const FEW: [&str; 3] = ["5.10", "6.12", "7.3"];

/// Seconds after which a machine has failed.
const LIMIT: u64 = 1_800;

/// The kernel on which the trials of [`ON_ONE`] run.
const OLDEST: &str = KERNELS[0];

/// Trials of what users type, of history, readers and probes: the kernel makes no difference
/// to them, so that one kernel is enough.
const ON_ONE: &[&str] = &[
    "--skip", "input_", "--skip", "history_", "--skip", "readers_", "--skip", "route", "--skip", "probe_", "--skip",
    "live_",
];

/// Trials that take too long without hardware's help: of a hundred thousand destinations, of
/// ten thousand cgroups, of a million attempts; and what readers, screens, reports and
/// diagnoses make of attempts, to which the kernel makes no difference.
const WITHOUT: &[&str] = &[
    "--skip",
    "destinations",
    "--skip",
    "hostile_cgroups",
    "--skip",
    "soak",
    "--skip",
    "readers_storm",
    "--skip",
    "totals",
    "--skip",
    "causes",
];

/// For the ARM machine, whose build takes long enough.
const MATRIX: &[&str] = &["--exact", "matrix"];

/// Run the tests that need root on several kernels, in virtual machines
///
/// Debian's kernels are fetched into .cache/vm and booted by qemu, two at a time. Needs apt, qemu and this host's
/// iproute2, nftables and iptables, and no root. What a machine says is kept in .cache/vm/log.
#[derive(Debug, clap::Args)]
pub(crate) struct VmTest {
    /// A kernel series to test on, such as 6.16; may be repeated [default: 5.10 6.1 6.12 6.18 7.3]
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,
    /// A setting to test in a machine of its own; may be repeated [default: all, unless kernels or tests are chosen]
    #[arg(long, value_name = "SETTING", value_parser = setting())]
    setting: Vec<Setting>,
    /// The machines' processor. For aarch64 the tests are cross-built, and without further choice only the matrix runs,
    /// on Linux 6.12 [default: x86_64]
    #[arg(long, value_name = "ARCHITECTURE", default_value = "x86_64", hide_default_value = true)]
    arch: Arch,
    /// Fail if a kernel cannot be fetched; implied by CI=true in the environment
    #[arg(long)]
    require: bool,
    /// Write the matrix of kernels, hooks and outcomes into README.md
    #[arg(long)]
    write_readme: bool,
    /// Seconds after which a machine has failed
    #[arg(long, value_name = "SECONDS", default_value_t = LIMIT)]
    limit: u64,
    /// For the test program, such as the name of a test
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

impl VmTest {
    pub(crate) fn purpose(&self) -> Purpose {
        if self.arch == Arch::Arm { Purpose::VmTestArm } else { Purpose::VmTest }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        let suite = Suite { arch: self.arch, boots: self.boots(), limit: Duration::from_secs(self.limit) };
        let (outcomes, took) = suite.run(|outcome| println!("{outcome}"))?;
        let total = total(&outcomes, self.require || cargo::is_ci());
        let ran: Vec<&Tested> = outcomes.iter().filter_map(Outcome::tested).collect();
        let plain: Vec<&Tested> = ran.iter().copied().filter(|tested| tested.boot.setting.is_none()).collect();
        let is_readmes = self.arch == Arch::X86;
        if self.write_readme || is_readmes && plain.iter().map(|tested| tested.boot.series.as_str()).eq(KERNELS) {
            tell_readme(&plain, self.write_readme)?;
        }
        let seconds = took.as_secs_f64();
        println!("\n{} of {} machines tested in {seconds:.0} s, without the build", ran.len(), outcomes.len());
        println!("{} passed, {} failed", total.passed, total.failed);
        Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Every kernel and every setting, unless something is chosen.
    fn boots(&self) -> Vec<Boot> {
        let is_all = self.kernel.is_empty() && self.setting.is_empty();
        let given = (!self.arguments.is_empty()).then_some(self.arguments.as_slice());
        match (is_all, self.arch) {
            (true, Arch::X86) => boots(&KERNELS, self.arch, given, if given.is_none() { &SETTINGS } else { &[] }),
            (true, Arch::Arm) => boots(&["6.12"], self.arch, given, &[]),
            (false, arch) => boots(&self.kernel, arch, given, &self.setting),
        }
    }
}

fn setting() -> impl TypedValueParser<Value = Setting> {
    PossibleValuesParser::new(SETTINGS.map(|setting| setting.name))
        .try_map(|name| Setting::by_name(&name).ok_or("there is no such setting"))
}

/// Runs the tests on a few kernels and with every setting, and counts them.
pub(crate) fn few() -> Result<Tally> {
    let boots = boots(&FEW, Arch::X86, None, &SETTINGS);
    let suite = Suite { arch: Arch::X86, boots, limit: Duration::from_secs(LIMIT) };
    let (outcomes, _) = suite.run(|outcome| println!("{outcome}"))?;
    Ok(total(&outcomes, cargo::is_ci()))
}

fn total(outcomes: &[Outcome], is_required: bool) -> Tally {
    let mut total = Tally::default();
    outcomes.iter().for_each(|outcome| total.add(outcome.tally(is_required)));
    total
}

/// Writes the README's matrix, or says that it is out of date.
fn tell_readme(tested: &[&Tested], is_to_be_written: bool) -> Result<()> {
    let file = cargo::root().join("README.md");
    let old = fs::read_to_string(&file).context("read README.md")?;
    let matrix = match readme::matrix(tested) {
        Err(error) if !is_to_be_written => {
            println!("README.md was not compared: {error:#}");
            return Ok(());
        }
        matrix => matrix?,
    };
    if is_to_be_written {
        fs::write(&file, readme::with_matrix(&old, &matrix)?).context("write README.md")?;
        println!("README.md is written");
    } else if readme::is_stale(&old, &matrix)? {
        println!("README.md is out of date: ./x vm-test --write-readme");
    }
    Ok(())
}

/// Machines with these kernels, whose test program gets `given` or, without it, runs what
/// is worth running there; and machines with these settings.
fn boots(kernels: &[impl AsRef<str>], arch: Arch, given: Option<&[String]>, settings: &[Setting]) -> Vec<Boot> {
    let by_default = |series: &str| -> Vec<String> {
        let words = match arch {
            Arch::Arm => vec![MATRIX],
            Arch::X86 if series == OLDEST => vec![WITHOUT],
            Arch::X86 => vec![WITHOUT, ON_ONE],
        };
        words.concat().into_iter().map(str::to_owned).collect()
    };
    let plain = kernels.iter().map(AsRef::as_ref).map(|series| match given {
        Some(arguments) => Boot::plain(series, arguments),
        None => Boot::plain(series, &by_default(series)),
    });
    plain.chain(settings.iter().map(|setting| setting.boot())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        vm_test: VmTest,
    }

    fn names(arguments: &[&str]) -> Vec<String> {
        let line = <Line as clap::Parser>::parse_from([&["vm-test"], arguments].concat());
        line.vm_test.boots().iter().map(Boot::name).collect()
    }

    #[test]
    fn everything_is_booted_unless_something_is_chosen() {
        assert_eq!(names(&[]).len(), KERNELS.len() + SETTINGS.len());
        assert_eq!(names(&["--", "storm"]), KERNELS);
        assert_eq!(names(&["--kernel", "6.1"]), ["6.1"]);
        assert_eq!(names(&["--setting", "patience"]), ["6.12-patience"]);
        assert_eq!(names(&["--arch", "aarch64"]), ["6.12"]);
    }

    #[test]
    fn what_no_kernel_changes_runs_on_one() {
        let all = boots(&KERNELS, Arch::X86, None, &[]);
        let runs_input = |boot: &Boot| !boot.arguments.iter().any(|word| word == "input_");
        assert_eq!(all.iter().filter(|boot| runs_input(boot)).count(), 1);
        assert!(FEW.contains(&OLDEST));
        let given = ["storm".to_owned()];
        assert!(boots(&KERNELS, Arch::X86, Some(&given), &[]).iter().all(|boot| boot.arguments == given));
    }
}
