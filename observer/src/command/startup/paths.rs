//! One path that is named for several things: whichever of them writes last destroys the others.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use super::super::open_alerts;
use super::super::socket::unfinished;
use crate::config::{Config, Listen, Places, Problem};
use crate::deliver::target::{JournaldTarget, SyslogReceiver, SyslogTarget, Target};
use crate::deliver::{dead_letters, spool_name};
use crate::follow;
use crate::store::history;

/// Symbolic links that are followed in one path, as the kernel does.
const LINKS_MAX: usize = 40;

/// What a path is used for.
#[derive(Clone, Debug)]
struct Use {
    section: String,
    key: &'static str,
    /// What it is of the key's: empty, it is what the key names.
    part: &'static str,
    path: PathBuf,
    way: Way,
    resolved: PathBuf,
    identity: Option<(u64, u64, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Read, or somebody else's.
    Read,
    /// A file, or a socket, that observer makes.
    Made,
    /// A file that is appended to, and renamed to so many others in turn.
    Appended(u32),
    /// A directory in which others have files, too.
    Shared,
    /// A directory of observer's alone.
    Own,
}

/// Every path that is named for two things of which one writes, also by way of symbolic links, hard
/// links, `..` and repeated slashes. `files` are those of the configuration.
pub(super) fn shared(config: &Config, places: &Places, files: &[PathBuf]) -> Vec<Problem> {
    let uses = uses(config, files);
    let mut problems: Vec<Problem> = Vec::new();
    for (nth, later) in uses.iter().enumerate() {
        let is_other = |earlier: &&Use| (&earlier.section, earlier.key) != (&later.section, later.key);
        let mut earlier = uses[..nth].iter().filter(is_other);
        let Some((earlier, how)) = earlier.find_map(|earlier| Some((earlier, clash(earlier, later)?))) else {
            continue;
        };
        let text = format!("{} {how} {}: give each a path of its own", later.shown(), earlier.named());
        let problem = places.problem(&later.section, later.key, &text);
        if !problems.iter().any(|known| known.place == problem.place) {
            problems.push(problem);
        }
    }
    problems
}

fn clash(a: &Use, b: &Use) -> Option<&'static str> {
    if a.way == Way::Read && b.way == Way::Read {
        return None;
    }
    let is_same = a.resolved == b.resolved || (a.identity.is_some() && a.identity == b.identity);
    let are_both = |way: fn(Way) -> bool| way(a.way) && way(b.way);
    if is_same {
        let is_appended = |way: Way| matches!(way, Way::Appended(_));
        let is_device = fs::metadata(&a.path).is_ok_and(|file| file.file_type().is_char_device());
        let is_harmless = (are_both(is_appended) && is_device) || are_both(|way| way == Way::Shared);
        return (!is_harmless).then_some("names the same file as");
    }
    if a.is_rotated_to(&b.resolved) {
        return Some("names a file that is rotated away by");
    }
    if b.is_rotated_to(&a.resolved) {
        return Some("is rotated to the file of");
    }
    let is_in = |inner: &Use, outer: &Use| inner.resolved.starts_with(&outer.resolved);
    let holds = |outer: &Use| outer.way != Way::Shared;
    if is_in(b, a) && holds(a) {
        return Some("lies below");
    }
    (is_in(a, b) && holds(b)).then_some("lies above")
}

impl Use {
    fn new(section: &str, key: &'static str, path: &Path, way: Way) -> Self {
        let resolved = resolve(path, LINKS_MAX);
        let identity = identity(&resolved);
        Self { section: section.to_owned(), key, part: "", path: path.to_owned(), way, resolved, identity }
    }

    fn part(&self, part: &'static str, path: &Path, way: Way) -> Self {
        Self { part, ..Self::new(&self.section, self.key, path, way) }
    }

    fn beside(&self, part: &'static str, suffix: &str) -> Self {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        self.part(part, Path::new(&name), Way::Made)
    }

    fn is_rotated_to(&self, other: &Path) -> bool {
        let Way::Appended(keep) = self.way else { return false };
        let rest = other.as_os_str().to_str().zip(self.resolved.to_str()).and_then(|(o, s)| o.strip_prefix(s));
        let number = rest.and_then(|rest| rest.strip_prefix('.')).and_then(|number| number.parse::<u32>().ok());
        number.is_some_and(|number| (1..=keep).contains(&number))
    }

    fn shown(&self) -> String {
        match self.part {
            "" => format!("{:?}", self.path),
            part => format!("({part} is {:?})", self.path),
        }
    }

