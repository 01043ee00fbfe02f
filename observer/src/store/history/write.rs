//! Writes history: batches, retention and checkpoints, each step bounded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use observer_core::alert::Alert;
use rusqlite::{CachedStatement, Connection, OpenFlags, Transaction};

use super::entry::{COLUMNS, Stored as _, address, nanoseconds};
use super::lock::{self, Lock};
use super::reserve::Reserve;
use super::{DeliveryRow, Entry, MinuteKey, Result, delivery, schema};

/// Rows that one step of retention deletes.
const STEP: u32 = 10_000;
/// The same on a full disk: what it writes fits into the smallest reserve.
const SMALL_STEP: u32 = 250;
/// Pages that one step gives back to the file system.
const VACUUM_PAGES: u32 = 2_000;
/// The same on a full disk.
const SMALL_VACUUM_PAGES: u32 = 50;
/// Pages in the write-ahead log before SQLite copies them into the database:
/// 16 MB, so that a page that many batches touch is copied once.
const CHECKPOINT_PAGES: u32 = 4_000;
/// To this size the write-ahead log is cut back when a long reader lets go.
const WAL_LIMIT: u32 = 64 << 20;
/// For another process that holds the file, such as `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// SQLite's cache of pages, in KiB; the file system has its own.
const CACHE_KIB: i32 = 2_048;

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older rows go.
    pub age: Duration,
    /// Oldest rows go when the file holds more bytes than this.
    pub bytes: u64,
}

impl Default for Retention {
    /// 30 days, 1 GiB.
    fn default() -> Self {
        Self { age: Duration::from_hours(30 * 24), bytes: 1 << 30 }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New rows of `attempt`.
    pub attempts: u64,
    /// Entries whose id was there already; they change nothing.
    pub duplicates: u64,
}

/// The one writer of a history file. Reads no clock.
#[derive(Debug)]
pub struct Recorder {
    // Dropped in this order: the lock goes when the file is closed.
    connection: Connection,
    path: PathBuf,
    retention: Retention,
    identity: Option<(u64, u64)>,
    reserve: Reserve,
    _lock: Lock,
}

impl Recorder {
    /// Opens the file for recording; makes it and its directory where they do
    /// not exist, and brings an older one up to date.
    ///
    /// # Errors
    /// One line that names the file and, where there is one, the cure.
    pub fn open(path: &Path, retention: Retention, now: Timestamp) -> Result<Self> {
        let mut reserve = Reserve::beside(path, retention.bytes);
        let open = || {
            // Before anything is made beside it, or changed in it.
            super::ensure_ours(path)?;
            let lock = lock::prepare(path)?;
            let mut connection = connect(path)?;
            schema::migrate(&mut connection, now)?;
            let identity = lock::identity(path);
            Ok((connection, identity, lock))
        };
        let opened = open().or_else(|error: super::Error| {
            // On a full disk SQLite finds no room for its log, and says so in several ways.
            if matches!(error, super::Error::Sqlite(_)) && reserve.release() { open() } else { Err(error) }
        });
        let (connection, identity, lock) = opened.map_err(|error| error.at(path))?;
        reserve.hold();
        Ok(Self { connection, path: path.to_owned(), retention, identity, reserve, _lock: lock })
    }

    /// Writes a batch in one transaction: entries, the per-minute counts that
    /// follow from them, and `uncounted`, attempts that have no entry. All of it
    /// or nothing.
    ///
    /// # Errors
    /// Those of SQLite; nothing was written then.
    pub fn record(&mut self, entries: &[Entry], uncounted: &[(MinuteKey, u64)]) -> Result<Written> {
        self.try_record(entries, uncounted).map_err(|error| error.at(&self.path))
    }

    fn try_record(&mut self, entries: &[Entry], uncounted: &[(MinuteKey, u64)]) -> Result<Written> {
        let transaction = self.connection.transaction()?;
        let mut counts: HashMap<MinuteKey, u64> = HashMap::new();
        let mut written = Written::default();
        {
            let mut insert = insert_attempt(&transaction)?;
            for entry in entries {
                entry.bind(&mut insert)?;
                if insert.raw_execute()? == 0 {
                    written.duplicates += 1;
                } else {
                    written.attempts += 1;
                    *counts.entry(MinuteKey::of(entry)).or_default() += 1;
                }
            }
        }
        for &(key, count) in uncounted {
            *counts.entry(key).or_default() += count;
        }
        count(&transaction, &counts)?;
        transaction.commit()?;
        Ok(written)
    }

