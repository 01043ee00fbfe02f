//! The alerts that are open, in a file: what observer leaves open because it is killed, the
//! next start ends.
//!
//! An alert is on its way to receivers only when the file holds it, and leaves the file ten
//! seconds after its end went the same way: a kill at any moment leaves none open for good.
//! It can cost a second end of one that had ended already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use observer_core::scope::{MAX_ACTIVE, OpenScope};
use serde::{Deserialize, Serialize};

use super::Failure;
use super::live::say;
use crate::config::Config;

/// Its name, in the directory of spools, or of history where there are no sinks.
const NAME: &str = "open-alerts.json";
/// What a version that writes something else must not take for its own.
const VERSION: u32 = 1;
/// Bytes of a file worth reading: what [`MAX_ACTIVE`] alerts take, several times over.
const LARGEST: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    open: Vec<OpenScope>,
}

/// The file, and the thread that writes it: a disk may take its time.
pub(super) struct OpenAlerts {
    shared: Arc<Shared>,
    /// Notes so far.
    notes: u64,
    /// The trouble that was said.
    said: Option<String>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be written: the latest note, with its number.
    wanted: Option<(u64, Vec<OpenScope>)>,
    /// Number of the last note that was written, or could not be.
    done: u64,
    /// Why the last note could not be written.
    trouble: Option<String>,
    is_over: bool,
}

impl OpenAlerts {
    /// Starts to keep the file of this configuration, and reads what is open. `None` where
    /// alerts go nowhere that outlives observer.
    ///
    /// # Errors
    /// If no thread can be started. That a file cannot be read is said.
    pub(super) fn start(config: &Config) -> Result<Option<(Self, Vec<OpenScope>)>, Failure> {
        let places = places(config);
        let Some(path) = places.first().cloned() else { return Ok(None) };
        let mut open: Vec<OpenScope> = places.iter().flat_map(|place| recall(place)).collect();
        open.truncate(MAX_ACTIVE);
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("open-alerts".to_owned())
            .spawn(move || writer.write_to(&path, &places[1..]))
            .map_err(|error| Failure::new("cannot start a thread", error))?;
        Ok(Some((Self { shared, notes: 0, said: None }, open)))
    }

    /// Has this written instead of what was noted before.
    pub(super) fn note(&mut self, open: Vec<OpenScope>) {
        self.notes += 1;
        self.shared.lock().wanted = Some((self.notes, open));
        self.shared.changed.notify_all();
    }

    /// True once the last note is written, or could not be, which is said.
    pub(super) fn is_noted(&mut self) -> bool {
        let (done, trouble) = {
            let state = self.shared.lock();
            (state.done, state.trouble.clone())
        };
        if trouble != self.said {
            match &trouble {
                Some(trouble) => say(&format!("{trouble}: if observer is killed, receivers keep open alerts open")),
                None => say("the list of open alerts is written again"),
            }
            self.said = trouble;
        }
        done == self.notes
    }

