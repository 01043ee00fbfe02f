use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use observer_core::label::Label;
use observer_core::record::message::{Message, MessageKind};
use proptest::prelude::*;
use tempfile::TempDir;

use super::record::{self, Census, Parsed, census};
use super::*;

/// Both halves of a spool, on one thread.
#[derive(Debug)]
struct Spool(super::Spool);

impl Spool {
    fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        super::Spool::open(directory, limits).map(Self)
    }

    fn append(&mut self, messages: &[Message], now: Timestamp) -> io::Result<()> {
        self.0.writer.append(messages, now)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.writer.sync()
    }

    fn take(&mut self, messages: usize, bytes: usize) -> io::Result<Vec<Message>> {
        self.0.reader.take(messages, bytes)
    }

    fn acknowledge(&mut self, count: u64) -> io::Result<()> {
        self.0.reader.acknowledge(count)
    }

    fn rewind(&mut self) {
        self.0.reader.rewind();
    }

    fn status(&self) -> SpoolStatus {
        self.0.handle.status()
    }

    fn set_limits(&self, limits: Limits) {
        self.0.handle.set_limits(limits);
    }
}

const ROOMY: Limits = Limits { bytes: 1 << 30, segment_bytes: 1 << 20, when_full: WhenFull::DropOldest };

fn message(nth: u64) -> Message {
    // Names of one length, so that records have one too.
    let label = Some(if nth.is_multiple_of(2) { Label::Refused } else { Label::Timeout });
    Message {
        id: format!("mx1-{nth}"),
        kind: MessageKind::Event,
        label,
        body: format!("{{\"nth\":{nth}}}\n").into_bytes(),
    }
}

fn messages(range: std::ops::Range<u64>) -> Vec<Message> {
    range.map(message).collect()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn filled(limits: Limits, range: std::ops::Range<u64>) -> (TempDir, Spool) {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path(), limits).unwrap();
    for nth in range {
        spool.append(&[message(nth)], now()).unwrap();
    }
    (directory, spool)
}

fn all(spool: &mut Spool) -> Vec<Message> {
    spool.take(usize::MAX, usize::MAX).unwrap()
}

#[test]
fn what_went_in_comes_out_in_order_after_a_restart_too() {
    let (directory, mut spool) = filled(ROOMY, 0..10);
    assert_eq!(spool.take(4, usize::MAX).unwrap(), messages(0..4));
    spool.acknowledge(3).unwrap();
    assert_eq!(spool.status().messages, 7);
    drop(spool);
    let mut spool = Spool::open(directory.path(), ROOMY).unwrap();
    assert_eq!(spool.status().messages, 7);
    spool.append(&messages(10..12), now()).unwrap();
    assert_eq!(all(&mut spool), messages(3..12));
    spool.acknowledge(9).unwrap();
    assert_eq!(spool.status(), SpoolStatus { bytes: spool.status().bytes, ..SpoolStatus::default() });
    assert_eq!(segment::numbers(directory.path()).unwrap().len(), 1);
}

#[test]
fn what_was_taken_comes_again_after_a_rewind() {
    let (_directory, mut spool) = filled(ROOMY, 0..6);
    assert_eq!(spool.take(5, usize::MAX).unwrap(), messages(0..5));
    spool.acknowledge(2).unwrap();
    spool.rewind();
    assert_eq!(all(&mut spool), messages(2..6));
}

#[test]
fn a_batch_is_bounded_by_its_bytes() {
    let (_directory, mut spool) = filled(ROOMY, 0..6);
    assert_eq!(spool.take(10, 1).unwrap(), messages(0..1));
    assert_eq!(spool.take(10, message(0).body.len() + 1).unwrap(), messages(1..3));
}

#[test]
fn a_full_spool_drops_the_oldest_and_counts_them() {
    let limits = Limits { bytes: 4_096, segment_bytes: 512, when_full: WhenFull::DropOldest };
    let (_directory, mut spool) = filled(limits, 0..1_000);
    let status = spool.status();
    assert!(status.bytes <= limits.bytes && status.dropped > 0, "{status:?}");
    let left = all(&mut spool);
    assert_eq!(left, messages(status.dropped..1_000));
    assert_eq!(status.messages, left.len() as u64);
}

