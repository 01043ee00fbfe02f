use std::ops::ControlFlow;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{Entry, History, Question, Recorder, Retention, Tallies};
use crate::label::{Label, Reason};
use crate::sample;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    (directory, path)
}

fn recorder(path: &std::path::Path) -> Recorder {
    Recorder::open(path, Retention::default(), sample::time()).unwrap()
}

/// An event of its own, `seconds` after the sample's time.
fn event(number: u64, seconds: i64) -> Entry {
    let mut event = sample::event(Label::Refused, Some(Reason::Rst));
    event.id = format!("mx1-6f0c2d9e-{number:x}.0");
    event.time += jiff::SignedDuration::from_secs(seconds);
    Entry::from(&event)
}

fn all(history: &History) -> Vec<Entry> {
    let mut all = Vec::new();
    let taken = history.attempts(&Question::default(), |entry| {
        all.push(entry);
        ControlFlow::Continue(())
    });
    assert_eq!(taken.unwrap(), all.len() as u64);
    all
}

fn counted(tallies: &Tallies) -> u64 {
    tallies.values().map(|tally| tally.count).sum()
}

#[test]
fn smoke() {
    let (_directory, path) = place();
    let mut recorder = recorder(&path);
    let written = recorder.record(&[event(1, 0), event(2, 1), event(1, 0)], &[]).unwrap();
    assert_eq!((written.attempts, written.duplicates), (2, 1));
    let history = History::open_read_only(&path).unwrap();
    assert_eq!(all(&history), [event(1, 0), event(2, 1)]);
    assert_eq!(counted(&history.outcomes(&Question::default()).unwrap()), 2);
}
