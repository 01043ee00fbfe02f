use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use observer_core::event::Event;
use observer_core::label::{Label, Reason};
use observer_core::sample;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Entry, Error, History, MinuteKey, Question, Recorder, Retention, Tallies, minute, schema};

pub(super) fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    (directory, path)
}

pub(super) fn recorder(path: &Path) -> Recorder {
    Recorder::open(path, Retention::default(), sample::time()).unwrap()
}

/// An event of its own, `seconds` after the sample's time.
pub(super) fn entry(number: u64, seconds: i64) -> Entry {
    Entry::from(&*event(number, seconds))
}

pub(super) fn event(number: u64, seconds: i64) -> Arc<Event> {
    let mut event = sample::event(Label::Refused, Some(Reason::Rst));
    event.id = format!("mx1-6f0c2d9e-{number:x}.0");
    event.time += SignedDuration::from_secs(seconds);
    Arc::new(event)
}

pub(super) fn all(path: &Path) -> Vec<Entry> {
    asked(&History::open_read_only(path).unwrap(), &Question::default())
}

fn asked(history: &History, question: &Question) -> Vec<Entry> {
    let mut all = Vec::new();
    let taken = history.attempts(question, |entry| {
        all.push(entry);
        ControlFlow::Continue(())
    });
    assert_eq!(taken.unwrap(), all.len() as u64);
    all
}

fn counted(tallies: &Tallies) -> u64 {
    tallies.values().map(|tally| tally.count).sum()
}

pub(super) fn total(path: &Path) -> u64 {
    counted(&History::open_read_only(path).unwrap().outcomes(&Question::default()).unwrap())
}

/// As [`Entry`] keeps it: addresses as they are on the wire.
fn canonical(mut entry: Entry) -> Entry {
    entry.src.ip = entry.src.ip.map(|ip| ip.to_canonical());
    entry.dst.ip = entry.dst.ip.map(|ip| ip.to_canonical());
    entry
}

/// As [`sample::any_event`], at any second within an hour, and a few destinations.
fn any_entry() -> impl Strategy<Value = Entry> {
    (sample::any_event(), 0i64..3_600, 0u8..4).prop_map(|(event, seconds, last)| {
        let mut entry = Entry::from(&event);
        entry.time += SignedDuration::from_secs(seconds);
        if last > 0 {
            entry.dst.ip = Some(sample::ip(&format!("203.0.113.{last}")));
        }
        entry
    })
}

/// With ids that differ.
fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(any_entry(), 0..40).prop_map(|mut entries| {
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.id.push_str(&format!("#{number}"));
        }
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(entries in any_entries(), batch in 1usize..20) {
        let (_directory, path) = place();
        let mut recorder = recorder(&path);
        for part in entries.chunks(batch) {
            recorder.record(part, &[]).unwrap();
        }
        let mut expected: Vec<_> = entries.into_iter().map(canonical).collect();
        expected.sort_by_key(|entry| entry.time);
        prop_assert_eq!(all(&path), expected);
    }

    #[test]
    fn counts_are_those_of_a_plain_recount(entries in any_entries(), cut in 0i64..3_600) {
        let (_directory, path) = place();
        recorder(&path).record(&entries, &[]).unwrap();
        let history = History::open_read_only(&path).unwrap();
        let start = minute(sample::time() + SignedDuration::from_secs(cut));
        let question = Question { since: Some(Timestamp::from_second(start).unwrap()), ..Question::default() };
        let asked: Vec<_> = entries.iter().map(MinuteKey::of).filter(|key| key.minute >= start).collect();
        let count = |matching: &dyn Fn(&MinuteKey) -> bool| asked.iter().filter(|key| matching(key)).count() as u64;

        let outcomes = history.outcomes(&question).unwrap();
        prop_assert_eq!(counted(&outcomes), asked.len() as u64);
        for ((label, reason), tally) in outcomes {
            prop_assert_eq!(tally.count, count(&|key| (key.label, key.reason) == (label, reason)));
        }
        let mut sum = 0;
        history.destinations(&question, |group| {
            let at = group.destination;
            assert_eq!(counted(&group.outcomes), count(&|key| key.dst_ip == Some(at.ip()) && key.dst_port == at.port()));
            sum += counted(&group.outcomes);
            ControlFlow::Continue(())
        }).unwrap();
        history.sources(&question, |group| {
            assert_eq!(counted(&group.outcomes), count(&|key| key.src_ip == group.source));
            sum += counted(&group.outcomes);
            ControlFlow::Continue(())
        }).unwrap();
        let mut last = None;
        history.minutes(&question, |start, outcomes| {
            assert!(last < Some(start));
            last = Some(start);
            assert_eq!(counted(&outcomes), count(&|key| key.minute == start.as_second()));
            sum += counted(&outcomes);
            ControlFlow::Continue(())
        }).unwrap();
        prop_assert_eq!(sum, 3 * asked.len() as u64);
    }

    #[test]
    fn filters_are_those_of_a_plain_filter(entries in any_entries(), last in 1u8..4) {
        let (_directory, path) = place();
        recorder(&path).record(&entries, &[]).unwrap();
        let net: ipnet::IpNet = format!("203.0.113.{last}/32").parse().unwrap();
        let question = Question {
            since: Some(sample::time() + SignedDuration::from_mins(10)),
            until: Some(sample::time() + SignedDuration::from_mins(50)),
            destinations: vec![net],
            labels: vec![Label::Refused, Label::Cancelled],
            ..Question::default()
        };
        let mut expected: Vec<_> = entries.into_iter().map(canonical).filter(|entry| {
            question.since <= Some(entry.time)
                && Some(entry.time) < question.until
                && entry.dst.ip.is_some_and(|ip| net.contains(&ip))
                && question.labels.contains(&entry.label)
        }).collect();
        expected.sort_by_key(|entry| entry.time);
        prop_assert_eq!(asked(&History::open_read_only(&path).unwrap(), &question), expected);
    }
}