    /// Waits until the last note is written.
    pub(super) fn finish(self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.shared.lock();
        state.is_over = true;
        self.shared.changed.notify_all();
        while state.done < self.notes
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .map_or_else(|error| error.into_inner().0, |(state, _)| state);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A note is replaced whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread. `others` held what this file holds from now on.
    fn write_to(&self, path: &Path, others: &[PathBuf]) {
        let mut state = self.lock();
        loop {
            if let Some((number, open)) = state.wanted.take() {
                drop(state);
                let written = write(path, open).and_then(|()| others.iter().try_for_each(|other| remove(other)));
                state = self.lock();
                state.done = number;
                state.trouble = written.err().map(|error| format!("cannot write {}: {error}", path.display()));
                self.changed.notify_all();
            } else if state.is_over {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Where the list can be: where this configuration keeps it, and where it was kept while
/// there were no sinks.
pub(super) fn places(config: &Config) -> Vec<PathBuf> {
    let spools = (!config.sinks.is_empty()).then(|| config.spool.join(NAME));
    let history = config.history.as_ref().map(|history| history.path.with_file_name(NAME));
    let mut places: Vec<_> = spools.into_iter().chain(history).collect();
    places.dedup();
    places
}

/// What a file holds; nothing, and a word on it, if that cannot be known.
fn recall(path: &Path) -> Vec<OpenScope> {
    match read(path) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            say(&format!("{} ignored: {error}: receivers may keep alerts of the last run open", path.display()));
            Vec::new()
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<OpenScope>> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("larger than 1M"));
    }
    let content: Content = serde_json::from_slice(&text)?;
    if content.version != VERSION {
        return Err(io::Error::other(format!("version {}, expected {VERSION}", content.version)));
    }
    Ok(content.open)
}

/// Replaces the file as a whole, also in a crash of the host. Without open alerts there is
/// no file.
fn write(path: &Path, open: Vec<OpenScope>) -> io::Result<()> {
    if open.is_empty() {
        return remove(path);
    }
    let content = serde_json::to_vec(&Content { version: VERSION, open })?;
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_directory(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, parse};
    use observer_core::alert::Alert;

    fn config(directory: &Path, sinks: &str) -> Config {
        let directory = directory.display();
        let text = format!(
            "[history]\npath = '{directory}/history/h.sqlite'\n[spool]\ndirectory = '{directory}/spool'\n{sinks}"
        );
        parse(&[("test", &text)], &Surroundings::default()).unwrap()
    }

    const SINK: &str = "[sink.x]\ntype = 'stdout'";

    fn open() -> Vec<OpenScope> {
        let open = |alert: Alert| OpenScope { since: alert.change.since, verdict: alert.change.verdict };
        observer_core::sample::alerts().into_iter().map(open).collect()
    }

    fn noted(alerts: &mut OpenAlerts) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !alerts.is_noted() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_was_open_is_read_at_the_next_start_wherever_it_is_kept() {
        let place = tempfile::tempdir().unwrap();
        for directory in ["history", "spool"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        let start = |sinks| OpenAlerts::start(&config(place.path(), sinks)).unwrap().unwrap();
        let (mut without, before) = start("");
        assert_eq!(before, []);
        without.note(open());
        noted(&mut without);
        without.finish(Duration::from_secs(30));
        assert!(place.path().join("history/open-alerts.json").exists());
        // Sinks are new, and with them another place.
        let (mut with, before) = start(SINK);
        assert_eq!(before, open());
        with.note(open());
        noted(&mut with);
        assert!(!place.path().join("history/open-alerts.json").exists());
        assert_eq!(start(SINK).1, open());
        with.note(Vec::new());
        with.finish(Duration::from_secs(30));
        assert_eq!(start(SINK).1, []);
        assert_eq!(fs::read_dir(place.path().join("spool")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_such_file_is_ignored_and_replaced() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("spool")).unwrap();
        let path = place.path().join("spool/open-alerts.json");
        for content in [&b"{"[..], b"{\"version\":2,\"open\":[]}", b"", &[b' '; LARGEST as usize + 1]] {
            fs::write(&path, content).unwrap();
            assert!(read(&path).is_err());
            let (mut alerts, before) = OpenAlerts::start(&config(place.path(), SINK)).unwrap().unwrap();
            assert_eq!(before, []);
            alerts.note(open());
            noted(&mut alerts);
            assert_eq!(read(&path).unwrap(), open());
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_said_and_holds_nothing_up() {
        let place = tempfile::tempdir().unwrap();
        let (mut alerts, _) = OpenAlerts::start(&config(place.path(), SINK)).unwrap().unwrap();
        alerts.note(open());
        noted(&mut alerts);
        assert!(alerts.said.as_ref().unwrap().contains("cannot write"));
        alerts.finish(Duration::from_secs(30));
    }

    #[test]
    fn where_alerts_go_nowhere_there_is_no_file() {
        let config = parse(&[("test", "[history]\nenabled = false")], &Surroundings::default()).unwrap();
        assert!(OpenAlerts::start(&config).unwrap().is_none());
    }
}