#[test]
fn or_the_newest() {
    let limits = Limits { bytes: 4_096, segment_bytes: 512, when_full: WhenFull::DropNewest };
    let (_directory, mut spool) = filled(limits, 0..1_000);
    let status = spool.status();
    assert!(status.bytes <= limits.bytes && status.dropped > 0, "{status:?}");
    assert_eq!(all(&mut spool), messages(0..1_000 - status.dropped));
    // There is room again when something was delivered.
    spool.acknowledge(1_000).unwrap();
    spool.append(&[message(7)], now()).unwrap();
    assert_eq!(all(&mut spool), messages(7..8));
}

#[test]
fn dropped_while_it_was_on_its_way_is_delivered_if_it_arrives() {
    let limits = Limits { bytes: 2_048, segment_bytes: 512, when_full: WhenFull::DropOldest };
    let (_directory, mut spool) = filled(limits, 0..10);
    assert_eq!(spool.take(10, usize::MAX).unwrap(), messages(0..10));
    for nth in 10..60 {
        spool.append(&[message(nth)], now()).unwrap();
    }
    let before = spool.status().dropped;
    spool.acknowledge(10).unwrap();
    assert_eq!(spool.status().dropped, before);
    assert_eq!(all(&mut spool), messages(10 + before..60));
}

#[test]
fn dropped_while_it_was_on_its_way_is_lost_if_it_does_not() {
    let limits = Limits { bytes: 2_048, segment_bytes: 512, when_full: WhenFull::DropOldest };
    let (_directory, mut spool) = filled(limits, 0..10);
    let _ = spool.take(10, usize::MAX).unwrap();
    for nth in 10..60 {
        spool.append(&[message(nth)], now()).unwrap();
    }
    spool.rewind();
    let dropped = spool.status().dropped;
    assert_eq!(all(&mut spool), messages(dropped..60));
}

#[test]
fn one_process_at_a_time() {
    let (directory, spool) = filled(ROOMY, 0..1);
    let error = Spool::open(directory.path(), ROOMY).unwrap_err();
    assert_eq!(error.to_string(), "another process has it open");
    drop(spool);
    assert!(Spool::open(directory.path(), ROOMY).is_ok());
}

#[test]
fn a_message_that_is_too_long_is_left_out_and_counted() {
    let (_directory, mut spool) = filled(ROOMY, 0..1);
    let long = Message { body: vec![b'x'; 5 << 20], ..message(9) };
    spool.append(&[long, message(1)], now()).unwrap();
    assert_eq!(all(&mut spool), messages(0..2));
    assert_eq!(spool.status().drops(), [("spool full", 0), ("too long for the spool", 1)]);
}

/// Changes bytes of the only segment that holds anything.
fn damage(directory: &Path, offset: u64, bytes: &[u8]) {
    let number = segment::numbers(directory).unwrap()[0];
    let file = OpenOptions::new().write(true).open(segment::path(directory, number)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn record_len() -> u64 {
    let mut bytes = Vec::new();
    assert!(record::append(&message(0), now(), &mut bytes));
    bytes.len() as u64
}

#[test]
fn a_damaged_record_costs_itself() {
    let (directory, spool) = filled(ROOMY, 0..5);
    drop(spool);
    damage(directory.path(), 8 + 2 * record_len() + 20, b"?");
    let mut spool = Spool::open(directory.path(), ROOMY).unwrap();
    assert_eq!((spool.status().messages, spool.status().corrupt_records), (4, 1));
    assert_eq!(all(&mut spool), [messages(0..2), messages(3..5)].concat());
}

#[test]
fn a_length_that_cannot_be_costs_the_rest_of_its_segment() {
    let (directory, mut spool) = filled(ROOMY, 0..5);
    spool.sync().unwrap();
    drop(spool);
    damage(directory.path(), 8 + 2 * record_len(), &[0xff; 4]);
    let mut spool = Spool::open(directory.path(), ROOMY).unwrap();
    spool.append(&messages(5..7), now()).unwrap();
    assert_eq!(all(&mut spool), [messages(0..2), messages(5..7)].concat());
    assert_eq!(spool.status().corrupt_records, 1);
}

#[test]
fn damage_while_it_runs_is_seen_and_counted() {
    let (directory, mut spool) = filled(ROOMY, 0..5);
    damage(directory.path(), 8 + 3 * record_len() + 20, b"?");
    spool.set_limits(Limits { segment_bytes: 1, ..ROOMY });
    spool.append(&messages(5..6), now()).unwrap();
    assert_eq!(all(&mut spool), [messages(0..3), messages(4..6)].concat());
    assert_eq!(spool.status().corrupt_records, 1);
}

#[test]
fn a_truncated_segment_costs_its_end() {
    let (directory, spool) = filled(ROOMY, 0..5);
    drop(spool);
    let number = segment::numbers(directory.path()).unwrap()[0];
    let file = OpenOptions::new().write(true).open(segment::path(directory.path(), number)).unwrap();
    file.set_len(8 + 4 * record_len() + 3).unwrap();
    let mut spool = Spool::open(directory.path(), ROOMY).unwrap();
    assert_eq!(all(&mut spool), messages(0..4));
    assert_eq!(spool.status().corrupt_records, 1);
}

#[test]
fn a_damaged_position_means_repeats_and_no_loss() {
    let (directory, mut spool) = filled(ROOMY, 0..5);
    let _ = spool.take(3, usize::MAX).unwrap();
    spool.acknowledge(3).unwrap();
    drop(spool);
    fs::write(directory.path().join("delivered"), [7; 28]).unwrap();
    let mut spool = Spool::open(directory.path(), ROOMY).unwrap();
    assert_eq!(all(&mut spool), messages(0..5));
}

#[test]
fn foreign_files_are_left_alone_and_foreign_segments_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("README"), "not a segment").unwrap();
    std::fs::write(segment::path(directory.path(), 3), "nor this").unwrap();
    let mut spool = Spool::open(directory.path(), ROOMY).unwrap();
    assert_eq!((all(&mut spool), spool.status().corrupt_records), (vec![], 1));
    assert!(directory.path().join("README").exists());
}

