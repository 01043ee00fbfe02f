//! Watches a log's directory, so that no file comes and goes between two looks unnoticed.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, Event, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io;

use super::trail::{Change, Trail};

/// Changes that are taken at a look; the kernel queues 16,384 (`max_queued_events`).
const CHANGES_MAX: usize = 65_536;

/// The directory of a log.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    inotify: io::Result<OwnedFd>,
    trail: Trail,
}

impl Directory {
    /// Of this log, from now on.
    pub(super) fn of(log: &Path) -> Self {
        let path = log.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let name = log.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        Self { inotify: watch(&path), trail: Trail::new(name), path }
    }

    /// Why it is not watched.
    pub(super) fn trouble(&self) -> Option<String> {
        self.inotify.as_ref().err().map(|error| format!("{}: {error}", self.path.display()))
    }

    /// Takes what has changed; true if something has.
    pub(super) fn look(&mut self) -> bool {
        let Ok(inotify) = &self.inotify else { return false };
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut is_lost = false;
        let mut count = 0;
        while count < CHANGES_MAX
            && let Ok(event) = reader.next()
        {
            count += 1;
            is_lost |= event.events().contains(ReadFlags::IGNORED);
            change(&event).into_iter().for_each(|change| self.trail.take(change));
        }
        if is_lost {
            // The directory itself was removed or replaced.
            self.trail.take(Change::Unknown);
            self.inotify = watch(&self.path);
        }
        count > 0
    }

    /// What is known of its files.
    pub(super) fn trail(&mut self) -> &mut Trail {
        &mut self.trail
    }

    /// A file in it.
    pub(super) fn file(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }
}

fn watch(directory: &Path) -> io::Result<OwnedFd> {
    let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let flags = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
    add_watch(&inotify, directory, flags)?;
    Ok(inotify)
}

fn change(event: &Event<'_>) -> Option<Change> {
    let flags = event.events();
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Change::Unknown);
    }
    if flags.contains(ReadFlags::ISDIR) {
        return None;
    }
    let name = event.file_name()?.to_bytes().to_vec();
    if flags.contains(ReadFlags::CREATE) {
        Some(Change::Made(name))
    } else if flags.contains(ReadFlags::MOVED_FROM) {
        Some(Change::Left(name, event.cookie()))
    } else if flags.contains(ReadFlags::MOVED_TO) {
        Some(Change::Came(name, event.cookie()))
    } else if flags.contains(ReadFlags::DELETE) {
        Some(Change::Gone(name))
    } else {
        None
    }
}