#[test]
fn repeats_change_nothing() {
    let (_directory, path) = place();
    let mut recorder = recorder(&path);
    let written = recorder.record(&[entry(1, 0), entry(2, 1), entry(1, 0)], &[]).unwrap();
    assert_eq!((written.attempts, written.duplicates), (2, 1));
    let written = recorder.record(&[entry(2, 1), entry(3, 2)], &[]).unwrap();
    assert_eq!((written.attempts, written.duplicates), (1, 1));
    assert_eq!((all(&path).len(), total(&path)), (3, 3));
}

#[test]
fn attempts_without_an_event_are_counted() {
    let (_directory, path) = place();
    let key = MinuteKey::of(&entry(1, 0));
    recorder(&path).record(&[entry(1, 0)], &[(key, 41), (MinuteKey { src_ip: None, ..key }, 8)]).unwrap();
    assert_eq!((all(&path).len(), total(&path)), (1, 50));
    let history = History::open_read_only(&path).unwrap();
    let mut sources = BTreeMap::new();
    let fill = history.sources(&Question::default(), |group| {
        sources.insert(group.source, counted(&group.outcomes));
        ControlFlow::Continue(())
    });
    fill.unwrap();
    assert_eq!(sources, BTreeMap::from([(None, 8), (key.src_ip, 42)]));
}

#[test]
fn a_question_can_be_ended_early() {
    let (_directory, path) = place();
    recorder(&path).record(&[entry(1, 0), entry(2, 60), entry(3, 120)], &[]).unwrap();
    let history = History::open_read_only(&path).unwrap();
    assert_eq!(history.attempts(&Question::default(), |_| ControlFlow::Break(())).unwrap(), 1);
    let mut minutes = 0;
    let take = |_, _| {
        minutes += 1;
        ControlFlow::Break(())
    };
    history.minutes(&Question::default(), take).unwrap();
    assert_eq!(minutes, 1);
    let (first, last) = history.span().unwrap().unwrap();
    assert_eq!((first, last), (entry(1, 0).time, entry(3, 120).time));
}

#[test]
fn a_snapshot_stands_still() {
    let (_directory, path) = place();
    let mut recorder = recorder(&path);
    recorder.record(&[entry(1, 0)], &[]).unwrap();
    let history = History::open_read_only(&path).unwrap();
    let seen = history.snapshot(|history| {
        let before = counted(&history.outcomes(&Question::default())?);
        recorder.record(&[entry(2, 0)], &[]).unwrap();
        Ok((before, counted(&history.outcomes(&Question::default())?)))
    });
    assert_eq!(seen.unwrap(), (1, 1));
    assert_eq!(total(&path), 2);
}