    /// Writes alerts in one transaction; one that is there already is left as it
    /// is.
    ///
    /// # Errors
    /// Those of SQLite; nothing was written then.
    pub fn record_alerts(&mut self, alerts: &[Alert]) -> Result<()> {
        self.try_record_alerts(alerts).map_err(|error| error.at(&self.path))
    }

    fn try_record_alerts(&mut self, alerts: &[Alert]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for alert in alerts {
            let detail =
                serde_json::to_string(alert).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let (change, since) = (alert.change.kind.as_str(), nanoseconds(alert.change.since));
            let scope = alert.change.verdict.scope.as_str();
            transaction.execute(
                "INSERT INTO alert (id, time, change, since, scope, text, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                 ON CONFLICT (id) DO NOTHING",
                (&alert.id, nanoseconds(alert.change.time), change, since, scope, &alert.text, detail),
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// Writes what a mail server's log says of deliveries, in one transaction.
    ///
    /// # Errors
    /// Those of SQLite; nothing was written then.
    pub fn record_deliveries(&mut self, deliveries: &[DeliveryRow]) -> Result<()> {
        self.try_record_deliveries(deliveries).map_err(|error| error.at(&self.path))
    }

    fn try_record_deliveries(&mut self, deliveries: &[DeliveryRow]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let columns = delivery::COLUMNS;
            let mut insert = transaction.prepare_cached(&format!(
                "INSERT INTO delivery ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ))?;
            for delivery in deliveries {
                delivery.bind(&mut insert)?;
                insert.raw_execute()?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// One bounded step of retention: deletes some of what is too old, or too
    /// much. True if there is more to do.
    ///
    /// # Errors
    /// Those of SQLite; nothing was deleted then.
    pub fn retain(&mut self, now: Timestamp) -> Result<bool> {
        self.try_retain(now).map_err(|error| error.at(&self.path))
    }

    fn try_retain(&mut self, now: Timestamp) -> Result<bool> {
        let is_more = self.delete_due(now, STEP)?;
        // Pages that a next batch will fill again are no loss.
        if self.pragma("freelist_count")? > self.pragma("page_count")? / 8 {
            self.vacuum(VACUUM_PAGES)?;
        }
        self.reserve.hold();
        Ok(is_more)
    }

    /// A small step of retention on a full disk, with the room that is held for it.
    /// True if something was due: the next batch is worth a try at once.
    ///
    /// # Errors
    /// Those of SQLite; nothing was deleted then.
    pub fn make_room(&mut self, now: Timestamp) -> Result<bool> {
        self.try_make_room(now).map_err(|error| error.at(&self.path))
    }

    fn try_make_room(&mut self, now: Timestamp) -> Result<bool> {
        self.reserve.release();
        // What is in the log may need no more room in the database.
        let _ = self.checkpoint();
        let is_due = self.oldest()?.is_some_and(|oldest| oldest < self.too_old(now))
            || self.used_bytes()? > self.retention.bytes;
        if is_due {
            self.delete_due(now, SMALL_STEP)?;
            self.vacuum(SMALL_VACUUM_PAGES)?;
            let _ = self.checkpoint();
        }
        Ok(is_due)
    }

    /// What is older is too old: nanoseconds since 1970.
    fn too_old(&self, now: Timestamp) -> i64 {
        let age = i64::try_from(self.retention.age.as_nanos()).unwrap_or(i64::MAX);
        nanoseconds(now).saturating_sub(age)
    }

    /// Deletes at most a step of what is too old, and of what is too much. True if there
    /// is more to do.
    fn delete_due(&mut self, now: Timestamp, step: u32) -> Result<bool> {
        let mut is_more = self.delete_before(self.too_old(now), step)?;
        if self.used_bytes()? > self.retention.bytes {
            // Everything is "before" the end of time: the step takes the oldest.
            is_more |= self.delete_before(i64::MAX, step)?;
        }
        Ok(is_more || self.used_bytes()? > self.retention.bytes)
    }

    fn oldest(&self) -> Result<Option<i64>> {
        Ok(self.connection.query_row("SELECT min(time) FROM attempt", (), |row| row.get(0))?)
    }

    /// Deletes at most a step of the oldest rows before a time. Minutes and
    /// deliveries go with their attempts, so that all tables reach back as far.
    fn delete_before(&mut self, before: i64, step: u32) -> Result<bool> {
        let transaction = self.connection.transaction()?;
        let attempts = transaction
            .prepare_cached(
                "DELETE FROM attempt WHERE seq IN (SELECT seq FROM attempt WHERE time < ?1 ORDER BY time LIMIT ?2)",
            )?
            .execute((before, step))?;
        let first: Option<i64> = transaction.query_row("SELECT min(time) FROM attempt", (), |row| row.get(0))?;
        let end = first.unwrap_or(i64::MAX).min(before).div_euclid(1_000_000_000);
        let minutes = transaction
            .prepare_cached(
                "DELETE FROM minute WHERE minute <= (SELECT max(minute) FROM \
                 (SELECT minute FROM minute WHERE minute < ?1 - 59 ORDER BY minute LIMIT ?2))",
            )?
            .execute((end, step))?;
        let of_attempts = first.unwrap_or(i64::MAX).min(before);
        let deliveries = transaction
            .prepare_cached(
                "DELETE FROM delivery WHERE seq IN (SELECT seq FROM delivery WHERE time < ?1 ORDER BY time LIMIT ?2)",
            )?
            .execute((of_attempts, step))?;
        // There are never many.
        transaction.execute("DELETE FROM alert WHERE time < ?1", [of_attempts])?;
        transaction.commit()?;
        Ok([attempts, minutes, deliveries].iter().any(|&deleted| deleted >= step as usize))
    }

    fn vacuum(&self, pages: u32) -> Result<()> {
        Ok(self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({pages})"))?)
    }

    /// Bytes of the file that hold rows.
    fn used_bytes(&self) -> Result<u64> {
        let pages = self.pragma("page_count")?.saturating_sub(self.pragma("freelist_count")?);
        Ok(pages * self.pragma("page_size")?)
    }

    /// Copies the write-ahead log into the database and empties it. False if a reader needs it for
    /// longer than the busy timeout.
    ///
    /// # Errors
    /// Those of SQLite; no row is lost.
    pub fn checkpoint(&mut self) -> Result<bool> {
        let is_busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0));
        is_busy.map(|is_busy| is_busy == 0).map_err(|error| super::Error::from(error).at(&self.path))
    }

    /// Limits the file to so many pages, less than which it never has; SQLite
    /// reports a full disk beyond.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn limit_pages(&mut self, pages: u32) -> Result<()> {
        Ok(self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// False if the path leads to another file by now, or to none.
    pub fn is_in_place(&self) -> bool {
        lock::identity(&self.path) == self.identity
    }

    /// How much is kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    fn pragma(&self, name: &str) -> Result<u64> {
        let value: i64 = self.connection.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(u64::try_from(value).unwrap_or(0))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // SQLite does so itself, but not for a file that was moved: what is in the log would stay
        // behind, and the next file of this name discard it.
        if !self.is_in_place() {
            let _ = self.checkpoint();
        }
    }
}

fn connect(path: &Path) -> Result<Connection> {
    // No SQLITE_OPEN_CREATE: `lock::prepare` has made it, with the right mode.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Only before the first table; no effect on a file that has some.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    Ok(connection)
}

fn insert_attempt<'a>(transaction: &'a Transaction<'_>) -> Result<CachedStatement<'a>> {
    Ok(transaction.prepare_cached(&format!(
        "INSERT INTO attempt ({COLUMNS}) VALUES \
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) \
         ON CONFLICT (id) DO NOTHING"
    ))?)
}

fn count(transaction: &Transaction<'_>, counts: &HashMap<MinuteKey, u64>) -> Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO minute (minute, src_ip, dst_ip, dst_port, label, reason, count, redirected) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
         ON CONFLICT DO UPDATE SET count = count + excluded.count, redirected = redirected + excluded.redirected",
    )?;
    // In the order of the table, so that neighbours share a page.
    let mut keys: Vec<_> = counts.iter().collect();
    keys.sort_unstable_by_key(|(key, _)| **key);
    for (key, count) in keys {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        upsert.execute((
            key.minute,
            address(key.src_ip).unwrap_or_default(),
            address(key.dst_ip).unwrap_or_default(),
            key.dst_port,
            key.label.as_str(),
            key.reason.map_or("", |reason| reason.as_str()),
            count,
            key.redirected.map(|is_redirected| if is_redirected { count } else { 0 }),
        ))?;
    }
    Ok(())
}
