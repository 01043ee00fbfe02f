//! Readers are ends of socket pairs; what the kernel counted is what the test says.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use jiff::Timestamp;
use observer_common::stat;
use observer_core::label::{Label, Reason};
use observer_core::sample;
use observer_core::tally::Loader;
use observer_core::wire::{Account, Known, Line, PROTOCOL};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::backlog::BEHIND;
use super::*;

/// The kernel's counts, which the test makes.
#[derive(Clone, Default)]
struct Kernel(Rc<RefCell<Option<Totals>>>);

impl Sums for Kernel {
    fn latest(&self) -> Totals {
        self.0.borrow().clone().unwrap_or_default()
    }

    fn now(&self) -> impl Future<Output = Option<Totals>> {
        std::future::ready(self.0.borrow().clone())
    }
}

impl Kernel {
    /// So many attempts began, ended, and have events.
    fn counts(&self, attempts: u64) {
        let mut totals = Totals::default();
        for index in [stat::ATTEMPTS, stat::OUTCOMES, stat::EVENTS] {
            totals.stats[index as usize] = attempts;
        }
        totals.known.outcomes = Arc::new([((Label::Refused, Some(Reason::Rst), 25), attempts)].into());
        *self.0.borrow_mut() = Some(totals);
    }
}

struct Trial {
    kernel: Kernel,
    board: Rc<Board<Kernel>>,
    readers: u64,
}

impl Trial {
    fn new() -> Self {
        let kernel = Kernel::default();
        kernel.counts(0);
        let board = Rc::new(Board::new(kernel.clone(), Tallies::default(), Arc::default(), None));
        Self { kernel, board, readers: 0 }
    }

    /// The test's end of the socket of a reader that asks for this.
    async fn reader(&mut self, request: &[u8]) -> BufReader<UnixStream> {
        self.readers += 1;
        let (mut near, far) = UnixStream::pair().unwrap();
        let (board, reader) = (Rc::clone(&self.board), self.readers);
        spawn_local(async move { session::serve(far, reader, &hello(), &board).await });
        near.write_all(request).await.unwrap();
        BufReader::new(near)
    }

    /// Events of so many attempts that ended, and that nobody has read yet.
    fn send(&self, unread: u64) {
        let mut kernel = self.kernel.0.borrow_mut();
        let totals = kernel.as_mut().unwrap();
        totals.stats[stat::ATTEMPTS as usize] += unread;
        totals.stats[stat::EVENTS as usize] += unread;
        (totals.in_flight, totals.unread) = (unread, unread);
    }

    /// So many attempts end, all of them at once.
    fn end(&self, label: Label, reason: Option<Reason>, count: usize) {
        let event = Arc::new(sample::event(label, reason));
        self.board.take((0..count).map(|_| News::Event(Arc::clone(&event))), Timestamp::now());
        let (_, before) = self.board.head();
        self.kernel.counts(before.events);
    }

    fn refuse(&self, count: usize) {
        self.end(Label::Refused, Some(Reason::Rst), count);
    }
}

fn hello() -> Hello {
    Hello {
        version: "1".into(),
        ports: vec![25],
        hooks: 3,
        protocol: PROTOCOL,
        since: Some(sample::time()),
        unseen: vec!["connect() that fails before a SYN".to_owned()],
    }
}

async fn line(read: &mut BufReader<UnixStream>) -> Line {
    let mut text = Vec::new();
    timeout(Duration::from_secs(60), read.read_until(b'\n', &mut text)).await.expect("nothing comes").unwrap();
    Line::from_json(&text).unwrap().unwrap()
}

/// All that still comes, of a reader that wants no more.
async fn rest(mut read: BufReader<UnixStream>) -> Vec<Line> {
    read.get_mut().shutdown().await.unwrap();
    let mut text = String::new();
    timeout(Duration::from_secs(60), read.read_to_string(&mut text)).await.expect("it does not end").unwrap();
    text.lines().map(|line| Line::from_json(line.as_bytes()).unwrap().unwrap()).collect()
}

async fn trial<T: Future<Output = ()>>(trial: impl FnOnce(Trial) -> T) {
    LocalSet::new().run_until(async { trial(Trial::new()).await }).await;
}

