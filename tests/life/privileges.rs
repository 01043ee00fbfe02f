//! Privileges and process ids.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::LifeTrial;
use rustix::process::{Signal, kill_process};

use crate::daemon::{Daemon, Place, wait};

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "what this kernel's Landlock is too old to restrict is said",
        name: "life_landlock_partly",
        trial: what_landlock_does_not_restrict_is_said,
    },
    LifeTrial {
        promise: "in a pid namespace observer knows its own connections, and takes no other for them",
        name: "life_own_pid",
        trial: observer_in_a_pid_namespace_knows_itself,
    },
];

/// Answers as Linux 5.19 does when it is asked for the version of Landlock, where this
/// kernel has a later one. What is asked for then is within what both can do.
const OLD_LANDLOCK: &str = r"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = dlsym(RTLD_NEXT, (char[]){'s', 'y', 's', 'c', 'a', 'l', 'l', 0});
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    long answer = real(number, a, b, c, d, e, f);
    return number == 444 && c == 1 && answer > 2 ? 2 : answer;
}
";

fn what_landlock_does_not_restrict_is_said() -> Result<()> {
    let place = Place::new()?;
    let (source, library) = (place.path("old.c"), place.path("old.so"));
    std::fs::write(&source, OLD_LANDLOCK)?;
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    ensure!(compiled.context("cc")?.success(), "a C compiler is needed: this trial stands in for an older kernel");
    place.configure("")?;
    let mut observer = Command::new(env!("CARGO_BIN_EXE_observer"));
    observer.env("LD_PRELOAD", &library);
    let daemon = Daemon::start_by(observer, &place)?;
    let said = daemon.said();
    let is_there = PathBuf::from("/sys/kernel/security/landlock").exists() || !said.contains("has no Landlock");
    ensure!(is_there, "this kernel has no Landlock, so that this cannot be tried: {said}");
    for part in ["truncating files", "listening on TCP ports", "ioctl(2) on devices", "signals to other processes"] {
        ensure!(said.contains(part), "nothing is said of {part}: {said}");
    }
    daemon.end().map(drop)
}

/// A command that runs what follows in pid and network namespaces of its own.
fn apart() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command
}

fn observer_in_a_pid_namespace_knows_itself() -> Result<()> {
    let place = Place::new()?;
    // It connects to a watched port itself, where nobody listens.
    let port = observer_lab::port();
    place.configure(&format!(
        "[sink.siem]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{port}'\nformat = 'json'\n"
    ))?;
    let mut observer = apart();
    observer.arg(env!("CARGO_BIN_EXE_observer"));
    let daemon = Daemon::start_by(observer, &place)?;
    // The first in its namespace too, so that both have the same process id there.
    let connect = || -> Result<()> {
        // Refused, which is what it is for.
        apart().args(["bash", "-c", &format!("</dev/tcp/127.0.0.1/{port}")]).output().context("unshare")?;
        Ok(())
    };
    connect()?;
    daemon.wait_for("sink siem cannot deliver", Duration::from_secs(30))?;
    connect()?;
    let comms = || -> Result<Vec<String>> {
        let records = place.json("reference.json")?.into_iter();
        let events = records.filter(|record| record["schema"] == "observer.event.v1");
        Ok(events.map(|event| event["process"]["comm"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let others = |comms: &[String]| comms.iter().filter(|comm| *comm == "bash").count();
    wait(Duration::from_secs(20), || Ok(others(&comms()?) == 2))
        .with_context(|| format!("of two connects of others, these were recorded: {:?}", comms()))?;
    let all = comms()?;
    ensure!(all.len() == 2, "its own connects were recorded: {all:?}");
    // unshare waits for it, and hears no signal itself.
    daemon.children()?.into_iter().try_for_each(|observer| kill_process(observer, Signal::TERM))?;
    daemon.end().map(drop)
}
