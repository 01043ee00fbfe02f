//! Rows one by one, with no more of them than a report needs.

use std::net::IpAddr;
use std::ops::ControlFlow;

use jiff::Timestamp;

pub use observer_core::record::entry::Brief;
use rusqlite::Row;

use super::{History, Question, count_of, time_of_seconds};
use crate::store::history::entry::{
    COLUMNS, Stored as _, duration, minute, nanoseconds, read_address, required_word, text, time_of_nanoseconds, word,
};
use crate::store::history::{Entry, MinuteKey, Result};

/// Whether the evidence of a row of `attempt` says so. Quotes within its texts are escaped, so that
/// nobody else's text looks like it.
const REDIRECTED: &str = "coalesce(instr(evidence, '\"redirected\":true') > 0, 0)";

fn brief(row: &Row<'_>) -> Result<Brief> {
    Ok(Brief {
        time: time_of_nanoseconds(row.get(0)?)?,
        outcome: (required_word(row, 1)?, word(row, 2)?),
        origin: None,
        src_ip: read_address(row, 3)?,
        dst_ip: read_address(row, 4)?,
        dst_port: row.get::<_, Option<u16>>(5)?.unwrap_or(0),
        elapsed: duration(row, 6)?,
        handshake: duration(row, 7)?,
        comm: text(row, 8)?,
        redirected: row.get(9)?,
    })
}

impl History {
    /// Hands over every attempt asked for, oldest first, until `take` breaks.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn briefs(&self, question: &Question, mut take: impl FnMut(Brief) -> ControlFlow<()>) -> Result<()> {
        let condition = question.condition("time", nanoseconds);
        let sql = format!(
            "SELECT time, label, reason, src_ip, dst_ip, dst_port, elapsed_ns, handshake_ns, comm, {REDIRECTED} FROM attempt \
             WHERE {condition} ORDER BY time, seq"
        );
        self.rows(question, &sql, |row| Ok(take(brief(row)?))).map(|_| ())
    }

    /// Hands over every attempt asked for with its number, oldest first, until `take` breaks;
    /// without the process.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn numbered(&self, question: &Question, mut take: impl FnMut(i64, Brief) -> ControlFlow<()>) -> Result<()> {
        let condition = question.condition("time", nanoseconds);
        let sql = format!(
            "SELECT time, label, reason, src_ip, dst_ip, dst_port, elapsed_ns, handshake_ns, NULL, {REDIRECTED}, \
             origin, seq FROM attempt WHERE {condition} ORDER BY time, seq"
        );
        let each = |row: &Row<'_>| Ok(take(row.get(11)?, Brief { origin: word(row, 10)?, ..brief(row)? }));
        self.rows(question, &sql, each).map(drop)
    }

    /// The attempts of these numbers, oldest first.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn details(&self, numbers: &[i64]) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(numbers.len());
        // Of numbers alone; SQLite takes a million bytes of a statement.
        for part in numbers.chunks(10_000) {
            let numbers = part.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            let sql = format!("SELECT {COLUMNS} FROM attempt WHERE seq IN ({numbers})");
            entries.extend(self.entries(&Question::default(), &sql)?);
        }
        entries.sort_by_key(|entry| entry.time);
        Ok(entries)
    }

    /// The newest attempts asked for, at most so many, oldest first.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn newest(&self, question: &Question, most: usize) -> Result<Vec<Entry>> {
        let condition = question.condition("time", nanoseconds);
        let sql = format!("SELECT {COLUMNS} FROM attempt WHERE {condition} ORDER BY time DESC, seq DESC LIMIT {most}");
        let mut entries = self.entries(question, &sql)?;
        entries.reverse();
        Ok(entries)
    }

    fn entries(&self, question: &Question, sql: &str) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let _ = self.rows(question, sql, |row| {
            entries.push(Entry::read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }

    /// Addresses that sent to themselves, at most so many: this host's, or a container's.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn own_addresses(&self, question: &Question, most: usize) -> Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        let condition = question.whole_minutes().condition("minute", minute);
        let sql = format!("SELECT DISTINCT dst_ip FROM minute WHERE src_ip = dst_ip AND {condition} LIMIT {most}");
        let _ = self.rows(question, &sql, |row| {
            addresses.extend(read_address(row, 0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(addresses)
    }

    /// Hands over every count asked for, oldest minute first, until `take`
    /// breaks; a row in two counts where it is partly of attempts that were redirected.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn counted(&self, question: &Question, mut take: impl FnMut(MinuteKey, u64) -> ControlFlow<()>) -> Result<()> {
        let condition = question.whole_minutes().condition("minute", minute);
        let sql = format!(
            "SELECT minute, src_ip, dst_ip, dst_port, label, reason, count, redirected FROM minute \
             WHERE {condition} ORDER BY minute"
        );
        self.rows(question, &sql, |row| {
            let key = MinuteKey {
                minute: minute(time_of_seconds(row.get(0)?)?),
                src_ip: read_address(row, 1)?,
                dst_ip: read_address(row, 2)?,
                dst_port: row.get(3)?,
                label: required_word(row, 4)?,
                reason: word(row, 5)?,
                redirected: None,
            };
            let (count, redirected) = (count_of(row.get(6)?), row.get::<_, Option<i64>>(7)?);
            let Some(redirected) = redirected.map(|number| count_of(Some(number)).min(count)) else {
                return Ok(take(key, count));
            };
            for (part, is_redirected) in [(count - redirected, false), (redirected, true)] {
                if part > 0 && take(MinuteKey { redirected: Some(is_redirected), ..key }, part).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .map(|_| ())
    }

    /// The first and the last minute that are counted, each by its start.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn counted_span(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        let mut span = None;
        let sql = "SELECT min(minute), max(minute) FROM minute";
        let _ = self.rows(&Question::default(), sql, |row| {
            if let (Some(first), Some(last)) = (row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?) {
                span = Some((time_of_seconds(first)?, time_of_seconds(last)?));
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(span)
    }
}