const ALL: &[u8] = b"{\"successes\":true,\"alerts\":true,\"accounts\":true,\"protocol\":1}\n";

#[tokio::test]
async fn a_slow_reader_loses_events_of_its_own_and_is_told_how_many() {
    trial(async |mut trial| {
        trial.refuse(1_000);
        let mut slow = trial.reader(ALL).await;
        let mut quick = trial.reader(ALL).await;
        assert!(matches!(line(&mut slow).await, Line::Hello(_)) && matches!(line(&mut quick).await, Line::Hello(_)));
        // More than there is room for: in the sockets, and behind.
        let length = Line::Event(Box::new(sample::event(Label::Refused, Some(Reason::Rst)))).to_json().unwrap().len();
        let count = 2 * BEHIND / length;
        let seen = Rc::new(Cell::new(0));
        let sees = Rc::clone(&seen);
        let reading = spawn_local(async move {
            while sees.get() < count {
                assert!(matches!(line(&mut quick).await, Line::Event(_)));
                sees.set(sees.get() + 1);
            }
            rest(quick).await
        });
        for told in 0..count {
            if told % 100 == 0 {
                while seen.get() < told {
                    tokio::task::yield_now().await;
                }
            }
            trial.refuse(1);
        }
        let last = reading.await.unwrap();
        assert!(
            matches!(&last[..], [Line::Summary(summary)] if summary.too_slow == 0 && summary.events == count as u64),
            "{last:?}"
        );
        let lines = rest(slow).await;
        let events = lines.iter().filter(|line| matches!(line, Line::Event(_))).count();
        let lost: u64 = lines.iter().map(|line| if let Line::Lost(lost) = line { lost.events } else { 0 }).sum();
        assert!(lost > 0 && events as u64 + lost == count as u64, "{events} + {lost}");
        let Some(Line::Summary(summary)) = lines.last() else { panic!("no summary") };
        assert_eq!((summary.events, summary.too_slow), (events as u64, lost));
        assert_eq!((summary.account.attempts, summary.account.imbalance()), (count as u64, 0));
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_takes_all_that_it_gets_loses_nothing_in_a_flood() {
    trial(async |trial| {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let (news, inbox) = unbounded_channel();
        let inbox = Inbox { news: inbox, waiting: Arc::default() };
        let board = Board::new(trial.kernel.clone(), Tallies::default(), Arc::default(), None);
        let serving = spawn_local(server::serve(listener, hello(), board, inbox));
        let mut reader = BufReader::with_capacity(1 << 20, UnixStream::connect(&socket).await.unwrap());
        reader.get_mut().write_all(ALL).await.unwrap();
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        // Several times what it may be behind, all of it at once.
        let event = Arc::new(sample::event(Label::Refused, Some(Reason::Rst)));
        let count = 3 * BEHIND / Line::Event(Box::new((*event).clone())).to_json().unwrap().len();
        for _ in 0..count {
            assert!(news.send(News::Event(Arc::clone(&event))).is_ok());
        }
        trial.kernel.counts(count as u64);
        let (mut seen, mut text) = (0, Vec::new());
        while seen < count {
            text.clear();
            reader.read_until(b'\n', &mut text).await.unwrap();
            assert!(!text.starts_with(b"{\"lost\""), "{} after {seen} of {count}", String::from_utf8_lossy(&text));
            seen += usize::from(text.starts_with(b"{\"event\""));
        }
        drop(news);
        serving.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_lost_events_gets_the_totals_again() {
    trial(async |mut trial| {
        let mut reader = trial.reader(b"{\"protocol\":1,\"known\":10,\"successes\":true}\n").await;
        while line(&mut reader).await != Line::Known(Known::End) {}
        let untold = News::Untold { events: 5, counts: vec![(ended(), 5)] };
        trial.board.take([untold], Timestamp::now());
        trial.refuse(2);
        let mut loader = None;
        let mut lost = 0;
        let totals = loop {
            match line(&mut reader).await {
                Line::Lost(more) => lost += more.events,
                Line::Event(_) => assert!(loader.is_none(), "an event among what is known"),
                Line::Known(Known::Head(head)) => {
                    loader = Loader::new(head, Budget::default(), Prefixes::default(), &[])
                }
                Line::Known(Known::Group(group)) => loader.as_mut().unwrap().take(&group),
                Line::Known(Known::End) => break loader.unwrap().finish(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((lost, totals.total().attempts()), (5, 7));
        // Nothing twice, and not again at once.
        trial.board.take([News::Untold { events: 1, counts: vec![(ended(), 1)] }], Timestamp::now());
        trial.refuse(1);
        let lines = rest(reader).await;
        assert!(
            matches!(&lines[..], [Line::Lost(_), Line::Event(_), Line::Summary(summary)] if summary.too_slow == 6),
            "{lines:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_missed_attempts_without_an_event_gets_the_totals_again() {
    trial(async |mut trial| {
        let mut reader = trial.reader(b"{\"protocol\":1,\"known\":10}\n").await;
        while line(&mut reader).await != Line::Known(Known::End) {}
        trial.board.take([News::Untold { events: 0, counts: vec![(ended(), 5)] }], Timestamp::now());
        let head = line(&mut reader).await;
        assert!(matches!(head, Line::Known(Known::Head(_))), "{head:?}");
        while line(&mut reader).await != Line::Known(Known::End) {}
        // Those that it is told of are not missed.
        trial.board.take([News::Missing(vec![(ended(), 3)])], Timestamp::now());
        let lines = rest(reader).await;
        assert!(matches!(&lines[..], [Line::Missing(_), Line::Summary(_)]), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn a_summary_counts_what_was_on_its_way() {
    trial(async |mut trial| {
        let mut reader = trial.reader(ALL).await;
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        trial.refuse(2);
        trial.send(3);
        reader.get_mut().shutdown().await.unwrap();
        // Often enough for the reader to be seen to go, and for what was sent to be missed.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        trial.refuse(3);
        let lines = rest(reader).await;
        let Some(Line::Summary(summary)) = lines.last() else { panic!("{lines:?}") };
        let Account { attempts, outcomes, in_flight, .. } = summary.account;
        assert_eq!((attempts, outcomes, in_flight, summary.events), (5, 5, 0, 5));
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_goes_on_talking_is_left() {
    trial(async |mut trial| {
        let mut reader = trial.reader(b"{}\n").await;
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        let words = [b'x'; 64 << 10];
        // It may be left before it has said all.
        let _ = reader.get_mut().write_all(&words).await;
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text).await;
        assert!(!trial.board.is_read());
    })
    .await;
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_sent_but_counts_as_delivered() {
    trial(async |mut trial| {
        let mut reader = trial.reader(b"{\"alerts\":false}\n").await;
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        trial.end(Label::Connected, None, 1);
        trial.board.account();
        trial.refuse(1);
        let lines = rest(reader).await;
        assert!(matches!(&lines[..], [Line::Event(_), Line::Summary(summary)] if summary.events == 2), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn what_was_counted_before_comes_first_and_nothing_twice() {
    trial(async |mut trial| {
        trial.refuse(7);
        trial.board.take([News::Missing(vec![(ended(), 3)])], Timestamp::now());
        let mut reader = trial.reader(b"{\"protocol\":1,\"known\":10,\"successes\":true}\n").await;
        assert!(matches!(line(&mut reader).await, Line::Hello(Hello { since: Some(_), .. })));
        let Line::Known(Known::Head(head)) = line(&mut reader).await else { panic!("no head") };
        let mut loader = Loader::new(head, Budget::default(), Prefixes::default(), &[]).unwrap();
        // While it comes in, more happens.
        trial.refuse(2);
        trial.board.take([News::Missing(vec![(ended(), 1)])], Timestamp::now());
        loop {
            match line(&mut reader).await {
                Line::Known(Known::Group(group)) => loader.take(&group),
                Line::Known(Known::End) => break,
                other => panic!("{other:?}"),
            }
        }
        let before = loader.finish();
        assert_eq!((before.total().attempts(), before.total().streak()), (10, 10));
        let lines = rest(reader).await;
        let kinds = [
            matches!(lines[0], Line::Event(_)),
            matches!(lines[1], Line::Event(_)),
            matches!(&lines[2], Line::Missing(missing) if missing.count == 1),
            matches!(&lines[3], Line::Summary(summary) if summary.account.attempts == 2),
        ];
        assert!(kinds.into_iter().all(|is_it| is_it) && lines.len() == 4, "{lines:?}");
    })
    .await;
}

fn ended() -> Ended {
    let event = sample::event(Label::Refused, Some(Reason::Rst));
    Ended {
        src_ip: event.src.ip,
        dst_ip: event.dst.ip.unwrap(),
        dst_port: event.dst.port.unwrap(),
        label: event.label,
        reason: event.reason,
        redirected: false,
    }
}

#[tokio::test]
async fn readers_of_protocol_0_get_nothing_that_they_do_not_know() {
    trial(async |mut trial| {
        let mut reader = trial.reader(b"{\"successes\":true,\"alerts\":true,\"accounts\":true}\n").await;
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        trial.board.take([News::Missing(vec![(ended(), 1)])], Timestamp::now());
        trial.end(Label::Unknown, Some(Reason::Unknown), 1);
        let lines = rest(reader).await;
        assert!(
            matches!(&lines[..], [Line::Event(event), Line::Summary(_)] if event.label != Label::Unknown),
            "{lines:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn there_was_no_room_for_some_on_the_way_here() {
    trial(async |mut trial| {
        let mut reader = trial.reader(ALL).await;
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        let untold = News::Untold { events: 5, counts: vec![(ended(), 5)] };
        trial.board.take([untold], Timestamp::now());
        trial.refuse(1);
        assert!(matches!(line(&mut reader).await, Line::Lost(lost) if lost.events == 5));
        let lines = rest(reader).await;
        assert!(matches!(&lines[..], [Line::Event(_), Line::Summary(summary)] if summary.too_slow == 5), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn at_the_end_everybody_gets_a_summary_of_the_last_counts() {
    trial(async |mut trial| {
        let mut reader = trial.reader(ALL).await;
        assert!(matches!(line(&mut reader).await, Line::Hello(_)));
        trial.refuse(3);
        let last = trial.kernel.latest();
        // The kernel's counters can be read no more, and one asks before the last are there.
        *trial.kernel.0.borrow_mut() = None;
        let asked = trial.reader(ALL).await;
        reader.get_mut().shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        trial.board.take([News::End(Box::new(last))], Timestamp::now());
        let lines = rest(reader).await;
        assert!(matches!(lines.last(), Some(Line::Summary(summary)) if summary.account.attempts == 3), "{lines:?}");
        let lines = rest(asked).await;
        assert!(matches!(lines.last(), Some(Line::Summary(summary)) if summary.account.attempts == 0), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    trial(async |mut trial| {
        let long = vec![b'['; 100_000];
        for garbage in [&b"GET / HTTP/1.0\n"[..], b"\n", b"7\n", b"\xff\x00\n", &long[..5_000]] {
            let mut reader = trial.reader(garbage).await;
            assert!(matches!(line(&mut reader).await, Line::Refusal(_)), "{garbage:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_who_probes_is_no_reader() {
    trial(async |mut trial| {
        let mut prober = trial.reader(b"{\"probing\":true}\n").await;
        // Without kernel programs there is nothing to tell.
        let Line::Refusal(refusal) = line(&mut prober).await else { panic!("it is served") };
        assert!(refusal.cause.contains("no kernel programs"), "{}", refusal.cause);
        assert!(!trial.board.is_read(), "it is taken for a reader");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_gives_its_place_back() {
    trial(async |mut trial| {
        let mut silent = trial.reader(b"").await;
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "it was answered");
    })
    .await;
}

#[tokio::test]
async fn a_summary_says_what_cannot_be_seen() {
    trial(async |mut trial| {
        trial.refuse(2);
        let mut reader = trial.reader(ALL).await;
        let Line::Hello(hello) = line(&mut reader).await else { panic!("no hello") };
        assert_eq!(hello.unseen, self::hello().unseen);
        let lines = rest(reader).await;
        let Some(Line::Summary(summary)) = lines.last() else { panic!("{lines:?}") };
        assert!(summary.text.contains(": balances, without what cannot be seen\n"), "{}", summary.text);
        assert!(summary.text.contains("\ncannot see: connect() that fails before a SYN\n"), "{}", summary.text);
    })
    .await;
}
