//! History as processes see it: `kill -9` in the middle of writing, and readers
//! meanwhile.
//!
//! The writer is this test binary itself, started again for its ignored test.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use observer::store::history::{Entry, History, Question, Recorder, Retention};
use observer_core::event::{Endpoint, Evidence};
use observer_core::label::Label;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// Says to the child where to write.
const PATH: &str = "OBSERVER_TEST_HISTORY";
/// Says to the child the number of its first batch.
const FIRST: &str = "OBSERVER_TEST_FIRST_BATCH";
/// Entries of a batch.
const BATCH: u64 = 500;
/// Entries that retention keeps at least: one takes 200 bytes or less, and a step of it
/// deletes 10,000 of them.
const KEPT: usize = (RETENTION >> 20) as usize * 5_000 - 10_000;
/// Bytes. Small enough that retention and its vacuum run in between, on a fast machine at least.
const RETENTION: u64 = 16 << 20;
const KILLS: u32 = 20;

fn time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn entry(batch: u64, number: u64) -> Entry {
    Entry {
        id: format!("mx1-6f0c2d9e-{batch:x}.{number:x}"),
        time: time() + SignedDuration::from_mins(i64::try_from(batch).unwrap()),
        label: Label::Connected,
        reason: None,
        origin: None,
        active_refusal: None,
        errno: None,
        src: Endpoint { ip: Some([192, 0, 2, 1].into()), port: Some(45_000) },
        dst: Endpoint { ip: Some([203, 0, 113, (number % 250) as u8].into()), port: Some(25) },
        elapsed: Some(Duration::from_millis(number)),
        handshake: Some(Duration::from_millis(1)),
        syn_retransmits: 0,
        process: None,
        evidence: Evidence::default(),
    }
}

fn batch(number: u64) -> Vec<Entry> {
    (0..BATCH).map(|entry_number| entry(number, entry_number)).collect()
}

fn retention() -> Retention {
    Retention { bytes: RETENTION, ..Retention::default() }
}

