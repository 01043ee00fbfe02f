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
use observer_lab::{Ip, sources};

use crate::exchangers::the_log_names_the_domain;
use crate::observer::Observer;
use crate::post::{LOCAL_PART, Manner, Message, SENDERS, few_messages, messages, zone};
use crate::server::{Server, Setting, Way};
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
    let (_, settled) = compared(Setting::plain(server), &world, &messages)?;
    recorded(server, &world, &settled)?;
    if !server.tells_what_failed() {
        return Ok(());
    }
    let refused =
        messages.iter().find(|message| message.hosts == [Manner::Refuse]).context("a message that is refused")?;
    the_log_names_the_domain(&mut world, refused.ip(Manner::Refuse), &refused.domain)
}

/// What came of a trial with a few messages.
pub(crate) struct Tried {
    pub(crate) world: World,
    pub(crate) messages: Vec<Message>,
    pub(crate) events: Vec<Event>,
    pub(crate) settled: Settled,
    pub(crate) log: String,
}

/// The same with a few messages and a server that is set up otherwise.
pub(crate) fn trial_of(setting: Setting) -> Result<Tried> {
    let messages = few_messages(setting.rows, setting.instances);
    let world = World::new(&zone(&messages))?;
    if setting.server == Server::Exim {
        // TFO at every listener, 0x400, for clients and servers.
        world.lab().server().sysctl(&[("ipv4/tcp_fastopen", "1027")])?;
    }
    let log = || std::fs::read_to_string(setting.server.log(&world));
    let (events, settled) = compared(setting, &world, &messages).with_context(|| log().unwrap_or_default())?;
    let log = log()?;
    ensure!(log.contains(setting.logs), "the log does not have {:?}: {log}", setting.logs);
    Ok(Tried { world, messages, events, settled, log })
}

/// Has the server deliver them, and compares what observer makes of it with what was sent.
fn compared(setting: Setting, world: &World, messages: &[Message]) -> Result<(Vec<Event>, Settled)> {
    let server = setting.server;
    let observer = start_daemon(world, server)?;
    let running = setting.start(world, messages)?;
    let mut follower = Follower::open(server.kind(), &Place::File(server.log(world)), From::Back(u64::MAX))?;
    let tried = messages.iter().filter(|message| setting.is_tried(message)).count();
    let mut lines = until_done(&mut follower, server, world, tried)?;
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
    let ids = ids(server, world, messages)?;
    ensure!(ids.len() == tried, "{} ids of {tried} messages", ids.len());
    let comparison =
        Comparison { setting, messages, events: events.iter().map(|event| (event.id.as_str(), event)).collect(), ids };
    comparison.check(&settled)?;
    comparison.check_live(&settled)?;
    Ok((events, settled))
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
        // A recipient that is rejected has none: `NOQUEUE`, or `H=`.
        let is_id = |id: &&str| id.bytes().any(|byte| byte.is_ascii_digit()) && !id.contains('=');
        if let (Some(number), Some(id)) = (recipient, id.filter(is_id)) {
            ids.insert(id.to_owned(), *number);
        }
    }
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
    /// By attempts of which the server says nothing.
    not_logged: u32,
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
    setting: Setting,
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
            ensure!(
                row.unmatched == 0 || !self.setting.connects,
                "{name}: {} steps of deferred deliveries without their attempt",
                row.unmatched
            );
            let is_alone = !name.contains("together");
            let is_told = self.setting.server.tells_what_failed();
            ensure!(is_alone || !is_told || row.suspended > 0, "{name}: nothing was suspended");
            ensure!(is_told || row.deferred == row.untold, "{name}: {} untold", row.untold);
            ensure!(
                !is_alone
                    || self.setting.way == Way::Callouts
                    || row.attempts == row.joined + row.unlogged + row.not_logged,
                "{name}: not every attempt has its message"
            );
        }
        Ok(())
    }

    /// The message that the attempt of this id was made for, or one of all that share a domain. `None` for
    /// traffic of others on this machine.
    fn of_attempt(&self, id: &str) -> Result<Option<&Message>> {
        let event = self.events.get(id).context("an attempt of no event")?;
        let instance = sources(Ip::V4).iter().position(|source| event.src.ip == Some(*source));
        let instance = instance.filter(|_| self.setting.instances > 1);
        Ok(self.of_address(event.dst.ip.context("an attempt to nowhere")?, instance))
    }

    /// True if the server logs nothing of this attempt, for there is another host.
    fn is_not_logged(&self, id: &str, message: &Message) -> bool {
        let ip = self.events.get(id).and_then(|event| event.dst.ip);
        let (last, before) = message.hosts.split_last().unwrap_or((&Manner::Work, &[]));
        let is_at = |manner: &&Manner| ip == Some(message.ip(**manner));
        before.iter().filter(is_at).any(|manner| manner != last && self.setting.unlogged.contains(manner))
    }

    /// The message that an address is of.
    fn of_address(&self, ip: IpAddr, instance: Option<usize>) -> Option<&Message> {
        let IpAddr::V4(v4) = ip else { return None };
        let manner = Manner::ALL.into_iter().find(|manner| manner.octet() == v4.octets()[1])?;
        let is_of = |message: &&Message| message.ip(manner) == ip && message.hosts.contains(&manner);
        self.messages.iter().filter(is_of).find(|message| instance.is_none_or(|of| of == message.instance))
    }

    fn attempts(&self, settled: &Settled, rows: &mut BTreeMap<String, Row>) -> Result<()> {
        for judged in &settled.attempts {
            let Some(message) = self.of_attempt(&judged.id)? else { continue };
            let row = rows.entry(message.row()).or_default();
            row.attempts += 1;
            match judged.verdict {
                Verdict::Joined => row.joined += 1,
                Verdict::Unlogged => row.unlogged += 1,
                Verdict::Ambiguous(_) => row.ambiguous += 1,
                Verdict::Nothing if self.is_not_logged(&judged.id, message) => row.not_logged += 1,
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
        let by_ip =
            || ips.filter(|_| !self.setting.server.tells_what_failed()).find_map(|ip| self.of_address(ip, None));
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
                        let of = self.of_attempt(id)?.context("an attempt at no host of ours")?;
                        let is_of = of.domain == message.domain && of.instance == message.instance;
                        row.wrong += u32::from(!is_of);
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
