//! Rotations, and entries of the journal.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use observer_core::mta::stamp::Clock;
use observer_core::mta::{LINE_MAX, Line, MtaKind, Said, read_entry};
use tempfile::tempdir;

use super::journal::Journal;
use super::lines::Lines;
use super::{Follower, From, LogCounts, Place, named_at};

fn now() -> Timestamp {
    "2026-11-26T17:00:00Z".parse().unwrap()
}

fn line(number: u8) -> String {
    format!(
        "Nov 26 16:07:01 mx1 postfix/smtp[7]: connect to mx{number}.example.net[203.0.113.{number}]:25: Connection refused\n"
    )
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn follow(path: &Path, from: From) -> Follower {
    Follower::open(MtaKind::Postfix, &Place::File(path.to_owned()), from).unwrap()
}

/// The last octets of the addresses in all lines that are there.
fn numbers(follower: &mut Follower) -> Vec<u8> {
    let mut lines: Vec<Line> = Vec::new();
    while follower.poll(now(), |line| lines.push(line)).unwrap() {}
    let number = |line: Line| match line.relay.unwrap().ip.unwrap() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    lines.into_iter().map(number).collect()
}

#[test]
fn a_renamed_file_is_read_to_its_end() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &line(1));
    let mut follower = follow(&path, From::End);
    append(&path, &line(2));
    assert_eq!(numbers(&mut follower), [2]);
    let old = directory.path().join("mail.log.1");
    fs::rename(&path, &old).unwrap();
    append(&old, &line(3));
    assert_eq!(numbers(&mut follower), [3]);
    // The server has not been told yet.
    append(&path, &line(4));
    append(&old, &line(5));
    let mut seen = numbers(&mut follower);
    append(&old, &line(6));
    append(&path, &line(7));
    seen.extend(numbers(&mut follower));
    seen.sort_unstable();
    assert_eq!(seen, [4, 5, 6, 7]);
    assert_eq!((follower.counts().rotations, follower.counts().truncations), (1, 0));
}

#[test]
fn a_file_cut_in_place_is_read_from_its_beginning() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &(line(1) + &line(2)));
    let mut follower = follow(&path, From::Back(1 << 20));
    assert_eq!(numbers(&mut follower), [1, 2]);
    fs::write(&path, line(3)).unwrap();
    assert_eq!(numbers(&mut follower), [3]);
    // Cut, and longer than before by the next look.
    fs::write(&path, (4..9).map(line).collect::<String>()).unwrap();
    assert_eq!(numbers(&mut follower), [4, 5, 6, 7, 8]);
    assert_eq!((follower.counts().rotations, follower.counts().truncations), (0, 2));
    assert_eq!(follower.counts().unread_ends, 2);
}

/// Renames as logrotate does.
fn rotate(path: &Path, kept: u8) {
    let numbered = |number: u8| path.with_extension(format!("log.{number}"));
    for number in (1..kept).rev().filter(|&number| numbered(number).exists()) {
        fs::rename(numbered(number), numbered(number + 1)).unwrap();
    }
    fs::rename(path, numbered(1)).unwrap();
}

#[test]
fn two_rotations_between_two_looks_lose_nothing() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &line(1));
    let mut follower = follow(&path, From::Back(1 << 20));
    assert_eq!(numbers(&mut follower), [1]);
    append(&path, &line(2));
    rotate(&path, 4);
    append(&path, &line(3));
    rotate(&path, 4);
    append(&path, &line(4));
    assert_eq!(numbers(&mut follower), [2, 3, 4]);
    // Neither server nor syslog daemon has been told yet.
    append(&path.with_extension("log.2"), &line(5));
    append(&path.with_extension("log.1"), &line(6));
    append(&path, &line(7));
    assert_eq!(numbers(&mut follower), [5, 6, 7]);
    let counts = follower.counts();
    assert_eq!((counts.rotations, counts.unread_files, counts.unread_ends), (2, 0, 0));
    assert_eq!(follower.trouble(), None);
}

#[test]
fn a_rotation_that_leaves_no_log_yet_is_read() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &line(1));
    let mut follower = follow(&path, From::End);
    for number in 2..6 {
        rotate(&path, 9);
        append(&path, &line(number));
    }
    rotate(&path, 9);
    assert_eq!(numbers(&mut follower), [2, 3, 4, 5]);
    assert_eq!((numbers(&mut follower).len(), follower.counts().unread_files), (0, 0));
    // What comes back under its old name is no other file.
    fs::rename(path.with_extension("log.1"), &path).unwrap();
    append(&path, &line(6));
    assert_eq!(numbers(&mut follower), [6]);
    assert_eq!((numbers(&mut follower).len(), follower.counts().unread_files), (0, 0));
}

