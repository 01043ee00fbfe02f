//! The test tells the lines; readers are ends of socket pairs.

use super::*;

struct Owner {
    lines: broadcast::Sender<Told>,
    asks: mpsc::Receiver<Ask>,
    ask: mpsc::Sender<Ask>,
    events: u64,
}

impl Owner {
    fn new(behind: usize) -> Self {
        let (lines, _) = broadcast::channel(behind);
        let (ask, asks) = mpsc::channel(8);
        Self { lines, asks, ask, events: 0 }
    }

    /// A reader that asks for this, and its end of the socket.
    async fn reader(&mut self, request: &[u8]) -> UnixStream {
        let (mut near, far) = UnixStream::pair().unwrap();
        let hello = Arc::new(Hello { version: "1".into(), ports: vec![25], hooks: 3 });
        let losses = Arc::default();
        let sums = Sums { counts: Counts::ended(), last: Arc::new(OnceLock::from(Totals::default())) };
        let reader =
            Reader { ask: self.ask.clone(), hello, probers: None, losses, sums, next: 0, delivered: 0, lost: 0 };
        tokio::spawn(reader.serve(far));
        near.write_all(request).await.unwrap();
        near
    }

    async fn begin(&mut self) {
        let Some(reply) = self.asks.recv().await else { panic!("it does not begin") };
        let _ = reply.send(Beginning { lines: self.lines.subscribe(), events: self.events });
    }

    fn tell(&mut self, kind: Kind) {
        let json: Arc<str> = Line::Account(Account::default()).to_json().unwrap().into();
        let _ = self.lines.send(Told { kind, before: self.events, json });
        self.events += u64::from(kind.is_event());
    }
}

/// Events that the summary says were delivered, and lost.
async fn end(reader: &mut BufReader<UnixStream>) -> (u64, u64) {
    reader.get_mut().shutdown().await.unwrap();
    loop {
        if let Line::Summary(summary) = line(reader).await {
            return (summary.events, summary.too_slow);
        }
    }
}

async fn line(read: &mut BufReader<UnixStream>) -> Line {
    let mut text = Vec::new();
    read.read_until(b'\n', &mut text).await.unwrap();
    Line::from_json(&text).unwrap().unwrap()
}

#[tokio::test]
async fn a_slow_reader_loses_events_of_its_own_and_is_told_how_many() {
    let mut owner = Owner::new(16);
    let mut slow = BufReader::new(owner.reader(b"{\"successes\":true}\n").await);
    owner.events = 1_000;
    owner.begin().await;
    assert!(matches!(line(&mut slow).await, Line::Hello(_)));
    // All at once: the reader's task has no turn meanwhile. Other lines are no events.
    for _ in 0..100 {
        owner.tell(Kind::Failure);
        owner.tell(Kind::Account);
    }
    assert_eq!(line(&mut slow).await, Line::Lost(Lost { events: 92 }));
    assert_eq!(end(&mut slow).await, (8, 92));
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_sent_but_counts_as_delivered() {
    let mut owner = Owner::new(64);
    let mut reader = BufReader::new(owner.reader(b"{}\n").await);
    owner.begin().await;
    assert!(matches!(line(&mut reader).await, Line::Hello(_)));
    for kind in [Kind::Success, Kind::Account, Kind::Alert, Kind::Failure] {
        owner.tell(kind);
    }
    assert!(matches!(line(&mut reader).await, Line::Account(_)));
    assert_eq!(end(&mut reader).await, (2, 0));
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let long = vec![b'['; 100_000];
    for garbage in [&b"GET / HTTP/1.0\n"[..], b"\n", b"{\"more\":1}\n", b"\xff\x00\n", &long[..5_000]] {
        let mut owner = Owner::new(4);
        let mut reader = BufReader::new(owner.reader(garbage).await);
        assert!(matches!(line(&mut reader).await, Line::Refusal(_)), "{garbage:?}");
    }
}

#[tokio::test]
async fn one_who_probes_is_no_reader() {
    let mut owner = Owner::new(4);
    let mut prober = BufReader::new(owner.reader(b"{\"probing\":true}\n").await);
    // Without kernel programs there is nothing to tell.
    let Line::Refusal(refusal) = line(&mut prober).await else { panic!("it is served") };
    assert!(refusal.cause.contains("no kernel programs"), "{}", refusal.cause);
    assert!(owner.asks.try_recv().is_err(), "it is taken for a reader");
}

#[tokio::test]
async fn whoever_says_nothing_gives_its_place_back() {
    let mut owner = Owner::new(4);
    let mut silent = owner.reader(b"").await;
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "it was answered");
}