#[test]
fn what_is_too_old_goes() {
    let (_directory, path) = place();
    let age = Duration::from_hours(24);
    let mut recorder = Recorder::open(&path, Retention { age, ..Retention::default() }, sample::time()).unwrap();
    let entries: Vec<_> = (0..25_000).map(|number| entry(number, i64::try_from(number).unwrap())).collect();
    recorder.record(&entries, &[]).unwrap();
    // All but the last hour: more than one step.
    let now = sample::time() + SignedDuration::from_secs(25_000 - 3_600) + SignedDuration::from_hours(24);
    assert!(recorder.retain(now).unwrap(), "a step is bounded");
    assert_eq!(all(&path).len(), 15_000);
    while recorder.retain(now).unwrap() {}
    assert_eq!(all(&path), entries[25_000 - 3_600..]);
    let kept = u64::try_from(25_000 - 3_600 - 1).unwrap();
    let cut = entry(kept + 1, 25_000 - 3_600).time;
    let whole_minutes = entries.iter().filter(|entry| minute(entry.time) >= minute(cut)).count() as u64;
    assert_eq!(total(&path), whole_minutes);
}

#[test]
fn what_is_too_much_goes_oldest_first() {
    let (_directory, path) = place();
    let bytes = 4 << 20;
    let mut recorder = Recorder::open(&path, Retention { bytes, ..Retention::default() }, sample::time()).unwrap();
    for round in 0..12u64 {
        let first = round * 5_000;
        let batch: Vec<_> =
            (first..first + 5_000).map(|number| entry(number, i64::try_from(number).unwrap())).collect();
        recorder.record(&batch, &[]).unwrap();
        while recorder.retain(sample::time()).unwrap() {}
    }
    recorder.checkpoint().unwrap();
    let kept = all(&path);
    assert_eq!(kept.last().unwrap(), &entry(59_999, 59_999));
    assert!(kept.len() > 1_000 && kept.len() < 30_000, "{}", kept.len());
    assert_eq!(kept.first().unwrap().time + SignedDuration::from_secs(kept.len() as i64 - 1), entry(0, 59_999).time);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 2 * bytes, "{size}");
}

#[test]
fn an_empty_file_of_version_0_is_migrated_and_others_are_refused() {
    let (directory, path) = place();
    drop(Connection::open(&path).unwrap());
    drop(recorder(&path));
    let connection = Connection::open(&path).unwrap();
    assert_eq!(schema::version(&connection).unwrap(), schema::VERSION);
    let created: String =
        connection.query_row("SELECT value FROM meta WHERE key = 'created_by'", (), |row| row.get(0)).unwrap();
    assert_eq!(created, concat!("observer ", env!("CARGO_PKG_VERSION")));

    connection.pragma_update(None, "user_version", 4_711).unwrap();
    let error = Recorder::open(&path, Retention::default(), sample::time()).unwrap_err().to_string();
    assert_eq!(error, History::open_read_only(&path).unwrap_err().to_string());
    let known = schema::VERSION;
    let expected = format!(
        "made by a newer observer (schema version 4711, this one knows up to {known}): update observer, or use another file"
    );
    assert_eq!(error, format!("{}: {expected}", path.display()));

    let foreign = directory.path().join("foreign.sqlite");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE mail (id)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    for error in [
        Recorder::open(&foreign, Retention::default(), sample::time()).map(drop).unwrap_err(),
        History::open_read_only(&foreign).map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with("but not one of observer's: use another file"), "{error}");
    }
    assert_eq!(std::fs::read(&foreign).unwrap(), before, "not a byte of it is changed");
    assert!(!directory.path().join("foreign.sqlite-lock").exists(), "nor is anything made beside it");
    let empty = directory.path().join("empty.sqlite");
    std::fs::write(&empty, "").unwrap();
    let error = History::open_read_only(&empty).map(drop).unwrap_err().to_string();
    assert!(error.contains("empty, so no history"), "{error}");
    let error = History::open_read_only(directory.path()).map(drop).unwrap_err().to_string();
    assert!(error.contains("choose another file with --history"), "{error}");
}

