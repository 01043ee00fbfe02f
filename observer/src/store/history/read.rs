//! Reads history, also while it is written: rows are streamed, so that memory is
//! bounded whatever the file holds.

mod rows;
mod sums;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

pub use self::rows::Brief;
use super::entry::{COLUMNS, Stored as _, minute, nanoseconds, read_address, text, time_of_nanoseconds};
use super::{DeliveryRow, Entry, Error, Result, delivery, schema};
use observer_core::label::Label;
pub use observer_core::record::entry::{DestinationTotals, Tallies, Tally};

/// For a writer in the middle of a migration; ordinary writers block no reader.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Which part of history is asked for. Values of one kind are alternatives,
/// kinds add up; a kind without values admits everything.
///
/// Counts come by the minute: there, a time within a minute means the whole of
/// that minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Attempts that ended at this time or later.
    pub since: Option<Timestamp>,
    /// Attempts that ended before this time.
    pub until: Option<Timestamp>,
    /// Labels.
    pub labels: Vec<Label>,
    /// Destination prefixes.
    pub destinations: Vec<IpNet>,
    /// Prefixes of the local address.
    pub sources: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<u16>,
}

/// One local address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTotals {
    /// The address; `None` for attempts that ended before one was chosen.
    pub source: Option<IpAddr>,
    /// Its outcomes.
    pub outcomes: Tallies,
}

/// A history file, open for reading.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    path: PathBuf,
}

impl History {
    /// Opens a file that [`super::Recorder`] writes, or has written. Changes
    /// nothing in it.
    ///
    /// # Errors
    /// One line that names the file and, where there is one, the cure.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        let open = || {
            // SQLite's own error for this does not tell why.
            if std::fs::File::open(path)?.metadata()?.is_dir() {
                return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into());
            }
            let connection = connect(path)?;
            schema::check(&connection)?;
            Ok(Self { connection, path: path.to_owned() })
        };
        open().map_err(|error: Error| error.at(path))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs several questions on one state of the file, whatever is written
    /// meanwhile. Keep it short: the writer cannot recycle its log until then.
    ///
    /// # Errors
    /// Those of `ask`, and of SQLite.
    pub fn snapshot<T>(&self, ask: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let transaction = self.connection.unchecked_transaction().map_err(|error| self.failed(error))?;
        let answer = ask(self);
        transaction.finish().map_err(|error| self.failed(error))?;
        answer
    }

    /// When the first and the last attempt that history holds ended.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn span(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        let read = |order: &str| -> Result<Option<Timestamp>> {
            let sql = format!("SELECT {order}(time) FROM attempt");
            let time: Option<i64> = self.connection.query_row(&sql, (), |row| row.get(0))?;
            time.map(time_of_nanoseconds).transpose()
        };
        let span = || Ok(read("min")?.zip(read("max")?));
        span().map_err(|error: Error| error.at(&self.path))
    }

    /// Hands over every attempt asked for, oldest first, until `take` breaks.
    /// Returns how many were handed over.
    ///
    /// # Errors
    /// Those of SQLite, and a row that observer cannot have written.
    pub fn attempts(&self, question: &Question, mut take: impl FnMut(Entry) -> ControlFlow<()>) -> Result<u64> {
        let mut handed = 0;
        let condition = question.condition("time", nanoseconds);
        let sql = format!("SELECT {COLUMNS} FROM attempt WHERE {condition} ORDER BY time, seq");
        let _ = self.rows(question, &sql, |row| {
            handed += 1;
            Ok(take(Entry::read(row)?))
        })?;
        Ok(handed)
    }

    /// Hands over what the mail server's log says of deliveries, oldest first, until
    /// `take` breaks: to the destinations asked for, and to recipients of one of these
    /// domains. Labels, sources and ports are not in a log, and say nothing here.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn deliveries(
        &self,
        question: &Question,
        domains: &[String],
        mut take: impl FnMut(DeliveryRow) -> ControlFlow<()>,
    ) -> Result<()> {
        let of_time = Question { since: question.since, until: question.until, ..Question::default() };
        let mut condition = of_time.condition("time", nanoseconds);
        if !question.destinations.is_empty() || !domains.is_empty() {
            condition.push_str(" AND (observer_to(ip) OR observer_for(recipient_domain))");
        }
        self.define_words("observer_for", domains).map_err(|error| error.at(&self.path))?;
        let sql = format!("SELECT {} FROM delivery WHERE {condition} ORDER BY time, seq", delivery::COLUMNS);
        self.rows(question, &sql, |row| Ok(take(DeliveryRow::read(row)?))).map(drop)
    }

    /// Hands over which recipients' domain and which host's name the mail server's log has for an
    /// address, each once, until `take` breaks.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn names(
        &self,
        question: &Question,
        mut take: impl FnMut(IpAddr, Option<&str>, Option<&str>) -> ControlFlow<()>,
    ) -> Result<()> {
        let of_time = Question { since: question.since, until: question.until, ..Question::default() };
        let mut condition = of_time.condition("time", nanoseconds);
        if !question.destinations.is_empty() {
            condition.push_str(" AND ");
            condition.push_str(&Question::destined("ip", &question.destinations));
        }
        let sql =
            format!("SELECT DISTINCT ip, recipient_domain, host FROM delivery WHERE {condition} AND ip IS NOT NULL");
        let each = |row: &Row<'_>| {
            let (domain, host) = (text(row, 1)?, text(row, 2)?);
            let flow = read_address(row, 0)?.map(|ip| take(ip, domain.as_deref(), host.as_deref()));
            Ok(flow.unwrap_or(ControlFlow::Continue(())))
        };
        self.rows(question, &sql, each).map(drop)
    }

    fn rows(
        &self,
        question: &Question,
        sql: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let mut run = || {
            self.define("observer_to", &question.destinations)?;
            self.define("observer_from", &question.sources)?;
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query(())?;
            while let Some(row) = rows.next()? {
                if each(row)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        run().map_err(|error: Error| error.at(&self.path))
    }

    /// An SQL function that says whether an address lies in one of the prefixes.
    fn define(&self, name: &'static str, prefixes: &[IpNet]) -> Result<()> {
        let prefixes = prefixes.to_vec();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        Ok(self.connection.create_scalar_function(name, 1, flags, move |context| {
            let ValueRef::Text(text) = context.get_raw(0) else { return Ok(false) };
            let ip: Option<IpAddr> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            Ok(ip.is_some_and(|ip| prefixes.iter().any(|prefix| prefix.contains(&ip))))
        })?)
    }

    /// An SQL function that says whether a text is one of these, whatever its case.
    fn define_words(&self, name: &'static str, words: &[String]) -> Result<()> {
        let words = words.to_vec();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        Ok(self.connection.create_scalar_function(name, 1, flags, move |context| {
            let ValueRef::Text(text) = context.get_raw(0) else { return Ok(false) };
            Ok(words.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(text)))
        })?)
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        Error::from(error).at(&self.path)
    }
}

