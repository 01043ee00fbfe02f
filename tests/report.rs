//! `observer report` as users meet it: what it prints, writes and ends with.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use observer::store::history::{Entry, MinuteKey, Recorder, Retention};
use observer_core::event::{Endpoint, Evidence, Process};
use observer_core::label::{Label, Origin, Reason};
use serde_json::Value;
use tempfile::TempDir;

const RECORDED: u64 = 400;
const LOST: u64 = 7;

fn time(second: u64) -> Timestamp {
    let start: Timestamp = "2026-11-23T16:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(i64::try_from(second).unwrap())
}

/// One in four is refused; to 50 destinations, one every 10 seconds.
fn entry(number: u64) -> Entry {
    let is_refused = number.is_multiple_of(4);
    Entry {
        id: format!("mx1-6f0c2d9e-{number:x}.0"),
        time: time(number * 10),
        label: if is_refused { Label::Refused } else { Label::Connected },
        reason: is_refused.then_some(Reason::Rst),
        origin: is_refused.then_some(Origin::Remote),
        active_refusal: is_refused.then_some(true),
        errno: None,
        src: Endpoint { ip: Some([192, 0, 2, 1].into()), port: Some(45_000) },
        dst: Endpoint { ip: Some([203, 0, 113, (number % 50) as u8].into()), port: Some(25) },
        elapsed: Some(Duration::from_millis(20)),
        handshake: (!is_refused).then_some(Duration::from_millis(9)),
        syn_retransmits: 0,
        process: Some(Process { pid: 1, uid: 89, comm: "sm\u{1b}[2J<b>".to_owned(), cgroup: None, netns: 1 }),
        evidence: Evidence::default(),
    }
}

/// A history of [`RECORDED`] events and [`LOST`] more that were only counted.
fn history() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let entries: Vec<Entry> = (0..RECORDED).map(entry).collect();
    let key = MinuteKey::of(&entries[0]);
    // Or it would delete what lies in the future of a slow clock.
    let retention = Retention { age: Duration::from_hours(24 * 36_500), ..Retention::default() };
    let mut recorder = Recorder::open(&path, retention, time(10_000)).unwrap();
    recorder.record(&entries, &[(key, LOST)]).unwrap();
    drop(recorder);
    (directory, path.to_str().unwrap().to_owned())
}

fn report(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.arg("report").args(args).env("TZ", "UTC").output().unwrap()
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn totals_are_those_that_were_recorded() {
    let (_directory, path) = history();
    let args = ["--history", &path, "--since", "2026-11-23", "--until", "2026-11-24T00:00:00Z", "--top", "0"];
    let (code, json, errors) = said(&report(&[&args[..], &["--format", "json"]].concat()));
    assert_eq!((code, errors.as_str()), (0, ""));
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["overview"]["attempts"], RECORDED + LOST);
    assert_eq!(value["overview"]["failures"], RECORDED / 4 + LOST);
    assert_eq!(value["ledger"]["events"], RECORDED);
    assert_eq!(value["ledger"]["counted_only"], LOST);
    let destinations = value["destinations"].as_array().unwrap();
    assert_eq!(destinations.len(), 50);
    for known in destinations {
        let lost = if known["ip"] == "203.0.113.0" { LOST } else { 0 };
        assert_eq!(known["attempts"], RECORDED / 50 + lost, "{known}");
    }
    let (code, table, _) = said(&report(&args));
    assert_eq!(code, 0);
    assert!(table.contains("407 attempts to 50 destinations: 107 failed"), "{table}");
    assert!(!table.contains('\u{1b}'), "{table}");
}

#[test]
fn filters_and_periods_choose() {
    let (_directory, path) = history();
    let count = |args: &[&str]| {
        let args = [&["--history", &path, "--format", "json"], args].concat();
        let value: Value = serde_json::from_slice(&report(&args).stdout).unwrap();
        value["overview"]["attempts"].as_u64().unwrap()
    };
    let day = ["--since", "2026-11-23", "--until", "2026-11-24"];
    assert_eq!(count(&["--since", "2026-11-23 16:30", "--until", "2026-11-23T17:00:00Z"]), 180);
    assert_eq!(count(&[&day[..], &["--label", "refused"]].concat()), RECORDED / 4 + LOST);
    assert_eq!(count(&[&day[..], &["-d", "203.0.113.0/31"]].concat()), 2 * RECORDED / 50 + LOST);
    assert_eq!(count(&[&day[..], &["-p", "587"]].concat()), 0);
}

#[test]
fn a_page_goes_to_a_file() {
    let (directory, path) = history();
    let file = directory.path().join("report.html");
    let output = file.to_str().unwrap();
    let args = ["--history", &path, "--since", "2026-11-23", "--until", "2026-11-24", "-f", "html", "-o", output];
    assert_eq!(said(&report(&args)), (0, String::new(), String::new()));
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("\\x1b[2J&#60;b&#62;"));
}

#[test]
fn what_cannot_be_reported_is_said_in_one_line() {
    let (directory, path) = history();
    let missing = directory.path().join("none.sqlite");
    let missing = missing.to_str().unwrap();
    for (args, code, text) in [
        (vec!["--history", missing], 1, "no history at"),
        (vec!["--history", &path, "--since", "1h", "--until", "2h"], 2, "is not before --until"),
        (vec!["--history", &path, "--since", "2999-01-01"], 2, "is not in the past"),
        (vec!["--history", &path, "--until", "2001-01-02"], 0, "no attempts in this period"),
        (vec!["--history", &path, "--until", "2001-01-02", "-p", "25"], 0, "that pass the filters"),
        (vec!["--history", &path, "--format", "json", "-o", "/nonexistent/file"], 1, "--output"),
    ] {
        let (exit, _, errors) = said(&report(&args));
        assert_eq!(exit, code, "{args:?}: {errors}");
        assert!(errors.lines().any(|line| line.contains(text)), "{args:?}: {errors}");
        assert!(errors.lines().all(|line| line.starts_with("observer: ")), "{args:?}: {errors}");
    }
}

#[test]
fn an_empty_history_says_how_to_fill_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    drop(Recorder::open(Path::new(&path), Retention::default(), time(0)).unwrap());
    let (code, out, errors) = said(&report(&["--history", path.to_str().unwrap()]));
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(errors.contains("holds no attempt yet: `observer run` records them"), "{errors}");
}