/// A file as the first version made it, with an attempt in it.
#[test]
fn an_older_file_is_brought_up_to_date_and_keeps_its_rows() {
    let (_directory, path) = place();
    recorder(&path).record(&[entry(1, 0)], &[]).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP TABLE delivery; ALTER TABLE minute DROP COLUMN redirected; PRAGMA user_version = 1")
        .unwrap();
    drop(connection);
    let error = History::open_read_only(&path).unwrap_err().to_string();
    assert!(error.contains("older"), "{error}");
    recorder(&path).record_deliveries(&[]).unwrap();
    assert_eq!(all(&path), [entry(1, 0)]);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let (_directory, path) = place();
    let mut connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA max_page_count = 3").unwrap();
    assert!(schema::migrate(&mut connection, sample::time()).is_err());
    assert_eq!(schema::version(&connection).unwrap(), 0);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0)).unwrap();
    assert_eq!(tables, 0);
}

#[test]
fn what_others_chose_stays_text() {
    let (_directory, path) = place();
    let mut hostile = entry(1, 0);
    let process = hostile.process.as_mut().unwrap();
    process.comm = "a\0b'); DROP TABLE attempt; --\u{fffd}\u{202e}".to_owned();
    process.cgroup = Some("/\"'\n</script>".to_owned());
    recorder(&path).record(std::slice::from_ref(&hostile), &[]).unwrap();
    assert_eq!(all(&path), [hostile]);
}

#[test]
fn a_reader_bears_what_others_wrote() {
    let (_directory, path) = place();
    drop(recorder(&path));
    let connection = Connection::open(&path).unwrap();
    let insert = |label: &str, comm: &str| {
        let sql = format!(
            "INSERT INTO attempt (id, time, label, syn_retransmits, pid, uid, comm, netns) \
             VALUES ('{label}', 1, '{label}', 0, 1, 1, {comm}, 1)"
        );
        connection.execute_batch(&sql).unwrap();
    };
    insert("refused", "CAST(x'61ff62' AS TEXT)");
    assert_eq!(all(&path)[0].process.as_ref().unwrap().comm, "a\u{fffd}b");
    // Perhaps a later version's: it counts, and is not left out.
    insert("nonsense", "'x'");
    let labels: Vec<Label> = all(&path).iter().map(|entry| entry.label).collect();
    assert_eq!(labels, [Label::Refused, Label::Unknown]);
    connection.execute_batch("UPDATE attempt SET dst_ip = 'nowhere'").unwrap();
    let history = History::open_read_only(&path).unwrap();
    let error = history.attempts(&Question::default(), |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.contains("no address: \"nowhere\"") && error.starts_with(path.to_str().unwrap()), "{error}");
}

#[test]
fn only_the_owner_writes_and_the_group_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("observer/history.sqlite");
    let _recorder = recorder(&path);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o750);
    for side in ["", "-wal", "-shm", "-lock"] {
        let mut name = path.clone().into_os_string();
        name.push(side);
        assert_eq!(mode(Path::new(&name)), 0o640, "{side}");
    }
}

#[test]
fn one_recorder_a_file() {
    let (_directory, path) = place();
    let first = recorder(&path);
    let error = Recorder::open(&path, Retention::default(), sample::time()).unwrap_err();
    assert!(error.to_string().contains("another observer records there"), "{error}");
    drop(first);
    drop(recorder(&path));
}

#[test]
fn what_cannot_be_opened_names_the_file_and_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| Recorder::open(path, Retention::default(), sample::time()).map(drop).unwrap_err();
    let missing = directory.path().join("a/b/history.sqlite");
    let error = open(&missing).to_string();
    assert!(error.starts_with(missing.to_str().unwrap()) && error.contains("make the directory above it"), "{error}");
    assert!(!error.contains('\n'));
    assert!(open(directory.path()).to_string().contains("choose another file with --history"));
    let text = directory.path().join("text");
    std::fs::write(&text, "this is no database, but a text that is long enough").unwrap();
    let error = open(&text);
    assert_eq!(error.cause(), "database damaged", "{error}");
    let absent = History::open_read_only(&directory.path().join("absent")).unwrap_err();
    assert!(matches!(absent, Error::At { .. }) && absent.to_string().contains("No such file"), "{absent}");
}