impl Question {
    /// The question with its times rounded outwards to whole minutes.
    fn whole_minutes(&self) -> Self {
        let until = self.until.map(|until| {
            let start = minute(until);
            let is_whole = i128::from(start) * 1_000_000_000 == until.as_nanosecond();
            Timestamp::from_second(if is_whole { start } else { start + 60 }).unwrap_or(Timestamp::MAX)
        });
        Self { until, ..self.clone() }
    }

    /// Addresses as tables write them are text of ours, too.
    fn destined(column: &str, destinations: &[IpNet]) -> String {
        let is_host = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        if destinations.len() > COMPARED || !destinations.iter().all(is_host) {
            return format!("observer_to({column})");
        }
        let texts: Vec<_> = destinations.iter().map(|host| format!("'{}'", host.addr().to_canonical())).collect();
        format!("{column} IN ({})", texts.join(", "))
    }

    /// An SQL condition. Whatever goes into it is a number or a word of ours.
    fn condition(&self, time: &str, number: impl Fn(Timestamp) -> i64) -> String {
        let mut condition = "1".to_owned();
        // Writing to a String cannot fail.
        if let Some(since) = self.since {
            let _ = write!(condition, " AND {time} >= {}", number(since));
        }
        if let Some(until) = self.until {
            let _ = write!(condition, " AND {time} < {}", number(until));
        }
        if !self.labels.is_empty() {
            let labels: Vec<_> = self.labels.iter().map(|label| format!("'{}'", label.as_str())).collect();
            let _ = write!(condition, " AND label IN ({})", labels.join(", "));
        }
        if !self.ports.is_empty() {
            let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
            let _ = write!(condition, " AND dst_port IN ({})", ports.join(", "));
        }
        if !self.destinations.is_empty() {
            condition.push_str(" AND ");
            condition.push_str(&Self::destined("dst_ip", &self.destinations));
        }
        if !self.sources.is_empty() {
            condition.push_str(" AND observer_from(src_ip)");
        }
        condition
    }
}

/// Single addresses that are compared as text, which is quick.
const COMPARED: usize = 64;

/// NULL is none, and so is what observer cannot have written.
fn count_of(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

fn time_of_seconds(seconds: i64) -> Result<Timestamp> {
    Timestamp::from_second(seconds).map_err(|error| Error::Row { what: error.to_string() })
}

/// Fails if the file is there and is another program's, or a newer observer's. Changes nothing in it.
///
/// # Errors
/// One line without the file's name.
pub fn ensure_ours(path: &Path) -> Result<()> {
    // An empty one is as good as none. It is not opened here: closing it would release the locks of
    // a recorder in this process.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(file) if file.is_dir() => return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into()),
        Ok(file) if file.len() == 0 => return Ok(()),
        found => found.map(drop)?,
    }
    // Of the file alone, without what SQLite makes beside it: there may be no room for that.
    let connection = open(path.as_os_str().as_encoded_bytes(), "immutable=1")?;
    match schema::check(&connection) {
        Err(Error::Older { .. } | Error::Empty) => Ok(()),
        // Any other error is reported when the file is opened to be written.
        Err(Error::Sqlite(error)) if error.sqlite_error_code() != Some(ErrorCode::NotADatabase) => Ok(()),
        checked => checked,
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = open(path.as_os_str().as_encoded_bytes(), "mode=ro")?;
    match connection.query_row("SELECT count(*) FROM sqlite_master", (), |_| Ok(())) {
        // Without its side files, SQLite wants to make them, and who may only
        // read the directory cannot. Nobody writes then, or they would be there.
        Err(error) if is_cannot_open(&error) && !side_file(path, "-wal").exists() => {
            open(path.as_os_str().as_encoded_bytes(), "immutable=1")
        }
        done => done.map(|()| connection).map_err(Error::from),
    }
}

fn is_cannot_open(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn open(path: &[u8], option: &str) -> Result<Connection> {
    let mut uri = "file:".to_owned();
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(uri, "%{byte:02x}")),
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("{uri}?{option}"), flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}
