//! What history keeps of an event: one row of the table `attempt`.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Row, Statement};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;

use super::{Error, Result};

pub(super) use observer_core::record::entry::nanoseconds;
pub use observer_core::record::entry::{Entry, MinuteKey, minute, whole_minute};

use observer_core::event::{Endpoint, Evidence, Process};
use observer_core::label::{Origin, Reason};

/// The columns that [`Stored::bind`] fills and [`Stored::read`] reads, in order.
pub(super) const COLUMNS: &str = "id, time, label, reason, origin, active_refusal, errno, src_ip, src_port, dst_ip, \
    dst_port, elapsed_ns, handshake_ns, syn_retransmits, pid, uid, comm, cgroup, netns, evidence";

pub(super) fn time_of_nanoseconds(nanoseconds: i64) -> Result<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).map_err(|error| Error::Row { what: error.to_string() })
}

fn of_duration(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A row of a table.
pub(super) trait Stored: Sized {
    /// Fills the parameters of a statement, from the first on, one for each column.
    fn bind(&self, insert: &mut Statement<'_>) -> rusqlite::Result<()>;

    /// Reads a row of all columns.
    fn read(row: &Row<'_>) -> Result<Self>;
}

impl Stored for Entry {
    fn bind(&self, insert: &mut Statement<'_>) -> rusqlite::Result<()> {
        let process = self.process.as_ref();
        let evidence = (self.evidence != Evidence::default()).then(|| serde_json::to_string(&self.evidence));
        let evidence =
            evidence.transpose().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        insert.raw_bind_parameter(1, &self.id)?;
        insert.raw_bind_parameter(2, nanoseconds(self.time))?;
        insert.raw_bind_parameter(3, self.label.as_str())?;
        insert.raw_bind_parameter(4, self.reason.map(Reason::as_str))?;
        insert.raw_bind_parameter(5, self.origin.map(Origin::as_str))?;
        insert.raw_bind_parameter(6, self.active_refusal)?;
        insert.raw_bind_parameter(7, &self.errno)?;
        insert.raw_bind_parameter(8, address(self.src.ip))?;
        insert.raw_bind_parameter(9, self.src.port)?;
        insert.raw_bind_parameter(10, address(self.dst.ip))?;
        insert.raw_bind_parameter(11, self.dst.port)?;
        insert.raw_bind_parameter(12, self.elapsed.map(of_duration))?;
        insert.raw_bind_parameter(13, self.handshake.map(of_duration))?;
        insert.raw_bind_parameter(14, self.syn_retransmits)?;
        insert.raw_bind_parameter(15, process.map(|process| process.pid))?;
        insert.raw_bind_parameter(16, process.map(|process| process.uid))?;
        insert.raw_bind_parameter(17, process.map(|process| &process.comm))?;
        insert.raw_bind_parameter(18, process.and_then(|process| process.cgroup.as_ref()))?;
        insert.raw_bind_parameter(19, process.map(|process| process.netns))?;
        insert.raw_bind_parameter(20, evidence)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        let evidence = text(row, 19)?.map(|json| serde_json::from_str(&json));
        let evidence = evidence.transpose().map_err(|error| Error::Row { what: format!("evidence: {error}") })?;
        Ok(Self {
            id: text(row, 0)?.unwrap_or_default(),
            time: time_of_nanoseconds(row.get(1)?)?,
            label: required_word(row, 2)?,
            reason: word(row, 3)?,
            origin: word(row, 4)?,
            active_refusal: row.get(5)?,
            errno: text(row, 6)?,
            src: Endpoint { ip: read_address(row, 7)?, port: row.get(8)? },
            dst: Endpoint { ip: read_address(row, 9)?, port: row.get(10)? },
            elapsed: duration(row, 11)?,
            handshake: duration(row, 12)?,
            syn_retransmits: row.get(13)?,
            process: process(row)?,
            evidence: evidence.unwrap_or_default(),
        })
    }
}

fn process(row: &Row<'_>) -> Result<Option<Process>> {
    let Some(pid) = row.get(14)? else { return Ok(None) };
    Ok(Some(Process {
        pid,
        uid: row.get(15)?,
        comm: text(row, 16)?.unwrap_or_default(),
        cgroup: text(row, 17)?,
        netns: row.get(18)?,
    }))
}

pub(super) fn duration(row: &Row<'_>, column: usize) -> Result<Option<Duration>> {
    let nanoseconds: Option<i64> = row.get(column)?;
    Ok(nanoseconds.map(|nanoseconds| Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))))
}

/// An address as the tables write it.
pub(super) fn address(ip: Option<IpAddr>) -> Option<String> {
    ip.map(|ip| ip.to_canonical().to_string())
}

/// Text; what is not UTF-8 is replaced, since others can write to the file.
pub(super) fn text(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
        other => Err(wrong_type(column, other.data_type()).into()),
    }
}

fn wrong_type(column: usize, found: Type) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "text".to_owned(), found)
}

/// An address; empty or NULL is none.
pub(super) fn read_address(row: &Row<'_>, column: usize) -> Result<Option<IpAddr>> {
    match row.get_ref(column)? {
        ValueRef::Null | ValueRef::Text(b"") => Ok(None),
        ValueRef::Text(bytes) => {
            let ip = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
            let no_address = || Error::Row { what: format!("no address: {:?}", String::from_utf8_lossy(bytes)) };
            ip.map(Some).ok_or_else(no_address)
        }
        other => Err(wrong_type(column, other.data_type()).into()),
    }
}

/// A word of a closed vocabulary, by the names that events use; empty or NULL is none.
pub(super) fn word<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    let Some(text) = text(row, column)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed: std::result::Result<T, serde::de::value::Error> = T::deserialize(text.as_str().into_deserializer());
    parsed.map(Some).map_err(|error| Error::Row { what: error.to_string() })
}

pub(super) fn required_word<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: usize) -> Result<T> {
    word(row, column)?.ok_or_else(|| Error::Row { what: format!("column {column} is empty") })
}