    fn named(&self) -> String {
        let resolved = if self.path == self.resolved { String::new() } else { format!(" ({})", self.path.display()) };
        match (self.section.as_str(), self.part) {
            ("", _) => format!("the configuration file {}", self.path.display()),
            (section, "") => format!("[{section}] {}{resolved}", self.key),
            (section, part) => format!("{part} of [{section}] {}, {}", self.key, self.path.display()),
        }
    }
}

fn uses(config: &Config, files: &[PathBuf]) -> Vec<Use> {
    let mut uses: Vec<Use> = files.iter().map(|file| Use::new("", "", file, Way::Read)).collect();
    if let Some(history) = &config.history {
        let file = Use::new("history", "path", &history.path, Way::Made);
        let beside = [
            ("the write-ahead log", "-wal"),
            ("the index of the write-ahead log", "-shm"),
            ("the journal", "-journal"),
            ("the lock", history::LOCK_SUFFIX),
            ("the reserve", history::RESERVE_SUFFIX),
        ];
        let beside: Vec<_> = beside.into_iter().map(|(part, suffix)| file.beside(part, suffix)).collect();
        uses.push(file);
        uses.extend(beside);
    }
    if let Some(socket) = &config.socket {
        uses.extend(listening("socket", "path", &socket.path));
    }
    if let Some(Listen::Unix(path)) = config.metrics.as_ref().map(|metrics| &metrics.listen) {
        uses.extend(listening("metrics", "listen", path));
    }
    if let Some(mta) = &config.mta {
        uses.extend(mta.domain_key.iter().map(|key| Use::new("mta", "domain_key_file", key, Way::Read)));
        if let follow::Place::File(log) = &mta.log {
            uses.push(Use::new("mta", "log", log, Way::Read));
        }
    }
    uses.extend(config.diagnose.asn_file.iter().map(|file| Use::new("diagnose", "asn_file", file, Way::Read)));
    uses.extend(of_sinks(config));
    uses
}

fn listening(section: &str, key: &'static str, path: &Path) -> [Use; 2] {
    let socket = Use::new(section, key, path, Way::Made);
    let new = socket.part("the socket before it is whole", &unfinished(path), Way::Made);
    [socket, new]
}

fn of_sinks(config: &Config) -> Vec<Use> {
    let mut uses = Vec::new();
    if !config.sinks.is_empty() || config.history.is_some() {
        let spool = Use::new("spool", "directory", &config.spool, Way::Shared);
        let lists = open_alerts::places(config);
        uses.extend(lists.iter().map(|list| spool.part("the list of open alerts", list, Way::Made)));
        if !config.sinks.is_empty() {
            uses.push(spool);
        }
    }
    for sink in &config.sinks {
        let section = format!("sink.{}", sink.name);
        if let Some(name) = spool_name(sink) {
            let directory = config.spool.join(name);
            let spool = Use::new(&section, "type", &directory, Way::Own);
            uses.push(spool.part("the dead letters", &dead_letters(&directory), Way::Appended(1)));
            uses.push(Use { part: "the spool", ..spool });
        }
        match &sink.target {
            Target::File(file) => {
                let keep = if file.rotate_bytes.is_some() { file.keep } else { 0 };
                uses.push(Use::new(&section, "path", &file.path, Way::Appended(keep)));
            }
            Target::Journald(JournaldTarget { socket: path, .. })
            | Target::Syslog(SyslogTarget { receiver: SyslogReceiver::Unix(path), .. }) => {
                uses.push(Use::new(&section, "address", path, Way::Read));
            }
            _ => {}
        }
        uses.extend(sink.target.named_files().into_iter().map(|(key, file)| Use::new(&section, key, file, Way::Read)));
    }
    uses
}

/// Where a path leads, as far as there is something; `..` and repeated slashes are gone.
fn resolve(path: &Path, links: usize) -> PathBuf {
    let mut resolved =
        if path.is_absolute() { PathBuf::from("/") } else { std::env::current_dir().unwrap_or_default() };
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let next = resolved.join(name);
                resolved = match fs::read_link(&next) {
                    Ok(target) if links > 0 => resolve(&resolved.join(target), links - 1),
                    _ => next,
                };
            }
            Component::ParentDir => {
                resolved.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// Device and inode of what is there, or of the nearest directory above with the rest of the path:
/// hard links and bind mounts have several paths.
fn identity(resolved: &Path) -> Option<(u64, u64, PathBuf)> {
    resolved.ancestors().find_map(|above| {
        let found = fs::symlink_metadata(above).ok()?;
        Some((found.dev(), found.ino(), resolved.strip_prefix(above).ok()?.to_owned()))
    })
}
