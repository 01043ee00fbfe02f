//! A trial: what the server logged, what observer saw, and what the join makes of it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use observer::follow::{Follower, From, Place};
use observer::store::history::{Connect, History, Question};
use observer_core::event::{Event, Mta};
use observer_core::join::delivery::{Found, MailDelivery};
use observer_core::join::{Attempt, Joiner, Settings, Settled, Verdict};
use observer_core::mta::Line;

use crate::exchangers::the_log_names_the_domain;
use crate::observer::Observer;
use crate::post::{LOCAL_PART, Manner, Message, SENDERS, few_messages, messages, zone};
use crate::server::{Server, Setting};
use crate::world::World;

/// A server has to be done within this time.
const DONE_WITHIN: Duration = Duration::from_secs(240);
/// For sessions to end, and for observer to see it and read the log.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Attempts without a line that are printed, for each row.
const SHOWN: u32 = 3;

pub(crate) fn trial(server: Server) -> Result<()> {
    let messages = messages(server.too_patient_with());
    let mut world = World::new(&zone(&messages))?;
    let settled = compared(Setting::plain(server), &world, &messages)?;
    recorded(server, &world, &settled)?;
    if !server.tells_what_failed() {
        return Ok(());
    }
    let refused =
        messages.iter().find(|message| message.hosts == [Manner::Refuse]).context("a message that is refused")?;
    the_log_names_the_domain(&mut world, refused.ip(Manner::Refuse), &refused.domain)
}

/// The same with a few messages and a server that is set up otherwise.
pub(crate) fn trial_of(setting: Setting) -> Result<()> {
    // Exim would send the sender a bounce, which is none of the messages; and that TFO fails
    // before a SYN, as without a route, is not seen on every kernel, which `matrix` is about.
    let is_exim = setting.server == Server::Exim;
    let messages = few_messages(if is_exim { &[Manner::Reject, Manner::NoRoute] } else { &[] });
    let world = World::new(&zone(&messages))?;
    if is_exim {
        // TFO at every listener, 0x400, for clients and servers.
        world.lab().server().sysctl(&[("ipv4/tcp_fastopen", "1027")])?;
    }
    let log = || std::fs::read_to_string(setting.server.log(&world));
    compared(setting, &world, &messages).with_context(|| log().unwrap_or_default())?;
    let log = log()?;
    ensure!(log.contains(setting.logs), "the log does not have {:?}: {log}", setting.logs);
    if is_exim {
        let asked = world.lab().server().inside(cookies_asked_for)?;
        println!("TFO cookies that were asked for: {asked}");
        ensure!(asked > 0, "Exim did not try TFO");
    }
    Ok(())
}

/// SYNs that came with a request for a cookie of TFO.
fn cookies_asked_for() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt in netstat")?;
    let mut counters = names.split(' ').zip(values.split(' '));
    let asked = counters.find(|(name, _)| *name == "TCPFastOpenCookieReqd").context("no TCPFastOpenCookieReqd")?;
    Ok(asked.1.parse()?)
}

/// Has the server deliver them, and compares what observer makes of it with what was sent.
fn compared(setting: Setting, world: &World, messages: &[Message]) -> Result<Settled> {
    let server = setting.server;
    let observer = start_daemon(world, server)?;
    let running = setting.start(world, messages)?;
    let mut follower = Follower::open(server.kind(), &Place::File(server.log(world)), From::Back(u64::MAX))?;
    let mut lines = until_done(&mut follower, server, world, messages.len())?;
    std::thread::sleep(AFTERWARDS);
    drop(running);
    // OpenSMTPD has begun to try again.
    while follower.poll(Timestamp::now(), |line| lines.push(line))? {}
    println!("{:?}", follower.counts());
    std::thread::sleep(AFTERWARDS);
    let events = stop_daemon(observer, world)?;
    let mut joiner = Joiner::new(Settings::default());
    events.iter().filter_map(Attempt::of).for_each(|attempt| joiner.attempt(attempt));
    lines.iter().for_each(|line| joiner.line(line.clone()));
    let settled = joiner.finish();
    let text = format!("{lines:?}{settled:?}");
    ensure!(!text.contains(LOCAL_PART), "a local part was kept");
    let comparison = Comparison {
        server,
        messages,
        events: events.iter().map(|event| (event.id.as_str(), event)).collect(),
        ids: ids(server, world, messages)?,
    };
    comparison.check(&settled)?;
    comparison.check_live(&settled)?;
    Ok(settled)
}

