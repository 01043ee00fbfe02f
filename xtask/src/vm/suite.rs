//! The suite on several kernels, two machines at a time.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::arch::Arch;
use super::archive::Archive;
use super::boot::Boot;
use super::image;
use super::kernel::Kernel;
use super::plan::{Plan, Step};
use super::qemu::Machine;
use super::results::{Outcome, Tested};
use super::userland;
use crate::cargo::{self, TestPrograms};

/// Machines at a time: each is one thread of qemu's and as much again at times.
const AT_A_TIME: usize = 2;

/// What the tests are told: the matrix is for this program to read, and ten thousand
/// attempts at once take an emulated processor minutes.
const ENVIRONMENT: [(&str, &str); 2] = [("OBSERVER_MATRIX_JSON", "1"), ("OBSERVER_STORM_ATTEMPTS", "1000")];

/// Which machines to boot.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    /// The processor of all of them.
    pub(crate) arch: Arch,
    pub(crate) boots: Vec<Boot>,
    /// A machine that takes longer has failed.
    pub(crate) limit: Duration,
}

impl Suite {
    /// Runs everything, and hands each outcome to `tell` as it comes. Returns all of them,
    /// and how long the machines took, without the build.
    pub(crate) fn run(&self, tell: impl Fn(&Outcome) + Sync) -> Result<(Vec<Outcome>, Duration)> {
        let cache = cargo::root().join(".cache/vm");
        let programs = cargo::build_test_programs(self.arch)?;
        let init = cargo::build_xtask(self.arch)?;
        let apt = if self.arch == Arch::X86 { "apt".to_owned() } else { format!("apt-{}", self.arch.debian()) };
        let archive = Archive::open(&cache.join(apt), self.arch).context("set an apt of our own up")?;
        let userland = match self.arch.target() {
            None => None,
            Some(_) => Some(userland::fetch(&archive, &cache)?),
        };
        let base = image::base(&programs, &init, userland.as_deref()).context("pack the virtual machines' programs")?;
        fs::create_dir_all(cache.join("log")).context("make room for logs")?;
        let bench = Bench { suite: self, programs: &programs, archive: &archive, base: &base, cache: &cache };
        let (start, next) = (Instant::now(), AtomicUsize::new(0));
        let outcomes = Mutex::new(Vec::new());
        let work = || -> Result<()> {
            while let Some(boot) = self.boots.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = bench.test(boot)?;
                tell(&outcome);
                outcomes.lock().unwrap_or_else(|poison| poison.into_inner()).push(outcome);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread panicked"),
            })
        })?;
        let mut outcomes = outcomes.into_inner().unwrap_or_else(|poison| poison.into_inner());
        outcomes.sort_by_key(|outcome| self.boots.iter().position(|boot| boot.name() == outcome.boot().name()));
        Ok((outcomes, start.elapsed()))
    }
}

struct Bench<'a> {
    suite: &'a Suite,
    programs: &'a TestPrograms,
    archive: &'a Archive,
    base: &'a [u8],
    cache: &'a Path,
}

impl Bench<'_> {
    fn test(&self, boot: &Boot) -> Result<Outcome> {
        // One at a time: apt locks its lists, and two would fetch no faster.
        static FETCH: Mutex<()> = Mutex::new(());
        let fetched = {
            let _guard = FETCH.lock().unwrap_or_else(|poison| poison.into_inner());
            Kernel::fetch(self.archive, self.cache, &boot.series)
        };
        let kernel = match fetched {
            Ok(kernel) => kernel,
            Err(error) => return Ok(Outcome::Skipped { boot: boot.clone(), cause: format!("{error:#}") }),
        };
        let image = self.cache.join(format!("{}.cpio", self.file_name(boot)));
        let modules = kernel.modules()?;
        let plan = Plan {
            modules: modules.iter().map(|module| Path::new("/modules").join(&module.name)).collect(),
            steps: self.steps(boot),
        };
        let mut file = File::create(&image).with_context(|| format!("write {}", image.display()))?;
        let own = image::own(&modules, &plan)?;
        file.write_all(self.base).and_then(|()| file.write_all(&own)).context("write the image")?;
        let log = self.cache.join(format!("log/{}.log", self.file_name(boot)));
        let machine = Machine {
            arch: self.suite.arch,
            kernel: &kernel.image()?,
            image: &image,
            command_line: boot.setting.map_or("", |setting| setting.command_line),
            limit: self.suite.limit,
            log: &log,
        };
        let run = machine.boot()?;
        Ok(Outcome::Ran(Box::new(Tested { boot: boot.clone(), release: kernel.release, run, log })))
    }

    fn file_name(&self, boot: &Boot) -> String {
        match self.suite.arch {
            Arch::X86 => boot.name(),
            arch @ Arch::Arm => format!("{}-{}", boot.name(), arch.debian()),
        }
    }

    fn steps(&self, boot: &Boot) -> Vec<Step> {
        let step = |name: &str, program: &Path, arguments: &[String]| Step {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment: ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        };
        let tests = step("tests", &self.programs.tests, &boot.arguments);
        match boot.setting {
            None => vec![step("doctor", &self.programs.observer, &["doctor".to_owned(), "--json".to_owned()]), tests],
            // What the doctor says there is the trials' to judge.
            Some(_) => vec![tests],
        }
    }
}
