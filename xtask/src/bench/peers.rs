//! Programs that watch the same connections, to be measured beside observer.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::programs::Programs;

/// A program that can be measured.
pub(crate) struct Peer {
    /// As the tables name it.
    pub(crate) name: &'static str,
    /// Debian's package, for those who lack it.
    package: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// It attaches BPF programs, whose time the kernel takes.
    pub(crate) is_bpf: bool,
    /// It says on stderr what it has lost. bpftrace says it among its events, so
    /// that nobody knows here.
    pub(crate) tells_losses: bool,
}

/// Prints what tcpstates prints.
const SCRIPT: &str = "tracepoint:sock:inet_sock_set_state /args->protocol == 6 && args->dport == 25/ \
    { printf(\"%d %s %d %d %d\\n\", pid, comm, args->dport, args->oldstate, args->newstate); }";

/// The peers, in the order in which they are shown. All of them look for the
/// port that observer watches, and print to /dev/null.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "tcpstates",
        package: "libbpf-tools",
        program: "/usr/sbin/tcpstates",
        arguments: &["-D", "25"],
        is_bpf: true,
        tells_losses: true,
    },
    Peer {
        name: "tcplife",
        package: "libbpf-tools",
        program: "/usr/sbin/tcplife",
        arguments: &["-D", "25"],
        is_bpf: true,
        tells_losses: true,
    },
    Peer {
        name: "bpftrace",
        package: "bpftrace",
        program: "/usr/bin/bpftrace",
        arguments: &["-e", SCRIPT],
        is_bpf: true,
        tells_losses: false,
    },
    Peer {
        name: "tcpdump",
        package: "tcpdump",
        program: "/usr/bin/tcpdump",
        arguments: &["-i", "lo", "-n", "-w", "/dev/null", "tcp port 25"],
        is_bpf: false,
        tells_losses: true,
    },
];

/// How long a peer may take to attach: bpftrace compiles first.
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer that runs. Ended on drop.
pub(crate) struct Running {
    child: Child,
    // A pipe that nobody empties would stop a peer that complains a lot.
    complaints: File,
}

impl Peer {
    /// Why it cannot be measured here.
    pub(crate) fn absence(&self) -> Option<String> {
        (!Path::new(self.program).exists()).then(|| format!("not installed: apt install {}", self.package))
    }

    /// As a person would type it.
    pub(crate) fn command(&self) -> String {
        let quoted = self
            .arguments
            .iter()
            .map(|argument| if argument.contains(' ') { format!(" '{argument}'") } else { format!(" {argument}") });
        self.name.to_owned() + &quoted.collect::<String>()
    }

    /// Starts it where the traffic is, and waits until it is ready.
    pub(crate) fn start(&self, netns: &str) -> Result<Running> {
        // Tracepoints need tracefs, which is mounted for this process alone.
        let script = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let complaints = tempfile::tempfile().context("make a file for the peer's stderr")?;
        // Each of these becomes the next, so that the child is the peer itself.
        let child = Command::new("unshare")
            .args(["-m", "ip", "netns", "exec", netns, "sh", "-c", script, "sh", self.program])
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints.try_clone().context("share that file")?)
            .spawn()
            .context("start unshare")?;
        let mut running = Running { child, complaints };
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready(&running)? {
            if let Some(status) = running.child.try_wait().context("look at the peer")? {
                bail!("did not start, {status}: {}", running.complaint());
            }
            if Instant::now() > deadline {
                bail!("was not ready in {} s: {}", PATIENCE.as_secs(), running.complaint());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Until the last of its programs is attached.
        std::thread::sleep(Duration::from_millis(300));
        Ok(running)
    }

    fn is_ready(&self, running: &Running) -> Result<bool> {
        if self.is_bpf {
            // It cannot be asked once it has ended; why it has is found out next.
            return Ok(Programs::of(running.pid()).is_ok_and(|programs| programs.count() > 0));
        }
        Ok(running.said()?.contains("listening on"))
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, and returns how many events it says that it has lost.
    pub(crate) fn stop(mut self) -> Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("stop the peer")?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().context("wait for the peer")?.is_none() {
            if Instant::now() > deadline {
                bail!("did not end in {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(lost(&self.said()?))
    }

    /// All that it wrote to stderr. Read from the beginning without moving the
    /// offset, which the peer writes at.
    fn said(&self) -> Result<String> {
        let length = self.complaints.metadata().context("look at the peer's stderr")?.len();
        let mut bytes = vec![0; usize::try_from(length)?];
        self.complaints.read_exact_at(&mut bytes, 0).context("read the peer's stderr")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn complaint(&self) -> String {
        let said = self.said().unwrap_or_default();
        said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Adds up `lost 12 events on CPU #0!` (libbpf-tools) and `12 packets dropped by
/// kernel` (tcpdump).
fn lost(said: &str) -> u64 {
    let number = |word: &str| word.parse::<u64>().ok();
    let of_line = |line: &str| {
        if let Some(count) = line.strip_suffix(" packets dropped by kernel") {
            return number(count.trim());
        }
        let (_, rest) = line.split_once("lost ")?;
        number(rest.split_whitespace().next()?)
    };
    said.lines().filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_every_peer_are_added_up() {
        let said = "tcpdump: listening on lo, link-type EN10MB\nlost 12 events on CPU #0!\nlost 3 events on CPU #1!\n\
            40 packets captured\n5 packets dropped by kernel\nlost its way\n";
        assert_eq!(lost(said), 20);
        assert_eq!(lost(""), 0);
    }

    #[test]
    fn a_command_can_be_typed() {
        let commands: Vec<String> = PEERS.iter().map(Peer::command).collect();
        assert_eq!(commands[0], "tcpstates -D 25");
        assert_eq!(commands[3], "tcpdump -i lo -n -w /dev/null 'tcp port 25'");
    }

    #[test]
    fn an_absent_peer_says_how_to_get_it() {
        let peer = Peer {
            name: "x",
            package: "y",
            program: "/nonexistent/x",
            arguments: &[],
            is_bpf: true,
            tells_losses: true,
        };
        assert_eq!(peer.absence().as_deref(), Some("not installed: apt install y"));
    }
}
