//! What `observer run` is meant to do: checked values, whichever file or option
//! they came from.
//!
//! [`parse`] is pure: it takes the texts of files. [`Config::load`] reads them.

mod document;
pub mod keys;
mod read;
pub mod target;
pub(crate) mod value;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::document::{Document, Documents, Heard};

pub use self::document::{Places, Problem};
pub use self::read::Surroundings;
use self::target::Target;
use crate::follow::Place;
use crate::store::history::Retention;
use crate::store::spool::Limits;
use observer_core::filter::Filter;
use observer_core::format::{Entry, Format};
use observer_core::label::Label;
use observer_core::mta;

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Ports to watch.
    pub ports: Vec<u16>,
    /// What to ask of the kernel.
    pub kernel: Kernel,
    /// Where to record; `None`: nowhere.
    pub history: Option<History>,
    /// Where readers connect; `None`: nowhere.
    pub socket: Option<Socket>,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<Metrics>,
    /// The mail server's log; `None`: it is not read.
    pub mta: Option<MtaLog>,
    /// What `observer diagnose` does unasked.
    pub diagnose: Diagnose,
    /// Directory of the spools.
    pub spool: PathBuf,
    /// Where events are sent.
    pub sinks: Vec<SinkConfig>,
}

/// The file that is read unless another one is named.
pub const DEFAULT_FILE: &str = "/etc/observer/observer.toml";
/// Directory of the spools, unless another one is named.
pub const SPOOL: &str = "/var/lib/observer/spool";
/// Where `observer run` listens for readers.
pub const SOCKET: &str = "/run/observer/observer.sock";
/// Whose members may read from it.
pub const GROUP: &str = "observer";
/// Bytes of memory that may wait for each sink, and for history, unless told otherwise:
/// some 80,000 events.
pub const QUEUE: u64 = 64 << 20;
/// Beside the file: more of the same, in the order of their names.
const MORE: &str = "conf.d";
/// A configuration is smaller, and there are fewer of them.
const FILE_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 256;

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: vec![25],
            kernel: Kernel::default(),
            history: Some(History::default()),
            socket: Some(Socket::default()),
            metrics: None,
            mta: None,
            diagnose: Diagnose::default(),
            spool: SPOOL.into(),
            sinks: Vec::new(),
        }
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The meaning of all files together.
    pub config: Config,
    /// Where its values came from.
    pub places: Places,
    /// The files, in the order in which they were read.
    pub files: Vec<PathBuf>,
    /// What is understood, and hardly meant.
    pub remarks: Vec<Problem>,
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// All that is wrong with keys and values.
    pub problems: Vec<Problem>,
    /// What the rest means, with the defaults of what is wrong, so that it can be looked at too;
    /// `None` where a file is not TOML, or cannot be read.
    pub rest: Option<Box<Loaded>>,
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], rest: None }
    }
}

/// The meaning of files, given by name and text; a key in a later one is stronger.
/// Pure.
///
/// # Errors
/// All that is wrong in any of them.
pub fn parse(files: &[(&str, &str)], surroundings: &Surroundings) -> Result<Config, Vec<Problem>> {
    let understood = understand(files, surroundings);
    understood.map(|(config, _)| config).map_err(|(problems, _)| problems)
}

type Understood = (Config, Heard);