#[test]
fn a_file_that_comes_and_goes_is_counted() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &line(1));
    let mut follower = follow(&path, From::End);
    rotate(&path, 4);
    append(&path, &line(2));
    rotate(&path, 4);
    // As if it was compressed at once.
    fs::remove_file(path.with_extension("log.1")).unwrap();
    append(&path, &line(3));
    assert_eq!(numbers(&mut follower), [3]);
    assert_eq!((numbers(&mut follower).len(), follower.counts().unread_files), (0, 1));
    for number in 4..8 {
        rotate(&path, 4);
        append(&path, &line(number));
        assert_eq!(numbers(&mut follower), [number]);
    }
    assert_eq!((numbers(&mut follower).len(), follower.counts().unread_files), (0, 1));
}

#[test]
fn a_server_that_is_not_told_of_a_rotation_is_read_while_it_writes() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &line(1));
    let mut follower = follow(&path, From::End);
    for number in 2..8 {
        rotate(&path, 20);
        append(&path, &line(number));
        assert_eq!(numbers(&mut follower), [number]);
    }
    append(&path.with_extension("log.6"), &line(9));
    assert_eq!(numbers(&mut follower), [9]);
}

/// As logrotate does with copytruncate.
fn copy_and_cut(path: &Path) {
    let numbered = |number: u8| path.with_extension(format!("log.{number}"));
    if numbered(1).exists() {
        fs::rename(numbered(1), numbered(2)).unwrap();
    }
    fs::copy(path, numbered(1)).unwrap();
    OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
}

#[test]
fn the_rest_of_a_file_that_was_copied_and_cut_is_read_from_the_copy() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    append(&path, &line(1));
    let mut follower = follow(&path, From::Back(1 << 20));
    assert_eq!(numbers(&mut follower), [1]);
    let whole = line(3);
    append(&path, &(line(2) + &whole[..20]));
    assert_eq!(numbers(&mut follower), [2]);
    append(&path, &(whole[20..].to_owned() + &line(4)));
    copy_and_cut(&path);
    append(&path, &line(5));
    copy_and_cut(&path);
    append(&path, &line(6));
    assert_eq!(numbers(&mut follower), [3, 4, 5, 6]);
    copy_and_cut(&path);
    append(&path, &line(7));
    assert_eq!(numbers(&mut follower), [7]);
    let counts = follower.counts();
    assert_eq!((counts.rotations, counts.truncations, counts.unread_ends), (0, 2, 0));
    append(&path, &line(8));
    copy_and_cut(&path);
    fs::remove_file(path.with_extension("log.1")).unwrap();
    append(&path, &line(9));
    assert_eq!(numbers(&mut follower), [9]);
    assert_eq!(follower.counts().unread_ends, 1);
}

#[test]
fn a_file_may_come_later_and_be_begun_anywhere() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    let mut follower = follow(&path, From::End);
    assert_eq!(numbers(&mut follower), [0; 0]);
    append(&path, &line(1));
    assert_eq!(numbers(&mut follower), [1]);
    append(&path, &(line(2) + &line(3)));
    let back = (line(3).len() + 5) as u64;
    assert_eq!(numbers(&mut follow(&path, From::Back(back))), [3]);
    assert_eq!(numbers(&mut follow(&path, From::Back(line(3).len() as u64))), [3]);
    assert!(Follower::open(MtaKind::Postfix, &Place::File(directory.path().to_owned()), From::End).is_err());
}

#[test]
fn a_line_comes_when_it_is_whole() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    let mut follower = follow(&path, From::End);
    let whole = line(1);
    let (begin, end) = whole.split_at(30);
    append(&path, begin);
    assert_eq!(numbers(&mut follower), [0; 0]);
    append(&path, end);
    append(&path, &"x".repeat(1 << 20));
    append(&path, &format!("\n\0\0\0{}", line(2)));
    assert_eq!(numbers(&mut follower), [1, 2]);
    let counts = follower.counts();
    assert_eq!((counts.lines, counts.deliveries, counts.too_long), (3, 2, 1));
}

#[test]
fn lines_are_the_same_however_they_are_cut() {
    let text = format!("a\r\nbc\n\n{}\n{}\nlast", "y".repeat(LINE_MAX), "z".repeat(LINE_MAX + 1));
    let read = |size: usize| {
        let (mut lines, mut found) = (Lines::new(LINE_MAX), Vec::new());
        let long: u64 =
            text.as_bytes().chunks(size).map(|chunk| lines.split(chunk, &mut |line| found.push(line.to_vec()))).sum();
        (found, long)
    };
    let (found, long) = read(usize::MAX);
    assert_eq!((found.len(), long, found[4].len()), (5, 1, LINE_MAX));
    for size in [1, 2, 3, 7, 4_096, 8_191, 8_192, 8_193] {
        assert_eq!(read(size), read(usize::MAX), "{size}");
    }
}

