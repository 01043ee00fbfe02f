//! What can go wrong with a history file; each error is one line that names the
//! cure where there is one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::schema::VERSION;

/// The result of everything that touches the file.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the file could not be opened, written or read.
#[derive(Debug)]
pub enum Error {
    /// Another observer writes to it.
    Busy,
    /// It was made by a newer observer.
    Newer {
        /// Its schema version.
        found: u32,
    },
    /// It was made by an older observer, and a reader may not change it.
    Older {
        /// Its schema version.
        found: u32,
    },
    /// Nothing was ever recorded there.
    Empty,
    /// An SQLite file that observer did not make.
    Foreign,
    /// A row that observer cannot have written.
    Row {
        /// What is wrong with it.
        what: String,
    },
    /// The directory or the file could not be made or opened.
    Io(io::Error),
    /// SQLite's own.
    Sqlite(rusqlite::Error),
    /// Any of these, of the file at this path.
    At {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: Box<Error>,
    },
}

impl Error {
    pub(super) fn at(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::At { .. } => self,
            error => Self::At { path: path.into(), error: Box::new(error) },
        }
    }

    /// In few words what kind of error it is, for counting.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::At { error, .. } => error.cause(),
            Self::Busy => "database locked",
            Self::Newer { .. } | Self::Older { .. } | Self::Empty | Self::Foreign | Self::Row { .. } => {
                "not this program's database"
            }
            Self::Io(error) => io_cause(error.kind()),
            Self::Sqlite(error) => sqlite_cause(error.sqlite_error_code()),
        }
    }
}

fn io_cause(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk full",
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => "not writable",
        _ => "I/O error",
    }
}

fn sqlite_cause(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::DiskFull) => "disk full",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "database locked",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "not writable",
        Some(ErrorCode::CannotOpen) => "cannot be opened",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "database damaged",
        Some(ErrorCode::SystemIoFailure) => "I/O error",
        _ => "database error",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another observer records there: end it, or record to another file"),
            Self::Newer { found } => write!(
                f,
                "made by a newer observer (schema version {found}, this one knows up to {VERSION}): update observer, or \
                 use another file"
            ),
            Self::Older { found } => write!(
                f,
                "made by an older observer (schema version {found}, this one reads {VERSION}): `observer run` with this \
                 file brings it up to date"
            ),
            Self::Empty => f.write_str(
                "empty, so no history: `observer run` and `observer watch --record` write one, name it with --history",
            ),
            Self::Foreign => f.write_str("an SQLite database, but not one of observer's: use another file"),
            Self::Row { what } => write!(f, "{what}: the file was changed by something else"),
            Self::Io(error) => io_text(error, f),
            Self::Sqlite(error) => sqlite_text(error, f),
            Self::At { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

fn io_text(error: &io::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let cure = match error.kind() {
        io::ErrorKind::NotFound => "; make the directory above it first",
        io::ErrorKind::PermissionDenied => "; run as a user who may, or choose another file with --history",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space, or lower --retain-size",
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => "; choose another file with --history",
        _ => "",
    };
    write!(f, "{error}{cure}")
}

fn sqlite_text(error: &rusqlite::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let cure = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free some space, or lower --retain-size",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; its directory must be writable for who records, and the file readable for who reads"
        }
        Some(ErrorCode::NotADatabase) => "; name a history that observer has written with --history",
        Some(ErrorCode::DatabaseCorrupt) => "; move it away, and a new one is begun",
        _ => "",
    };
    write!(f, "{error}{cure}")
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