/// The rest of what is wrong is there where every file is TOML.
fn understand(
    files: &[(&str, &str)],
    surroundings: &Surroundings,
) -> Result<Understood, (Vec<Problem>, Option<Box<Understood>>)> {
    let mut problems = Vec::new();
    let mut parsed = Vec::new();
    for (name, text) in files {
        match Document::parse(name, text) {
            Ok(document) => parsed.push(document),
            Err(problem) => problems.push(problem),
        }
    }
    let is_whole = problems.is_empty();
    let documents = Documents::new(parsed);
    let config = read::config(&documents, surroundings);
    let mut heard = documents.into_heard();
    problems.append(&mut heard.problems);
    match problems.is_empty() {
        true => Ok((config, heard)),
        false => Err((problems, is_whole.then(|| Box::new((config, heard))))),
    }
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`], and the files of `conf.d` beside it. The
    /// default file need not exist.
    ///
    /// # Errors
    /// All that is wrong, each with its place and its cure.
    pub fn load(file: Option<&Path>, surroundings: &Surroundings) -> Result<Loaded, Rejected> {
        let (files, texts) = read_all(file)?;
        let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
        let texts: Vec<_> = names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let loaded = |(config, heard): Understood| {
            let Heard { places, remarks, .. } = heard;
            Loaded { config, places, files: files.clone(), remarks }
        };
        understand(&texts, surroundings)
            .map(loaded)
            .map_err(|(problems, rest)| Rejected { problems, rest: rest.map(|rest| Box::new(loaded(*rest))) })
    }
}

fn read_all(file: Option<&Path>) -> Result<(Vec<PathBuf>, Vec<String>), Problem> {
    let first = file.unwrap_or(Path::new(DEFAULT_FILE));
    let (mut files, mut texts) = (Vec::new(), Vec::new());
    match read_file(first) {
        Ok(text) => {
            files.push(first.to_owned());
            texts.push(text);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {}
        Err(error) => return Err(unreadable(first, &error)),
    }
    for path in more_files(first)? {
        texts.push(read_file(&path).map_err(|error| unreadable(&path, &error))?);
        files.push(path);
    }
    Ok((files, texts))
}

/// `*.toml` in `conf.d` beside the file, in the order of their names.
fn more_files(first: &Path) -> Result<Vec<PathBuf>, Problem> {
    let directory = first.with_file_name(MORE);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&directory, &error)),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    files.sort();
    if files.len() > FILES_MAX {
        let text = format!("{} files, and at most {FILES_MAX} are read: put some together", files.len());
        return Err(Problem { place: directory.display().to_string(), text });
    }
    Ok(files)
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::other("it is larger than 1M, which no configuration is"));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    if error.kind() == io::ErrorKind::NotFound
        && let Ok(target) = std::fs::read_link(path)
    {
        let text =
            format!("it is a symbolic link to {}, which is not there: make that, or remove the link", target.display());
        return Problem { place: path.display().to_string(), text };
    }
    let cure = match error.kind() {
        io::ErrorKind::NotFound => ": name another one with --config",
        io::ErrorKind::PermissionDenied => ": let this user read it",
        io::ErrorKind::InvalidData => ": it must be UTF-8",
        io::ErrorKind::IsADirectory => ": name a file",
        _ => "",
    };
    Problem { place: path.display().to_string(), text: format!("it cannot be read: {error}{cure}") }
}

impl Default for Kernel {
    fn default() -> Self {
        Self { syscall_hooks: true, max_in_flight: 65_536, max_destinations: 65_536, ring_bytes: 2 << 20 }
    }
}

impl Default for History {
    fn default() -> Self {
        let age = Duration::from_hours(24 * 30);
        Self {
            path: crate::store::history::DEFAULT_PATH.into(),
            retention: Retention { age, bytes: 1 << 30 },
            queue_bytes: QUEUE,
        }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self { path: SOCKET.into(), group: GROUP.to_owned() }
    }
}

/// What to ask of the kernel; as the options of the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Attach the tracepoints on connect() and io_uring where fexit does not load.
    pub syscall_hooks: bool,
    /// Attempts that can be followed at the same time.
    pub max_in_flight: u32,
    /// Destinations that can be told apart.
    pub max_destinations: u32,
    /// Bytes of the ring buffer.
    pub ring_bytes: u32,
}

/// Where and how much to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The file.
    pub path: PathBuf,
    /// How much is kept.
    pub retention: Retention,
    /// Bytes of memory that may wait for its thread.
    pub queue_bytes: u64,
}

/// Where readers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// A unix socket.
    pub path: PathBuf,
    /// The group whose members may connect.
    pub group: String,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Who can ask.
    pub listen: Listen,
    /// Destinations that get a label of their own; 0: none.
    pub destinations: usize,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket, for root and the socket's group.
    Unix(PathBuf),
    /// A loopback address and port.
    Tcp(SocketAddr),
}

/// The mail server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtaLog {
    /// Whose it is.
    pub kind: mta::MtaKind,
    /// Where it is.
    pub log: Place,
    /// The key with which recipients' domains are hashed; `None`: they are not.
    pub domain_key: Option<PathBuf>,
    /// The server's process ids are not those of this host.
    pub has_own_process_ids: bool,
}

/// What `observer diagnose` does unasked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnose {
    /// Ask DNS whenever a destination is named.
    pub dns: bool,
    /// Lists to ask about this host's addresses, when DNS is asked.
    pub dnsbl: Vec<String>,
    /// Name servers to ask; none: those of /etc/resolv.conf.
    pub name_servers: Vec<SocketAddr>,
    /// A MaxMind DB file that names the operators of networks.
    pub asn_file: Option<PathBuf>,
}

/// A sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// Its name, which its spool has too: letters, digits, `-` and `_`.
    pub name: String,
    /// How records are written.
    pub format: Format,
    /// The private enterprise number in structured data of RFC 5424.
    pub enterprise: u32,
    /// Where they go.
    pub target: Target,
    /// Bytes of memory that may wait for its thread.
    pub queue_bytes: u64,
    /// How much of them may wait on disk.
    pub spool: Limits,
    /// Which events are sent.
    pub filter: Filter,
    /// What else is sent.
    pub kinds: Kinds,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Events of attempts that failed.
    pub failures: bool,
    /// Events of attempts that went well.
    pub successes: bool,
    /// Counts of each minute.
    pub minutes: bool,
    /// Alerts, and notices about observer itself.
    pub alerts: bool,
}

impl SinkConfig {
    /// True if the sink is to get it.
    pub fn wants(&self, entry: Entry<'_>) -> bool {
        match entry {
            Entry::Event(event) => {
                let is_of_kind =
                    if event.label == Label::Connected { self.kinds.successes } else { self.kinds.failures };
                is_of_kind && self.filter.admits(event)
            }
            Entry::Minute(_) => self.kinds.minutes,
            Entry::Alert(_) | Entry::Notice(_) => self.kinds.alerts,
        }
    }
}

#[cfg(test)]
mod tests;