/// Starts an `observer run` that reads the server's log.
fn start_daemon(world: &World, server: Server) -> Result<Observer> {
    let (directory, log) = (world.path("").display().to_string(), server.log(world));
    world.put(
        "observer.toml",
        &format!(
            "[history]\npath = '{directory}history.sqlite'\n[socket]\nenabled = false\n\
             [mta]\nkind = '{}'\nlog = '{}'\n\
             [sink.events]\ntype = 'file'\npath = '{directory}events.json'\nsend = ['failures', 'successes']\n",
            server.kind().as_str(),
            log.display()
        ),
    )?;
    Observer::start(world, &["run", "--config", &format!("{directory}observer.toml")], "recording")
}

/// Ends it; what it sent.
fn stop_daemon(observer: Observer, world: &World) -> Result<Vec<Event>> {
    let said = observer.stop(world)?;
    ensure!(!said.contains("cannot read"), "{said}");
    let text = std::fs::read_to_string(world.path("events.json"))?;
    text.lines().map(|line| serde_json::from_str(line).context("an event")).collect()
}

/// History has each delivery's steps, and those that were put off without a connect.
fn recorded(server: Server, world: &World, settled: &Settled) -> Result<()> {
    let path = world.path("history.sqlite");
    let history = History::open_read_only(&path)?;
    let mut rows: BTreeMap<Connect, usize> = BTreeMap::new();
    history.deliveries(&Question::default(), &[], |row| {
        *rows.entry(row.connect).or_default() += 1;
        ControlFlow::Continue(())
    })?;
    let rows_of = |delivery: &MailDelivery| delivery.steps.len().max(usize::from(delivery.status.is_final()));
    let of_log: usize = settled.deliveries.iter().map(rows_of).sum();
    let in_history: usize = rows.iter().filter(|(connect, _)| **connect != Connect::Unlogged).map(|(_, n)| n).sum();
    println!("history: {rows:?}");
    ensure!(in_history == of_log, "{in_history} rows of {of_log} hosts and deliveries without");
    let put_off = if server.tells_what_failed() { Connect::None } else { Connect::Untold };
    ensure!(rows.get(&put_off).is_some_and(|count| *count > 0), "there is no row of {put_off:?}");
    let bytes = std::fs::read(path)?;
    ensure!(
        !bytes.windows(LOCAL_PART.len()).any(|window| window == LOCAL_PART.as_bytes()),
        "a local part is in history"
    );
    Ok(())
}

