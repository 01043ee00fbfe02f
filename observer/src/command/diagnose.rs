//! `observer diagnose`: gathers the evidence, which history has.

mod announce;
mod capture;
mod dns;
mod probing;
mod recorded;

use std::cell::OnceCell;
use std::fs;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use ipnet::IpNet;
use jiff::{Span, Timestamp, ZonedDateTime};

use self::announce::announce;
use self::dns::Dns;
use self::recorded::{Recorded, is_in};
use super::configuration;
use super::live::say;
use super::report::unreadable;
use super::{Failure, print, source};
use crate::cli::DiagnoseArgs;
use crate::diagnose::{Cause, Diagnosis, Evidence, Firewall, Operator, Seen, Sender, diagnose};
use crate::dns::asn::AsnDatabase;
use crate::exit::Exit;
use crate::firewall::{self, Answer, Flow, Listings, Way};
use crate::history::{self, DestinationTotals, Entry, History, Question};
use crate::host::process::socket_owner;
use crate::probe;
use crate::route::{self, Route};
use crate::sanitize::sanitize;
use crate::ui::diagnosis;
use observer_core::evidence::conntrack::Conntrack;

/// Looked back without DEST, and with one.
const HOURS: (i64, i64) = (1, 24);
/// Destinations that are diagnosed one by one.
const AT_MOST: usize = 20;
/// Attempts to other destinations that are looked at for who rejected them.
const OTHERS: usize = 2_000;

pub(super) fn run(args: &DiagnoseArgs) -> Result<(), Failure> {
    if args.probe && !args.force && !probe::PORTS.contains(&args.port) {
        let text = format!("port {} is none of a mail server's: --force probes it all the same", args.port);
        return Err(Failure::usage(&text));
    }
    if args.probe {
        source::ensure_served(&args.source)?;
    }
    let config = configuration::load_to_read(args.source.config.as_deref())?;
    let dns = Dns::begin(args, &config.diagnose)?;
    let of_domain = dns.as_ref().filter(|_| args.domain.is_none()).and_then(Dns::networks);
    let look_up = |asked: &str| of_domain.clone().map_or_else(|| networks(asked, args.port), Ok);
    let asked = args.destination.as_deref().map(look_up).transpose()?;
    let asn_file = args.asn_file.as_ref().or(config.diagnose.asn_file.as_ref()).filter(|_| asked.is_some());
    let operators = asn_file.map(|file| AsnDatabase::open(file)).transpose();
    let captured = args.live.map(|duration| capture::capture(args, duration)).transpose()?;
    let path = match &captured {
        Some(captured) => captured.path.clone(),
        None => source::history(args.history.as_ref(), &config),
    };
    let now = ZonedDateTime::now();
    let inquiry = Inquiry {
        port: args.port,
        is_probing: args.probe,
        is_forced: args.force,
        socket: source::socket(&args.source, &config),
        dns,
        operators: operators.map_err(|error| Failure::new("cannot name operators", error))?,
        since: captured.as_ref().map_or_else(|| since(args, &now), |captured| Ok(captured.since))?,
        now: now.timestamp(),
        listings: OnceCell::new(),
        totals: OnceCell::new(),
        rejected: OnceCell::new(),
    };
    let history = History::open_read_only(&path).map_err(|error| unreadable(&error, &path))?;
    let diagnosed = match &asked {
        Some(networks) => inquiry.ask(&history, args.destination.as_deref().unwrap_or_default(), networks),
        None => history.snapshot(|history| inquiry.ask_of_all(history)),
    };
    put(args, &diagnosed.map_err(|error| unreadable(&error, &path))?, inquiry.since)
}

fn put(args: &DiagnoseArgs, diagnoses: &[Diagnosis], since: Timestamp) -> Result<(), Failure> {
    if let (Some(file), Some(diagnosis)) = (&args.evidence, diagnoses.first()) {
        fs::write(file, diagnosis::letter(diagnosis))
            .map_err(|error| Failure::new(&format!("cannot write {}", file.display()), error))?;
    }
    if args.json {
        let lines = diagnoses.iter().map(|diagnosis| serde_json::to_string(diagnosis).map(|line| line + "\n"));
        let text: String = lines.collect::<Result<_, _>>().map_err(|error| Failure::new("JSON", error))?;
        return print(text.as_bytes());
    }
    let texts: Vec<String> = diagnoses.iter().map(diagnosis::render).collect();
    if texts.is_empty() {
        return print(format!("nothing has failed since {since:.0}\n").as_bytes());
    }
    print(texts.join("\n").as_bytes())
}

fn since(args: &DiagnoseArgs, now: &ZonedDateTime) -> Result<Timestamp, Failure> {
    let hours = if args.destination.is_some() { HOURS.1 } else { HOURS.0 };
    let resolved = match &args.since {
        Some(moment) => moment.resolve(now).map_err(|error| Failure::usage(&error.to_string()))?,
        None => back(now.timestamp(), hours),
    };
    if resolved >= now.timestamp() {
        return Err(Failure::usage(&format!(
            "--since {resolved:.0} is not in the past: name an earlier time, such as 1h"
        )));
    }
    Ok(resolved)
}

