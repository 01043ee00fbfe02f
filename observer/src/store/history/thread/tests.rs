use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::tests::{all, entry, event, place, recorder, total};
use super::super::{MinuteKey, Recorder};
use super::Writer;

const LONG: Duration = Duration::from_secs(20);
/// Room for some thousands of events.
const QUEUE_BYTES: u64 = 8 << 20;

/// A writer, and what it says.
fn start(recorder: Recorder) -> (Writer, Receiver<String>) {
    let (sender, said) = channel();
    let say = move |line: &str| {
        let _ = sender.send(line.to_owned());
    };
    (Writer::start(recorder, QUEUE_BYTES, say).unwrap(), said)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
fn finish_writes_what_waits() {
    let (_directory, path) = place();
    let (writer, said) = start(recorder(&path));
    for number in 0..10_000 {
        assert!(writer.offer(event(number, 0)));
    }
    assert!(writer.offer_uncounted(vec![(MinuteKey::of(&entry(0, 0)), 5)]));
    let status = writer.finish(LONG);
    assert_eq!((status.written, status.dropped_total(), status.is_failing), (10_000, 0, false));
    assert_eq!((all(&path).len(), total(&path)), (10_000, 10_005));
    assert_eq!(said.iter().count(), 0);
}

#[test]
fn without_finish_too() {
    let (_directory, path) = place();
    let (writer, _said) = start(recorder(&path));
    assert!(writer.offer(event(1, 0)));
    drop(writer);
    assert_eq!(all(&path).len(), 1);
}

#[test]
fn it_is_written_soon_without_being_asked() {
    let (_directory, path) = place();
    let (writer, _said) = start(recorder(&path));
    writer.offer(event(1, 0));
    wait_until("the event", || writer.status().written == 1);
    assert_eq!(all(&path).len(), 1);
}

/// Events for a writer, counted.
struct Source<'a> {
    writer: &'a Writer,
    offered: u64,
}

impl Source<'_> {
    /// True if it was taken.
    fn offer(&mut self) -> bool {
        let start = Instant::now();
        let is_taken = self.writer.offer(event(self.offered, 0));
        self.offered += 1;
        assert!(start.elapsed() < Duration::from_secs(1), "it waited");
        is_taken
    }

    /// Offers until something is dropped for this cause.
    fn until_dropped(&mut self, cause: &str) {
        while self.offered < 2_000_000 {
            if !self.offer() {
                if self.writer.status().dropped.contains_key(cause) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("{:?}", self.writer.status());
    }
}

/// The disk is full; whoever offers never waits, and is told what is missing.
/// With room again, it goes on by itself.
#[test]
fn a_full_disk_is_counted_said_and_recovered_from() {
    let (_directory, path) = place();
    let mut full = recorder(&path);
    full.limit_pages(4_000).unwrap();
    let (writer, said) = start(full);
    let mut source = Source { writer: &writer, offered: 0 };
    source.until_dropped("disk full");
    let offered = source.offered;
    let line = said.recv_timeout(LONG).unwrap();
    // The disk was perhaps too slow before it was full.
    let line = if line.contains("too slow") { said.recv_timeout(LONG).unwrap() } else { line };
    assert!(line.starts_with("history is not written: ") && line.contains("is full"), "{line}");
    assert!(line.ends_with("; free some space, or lower --retain-size; trying again"), "{line}");
    let status = writer.status();
    assert!(status.is_failing && status.last_error.unwrap().1.contains(path.to_str().unwrap()));

    // Room again: pages that hold nothing any more.
    let deleted = Connection::open(&path).unwrap().execute("DELETE FROM attempt", ()).unwrap() as u64;
    wait_until("recovery", || !writer.status().is_failing);
    let line = said.recv_timeout(LONG).unwrap();
    assert!(line.starts_with("history is written again after ") && line.ends_with("are missing in it"), "{line}");
    let status = writer.finish(LONG);
    assert_eq!(status.written + status.dropped_total(), offered, "{status:?}");
    assert_eq!(all(&path).len() as u64, status.written - deleted);
    assert_eq!(total(&path), status.written);
    check(&path);
}

/// Another process holds the file for longer than it is waited for.
#[test]
fn a_locked_file_is_waited_for_and_nothing_is_lost() {
    let (_directory, path) = place();
    let (writer, said) = start(recorder(&path));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(writer.offer(event(1, 0)));
    let line = said.recv_timeout(LONG).unwrap();
    assert!(line.contains("database is locked; trying again"), "{line}");
    other.execute_batch("COMMIT").unwrap();
    wait_until("the event", || writer.status().written == 1);
    assert_eq!(writer.finish(LONG).dropped_total(), 0);
    assert_eq!(all(&path).len(), 1);
}

/// The end does not wait for a file that cannot be written.
#[test]
fn what_is_not_written_at_the_end_is_counted() {
    let (_directory, path) = place();
    let (writer, _said) = start(recorder(&path));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0..3 {
        assert!(writer.offer(event(number, 0)));
    }
    let start = Instant::now();
    let status = writer.finish(Duration::from_secs(2));
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!((status.written, status.dropped["not written before the end"]), (0, 3));
}

/// A writer whose file was moved away once it had the first event, where to, and what it says.
fn start_and_move_away(path: &Path) -> (Writer, PathBuf, Receiver<String>) {
    let (writer, said) = start(recorder(path));
    writer.offer(event(1, 0));
    wait_until("the first event", || writer.status().written == 1);
    let moved = path.with_extension("old");
    std::fs::rename(path, &moved).unwrap();
    (writer, moved, said)
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let (_directory, path) = place();
    let (writer, moved, said) = start_and_move_away(&path);
    let number = std::cell::Cell::new(2);
    wait_until("a new file", || {
        writer.offer(event(number.replace(number.get() + 1), 0));
        path.exists()
    });
    let status = writer.finish(LONG);
    assert_eq!((status.written, status.dropped_total()), (number.get() - 1, 0));
    for path in [&path, &moved] {
        check(path);
        assert!(!all(path).is_empty());
    }
    assert_eq!(all(&path).len() + all(&moved).len(), status.written as usize);
    assert!(said.try_iter().any(|line| line.contains("was moved or removed")));
}

#[test]
fn a_file_that_was_moved_just_before_the_end_has_all_rows() {
    let (_directory, path) = place();
    let (writer, moved, _said) = start_and_move_away(&path);
    writer.finish(LONG);
    check(&moved);
    assert_eq!(all(&moved).len(), 1);
}