/// Follows the log until each message has its last word.
fn until_done(follower: &mut Follower, server: Server, world: &World, count: usize) -> Result<Vec<Line>> {
    let (mut lines, mut done) = (Vec::new(), 0);
    let deadline = Instant::now() + DONE_WITHIN;
    while done < count {
        let more = follower.poll(Timestamp::now(), |line: Line| {
            let is_report = line.recipient_domain.as_deref() == Some(SENDERS);
            done += usize::from(line.status.is_final() && !is_report);
            lines.push(line);
        })?;
        if Instant::now() >= deadline {
            let log = std::fs::read_to_string(server.log(world)).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(10).collect();
            anyhow::bail!("{done} of {count} messages done; the last lines, backwards: {last:#?}");
        }
        if !more {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(lines)
}

/// The ids of messages, as the log has them beside their recipients.
fn ids(server: Server, world: &World, messages: &[Message]) -> Result<HashMap<String, usize>> {
    let log = std::fs::read_to_string(server.log(world))?;
    let by_recipient: HashMap<String, usize> =
        messages.iter().map(|message| (message.recipient(), message.number)).collect();
    let mut ids = HashMap::new();
    for line in log.lines() {
        let recipient = line.split(['<', '>', ' ']).find_map(|word| by_recipient.get(word));
        let id = match server {
            Server::Postfix => line.split(' ').nth(5).and_then(|word| word.strip_suffix(':')),
            Server::Exim => line.split(' ').nth(2),
            Server::OpenSmtpd => line.split(' ').find_map(|word| word.strip_prefix("evpid=")),
        };
        if let (Some(number), Some(id)) = (recipient, id) {
            ids.insert(id.to_owned(), *number);
        }
    }
    ensure!(ids.len() == messages.len(), "{} ids of {} messages", ids.len(), messages.len());
    Ok(ids)
}

fn is_ambiguous(mta: Option<&Mta>) -> bool {
    mta.is_some_and(|mta| mta.candidates.is_some())
}

#[derive(Default)]
struct Row {
    messages: u32,
    attempts: u32,
    joined: u32,
    unlogged: u32,
    ambiguous: u32,
    nothing: u32,
    wrong: u32,
    deferred: u32,
    /// Deferred without a connect, as the log says.
    suspended: u32,
    /// Deferred by connects of which the log does not say that they were for this message.
    untold: u32,
    /// Steps of deferred deliveries for which no attempt was found.
    unmatched: u32,
}

struct Comparison<'a> {
    server: Server,
    messages: &'a [Message],
    /// By id.
    events: HashMap<&'a str, &'a Event>,
    ids: HashMap<String, usize>,
}

impl Comparison<'_> {
    fn check(&self, settled: &Settled) -> Result<()> {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for message in self.messages {
            rows.entry(message.row()).or_default().messages += 1;
        }
        self.attempts(settled, &mut rows)?;
        self.deliveries(settled, &mut rows)?;
        println!(
            "{:<22} messages attempts joined unlogged ambiguous nothing wrong | deferred suspended unmatched",
            "hosts"
        );
        for (name, row) in &rows {
            println!(
                "{name:<22} {:>8} {:>8} {:>6} {:>8} {:>9} {:>7} {:>5} | {:>8} {:>9} {:>9}",
                row.messages,
                row.attempts,
                row.joined,
                row.unlogged,
                row.ambiguous,
                row.nothing,
                row.wrong,
                row.deferred,
                row.suspended,
                row.unmatched
            );
        }
        for (name, row) in &rows {
            ensure!(row.wrong == 0, "{name}: {} wrongly", row.wrong);
            ensure!(row.unmatched == 0, "{name}: {} steps of deferred deliveries without their attempt", row.unmatched);
            let is_alone = !name.contains("together");
            let is_told = self.server.tells_what_failed();
            ensure!(is_alone || !is_told || row.suspended > 0, "{name}: nothing was suspended");
            ensure!(is_told || row.deferred == row.untold, "{name}: {} untold", row.untold);
            ensure!(
                !is_alone || row.attempts == row.joined + row.unlogged,
                "{name}: not every attempt has its message"
            );
        }
        Ok(())
    }

    /// Where the attempt of this id went.
    fn destination(&self, id: &str) -> Result<IpAddr> {
        self.events.get(id).and_then(|event| event.dst.ip).context("an attempt of no event")
    }

    /// The messages that an address is of: one, or all that share a domain.
    fn of_address(&self, ip: IpAddr) -> Option<&Message> {
        let IpAddr::V4(v4) = ip else { return None };
        let manner = Manner::ALL.into_iter().find(|manner| manner.octet() == v4.octets()[1])?;
        self.messages.iter().find(|message| message.ip(manner) == ip && message.hosts.contains(&manner))
    }

    fn attempts(&self, settled: &Settled, rows: &mut BTreeMap<String, Row>) -> Result<()> {
        for judged in &settled.attempts {
            let ip = self.destination(&judged.id)?;
            // Traffic of others on this machine.
            let Some(message) = self.of_address(ip) else { continue };
            let row = rows.entry(message.row()).or_default();
            row.attempts += 1;
            match judged.verdict {
                Verdict::Joined => row.joined += 1,
                Verdict::Unlogged => row.unlogged += 1,
                Verdict::Ambiguous(_) => row.ambiguous += 1,
                Verdict::Nothing | Verdict::Unsought => {
                    if row.nothing < SHOWN {
                        println!("without a line: {:?}", self.events.get(judged.id.as_str()));
                    }
                    row.nothing += 1;
                }
            }
            if let Some(mta) = &judged.mta {
                let is_right = mta.queue_id.as_ref().is_none_or(|id| self.is_of(id, message));
                let is_domain = mta.recipient_domain.as_ref().is_none_or(|domain| *domain == message.domain);
                row.wrong += u32::from(!is_right || !is_domain);
            }
        }
        Ok(())
    }

    /// What the daemon found while it ran is what all together tell, and never more.
    fn check_live(&self, settled: &Settled) -> Result<()> {
        let (mut same, mut other, mut missed) = (0, 0, 0);
        for judged in &settled.attempts {
            let event = self.events.get(judged.id.as_str()).context("an attempt of no event")?;
            match (&event.mta, &judged.mta) {
                (found, expected) if found == expected => same += 1,
                (None, Some(_)) => missed += 1,
                // Of several that fit, some may have come later.
                (Some(found), expected) if found.candidates.is_some() || is_ambiguous(expected.as_ref()) => same += 1,
                _ => other += 1,
            }
        }
        println!("while it ran: {same} attempts as afterwards, {missed} without their delivery, {other} otherwise");
        ensure!(missed == 0 && other == 0, "{missed} attempts without their delivery, {other} with another one");
        Ok(())
    }

    fn is_of(&self, id: &str, message: &Message) -> bool {
        self.ids.get(id).is_some_and(|number| self.messages[*number].domain == message.domain)
            && (message.is_together || self.ids.get(id) == Some(&message.number))
    }

    /// By its id; a session that failed has none, but the address of its host.
    fn of_delivery(&self, delivery: &MailDelivery) -> Result<&Message> {
        let by_id = delivery.queue_id.as_ref().and_then(|id| self.ids.get(id)).map(|number| &self.messages[*number]);
        let ips = delivery.steps.iter().filter_map(|step| step.relay.ip);
        let by_ip = || ips.filter(|_| !self.server.tells_what_failed()).find_map(|ip| self.of_address(ip));
        by_id.or_else(by_ip).with_context(|| format!("whose? {delivery:?}"))
    }

    fn deliveries(&self, settled: &Settled, rows: &mut BTreeMap<String, Row>) -> Result<()> {
        let is_report = |of: &&MailDelivery| of.steps.is_empty() && of.recipient_domain() == Some(SENDERS);
        for delivery in settled.deliveries.iter().filter(|delivery| !is_report(delivery)) {
            let message = self.of_delivery(delivery)?;
            let row = rows.entry(message.row()).or_default();
            if delivery.status == observer_core::mta::DeliveryStatus::Deferred {
                row.deferred += 1;
                row.suspended += u32::from(delivery.is_without_connect());
                row.untold += u32::from(delivery.is_untold());
            }
            for step in &delivery.steps {
                match &step.found {
                    Found::One(id) => {
                        let of = self.of_address(self.destination(id)?).context("an attempt at no host of ours")?;
                        row.wrong += u32::from(of.domain != message.domain);
                    }
                    Found::Many(_) => {}
                    _ => {
                        println!("without its attempt: {step:?} of {:?} at {}", delivery.queue_id, delivery.last);
                        row.unmatched += 1;
                    }
                }
            }
        }
        Ok(())
    }
}
