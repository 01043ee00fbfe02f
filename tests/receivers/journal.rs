//! systemd-journald, in a mount namespace of its own: what is /run and /etc for it
//! are directories of the test's, so that this host's journal and its sockets are
//! out of its reach.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use observer::deliver::message::{Message, MessageKind};
use observer::deliver::target::{JournaldTarget, Target};
use observer::deliver::transport;
use observer_core::event::Event;
use observer_core::format;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::daemon::{Place, free_port, mortal, wait};
use crate::receiver::{Received, Receiver, event};
use crate::unpacked;

/// Below `.cache`, with systemd where this host has another version or none.
pub(crate) const PACKAGES: &str = "journal";
/// Nothing of the kernel's, and no limit that the test would reach. `Audit=` as it is
/// leaves the kernel's auditing alone; yes and no would both change it.
const CONFIGURATION: &str = "[Journal]\nStorage=volatile\nRuntimeMaxUse=1G\nRuntimeKeepFree=1M\nRateLimitIntervalSec=0\n\
     SplitMode=none\nAudit=\nReadKMsg=no\nForwardToSyslog=no\nForwardToWall=no\n";
/// With $1 as /run and $2 as /etc.
const IN_NAMESPACE: &str = "mount --bind \"$1\" /run && mount --bind \"$2\" /etc && shift 2 && exec \"$@\"";

/// The fields of an entry. The journal keeps no order among values of one name, and
/// none of them twice.
pub(crate) type Entry = BTreeMap<String, BTreeSet<String>>;

pub(crate) struct Journald {
    child: Child,
    directory: PathBuf,
}

impl Journald {
    pub(crate) fn start(place: &Place) -> Result<Self> {
        let directory = place.path("journald");
        std::fs::create_dir_all(directory.join("run"))?;
        std::fs::create_dir_all(directory.join("etc/systemd"))?;
        std::fs::write(directory.join("etc/machine-id"), "6f62736572766572206a6f75726e616c\n")?;
        std::fs::write(directory.join("etc/systemd/journald.conf"), CONFIGURATION)?;
        let child = spawn(&directory)?;
        let journald = Self { child, directory };
        journald.wait()?;
        Ok(journald)
    }

    /// Of its native protocol.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("run/systemd/journal/socket")
    }

    /// Where syslog(3) would send to.
    pub(crate) fn syslog_socket(&self) -> PathBuf {
        self.directory.join("run/systemd/journal/dev-log")
    }

    /// A program for which this is the journal of the host, with journalctl in its PATH.
    pub(crate) fn inside(&self, program: &str) -> Result<Command> {
        let journalctl = unpacked::program(PACKAGES, "journalctl")?;
        let directory = Path::new(journalctl.get_program()).parent().context("no directory")?.display().to_string();
        let mut command = in_namespace(&self.directory);
        command.arg(program).env("PATH", format!("{directory}:/usr/sbin:/usr/bin:/sbin:/bin"));
        command.envs(journalctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ok(command)
    }

    /// Its files.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.join("run/log/journal")
    }

    /// Gives it these events as a sink does, and waits until it has read them.
    pub(crate) fn send(&self, events: &[Value]) -> Result<()> {
        let target = JournaldTarget { socket: self.socket(), timeout: Duration::from_secs(5) };
        let mut sink = transport::open(&Target::Journald(target)).map_err(|cause| anyhow!(cause))?;
        let message = |value: &Value| -> Result<Message> {
            let event: Event = serde_json::from_value(value.clone())?;
            let mut body = Vec::new();
            format::journal::append(format::Entry::Event(&event), &mut body)?;
            Ok(Message { id: event.id, kind: MessageKind::Event, label: Some(event.label), body })
        };
        let messages = events.iter().map(message).collect::<Result<Vec<_>>>()?;
        let sent = sink.send(&messages).map_err(|trouble| anyhow!("{trouble}"))?;
        ensure!(sent.refused.is_empty(), "{sent:?}");
        wait(Duration::from_secs(30), || Ok(sink.confirmed().is_ok_and(|count| count == events.len() as u64)))
            .context("systemd-journald does not read")?;
        // It has read, and now writes.
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// What observer wrote into it.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        entries(Path::new("--directory"), &self.files())
    }

    /// The same, after systemd-journal-upload has sent this journal to a
    /// systemd-journal-remote. That one speaks HTTP and the export format, which no
    /// sink does: this is how what a sink writes comes to a central journal.
    pub(crate) fn entries_afar(&self, place: &Place) -> Result<Vec<Entry>> {
        let (port, file) = (free_port()?, place.path("remote.journal"));
        let mut remote = mortal(unpacked::program(PACKAGES, "systemd-journal-remote")?);
        remote.arg(format!("--listen-http=127.0.0.1:{port}")).arg("--split-mode=none").arg("--output").arg(&file);
        let mut remote = remote.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        wait(Duration::from_secs(30), || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))
            .context("systemd-journal-remote does not listen")?;
        let mut upload = unpacked::program(PACKAGES, "systemd-journal-upload")?;
        upload.arg(format!("--url=http://127.0.0.1:{port}")).arg("--follow=no").arg("--directory").arg(self.files());
        upload.arg(format!("--save-state={}", place.path("upload.state").display()));
        let output = mortal(upload).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "systemd-journal-upload: {}: {said}", output.status);
        kill_process(Pid::from_child(&remote), Signal::TERM)?;
        remote.wait()?;
        entries(Path::new("--file"), &file)
    }

    fn wait(&self) -> Result<()> {
        // Without it, it is the socket of the one before, or nobody's.
        let is_up = || Ok(UnixDatagram::unbound()?.connect(self.socket()).is_ok());
        wait(Duration::from_secs(30), is_up).context("systemd-journald does not listen")
    }
}

