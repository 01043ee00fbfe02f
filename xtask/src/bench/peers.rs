//! Programs that watch the same connections, to be measured beside observer.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::programs;

/// Something that can be measured.
pub(crate) struct Tool {
    /// As the tables name it.
    pub(crate) name: &'static str,
    /// Debian's package, for those who lack it.
    package: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// It attaches BPF programs, which says when it is ready.
    pub(crate) is_bpf: bool,
}

/// Prints what tcpstates prints.
const SCRIPT: &str = "tracepoint:sock:inet_sock_set_state /args->protocol == 6/ \
    { printf(\"%d %s %d %d %d\\n\", pid, comm, args->dport, args->oldstate, args->newstate); }";

/// The peers, in the order in which they are measured.
pub(crate) const PEERS: &[Tool] = &[
    Tool {
        name: "tcpstates",
        package: "libbpf-tools",
        program: "/usr/sbin/tcpstates",
        arguments: &["-D", "25"],
        is_bpf: true,
    },
    Tool {
        name: "tcplife",
        package: "libbpf-tools",
        program: "/usr/sbin/tcplife",
        arguments: &["-D", "25"],
        is_bpf: true,
    },
    Tool {
        name: "bpftrace",
        package: "bpftrace",
        program: "/usr/bin/bpftrace",
        arguments: &["-e", SCRIPT],
        is_bpf: true,
    },
    Tool {
        name: "tcpdump",
        package: "tcpdump",
        program: "/usr/bin/tcpdump",
        arguments: &["-i", "lo", "-n", "-w", "/dev/null", "tcp port 25"],
        is_bpf: false,
    },
];

/// A tool that runs. Ended on drop.
pub(crate) struct Running {
    child: Child,
}

impl Tool {
    /// Why it cannot be measured here.
    pub(crate) fn absence(&self) -> Option<String> {
        (!Path::new(self.program).exists()).then(|| format!("not installed: apt install {}", self.package))
    }

    /// Starts it where the traffic is, and waits until it is ready.
    pub(crate) fn start(&self, netns: &str) -> Result<Running> {
        let before = programs::snapshot()?.len();
        // Tracepoints need tracefs, which is mounted for this process alone.
        let script = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let inside = ["ip", "netns", "exec", netns, "sh", "-c", script, "sh", self.program];
        let mut running =
            Running::spawn("unshare", ["-m"].into_iter().chain(inside).chain(self.arguments.iter().copied()))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.is_bpf && programs::snapshot()?.len() <= before {
            if let Some(status) = running.child.try_wait().context("look at the peer")? {
                bail!("{} ended at once, {status}: {}", self.name, running.complaint());
            }
            if Instant::now() > deadline {
                bail!("{} attached nothing in 20 s", self.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Until the last of its programs is attached, or the capture is open.
        std::thread::sleep(Duration::from_millis(500));
        Ok(running)
    }
}

impl Running {
    fn spawn<S: AsRef<OsStr>>(program: &str, arguments: impl Iterator<Item = S>) -> Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {program}"))?;
        Ok(Self { child })
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            _ = std::io::Read::read_to_string(stderr, &mut text);
        }
        text.lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        std::thread::sleep(Duration::from_millis(300));
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
