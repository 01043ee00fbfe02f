//! The tables, as an administrator meets them with `sqlite3`, and how older
//! files become newer ones.
//!
//! # `attempt`: one row for each event
//! | column | meaning |
//! |---|---|
//! | `seq` | order of arrival |
//! | `id` | unique for each attempt, as in JSON events |
//! | `time` | when the attempt ended: nanoseconds since 1970-01-01 UTC |
//! | `label`, `reason`, `origin` | the verdict, in the words of JSON events |
//! | `active_refusal` | 1 somebody said no, 0 silence, NULL it went well |
//! | `errno` | symbolic name of the errno that the attempt died of |
//! | `src_ip`, `src_port`, `dst_ip`, `dst_port` | the two ends; addresses as text, IPv4-mapped ones as IPv4 |
//! | `elapsed_ns`, `handshake_ns` | from start to end, and to the handshake: nanoseconds |
//! | `syn_retransmits` | SYN retransmits |
//! | `pid`, `uid`, `comm`, `cgroup`, `netns` | who connected; `comm` and `cgroup` are text that others chose |
//! | `evidence` | what the verdict rests on: the member `evidence` of JSON events |
//!
//! # `minute`: how many attempts ended in which way, minute by minute
//! | column | meaning |
//! |---|---|
//! | `minute` | start of the minute: seconds since 1970-01-01 UTC |
//! | `src_ip`, `dst_ip`, `dst_port` | the two ends; `src_ip` is empty where none was chosen |
//! | `label`, `reason` | the verdict; `reason` is empty for `connected` |
//! | `count` | attempts, those included whose event was lost |
//! | `redirected` | those among them that this host redirected to itself, answering in the destination's name; NULL where it is not known, because an older version counted them |
//!
//! A loss is found by comparing with the kernel's counts, and put into the minute
//! in which it was found: one to two minutes later, or when recording ends.
//!
//! # `alert`: how far failures reach has changed
//! | column | meaning |
//! |---|---|
//! | `id` | unique for each alert, as in JSON alerts |
//! | `time` | when it was found: nanoseconds since 1970-01-01 UTC |
//! | `change` | `began`, `widened` or `ended` |
//! | `since` | when the failure was first found: nanoseconds since 1970-01-01 UTC |
//! | `scope` | what fails, in the words of JSON alerts |
//! | `text` | all of it in a sentence |
//! | `detail` | the JSON alert |
//!
//! # `delivery`: what the mail server's log says, a row for each host that a delivery tried
//! | column | meaning |
//! |---|---|
//! | `time` | the last line about the delivery: nanoseconds since 1970-01-01 UTC |
//! | `kind` | whose log: `postfix`, `exim`, `opensmtpd` or `kumomta` |
//! | `queue_id` | the message, by its id within the server |
//! | `recipient_domain` | domain of the recipients, where they share one |
//! | `status` | what became of the message this time: `sent`, `deferred` or `bounced` |
//! | `host`, `ip` | the host, as the server names it |
//! | `said`, `words` | what the server says of the connection, in JSON events' words and in its own |
//! | `connect` | the attempt behind it: `seen`, `ambiguous` (one of several), `unseen`, `reused` (of an earlier message), `none` (put off without a connect, so that there is no host), `unlogged` (an attempt without a line) or `unsought` (for want of room) |
//! | `attempt` | `id` of the attempt |
//!
//! # `meta`: about the file
//! `created_by` and `created_at`, and the version of the schema once more
//! (`PRAGMA user_version` is the one that counts).
//!
//! What is not known is NULL, or empty where it is part of a key. No column type
//! or function newer than SQLite 3.8.2 is used, so that old `sqlite3` programs
//! can read the file.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::{Error, Result};

/// The steps from an empty file to the newest schema. Step N leads from version
/// N to N + 1. Steps that were released are never changed; add new ones.
const MIGRATIONS: &[&str] = &[V1, V2, V3];

/// The schema version that this program writes.
pub const VERSION: u32 = MIGRATIONS.len() as u32;

const V1: &str = "
CREATE TABLE attempt (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    label TEXT NOT NULL,
    reason TEXT,
    origin TEXT,
    active_refusal INTEGER,
    errno TEXT,
    src_ip TEXT,
    src_port INTEGER,
    dst_ip TEXT,
    dst_port INTEGER,
    elapsed_ns INTEGER,
    handshake_ns INTEGER,
    syn_retransmits INTEGER NOT NULL,
    pid INTEGER,
    uid INTEGER,
    comm TEXT,
    cgroup TEXT,
    netns INTEGER,
    evidence TEXT
);
CREATE INDEX attempt_time ON attempt (time);
CREATE TABLE minute (
    minute INTEGER NOT NULL,
    src_ip TEXT NOT NULL,
    dst_ip TEXT NOT NULL,
    dst_port INTEGER NOT NULL,
    label TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, dst_ip, dst_port, src_ip, label, reason)
) WITHOUT ROWID;
CREATE TABLE alert (
    id TEXT PRIMARY KEY,
    time INTEGER NOT NULL,
    change TEXT NOT NULL,
    since INTEGER NOT NULL,
    scope TEXT NOT NULL,
    text TEXT NOT NULL,
    detail TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
";

const V2: &str = "
CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    queue_id TEXT,
    recipient_domain TEXT,
    status TEXT,
    host TEXT,
    ip TEXT,
    said TEXT NOT NULL,
    words TEXT NOT NULL,
    connect TEXT NOT NULL,
    attempt TEXT
);
CREATE INDEX delivery_time ON delivery (time);
";

const V3: &str = "ALTER TABLE minute ADD COLUMN redirected INTEGER;";

/// The version of an open file; 0 is an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a file to [`VERSION`], in one transaction.
///
/// # Errors
/// [`Error::Newer`], and those of SQLite; the file is as it was then. A file at
/// version 0 that has tables is somebody else's.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<()> {
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    // Read again: another process may have migrated meanwhile.
    let found = version(&transaction)?;
    let Some(steps) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else {
        return Err(Error::Newer { found });
    };
    if found == 0 && transaction.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get::<_, i64>(0))? > 0 {
        return Err(Error::Foreign);
    }
    for step in steps {
        transaction.execute_batch(step)?;
    }
    if found == 0 {
        let mut insert = transaction.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")?;
        insert.execute(("created_by", concat!("observer ", env!("CARGO_PKG_VERSION"))))?;
        insert.execute(("created_at", now.to_string()))?;
    }
    transaction
        .execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('schema_version', ?1)", [VERSION.to_string()])?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Fails unless the file is at [`VERSION`]: a reader migrates nothing.
pub(super) fn check(connection: &Connection) -> Result<()> {
    match version(connection)? {
        VERSION => Ok(()),
        found if found > VERSION => Err(Error::Newer { found }),
        0 if connection.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get::<_, i64>(0))? > 0 => {
            Err(Error::Foreign)
        }
        0 => Err(Error::Empty),
        found => Err(Error::Older { found }),
    }
}
