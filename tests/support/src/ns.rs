//! Network namespaces with a name, and the commands that furnish them.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::addr::Ip;

/// Where iproute2 keeps named namespaces.
const NETNS_DIR: &str = "/run/netns";

/// Every namespace of every lab begins with this, then the process id.
pub(crate) const PREFIX: &str = "obslab-";

/// A named network namespace, deleted on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    inode: u64,
}

impl Namespace {
    pub(crate) fn create(name: String) -> Result<Self> {
        command("ip", &["netns", "add", &name], "")?;
        // From here on drop deletes it, also when the next line fails.
        let mut namespace = Self { name, inode: 0 };
        namespace.inode = fs::metadata(namespace.path()).context("stat the new namespace")?.ino();
        Ok(namespace)
    }

    /// The name as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, for setns(2).
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }

    /// The inode number: what the kernel calls `net->ns.inum`.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs lines of `ip` commands inside the namespace.
    pub(crate) fn ip(&self, lines: &str) -> Result<()> {
        command("ip", &["-n", &self.name, "-batch", "-"], lines)
    }

    /// Runs nft commands inside the namespace, for what a test wants to change
    /// while the lab is up. The lab's own rules are in `table inet lab`, in the
    /// chain `output` (client), `forward` (router) or `input` (server).
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        command("ip", &["netns", "exec", &self.name, "nft", "-f", "-"], ruleset)
    }

    /// Appends filter rules by iptables-restore or ip6tables-restore.
    pub(crate) fn iptables(&self, family: Ip, rules: &str) -> Result<()> {
        let program = match family {
            Ip::V4 => "iptables-restore",
            Ip::V6 => "ip6tables-restore",
        };
        command("ip", &["netns", "exec", &self.name, program, "--noflush"], rules)
    }

    /// Destroys the TCP sockets to this destination, and from this local port if one is given,
    /// as an administrator does.
    pub(crate) fn destroy_sockets(&self, destination: IpAddr, port: Option<u16>) -> Result<()> {
        let destination = match destination {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = port.map(|port| format!(":{port}"));
        let mut arguments = vec!["netns", "exec", &self.name, "ss", "-K", "-t", "dst", &destination];
        if let Some(port) = &port {
            arguments.extend(["sport", "=", port]);
        }
        command("ip", &arguments, "")
    }

    /// Writes sysctls, given as paths below /proc/sys/net. One that this kernel
    /// does not have is an error unless it is marked optional by a leading `?`.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.inside(|| settings.iter().try_for_each(|(key, value)| write_sysctl(key, value)))
    }

    /// Runs `work` on a thread that has entered the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.path())?;
                work()
            });
            thread.join().unwrap_or_else(|_| bail!("the thread inside {} panicked", self.name))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Moves the calling thread into the namespace behind `path`.
pub(crate) fn enter(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open namespace {}", path.display()))?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("setns into {}", path.display()))
}

/// Deletes the namespaces of labs whose process is gone.
pub(crate) fn sweep() -> Result<()> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return Ok(()); // No namespace was ever named on this host.
    };
    for entry in entries {
        let name = entry.context("list /run/netns")?.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            delete(&name)?;
        }
    }
    Ok(())
}

/// The process id in a lab's name, `None` for names that are not a lab's.
pub(crate) fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn delete(name: &str) -> Result<()> {
    let result = command("ip", &["netns", "del", name], "");
    // Another lab may have swept the same left-over first.
    if Path::new(NETNS_DIR).join(name).exists() { result } else { Ok(()) }
}

fn write_sysctl(key: &str, value: &str) -> Result<()> {
    let (key, optional) = key.strip_prefix('?').map_or((key, false), |key| (key, true));
    let path = Path::new("/proc/sys/net").join(key);
    match fs::write(&path, value) {
        Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("write {value:?} to {}", path.display())),
    }
}

/// Runs a program to its end with `input` on stdin; its stderr is in the error.
fn command(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let line = || format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{}`: is {program} installed?", line()))?;
    // A program that has no use for its input may close it early; its exit
    // status tells whether that matters.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().with_context(line)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed, {}: {}\ninput:\n{input}", line(), output.status, stderr.trim());
    }
    match written {
        Some(Err(error)) => Err(error).with_context(|| format!("write to `{}`", line())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_reads_only_lab_names() {
        assert_eq!(owner("obslab-17-0-client"), Some(17));
        assert_eq!(owner("obslab-17"), Some(17));
        assert_eq!(owner("obslab-x-0-client"), None);
        assert_eq!(owner("blue"), None);
    }

    #[test]
    fn failing_command_names_itself_and_its_stderr() {
        let error = command("ip", &["netns", "frobnicate"], "").unwrap_err().to_string();
        assert!(error.contains("ip netns frobnicate"), "{error}");
        assert!(error.contains("frobnicate"), "{error}");
    }

    #[test]
    fn missing_program_is_named() {
        let error = command("no-such-program-here", &[], "").unwrap_err().to_string();
        assert!(error.contains("is no-such-program-here installed?"), "{error}");
    }
}