#[test]
fn a_closed_file_is_read_where_nothing_may_be_written() {
    let (directory, path) = place();
    recorder(&path).record(&[entry(1, 0)], &[]).unwrap();
    let odd = directory.path().join("50% of #1? ä.sqlite");
    std::fs::rename(&path, &odd).unwrap();
    assert_eq!(all(&odd), [entry(1, 0)]);
    // As an ordinary user this is a directory without write permission; root
    // may write everywhere, so SQLite is asked for what it then does.
    let connection = super::read::open(odd.as_os_str().as_encoded_bytes(), "immutable=1").unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM attempt", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn attempts_are_read_by_their_number_and_from_both_ends() {
    let (_directory, path) = place();
    let mut entries: Vec<Entry> = (0..20).map(|number| entry(number, number as i64)).collect();
    entries[3].src.ip = entries[3].dst.ip;
    recorder(&path).record(&entries, &[]).unwrap();
    let history = History::open_read_only(&path).unwrap();
    let mut numbers = Vec::new();
    history
        .numbered(&Question::default(), |number, brief| {
            assert_eq!(brief.origin, entries[numbers.len()].origin);
            numbers.push(number);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(numbers.len(), 20);
    let details = history.details(&[numbers[19], numbers[0]]).unwrap();
    assert_eq!(details.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&entries[0].id, &entries[19].id]);
    let newest = history.newest(&Question::default(), 2).unwrap();
    assert_eq!(newest.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&entries[18].id, &entries[19].id]);
    let own: Vec<_> = history.own_addresses(&Question::default(), 9).unwrap();
    assert_eq!(own, Vec::from_iter(entries[3].dst.ip.map(|ip| ip.to_canonical())));
    assert!(history.own_addresses(&Question::default(), 0).unwrap().is_empty());
}

fn counts_of_redirected(history: &History) -> Vec<(Option<bool>, u64)> {
    let mut counts = Vec::new();
    let take = |key: MinuteKey, count| {
        counts.push((key.redirected, count));
        ControlFlow::Continue(())
    };
    history.counted(&Question::default(), take).unwrap();
    counts
}

#[test]
fn attempts_that_this_host_redirects_are_counted_apart() {
    let (_directory, path) = place();
    let mut redirected = entry(2, 1);
    redirected.evidence.redirected = true;
    // A text that looks like it.
    let mut other = entry(3, 2);
    other.evidence.iface = Some("\"redirected\":true".to_owned());
    let lost = MinuteKey::of(&redirected);
    recorder(&path).record(&[entry(1, 0), redirected, other], &[(lost, 4)]).unwrap();
    let history = History::open_read_only(&path).unwrap();
    let all = Question::default();
    let (mut briefs, mut numbered) = (Vec::new(), Vec::new());
    history
        .briefs(&all, |brief| {
            briefs.push(brief.redirected);
            ControlFlow::Continue(())
        })
        .unwrap();
    history
        .numbered(&all, |_, brief| {
            numbered.push(brief.redirected);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((&briefs[..], &numbered), (&[false, true, false][..], &briefs));
    assert_eq!(counts_of_redirected(&history), [(Some(false), 2), (Some(true), 5)]);
    let of_all = *history.outcomes(&all).unwrap().values().next().unwrap();
    assert_eq!((of_all.count, of_all.redirected, of_all.not_known, of_all.outside()), (7, 5, 0, 2));
}

#[test]
fn what_an_older_version_counted_is_not_known_to_be_redirected() {
    let (_directory, path) = place();
    recorder(&path).record(&[entry(1, 0), entry(2, 60)], &[]).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("ALTER TABLE minute DROP COLUMN redirected; PRAGMA user_version = 2").unwrap();
    drop(connection);
    let mut redirected = entry(3, 61);
    redirected.evidence.redirected = true;
    recorder(&path).record(&[redirected, entry(4, 120)], &[]).unwrap();
    let history = History::open_read_only(&path).unwrap();
    assert_eq!(counts_of_redirected(&history), [(None, 1), (None, 2), (Some(false), 1)]);
    let tally = *history.outcomes(&Question::default()).unwrap().values().next().unwrap();
    assert_eq!((tally.count, tally.redirected, tally.not_known), (4, 0, 3));
}