#[test]
fn spools_that_no_sink_owns_are_found_with_what_they_hold() {
    let root = tempfile::tempdir().unwrap();
    let place = |name: &str| root.path().join(name);
    for name in ["owned.syslog-json", "left.syslog-json", "empty.nats-json"] {
        let mut spool = Spool::open(&place(name), ROOMY).unwrap();
        spool.append(&messages(0..5), now()).unwrap();
        let taken = if name.starts_with("empty") { 5 } else { 2 };
        let _ = spool.take(taken, usize::MAX).unwrap();
        spool.acknowledge(taken as u64).unwrap();
    }
    fs::create_dir(place("old.json")).unwrap();
    fs::write(segment::path(&place("old.json"), 1), "OBSPOOL1 and more").unwrap();
    fs::write(place("left.dead"), "{}").unwrap();
    let found = left_spools(root.path(), &[place("owned.syslog-json")].into()).unwrap();
    let of = |name: &str, messages| (place(name), messages);
    let named: Vec<_> = found.iter().map(|left| (left.directory.clone(), left.messages)).collect();
    assert_eq!(named, [of("left.syslog-json", 3), of("old.json", 0)]);
    assert!(found.iter().all(|left| left.bytes > 0), "{found:?}");
    // Looking changes nothing.
    let mut spool = Spool::open(&place("left.syslog-json"), ROOMY).unwrap();
    assert_eq!(all(&mut spool), messages(2..5));
}

#[test]
fn a_record_says_what_the_message_is() {
    let kinds = MessageKind::ALL.map(|kind| Message { kind, label: None, ..message(1) });
    let labels = Label::ALL.map(|label| Message { label: Some(label), ..message(1) });
    for message in kinds.into_iter().chain(labels) {
        let mut bytes = Vec::new();
        assert!(record::append(&message, now(), &mut bytes));
        let len = bytes.len();
        assert_eq!(record::parse(&bytes), Parsed::Record { message, time: now(), len });
    }
}

