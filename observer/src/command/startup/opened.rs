//! What can be opened is opened, as far as that changes nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use observer_core::mta;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::super::mta_log;
use super::super::socket::{self, Occupant, unfinished};
use super::access::{self, Made};
use super::{Findings, user};
use crate::config::{Config, History, Listen, MtaLog, Places, SinkConfig};
use crate::deliver::target::{JournaldTarget, SyslogReceiver, SyslogTarget, Target};
use crate::deliver::{spool_name, transport};
use crate::follow::{self, Place};
use crate::store::history;

/// What the service manager makes for the packaged service when it starts: `RuntimeDirectory=`,
/// `StateDirectory=` and `LogsDirectory=` of its unit.
const MADE_BY_UNIT: [&str; 3] = ["/run/observer", "/var/lib/observer", "/var/log/observer"];
/// This program's name, as processes have it.
const OWN_NAME: &str = "observer";

/// Adds what is wrong. `may_be_up`: observer may have in use already what it is going to use.
pub(super) fn look(config: &Config, places: &Places, may_be_up: bool, findings: &mut Findings) {
    let mut look = Look { places, may_be_up, findings };
    look.history(config.history.as_ref());
    look.sockets(config);
    if let Some(mta) = &config.mta {
        look.mta(mta);
    }
    if let Some(file) = &config.diagnose.asn_file {
        look.defect("diagnose", "asn_file", access::readable(file));
    }
    for sink in &config.sinks {
        look.sink(sink, config);
    }
}

struct Look<'a> {
    places: &'a Places,
    may_be_up: bool,
    findings: &'a mut Findings,
}

