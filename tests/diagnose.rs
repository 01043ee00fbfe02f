//! `observer diagnose` as users meet it, from a history: what it counts, says, and writes.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Output};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use observer::store::history::{Entry, MinuteKey, Recorder, Retention};
use observer_core::event::{Endpoint, Evidence};
use observer_core::join::row::{Connect, DeliveryRow};
use observer_core::label::{Label, Origin, Reason};
use observer_core::mta::{DeliveryStatus, MtaKind, Said};
use serde_json::Value;
use tempfile::TempDir;

const SOURCE: &str = "192.0.2.10";

/// An attempt: after so many milliseconds, from where, to where, and whether it connected.
fn entry(number: usize, ms: i64, from: &str, to: &str, label: Label) -> Entry {
    let (reason, origin) = match label {
        Label::Refused => (Some(Reason::Rst), Some(Origin::Remote)),
        Label::Timeout => (Some(Reason::Abandoned), Some(Origin::None)),
        Label::Blocked => (Some(Reason::LocalFirewall), Some(Origin::Local)),
        _ => (None, None),
    };
    let end = |ip: &str, port| Endpoint { ip: ip.parse().ok(), port: Some(port) };
    Entry {
        id: format!("mx1-6f0c2d9e-{number:x}.0"),
        time: begin() + SignedDuration::from_millis(ms),
        label,
        reason,
        origin,
        active_refusal: reason.map(|_| label == Label::Refused),
        errno: None,
        src: end(from, 40_000 + (number % 20_000) as u16),
        dst: end(to, 25),
        elapsed: Some(Duration::from_millis(if label == Label::Timeout { 30_000 } else { 20 })),
        handshake: (label == Label::Connected).then_some(Duration::from_millis(19)),
        syn_retransmits: 0,
        process: None,
        evidence: Evidence::default(),
    }
}

/// An hour ago, at a whole minute.
fn begin() -> Timestamp {
    let second = Timestamp::now().as_second() - 3_600;
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap()
}

struct Recorded {
    _directory: TempDir,
    path: String,
    count: usize,
    recorder: Recorder,
}