fn back(from: Timestamp, hours: i64) -> Timestamp {
    from.checked_sub(Span::new().hours(hours)).unwrap_or(Timestamp::MIN)
}

/// What was asked about, as networks.
fn networks(asked: &str, port: u16) -> Result<Vec<IpNet>, Failure> {
    if let Ok(network) = asked.parse::<IpNet>() {
        return Ok(vec![network.trunc()]);
    }
    if let Ok(address) = asked.parse::<IpAddr>() {
        return Ok(vec![IpNet::from(address.to_canonical())]);
    }
    let found = (asked, port).to_socket_addrs().map_err(|error| {
        let text = format!("{} is no address, and cannot be looked up: {error}", sanitize(asked));
        Failure::with(Exit::Failure, text)
    })?;
    let mut networks: Vec<IpNet> = found.map(|address| IpNet::from(address.ip().to_canonical())).collect();
    networks.sort();
    networks.dedup();
    Ok(networks)
}

/// Which attempts are meant.
struct Inquiry {
    port: u16,
    is_probing: bool,
    /// Other people's ports, too.
    is_forced: bool,
    /// Where `observer run` listens.
    socket: PathBuf,
    dns: Option<Dns>,
    operators: Option<AsnDatabase>,
    since: Timestamp,
    now: Timestamp,
    /// What every diagnosis of one run shares is read once: the firewall's listings, all
    /// destinations' totals, and attempts of which it is looked who rejected them.
    listings: OnceCell<Listings>,
    totals: OnceCell<Vec<DestinationTotals>>,
    rejected: OnceCell<Vec<Entry>>,
}

impl Inquiry {
    /// Of what was asked about. Probes take their time, and history is not held meanwhile.
    fn ask(&self, history: &History, asked: &str, networks: &[IpNet]) -> history::Result<Vec<Diagnosis>> {
        let mut evidence = match networks {
            // A domain that takes no mail has no addresses, and no filter is no restriction.
            [] => Evidence { asked: asked.to_owned(), port: self.port, ..Evidence::default() },
            _ => history.snapshot(|history| {
                let recorded = Recorded::read(history, self.since, self.port, networks)?;
                self.gather(history, &recorded, asked, networks)
            })?,
        };
        if let Some(dns) = &self.dns {
            let single = asked.parse::<IpAddr>().ok().map(|address| address.to_canonical());
            dns.ask(single, &mut evidence);
        }
        if let Some(operators) = &self.operators {
            name_operators(operators, &mut evidence);
        }
        if self.is_probing {
            // Kept until the last probe has ended.
            let announced = announce(&self.socket);
            probing::probe(networks, self.port, self.is_forced, &mut evidence, &|line| say(line));
            evidence.not_seen.extend(announced.err());
        }
        Ok(vec![diagnose(&evidence, self.now)])
    }

    /// Every destination that fails, those with one cause together.
    fn ask_of_all(&self, history: &History) -> history::Result<Vec<Diagnosis>> {
        let mut failing: Vec<(u64, IpAddr)> = Vec::new();
        for totals in self.totals(history)?.iter().filter(|totals| totals.destination.port() == self.port) {
            let mut seen = Seen::default();
            seen.add_totals(totals);
            if seen.all.failed() > 0 {
                failing.push((seen.all.failed(), totals.destination.ip()));
            }
        }
        failing.sort_unstable_by(|a, b| b.cmp(a));
        failing.truncate(AT_MOST);
        let hosts: Vec<IpNet> = failing.iter().map(|(_, address)| IpNet::from(*address)).collect();
        let recorded = Recorded::read(history, self.since, self.port, &hosts)?;
        let diagnosed =
            |networks: &[IpNet]| Ok(diagnose(&self.gather(history, &recorded, &names(networks), networks)?, self.now));
        let mut groups: Vec<(Diagnosis, Vec<IpNet>)> = Vec::new();
        for network in hosts {
            let diagnosis: Diagnosis = diagnosed(&[network])?;
            match groups.iter_mut().find(|(first, _)| cause(first) == cause(&diagnosis)) {
                Some((_, networks)) => networks.push(network),
                None => groups.push((diagnosis, vec![network])),
            }
        }
        let of_group = |(first, networks): (Diagnosis, Vec<IpNet>)| match networks.as_slice() {
            [_] => Ok(first),
            networks => diagnosed(networks),
        };
        groups.into_iter().map(of_group).collect()
    }

    /// Of all destinations, on every port.
    fn totals(&self, history: &History) -> history::Result<&[DestinationTotals]> {
        if self.totals.get().is_none() {
            let mut totals = Vec::new();
            history.destinations(&self.question(), |of_one| {
                totals.push(of_one);
                ControlFlow::Continue(())
            })?;
            let _ = self.totals.set(totals);
        }
        Ok(self.totals.get().map_or(&[], Vec::as_slice))
    }