impl Look<'_> {
    fn refusal(&mut self, section: &str, key: &str, found: Result<(), String>) {
        if let Err(text) = found {
            let problem = self.places.problem(section, key, &format!("is unusable: {text}"));
            // Of the spools' directory once, and not for each sink.
            if !self.findings.refusals.contains(&problem) {
                self.findings.refusals.push(problem);
            }
        }
    }

    fn defect(&mut self, section: &str, key: &str, found: Result<(), String>) {
        if let Err(text) = found {
            let problem = self.places.problem(section, key, &format!("does not work: {text}"));
            self.findings.defects.push(problem);
        }
    }

    fn remark(&mut self, section: &str, key: &str, text: &str) {
        let problem = self.places.problem(section, key, &format!("= {text}"));
        self.findings.remarks.push(problem);
    }

    /// Whether a missing directory is there when the service starts.
    fn is_made_by_unit(&self, path: &Path) -> bool {
        let is_made = |directory: &&str| path.starts_with(directory) && !Path::new(directory).exists();
        self.may_be_up && user::is_service() && MADE_BY_UNIT.iter().any(is_made)
    }

    fn history(&mut self, history: Option<&History>) {
        let Some(History { path, .. }) = history else { return };
        if self.is_made_by_unit(path) {
            return;
        }
        let found = access::writable(path, Made::One)
            // SQLite makes files beside it.
            .and_then(|()| access::directory(access::parent(path), Made::One))
            .and_then(|()| is_history(path));
        self.refusal("history", "path", found);
    }

    fn sockets(&mut self, config: &Config) {
        let mut is_up = false;
        if let Some(socket) = &config.socket {
            is_up = self.socket("socket", "path", &socket.path);
            self.group(&socket.group);
        }
        match config.metrics.as_ref().map(|metrics| &metrics.listen) {
            Some(Listen::Unix(path)) => {
                self.socket("metrics", "listen", path);
                if config.socket.is_none() {
                    self.group(&crate::config::Socket::default().group);
                }
            }
            Some(Listen::Tcp(address)) => match TcpListener::bind(address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_up => {}
                bound => {
                    let text = |error: io::Error| match error.kind() {
                        io::ErrorKind::AddrInUse => {
                            format!(
                                "{address} is in use by another process: end it (ss -ltnp names it), or name another port"
                            )
                        }
                        io::ErrorKind::PermissionDenied => format!(
                            "{address}: observer gives up the capability that this port takes: name a port from 1024 on"
                        ),
                        _ => format!("{address}: {error}: name another address of this host"),
                    };
                    self.refusal("metrics", "listen", bound.map(drop).map_err(text));
                }
            },
            None => {}
        }
    }

    /// True if observer listens there now.
    fn socket(&mut self, section: &str, key: &str, path: &Path) -> bool {
        let mut is_up = false;
        for path in [path.to_owned(), unfinished(path)] {
            let found = match Occupant::at(&path) {
                Ok(Occupant::InUse) if self.may_be_up && listens(&path).as_deref() == Some(OWN_NAME) => {
                    is_up = true;
                    Ok(())
                }
                Ok(occupant) => occupant.objection(&path).map_or(Ok(()), Err),
                Err(error) => Err(format!("{}: {error}: name another path", path.display())),
            };
            self.refusal(section, key, found);
        }
        if !self.is_made_by_unit(path) {
            let found = access::directory(access::parent(path), Made::All);
            // Recording is worth more than being read; metrics are a server's whole purpose.
            if section == "metrics" { self.refusal(section, key, found) } else { self.defect(section, key, found) }
        }
        is_up
    }

    fn group(&mut self, group: &str) {
        match socket::group_id(group) {
            None => {
                let text =
                    format!("{group:?}: {}; make it (groupadd), or name another one", socket::unknown_group(group));
                self.remark("socket", "group", &text);
            }
            Some(gid) if !user::may_give_to(gid) => {
                let text = format!("{} may not give files to {group:?}: add the user to it", user::current());
                self.defect("socket", "group", Err(text));
            }
            Some(_) => {}
        }
    }

    fn mta(&mut self, mta: &MtaLog) {
        if let Some(key) = &mta.domain_key {
            let found = access::readable(key);
            let found = found.and_then(|()| mta_log::domain_key(mta).map(drop).map_err(|failure| failure.text));
            self.refusal("mta", "domain_key_file", found);
            self.secret("mta", "domain_key_file", key);
        }
        match &mta.log {
            Place::Journal if follow::journalctl().is_none() => {
                let text =
                    "\"journal\" is read by journalctl, which is not installed: install it, or name a file".to_owned();
                self.defect("mta", "log", Err(text));
            }
            Place::Journal => {}
            // One with a date in its name is another one tomorrow.
            Place::File(file) if file.to_string_lossy().contains('%') => {
                let found = fs::read_dir(access::parent(file)).map(drop);
                let text = |error| format!("{}: {error}", access::parent(file).display());
                self.defect("mta", "log", found.map_err(text));
            }
            Place::File(file) => match access::readable(file) {
                // Groups that only the unit gives are not known here.
                Err(text) if self.may_be_up && user::is_service() && file.exists() => {
                    let text = format!("{file:?}: {text}, unless SupplementaryGroups= of the unit does");
                    self.remark("mta", "log", &text);
                }
                found => self.defect("mta", "log", found.and_then(|()| is_of_a_log(file))),
            },
        }
    }

    fn sink(&mut self, sink: &SinkConfig, config: &Config) {
        let section = format!("sink.{}", sink.name);
        if let Target::File(file) = &sink.target
            && !self.is_made_by_unit(&file.path)
        {
            self.defect(
                &section,
                "path",
                access::writable(&file.path, Made::Never).and_then(|()| takes_lines(&file.path)),
            );
            if fs::metadata(&file.path).is_ok_and(|found| found.file_type().is_fifo()) {
                let text = format!("{:?} is a FIFO: the sink waits while nobody reads from it", file.path);
                self.remark(&section, "path", &text);
            }
            if file.rotate_bytes.is_some() {
                self.defect(&section, "path", access::directory(access::parent(&file.path), Made::Never));
            }
        }
        if let Target::Journald(JournaldTarget { socket, .. })
        | Target::Syslog(SyslogTarget { receiver: SyslogReceiver::Unix(socket), .. }) = &sink.target
        {
            self.receiver(&section, socket);
        }
        if let Some(name) = spool_name(sink)
            && !self.is_made_by_unit(&config.spool)
        {
            let found = access::directory(&config.spool.join(name), Made::All);
            self.refusal("spool", "directory", found);
        }
        let is_whole = sink.target.named_files().into_iter().fold(true, |is_whole, (key, file)| {
            let found = access::readable(file);
            let is_readable = found.is_ok();
            self.defect(&section, key, found);
            is_whole && is_readable
        });
        for (key, file) in sink.target.named_secrets() {
            self.secret(&section, key, file);
        }
        // What is missing was said.
        if is_whole && let Err((key, text)) = transport::inspect(&sink.target) {
            self.defect(&section, key, Err(text));
        }
    }

    /// The socket of a receiver on this host. It may come later, and what is sent waits for it.
    fn receiver(&mut self, section: &str, path: &Path) {
        let shown = path.display();
        let none =
            "is there now, and records wait in the spool until one is: start its receiver, or name another socket";
        match fs::metadata(path) {
            Ok(there) if there.file_type().is_socket() => {
                match Occupant::at(&fs::canonicalize(path).unwrap_or_default()) {
                    Ok(Occupant::Stale) => {
                        self.remark(section, "address", &format!("\"{shown}\": no process that reads from it {none}"));
                    }
                    Err(error) => self.defect(
                        section,
                        "address",
                        Err(format!("{shown}: {error}: allow it, or name another socket")),
                    ),
                    Ok(_) => {}
                }
            }
            Ok(_) => {
                self.defect(section, "address", Err(format!("{shown} is not a socket: name that of the receiver")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.remark(section, "address", &format!("\"{shown}\": no socket {none}"));
            }
            Err(error) => self.defect(section, "address", Err(format!("{shown}: {error}: name another socket"))),
        }
    }

    fn secret(&mut self, section: &str, key: &str, file: &Path) {
        // Of anything else it is said that it is no file.
        let is_open = file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o007 != 0);
        if is_open {
            let file = file.display();
            self.remark(section, key, &format!("\"{file}\" can be read by everyone: chmod o= {file}"));
        }
    }
}