impl Recorded {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.sqlite");
        let recorder = Recorder::open(&path, Retention::default(), Timestamp::now()).unwrap();
        Self { path: path.to_str().unwrap().to_owned(), _directory: directory, count: 0, recorder }
    }

    /// So many attempts, `every_ms` apart from `from_ms` on.
    fn tried(
        &mut self,
        count: usize,
        (from_ms, every_ms): (i64, i64),
        from: &str,
        to: &str,
        label: Label,
    ) -> &mut Self {
        let entries: Vec<Entry> = (0..count)
            .map(|number| entry(self.count + number, from_ms + every_ms * number as i64, from, to, label))
            .collect();
        self.count += count;
        entries.chunks(10_000).for_each(|part| _ = self.recorder.record(part, &[]).unwrap());
        self
    }

    fn diagnose(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.arg("diagnose").args(args).args(["--since", "2h", "--history", &self.path]).output().unwrap()
    }

    fn json(&self, asked: &str) -> Vec<Value> {
        let output = self.diagnose(&[asked, "--json"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Neither has an attempt: a step at an address that was never seen, and a delivery without one.
#[test]
fn what_came_no_further_than_bind_is_the_mail_servers_word_alone() {
    let mut recorded = Recorded::new();
    let row = |number: u8, kind, connect, words: &str| DeliveryRow {
        time: begin(),
        kind,
        queue_id: Some(format!("id{number}")),
        recipient_domain: Some(format!("d{number}.example")),
        status: Some(DeliveryStatus::Deferred),
        host: None,
        ip: (connect == Connect::Unseen).then(|| IpAddr::from([203, 0, 113, number])),
        said: Said::NotPermitted,
        words: words.to_owned(),
        connect,
        attempt: None,
    };
    let postfix = "server configuration error: bind 192.0.2.99: Cannot assign requested address";
    let exim = "Cannot assign requested address";
    recorded.recorder.record_deliveries(&[row(1, MtaKind::Postfix, Connect::None, postfix)]).unwrap();
    let nothing = recorded.diagnose(&["--json"]).stdout;
    assert!(nothing.is_empty(), "{}", String::from_utf8_lossy(&nothing));
    let rows = [2, 3].map(|number| row(number, MtaKind::Exim, Connect::Unseen, exim));
    // One that an attempt tells of.
    let seen = row(4, MtaKind::Exim, Connect::Seen, exim);
    recorded.recorder.record_deliveries(&[&rows[..], &[seen]].concat()).unwrap();
    let found: Value = serde_json::from_slice(&recorded.diagnose(&["--json"]).stdout).unwrap();
    assert_eq!(found.pointer("/causes/0/cause").unwrap(), "wrong-source-address", "{found:#}");
    assert!(found.to_string().contains("3 deliveries were not permitted to connect"), "{found:#}");
    let text = String::from_utf8(recorded.diagnose(&[]).stdout).unwrap();
    assert!(text.starts_with("deliveries that came to no attempt, port 25: "), "{text}");
}

/// What a session that went well says of the outside depends on who answered.
#[test]
fn successes_that_an_older_version_counted_are_named() {
    let mut recorded = Recorded::new();
    recorded.tried(9, (0, 60_000), SOURCE, "203.0.113.5", Label::Timeout);
    recorded.tried(7, (0, 60_000), SOURCE, "203.0.113.6", Label::Connected);
    let text = |recorded: &Recorded| String::from_utf8(recorded.diagnose(&["203.0.113.5"]).stdout).unwrap();
    assert!(!text(&recorded).contains("an older version"), "{}", text(&recorded));
    // As it wrote it.
    let connection = rusqlite::Connection::open(&recorded.path).unwrap();
    connection.execute_batch("UPDATE minute SET redirected = NULL").unwrap();
    let text = text(&recorded);
    let expected = "whether this host redirected 7 sessions that went well to itself: an older version counted them";
    assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected), "{text}");
}

/// More refusals than were ever looked at one by one, and then successes.
#[test]
fn counts_are_of_all_attempts_and_times_of_the_last() {
    let mut recorded = Recorded::new();
    recorded.tried(60_000, (0, 40), SOURCE, "203.0.113.5", Label::Refused);
    recorded.tried(30, (2_500_000, 1_000), SOURCE, "203.0.113.5", Label::Connected);
    let key = MinuteKey::of(&entry(0, 0, SOURCE, "203.0.113.5", Label::Refused));
    let _ = recorded.recorder.record(&[], &[(key, 7)]).unwrap();
    let [diagnosis] = &recorded.json("203.0.113.5")[..] else { panic!("not one diagnosis") };
    let attempts = &diagnosis["attempts"];
    assert_eq!((&attempts["attempts"], &attempts["connected"]), (&60_037.into(), &30.into()), "{diagnosis:#}");
    assert_eq!(attempts["streak"], 0);
    assert_eq!(diagnosis["times"]["last"], diagnosis["times"]["connected"]);
    let not_seen = diagnosis["not_seen"].to_string();
    assert!(not_seen.contains("7 of 60037 attempts to 203.0.113.5 are known by their count alone"), "{not_seen}");
    let text = String::from_utf8(recorded.diagnose(&["203.0.113.5"]).stdout).unwrap();
    assert!(!text.contains("none succeeded") && text.contains("the last success was at"), "{text}");
}

#[test]
fn a_network_is_judged_host_by_host_and_this_host_is_left_out() {
    let mut recorded = Recorded::new();
    for turn in 0..5 {
        let at = |number: i64| (turn * 100_000 + number * 1_000, 1);
        for last in 1..8 {
            recorded.tried(1, at(last), SOURCE, &format!("203.0.113.{last}"), Label::Timeout);
        }
        recorded.tried(1, at(8), SOURCE, "203.0.113.8", Label::Connected);
        recorded.tried(4, at(9), "127.0.0.1", "127.0.0.1", Label::Connected);
    }
    let diagnoses = recorded.json("203.0.113.0/24");
    let brief: Vec<_> = diagnoses
        .iter()
        .map(|of| {
            (
                of["destinations"].as_array().unwrap().len(),
                of["causes"][0]["cause"].as_str(),
                of["local"]["attempts"].as_u64(),
            )
        })
        .collect();
    assert_eq!(brief, [(7, Some("remote-firewall-drops"), Some(20)), (1, None, Some(20))], "{diagnoses:#?}");
    let text = String::from_utf8(recorded.diagnose(&["203.0.113.0/24"]).stdout).unwrap();
    assert!(text.contains("20 attempts to this host itself"), "{text}");
    assert!(!text.to_lowercase().contains("certain:"), "{text}");
}

#[test]
fn a_letter_is_written_where_the_other_side_can_help_and_never_over_a_file() {
    let mut recorded = Recorded::new();
    recorded.tried(9, (0, 60_000), SOURCE, "198.51.100.7", Label::Connected);
    recorded.tried(9, (10, 60_000), SOURCE, "203.0.113.5", Label::Timeout);
    recorded.tried(9, (20, 60_000), SOURCE, "203.0.113.6", Label::Blocked);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("letter.txt");
    let path = file.to_str().unwrap();

    let printed = recorded.diagnose(&["203.0.113.5", "--evidence", "-"]);
    assert!(printed.status.success(), "{printed:?}");
    let letter = String::from_utf8(printed.stdout).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(letter.contains(host.trim()) && letter.contains(SOURCE), "{letter}");
    let first = format!(
        "{:.0}  {SOURCE}:40009 to 203.0.113.5:25: no answer within 30",
        begin() + SignedDuration::from_millis(10)
    );
    let joined = letter.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains(&first.split_whitespace().collect::<Vec<_>>().join(" ")), "{letter}");
    assert!(!letter.contains("abandoned") && !letter.contains("origin"), "{letter}");

    assert!(recorded.diagnose(&["203.0.113.5", "--evidence", path]).status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), letter);
    fs::write(&file, "mine").unwrap();
    for (asked, reason) in [
        ("203.0.113.5", "it exists already"),
        ("198.51.100.7", "no letter for --evidence: nothing fails"),
        ("203.0.113.6", "no letter for --evidence: the cause is at this end: this host's own firewall"),
    ] {
        let refused = recorded.diagnose(&[asked, "--evidence", path]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(reason), "{asked}: {said}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine", "{asked}");
    }
}

#[test]
fn each_that_fails_is_judged_by_itself() {
    let mut recorded = Recorded::new();
    recorded.tried(9, (0, 60_000), SOURCE, "198.51.100.7", Label::Connected);
    recorded.tried(9, (10, 60_000), SOURCE, "203.0.113.5", Label::Refused);
    recorded.tried(9, (20, 60_000), "192.0.2.11", "203.0.113.6", Label::Refused);
    let output = recorded.diagnose(&["--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let diagnosis: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let destinations: Vec<IpAddr> = serde_json::from_value(diagnosis["destinations"].clone()).unwrap();
    assert_eq!(destinations.len(), 2, "{diagnosis:#}");
    assert!(!text.contains("refused-from-every-source"), "{text}");
}