#[test]
#[ignore = "the child of killed_writers_lose_nothing_committed, not a test by itself"]
fn write_until_killed() {
    let path = PathBuf::from(std::env::var_os(PATH).expect("started by another test"));
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut recorder = Recorder::open(&path, retention(), time()).unwrap();
    let mut stdout = std::io::stdout().lock();
    // Ends by itself if nobody kills it.
    for number in first..first + 20_000 {
        recorder.record(&batch(number), &[]).unwrap();
        stdout.write_all(format!("committed {number}\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
        recorder.retain(time()).unwrap();
        if number % 50 == 49 {
            recorder.checkpoint().unwrap();
        }
    }
}

fn start(path: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "write_until_killed", "--ignored", "--nocapture"])
        .env(PATH, path)
        .env(FIRST, first.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the writer when it has written for `after` since its first commit.
/// Returns the batches that it had said were committed.
fn write_and_kill(path: &Path, first: u64, after: Duration) -> Vec<u64> {
    let mut child = start(path, first);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let pid = Pid::from_child(&child);
    // A line that the kill has cut is no claim.
    let numbers = stdout.lines().map_while(Result::ok);
    let mut numbers = numbers.filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    let mut committed = vec![numbers.next().expect("a first batch")];
    std::thread::scope(|scope| {
        // At any moment, whatever the writer is doing then.
        scope.spawn(move || {
            std::thread::sleep(after);
            kill_process(pid, Signal::KILL).unwrap();
        });
        committed.extend(numbers);
    });
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    committed
}

fn check(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
fn killed_writers_lose_nothing_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let mut claimed: Vec<u64> = Vec::new();
    let mut next = 0;
    let mut left = 0;
    for _ in 0..KILLS {
        let after = Duration::from_micros(fastrand::u64(0..400_000));
        let committed = write_and_kill(&path, next, after);
        // The last line may be cut, and one batch more be written.
        next = committed.last().unwrap() + 3;
        claimed.extend(committed);

        let history = History::open_read_only(&path).unwrap();
        let mut found: HashSet<String> = HashSet::new();
        let mut take = |entry: Entry| {
            found.insert(entry.id);
            ControlFlow::Continue(())
        };
        history.attempts(&Question::default(), &mut take).unwrap();
        let is_whole = |number: u64| (0..BATCH).all(|entry_number| found.contains(&entry(number, entry_number).id));
        // What retention has deleted was the oldest, and no more than it had to.
        let kept = claimed.iter().position(|&number| is_whole(number)).expect("a whole batch after a kill");
        for &number in &claimed[kept..] {
            assert!(is_whole(number), "batch {number} of {} to {next} is not whole after a kill", claimed[kept]);
        }
        assert!(kept == 0 || found.len() >= KEPT, "retention kept {} of {kept} batches more", found.len());
        let counted: u64 = history.outcomes(&Question::default()).unwrap().values().map(|tally| tally.count).sum();
        assert_eq!(counted, found.len() as u64, "counts and attempts differ");
        assert_eq!(found.len() as u64 % BATCH, 0, "a part of a batch was committed");
        left = found.len();
        drop(history);
        check(&path);
    }
    println!("{KILLS} kills, {} batches of {BATCH} committed, none lost; {left} entries kept", claimed.len());
}

#[test]
fn readers_see_whole_batches_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let mut recorder = Recorder::open(&path, retention(), time()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            let history = History::open_read_only(&path).unwrap();
            let (mut before, mut grew) = (0, 0);
            while !is_over.load(Ordering::Acquire) {
                let (attempts, counted) = history
                    .snapshot(|history| {
                        let attempts = history.attempts(&Question::default(), |_| ControlFlow::Continue(()))?;
                        let outcomes = history.outcomes(&Question::default())?;
                        Ok((attempts, outcomes.values().map(|tally| tally.count).sum::<u64>()))
                    })
                    .unwrap();
                assert_eq!(attempts, counted, "one snapshot, two states");
                assert_eq!(attempts % BATCH, 0, "a part of a batch was seen");
                assert!(attempts >= before);
                grew += u32::from(attempts > before);
                before = attempts;
            }
            grew
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for number in 0..60 {
            recorder.record(&batch(number), &[]).unwrap();
            if number % 10 == 9 {
                recorder.checkpoint().unwrap();
            }
        }
        is_over.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0, "nothing was read while it was written");
        }
    });
    drop(recorder);
    check(&path);
}

#[test]
#[ignore = "the child of who_may_only_read_reads, not a test by itself"]
fn read_as_another() {
    let path = PathBuf::from(std::env::var_os(PATH).expect("started by another test"));
    let probe = path.with_file_name("probe");
    assert!(std::fs::File::create(probe).is_err(), "this user may write here");
    let history = History::open_read_only(&path).unwrap();
    println!("read {}", history.attempts(&Question::default(), |_| ControlFlow::Continue(())).unwrap());
}

/// SQLite wants to make two side files where there are none, and fails where it
/// may not.
#[test]
fn who_may_only_read_reads() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let inner = directory.path().join("observer");
    let path = inner.join("history.sqlite");
    let mut recorder = Recorder::open(&path, retention(), time()).unwrap();
    recorder.record(&batch(0), &[]).unwrap();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    allow(directory.path(), 0o755);
    allow(&inner, 0o555);
    for side in ["", "-wal", "-shm"] {
        allow(&PathBuf::from(format!("{}{side}", path.display())), 0o644);
    }
    let read = || {
        let mut command = Command::new(&program);
        command.args(["--exact", "read_as_another", "--ignored", "--nocapture"]).env(PATH, &path);
        if rustix::process::geteuid().is_root() {
            // Root may write anywhere.
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("read {BATCH}\n")), "{said}{}", String::from_utf8_lossy(&output.stderr));
    };
    read();
    // Closing removes the side files; the owner may, root or not.
    allow(&inner, 0o755);
    drop(recorder);
    allow(&inner, 0o555);
    assert!(!path.with_file_name("history.sqlite-wal").exists());
    read();
    allow(&inner, 0o755);
}