#[test]
fn the_journal_is_asked_for_mail_alone_and_its_reader_ends() {
    let directory = tempdir().unwrap();
    let (program, asked) = (directory.path().join("journalctl"), directory.path().join("asked"));
    let entry = "{\"__CURSOR\":\"s=1\",\"MESSAGE\":\"x\"}";
    let script = format!("#!/bin/sh\necho \"$$ $*\" >>'{}'\necho '{entry}'\nexec sleep 60\n", asked.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut counts, mut lines) = (LogCounts::default(), Vec::new());
    let mut journal = Journal::start(&program, From::Back(1_000)).unwrap();
    for _ in 0..500 {
        journal.poll(&mut counts, &mut |line| lines.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
        if !lines.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(lines, [entry]);
    drop(journal);
    let asked = fs::read_to_string(asked).unwrap();
    let (pid, arguments) = asked.trim().split_once(' ').unwrap();
    assert!(arguments.ends_with("--lines=5 SYSLOG_FACILITY=2 + _COMM=dockerd + _COMM=conmon"), "{arguments}");
    assert!(!Path::new("/proc").join(pid).exists(), "it is still there");
}

#[test]
fn an_entry_has_its_time_and_its_writer_beside_it() {
    let clock = Clock { now: now(), zone: TimeZone::UTC };
    let entry = |fields: &str| {
        let text = format!("{{\"__REALTIME_TIMESTAMP\":\"1764173221500000\",\"_HOSTNAME\":\"mx1\"{fields}}}");
        read_entry(MtaKind::Postfix, text.as_bytes(), &clock).lines.pop()
    };
    let message =
        "\"MESSAGE\":\"connect to mx[203.0.113.5]:25: Connection refused\",\"SYSLOG_IDENTIFIER\":\"postfix/smtp\"";
    let read = entry(&format!(
        ",{message},\"_PID\":\"1203\",\"SYSLOG_PID\":\"7\",\"_SOURCE_REALTIME_TIMESTAMP\":\"1764173221440526\""
    ));
    let read = read.unwrap();
    assert_eq!((read.pid, read.said, read.time.as_microsecond()), (Some(1203), Said::Refused, 1_764_173_221_440_526));
    assert_eq!(entry(&format!(",{message}")).unwrap().time.as_microsecond(), 1_764_173_221_500_000);
    let bytes: Vec<String> = b"connect to mx[203.0.113.5]:25: \xff".iter().map(u8::to_string).collect();
    let bytes = format!(",\"MESSAGE\":[{}],\"SYSLOG_IDENTIFIER\":\"postfix/smtp\"", bytes.join(","));
    assert_eq!(entry(&bytes).unwrap().said, Said::Other);
    for nothing in ["", ",\"MESSAGE\":null,\"SYSLOG_IDENTIFIER\":\"postfix/smtp\"", ",\"MESSAGE\":7"] {
        assert_eq!(entry(nothing), None, "{nothing}");
    }
}

#[test]
fn a_log_may_have_the_date_in_its_name() {
    let zone = TimeZone::fixed(jiff::tz::offset(9));
    for (path, expected) in [
        ("/var/log/exim/mainlog-%D", "/var/log/exim/mainlog-20261127"),
        ("/var/log/exim/%slog-%D", "/var/log/exim/mainlog-20261127"),
        ("/var/log/exim/mainlog.%M", "/var/log/exim/mainlog.202611"),
        ("/var/log/%D/mainlog", "/var/log/%D/mainlog"),
    ] {
        assert_eq!(named_at(Path::new(path), now(), &zone), Path::new(expected));
    }
    let directory = tempdir().unwrap();
    let day = |number: i8| now() + jiff::SignedDuration::from_hours(24 * i64::from(number));
    let file = |number: i8| {
        let date = TimeZone::system().to_datetime(day(number)).strftime("%Y%m%d").to_string();
        directory.path().join(format!("log-{date}"))
    };
    let place = Place::File(directory.path().join("log-%D"));
    let mut follower = Follower::open(MtaKind::Postfix, &place, From::End).unwrap();
    let mut read = |number: i8| {
        let mut lines = Vec::new();
        while follower.poll(day(number), |line| lines.push(line)).unwrap() {}
        (lines.len(), follower.counts())
    };
    append(&file(1), &line(1));
    assert_eq!(read(1).0, 1);
    // The first day's file is read on until the second one's is there, and after that.
    append(&file(1), &line(2));
    assert_eq!(read(2).0, 1);
    append(&file(2), &line(3));
    append(&file(1), &line(4));
    assert_eq!(read(2).0, 2);
    let (count, counts) = read(2);
    assert_eq!((count, counts.rotations, counts.unread_files, counts.unread_ends), (0, 1, 0, 0));
}

#[test]
fn a_log_of_which_nothing_is_understood_says_so() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("mail.log");
    let mut follower = follow(&path, From::End);
    append(&path, "\n16:07:01 mx1 postfix: to=<john.doe@example.net>\x1b[1m\nsecond\n");
    assert_eq!(numbers(&mut follower), [0; 0]);
    assert_eq!(follower.not_understood(), Some((2, "16:07:01 mx1 postfix: to=<*@example.net> [1m")));
    append(&path, &line(1));
    assert_eq!(numbers(&mut follower), [1]);
    assert_eq!((follower.not_understood(), follower.counts().understood), (None, 1));
}