    /// The first attempts of the period on this port.
    fn rejected(&self, history: &History) -> history::Result<&[Entry]> {
        if self.rejected.get().is_none() {
            let mut entries = Vec::new();
            history.attempts(&Question { ports: vec![self.port], ..self.question() }, |entry| {
                entries.push(entry);
                if entries.len() < OTHERS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let _ = self.rejected.set(entries);
        }
        Ok(self.rejected.get().map_or(&[], Vec::as_slice))
    }

    fn question(&self) -> Question {
        Question { since: Some(self.since), ..Question::default() }
    }

    /// What this host decides now, of the attempts that fail most.
    fn look_around(&self, recorded: &Recorded, networks: &[IpNet], evidence: &mut Evidence) {
        let Some((sender, pid)) = Sender::of(recorded.attempts_to(networks)) else { return };
        match route::to(sender.dst) {
            Ok(route) => evidence.route = Some(route),
            Err(error) => evidence.not_seen.push(error),
        }
        let flow = self.flow(&sender, pid, evidence.route.as_ref());
        let mut walked = firewall::walk(self.listings.get_or_init(firewall::list), &flow);
        evidence.not_seen.append(&mut walked.unreadable);
        if matches!(flow.way, Way::Through { .. }) {
            evidence.not_seen.push("the firewall rules in the sender's own network namespace".to_owned());
            if walked.answer == Answer::Passes {
                walked.answer = Answer::Unknown;
            }
        }
        evidence.firewall = Some(Firewall { flow, walked });
        evidence.conntrack = conntrack();
    }

    /// The flow as this host's rules see it.
    fn flow(&self, sender: &Sender, pid: Option<u32>, route: Option<&Route>) -> Flow {
        let (by_route, src) = match route {
            Some(Route::Goes { interface, source, .. }) => (Some(interface.clone()), *source),
            _ => (None, None),
        };
        // 0: it was not seen.
        let netns = sender.netns.filter(|netns| *netns != 0);
        let is_here = netns.is_none_or(|netns| Some(netns) == own_netns());
        if !is_here {
            let from = sender.src.and_then(|src| match route::to(src) {
                Ok(Route::Goes { interface, .. }) => Some(interface),
                _ => None,
            });
            let way = Way::Through { from };
            return Flow {
                src: sender.src,
                dst: sender.dst,
                port: self.port,
                interface: by_route,
                uid: None,
                gid: None,
                way,
            };
        }
        let owner = pid.zip(sender.uid).zip(sender.comm.as_deref());
        let owner = owner.and_then(|((pid, uid), comm)| socket_owner(pid, uid, comm));
        Flow {
            src: sender.src.or(src),
            dst: sender.dst,
            port: self.port,
            interface: sender.interface.clone().or(by_route),
            uid: owner.map(|(uid, _)| uid).or(sender.uid),
            gid: owner.map(|(_, gid)| gid),
            way: Way::Out,
        }
    }

    fn gather(
        &self,
        history: &History,
        recorded: &Recorded,
        asked: &str,
        networks: &[IpNet],
    ) -> history::Result<Evidence> {
        let mut evidence = Evidence { asked: asked.to_owned(), port: self.port, ..Evidence::default() };
        recorded.add_attempts(networks, &mut evidence.subject);
        for totals in self.totals(history)? {
            match totals.destination.port() == self.port {
                true if is_in(totals.destination.ip(), networks) => {}
                true => evidence.elsewhere.add_totals(totals),
                false => evidence.other_ports.add_totals(totals),
            }
        }
        for entry in self.rejected(history)? {
            if entry.dst.ip.is_some_and(|address| !is_in(address, networks)) {
                evidence.elsewhere.add_facts(entry);
            }
        }
        recorded.add_deliveries(networks, &mut evidence.mail);
        recorded.add_before(networks, &mut evidence.before);
        self.look_around(recorded, networks, &mut evidence);
        Ok(evidence)
    }
}

/// How full connection tracking is, if it is in use.
fn conntrack() -> Option<Conntrack> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok();
    Conntrack::read(&read("count")?, &read("max")?)
}

/// Inode number of the network namespace whose rules are listed.
fn own_netns() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    u32::try_from(fs::metadata("/proc/self/ns/net").ok()?.ino()).ok()
}

fn name_operators(operators: &AsnDatabase, evidence: &mut Evidence) {
    for &address in evidence.subject.destinations.keys().take(AT_MOST) {
        match operators.lookup(address) {
            Ok(Some(system)) => evidence.operators.push(Operator { address, system }),
            Ok(None) => {}
            Err(error) => evidence.not_seen.push(error),
        }
    }
}

fn cause(diagnosis: &Diagnosis) -> Option<Cause> {
    diagnosis.causes.first().map(|likely| likely.cause)
}

/// `203.0.113.5, 203.0.113.6 and 3 more`.
fn names(networks: &[IpNet]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = networks.iter().take(SHOWN).map(|network| network.addr().to_string()).collect();
    match networks.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