impl Receiver for Journald {
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.directory)?;
        self.wait()
    }

    fn events(&self, _: &Place) -> Result<Vec<Received>> {
        let events = self.entries()?.into_iter().filter(|entry| is(entry, "OBSERVER_SCHEMA", "observer.event.v1"));
        events.map(|entry| received(&fields_of_ours(entry))).collect()
    }

    fn expected(&self, place: &Place) -> Result<Vec<Received>> {
        let events = place.json("reference.json")?.into_iter().filter_map(event);
        events.map(|(_, record)| received(&fields(&record))).collect()
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(directory: &Path) -> Result<Child> {
    let journald = unpacked::program(PACKAGES, "systemd-journald")?;
    let mut command = mortal(in_namespace(directory));
    command.arg(journald.get_program());
    command.envs(journald.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("unshare, of the Debian package util-linux")
}

/// Becomes the program that is its next argument.
fn in_namespace(directory: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", IN_NAMESPACE, "sh"]);
    command.args([directory.join("run"), directory.join("etc")]);
    command
}

/// Reads with journalctl what observer wrote. `option` says what the path is.
pub(crate) fn entries(option: &Path, path: &Path) -> Result<Vec<Entry>> {
    let mut command = unpacked::program(PACKAGES, "journalctl")?;
    command.arg(option).arg(path).args([
        "--no-pager",
        "--quiet",
        "--all",
        "--output=json",
        "SYSLOG_IDENTIFIER=observer",
    ]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "journalctl: {}: {said}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let mut entries: Vec<Entry> = text.lines().map(entry).collect::<Result<_>>()?;
    // Its place in the file.
    entries.iter_mut().for_each(|entry| entry.retain(|name, _| !name.starts_with("__")));
    Ok(entries)
}

/// An object of journalctl's: text, bytes where text has something unprintable in it,
/// or a list of those.
fn entry(line: &str) -> Result<Entry> {
    let object: BTreeMap<String, Value> = serde_json::from_str(line).with_context(|| line.to_owned())?;
    let values = |value: Value| match value {
        Value::Array(values) if !values.iter().all(Value::is_number) => values.into_iter().map(text).collect(),
        value => text(value).map(|text| BTreeSet::from([text])),
    };
    object.into_iter().map(|(name, value)| Ok((name, values(value)?))).collect()
}

fn text(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        bytes => Ok(String::from_utf8(serde_json::from_value(bytes)?)?),
    }
}

pub(crate) fn is(entry: &Entry, name: &str, value: &str) -> bool {
    entry.get(name).is_some_and(|values| values.contains(value))
}

/// Those that are a record's members.
pub(crate) fn fields_of_ours(mut entry: Entry) -> Entry {
    entry.retain(|name, _| name.starts_with("OBSERVER_"));
    entry
}

/// What the entry of a record must have.
pub(crate) fn fields(record: &Value) -> Entry {
    let mut entry = Entry::new();
    collect("OBSERVER", record, &mut entry);
    entry
}

fn collect(name: &str, value: &Value, entry: &mut Entry) {
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(member, value)| collect(&format!("{name}_{}", member.to_uppercase()), value, entry));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(name, value, entry)),
        value => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            entry.entry(name.to_owned()).or_default().insert(text);
        }
    }
}

fn received(entry: &Entry) -> Result<Received> {
    let id = entry.get("OBSERVER_ID").and_then(BTreeSet::first).context("an entry without an id")?;
    Ok((id.clone(), json!(entry)))
}