/// The name of the process that listens at a socket, if that can be known.
fn listens(path: &Path) -> Option<String> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).ok()?;
    connect(&socket, &SocketAddrUnix::new(path).ok()?).ok()?;
    let pid = socket_peercred(&socket).ok()?.pid.as_raw_nonzero();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Why no line of a file is one of a log.
fn is_of_a_log(path: &Path) -> Result<(), String> {
    /// Bytes of it that are looked at.
    const LOOKED_AT: u64 = 4_096;
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut head));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let first = String::from_utf8_lossy(&head);
    let first = first.lines().next().unwrap_or_default();
    if mta::is_export(first) { Err(format!("{}: {}", path.display(), mta::advice(first))) } else { Ok(()) }
}

/// Why lines cannot be written to what is there.
fn takes_lines(path: &Path) -> Result<(), String> {
    /// Major and minor number: Documentation/admin-guide/devices.txt.
    const FULL: u64 = libc::makedev(1, 7);
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    let (kind, shown) = (found.file_type(), path.display());
    if kind.is_block_device() {
        return Err(format!("{shown} is a disk, and records would be written over what is on it: name a file"));
    }
    if kind.is_socket() {
        return Err(format!("{shown} is a socket: name a file, or use a sink of type syslog"));
    }
    if kind.is_char_device() && found.rdev() == FULL {
        return Err(format!("{shown} has never room: name a file"));
    }
    Ok(())
}

/// Why a file that exists cannot be history's.
fn is_history(path: &Path) -> Result<(), String> {
    // Opening a FIFO would wait.
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(format!("{} is not a regular file: name another one", path.display()));
    }
    history::ensure_ours(path).map_err(|error| format!("{}: {error}", path.display()))
}
