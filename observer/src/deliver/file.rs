//! A file, rotated by renaming; and standard output, which is written the same way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::target::FileTarget;

/// Readable by the file's group, and by nobody else: events name users and processes.
const MODE: u32 = 0o640;

/// Something that takes whole lines, here and now.
pub(super) trait Lines: Send {
    /// Opens it, if it is not open.
    fn open(&mut self) -> io::Result<()>;
    /// Writes them all, or leaves nothing of them behind where that is possible.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
    /// The next write opens it anew.
    fn close(&mut self);
}

/// An open file, or one that is yet to be opened. Others may rename or truncate it
/// meanwhile: all that is remembered of it is the descriptor.
pub(super) struct RotatedFile {
    target: FileTarget,
    open: Option<File>,
}

impl RotatedFile {
    /// Opens nothing yet.
    pub(super) fn new(target: FileTarget) -> Self {
        Self { target, open: None }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.open.take() {
            Some(file) => file,
            None => open(&self.target.path).map_err(|error| self.at(&error))?,
        };
        Ok(self.open.insert(file))
    }

    /// An error of this file, which it names.
    fn at(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.target.path.display()))
    }

    /// `PATH.2` becomes `PATH.3`, `PATH.1` `PATH.2`, `PATH` `PATH.1`; the last goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        let path = &self.target.path;
        if self.target.keep == 0 {
            return ignore_missing(fs::remove_file(path));
        }
        for nth in (1..self.target.keep).rev() {
            ignore_missing(fs::rename(numbered(path, nth), numbered(path, nth + 1)))?;
        }
        ignore_missing(fs::rename(path, numbered(path, 1)))
    }
}

impl Lines for RotatedFile {
    fn open(&mut self) -> io::Result<()> {
        self.file().map(drop)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let limit = self.target.rotate_bytes.unwrap_or(u64::MAX);
        let len = self.file()?.metadata()?.len();
        if len > 0 && len.saturating_add(lines.len() as u64) > limit {
            self.rotate().map_err(|error| self.at(&error))?;
        }
        let file = self.file()?;
        let (written, result) = write_counted(file, lines);
        if result.is_err() && written > 0 {
            take_back(file, written as u64)?;
        }
        result.map_err(|error| self.at(&error))
    }

    fn close(&mut self) {
        self.open = None;
    }
}

/// Opens for appending. A line whose end was lost with the host, or with the room on
/// the disk, gets one, so that it does not spoil the next.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    let metadata = file.metadata()?;
    let mut last = [0];
    if metadata.is_file()
        && let Some(end) = metadata.len().checked_sub(1)
        && file.read_at(&mut last, end)? == 1
        && last != *b"\n"
    {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Writes, and says how much of it was.
fn write_counted(file: &mut File, mut bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(len) => {
                written += len;
                bytes = &bytes[len..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Cuts off what was just appended, for half a line would spoil the next one. Whoever
/// truncates the file (`copytruncate` of logrotate) may have taken it already: a length
/// that is remembered would leave a hole.
fn take_back(file: &File, written: u64) -> io::Result<()> {
    let len = file.metadata()?.len();
    len.checked_sub(written).map_or(Ok(()), |before| file.set_len(before))
}

impl Lines for io::Stdout {
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut stdout = self.lock();
        stdout.write_all(lines).and_then(|()| stdout.flush())
    }

    fn close(&mut self) {}
}

fn numbered(path: &Path, nth: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{nth}"));
    PathBuf::from(name)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn contents(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn target(directory: &Path, rotate_bytes: Option<u64>, keep: u32) -> RotatedFile {
        RotatedFile::new(FileTarget { path: directory.join("events"), rotate_bytes, keep })
    }

    #[test]
    fn rotates_by_renaming_and_keeps_so_many() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = target(directory.path(), Some(8), 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "a longer line than fits\n", "six\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            contents(directory.path()),
            [named("events", "six\n"), named("events.1", "a longer line than fits\n"), named("events.2", "four\n")]
        );
    }

    #[test]
    fn goes_on_where_it_ended_and_follows_a_rename() {
        let directory = tempfile::tempdir().unwrap();
        target(directory.path(), None, 0).write(b"one\n").unwrap();
        let mut file = target(directory.path(), None, 0);
        file.write(b"two\n").unwrap();
        fs::rename(directory.path().join("events"), directory.path().join("old")).unwrap();
        file.write(b"three\n").unwrap();
        file.close();
        file.write(b"four\n").unwrap();
        let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(contents(directory.path()), [named("events", "four\n"), named("old", "one\ntwo\nthree\n")]);
    }

    #[test]
    fn half_a_line_that_was_left_gets_its_end() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("events"), "one\nhalf a l").unwrap();
        let mut file = target(directory.path(), None, 0);
        file.write(b"two\n").unwrap();
        file.close();
        file.write(b"three\n").unwrap();
        assert_eq!(contents(directory.path())[0].1, "one\nhalf a l\ntwo\nthree\n");
    }

    #[test]
    fn whoever_truncates_it_meanwhile_moves_the_size_that_it_is_rotated_at() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = target(directory.path(), Some(12), 1);
        file.write(b"one\ntwo\n").unwrap();
        File::options().write(true).truncate(true).open(directory.path().join("events")).unwrap();
        file.write(b"three\n").unwrap();
        assert_eq!(contents(directory.path()), [("events".to_owned(), "three\n".to_owned())]);
    }

    #[test]
    fn is_not_for_everyone_to_read() {
        let directory = tempfile::tempdir().unwrap();
        target(directory.path(), None, 0).write(b"one\n").unwrap();
        let mode = fs::metadata(directory.path().join("events")).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
    }

    #[test]
    fn a_directory_in_its_place_is_an_error_not_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("events")).unwrap();
        assert!(target(directory.path(), None, 0).write(b"one\n").is_err());
    }
}
