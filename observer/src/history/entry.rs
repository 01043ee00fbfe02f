//! What history keeps of an event: one row of the table `attempt`.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Row, Statement};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;

use super::{Error, Result};
use crate::event::{Endpoint, Event, Evidence, Process};
use crate::label::{Label, Origin, Reason};

/// The columns that [`Entry::bind`] fills and [`Entry::read`] reads, in order.
pub(super) const COLUMNS: &str = "id, time, label, reason, origin, active_refusal, errno, src_ip, src_port, dst_ip, \
    dst_port, elapsed_ns, handshake_ns, syn_retransmits, pid, uid, comm, cgroup, netns, evidence";

/// An event as history keeps it. The host's name is in `id`; what was known of
/// the destination at the time is to be counted anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As [`Event::id`].
    pub id: String,
    /// As [`Event::time`].
    pub time: Timestamp,
    /// As [`Event::label`].
    pub label: Label,
    /// As [`Event::reason`].
    pub reason: Option<Reason>,
    /// As [`Event::origin`].
    pub origin: Option<Origin>,
    /// As [`Event::active_refusal`].
    pub active_refusal: Option<bool>,
    /// As [`Event::errno`].
    pub errno: Option<String>,
    /// As [`Event::src`].
    pub src: Endpoint,
    /// As [`Event::dst`].
    pub dst: Endpoint,
    /// As [`Event::elapsed`].
    pub elapsed: Option<Duration>,
    /// As [`Event::handshake`].
    pub handshake: Option<Duration>,
    /// As [`Event::syn_retransmits`].
    pub syn_retransmits: u16,
    /// As [`Event::process`].
    pub process: Option<Process>,
    /// As [`Event::evidence`].
    pub evidence: Evidence,
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            time: event.time,
            label: event.label,
            reason: event.reason,
            origin: event.origin,
            active_refusal: event.active_refusal,
            errno: event.errno.clone(),
            src: event.src,
            dst: event.dst,
            elapsed: event.elapsed,
            handshake: event.handshake,
            syn_retransmits: event.syn_retransmits,
            process: event.process.clone(),
            evidence: event.evidence.clone(),
        }
    }
}

/// What one row of the table `minute` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MinuteKey {
    /// Start of the minute, in seconds since 1970-01-01 UTC.
    pub minute: i64,
    /// Local address, where one was chosen.
    pub src_ip: Option<IpAddr>,
    /// Destination.
    pub dst_ip: Option<IpAddr>,
    /// Destination port; 0 where it is not known.
    pub dst_port: u16,
    /// The verdict.
    pub label: Label,
    /// Its reason.
    pub reason: Option<Reason>,
}

impl MinuteKey {
    /// The row that counts this entry.
    pub fn of(entry: &Entry) -> Self {
        Self {
            minute: minute(entry.time),
            src_ip: entry.src.ip.map(|ip| ip.to_canonical()),
            dst_ip: entry.dst.ip.map(|ip| ip.to_canonical()),
            dst_port: entry.dst.port.unwrap_or(0),
            label: entry.label,
            reason: entry.reason,
        }
    }
}

/// Start of the minute that a time lies in: seconds since 1970-01-01 UTC.
pub fn minute(time: Timestamp) -> i64 {
    let seconds = nanoseconds(time).div_euclid(1_000_000_000);
    seconds - seconds.rem_euclid(60)
}

/// Nanoseconds since 1970-01-01 UTC; times that 64 bits do not hold (before
/// 1677, after 2262) become the nearest that they do.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let exact = time.as_nanosecond();
    i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn time_of_nanoseconds(nanoseconds: i64) -> Result<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).map_err(|error| Error::Row { what: error.to_string() })
}

fn of_duration(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Entry {
    /// Fills the parameters 1 to 20 of a statement.
    pub(super) fn bind(&self, insert: &mut Statement<'_>) -> rusqlite::Result<()> {
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

    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
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
    let Some(text) = text(row, column)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed = text.parse().map_err(|_| Error::Row { what: format!("no address: {text:?}") });
    parsed.map(Some)
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