#[test]
fn malformed_segments() {
    let mut one = Vec::new();
    assert!(record::append(&message(1), now(), &mut one));
    let changed = |at: usize, byte: u8| {
        let mut bytes = one.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(record::parse(&one), Parsed::Record { message: message(1), time: now(), len: one.len() });
    for (bytes, expected) in [
        (vec![], Parsed::Incomplete(8)),
        (one[..7].to_vec(), Parsed::Incomplete(8)),
        (one[..8].to_vec(), Parsed::Incomplete(one.len())),
        (one[..one.len() - 1].to_vec(), Parsed::Incomplete(one.len())),
        (changed(one.len() - 1, b'x'), Parsed::Damaged(one.len())),
        (changed(4, one[4] ^ 1), Parsed::Damaged(one.len())),
        (changed(3, 0xff), Parsed::Lost),
        (vec![0; 64], Parsed::Lost),
        (vec![0xff; 64], Parsed::Lost),
    ] {
        assert_eq!(record::parse(&bytes), expected, "{bytes:?}");
    }
    let twice = [one.clone(), one.clone()].concat();
    let found = Census { records: 2, first: Some(now()), damaged: 0, end: twice.len() };
    assert_eq!(census(&twice, 0), found);
    assert_eq!(census(&twice, one.len()), Census { records: 1, ..found });
    assert_eq!(census(&twice, twice.len() + 9).records, 0);
}

/// What somebody does with a spool.
#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Take(u8),
    Acknowledge(u8),
    Rewind,
    Reopen,
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..20_u8).prop_map(Step::Append),
        4 => (1..20_u8).prop_map(Step::Take),
        3 => (0..25_u8).prop_map(Step::Acknowledge),
        1 => Just(Step::Rewind),
        1 => Just(Step::Reopen),
        1 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn census_and_parse_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), offset in 0..250_usize) {
        let census = census(&bytes, offset);
        prop_assert!(census.end <= bytes.len());
        let _ = record::parse(&bytes);
    }

    /// Nothing is lost, changes places or comes again unasked, as long as there is room.
    #[test]
    fn a_queue_is_a_queue(steps in steps(), segment_bytes in 64..600_u64) {
        let limits = Limits { segment_bytes, ..ROOMY };
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), limits).unwrap();
        let (mut waiting, mut on_the_way) = (VecDeque::new(), VecDeque::new());
        let mut next = 0;
        for step in steps {
            match step {
                Step::Append(count) => {
                    let batch = messages(next..next + u64::from(count));
                    spool.append(&batch, now()).unwrap();
                    waiting.extend(batch);
                    next += u64::from(count);
                }
                Step::Take(count) => {
                    let taken = spool.take(count.into(), usize::MAX).unwrap();
                    let count = usize::from(count).min(waiting.len());
                    let expected: Vec<_> = waiting.drain(..count).collect();
                    prop_assert_eq!(&taken, &expected);
                    on_the_way.extend(expected);
                }
                Step::Acknowledge(count) => {
                    spool.acknowledge(count.into()).unwrap();
                    let count = usize::from(count).min(on_the_way.len());
                    on_the_way.drain(..count);
                }
                Step::Rewind | Step::Reopen => {
                    if matches!(step, Step::Reopen) {
                        drop(spool);
                        spool = Spool::open(directory.path(), limits).unwrap();
                    } else {
                        spool.rewind();
                    }
                    while let Some(message) = on_the_way.pop_back() {
                        waiting.push_front(message);
                    }
                }
                Step::Sync => spool.sync().unwrap(),
            }
            let status = spool.status();
            prop_assert_eq!(status.messages, (waiting.len() + on_the_way.len()) as u64);
            prop_assert_eq!((status.dropped, status.corrupt_records), (0, 0));
        }
        prop_assert_eq!(all(&mut spool), Vec::from(waiting));
    }

    /// With little room, what does not come out is counted, and the rest is in order.
    #[test]
    fn what_a_full_queue_loses_is_counted(steps in steps(), drops_newest: bool) {
        let when_full = if drops_newest { WhenFull::DropNewest } else { WhenFull::DropOldest };
        let limits = Limits { bytes: 2_000, segment_bytes: 300, when_full };
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), limits).unwrap();
        let (mut next, mut delivered, mut on_the_way) = (0_u64, Vec::new(), VecDeque::new());
        for step in steps {
            match step {
                Step::Append(count) => {
                    spool.append(&messages(next..next + u64::from(count)), now()).unwrap();
                    next += u64::from(count);
                }
                Step::Take(count) => on_the_way.extend(spool.take(count.into(), usize::MAX).unwrap()),
                Step::Acknowledge(count) => {
                    spool.acknowledge(count.into()).unwrap();
                    delivered.extend(on_the_way.drain(..usize::from(count).min(on_the_way.len())));
                }
                Step::Rewind | Step::Reopen => {
                    spool.rewind();
                    on_the_way.clear();
                }
                Step::Sync => spool.sync().unwrap(),
            }
        }
        spool.rewind();
        delivered.extend(all(&mut spool));
        prop_assert_eq!(delivered.len() as u64 + spool.status().dropped, next);
        let numbers: Vec<u64> = delivered.iter().map(|message| message.id[4..].parse().unwrap()).collect();
        prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{:?}", numbers);
    }
}
