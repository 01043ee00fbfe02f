//! `observer diagnose`: gathers the evidence, which history has.

mod announce;
mod capture;
mod dns;
mod probing;
mod put;
mod recorded;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use ipnet::IpNet;
use jiff::{Span, Timestamp, ZonedDateTime};
use observer_core::diagnose::{Diagnosis, Evidence, Firewall, Operator, Seen, Sender, diagnose, together};
use observer_core::evidence::conntrack::Conntrack;
use observer_core::mta::Said;
use observer_core::sanitize::sanitize;

use self::announce::announce;
use self::dns::Dns;
use self::put::put;
use self::recorded::{Recorded, is_in, single_hosts};
use super::configuration;
use super::live::say;
use super::report::unreadable;
use super::{Failure, source};
use crate::cli::DiagnoseArgs;
use crate::exit::Exit;
use crate::host::dns::asn::AsnDatabase;
use crate::host::firewall::{self, Answer, Flow, Listings, Way};
use crate::host::own::{self, OwnAddresses};
use crate::host::probe;
use crate::host::process::socket_owner;
use crate::host::route::{self, Route};
use crate::store::history::{self, Connect, DestinationTotals, Entry, History, Question};

/// Looked back without DEST, and with one.
const HOURS: (i64, i64) = (1, 24);
/// Destinations that are diagnosed one by one.
const AT_MOST: usize = 20;
/// Destinations of which DNS is asked.
const LOOKED_UP: usize = 4;
/// Attempts that are looked at for who rejected those to other destinations: so many of the
/// first, and of the last.
const OTHERS: usize = 1_000;

pub(super) fn run(args: &DiagnoseArgs) -> Result<(), Failure> {
    if args.probe && !args.force && !probe::PORTS.contains(&args.port()) {
        let text = format!("port {} is none of a mail server's: --force probes it all the same", args.port());
        return Err(Failure::usage(&text));
    }
    if args.probe {
        source::ensure_served(&args.source)?;
    }
    let config = configuration::load_to_read(args.source.config.as_deref())?;
    let dns = Dns::begin(args, &config.diagnose)?;
    let of_domain = dns.as_ref().filter(|_| args.domain.is_none()).and_then(Dns::networks);
    let look_up = |asked: &str| of_domain.clone().map_or_else(|| networks(asked, args.port()), Ok);
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
        port: args.port(),
        is_probing: args.probe,
        is_forced: args.force,
        socket: source::socket(&args.source, &config),
        dns,
        operators: operators.map_err(|error| Failure::new("cannot name operators", error))?,
        // Counts know no shorter time than a minute, and attempts are to be the same.
        since: history::whole_minute(
            captured.as_ref().map_or_else(|| since(args, &now), |captured| Ok(captured.since))?,
        ),
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
    /// Of what was asked about, destination by destination. Probes take their time, and history
    /// is not held meanwhile.
    fn ask(&self, history: &History, asked: &str, networks: &[IpNet]) -> history::Result<Vec<Diagnosis>> {
        let mut of_each = match networks {
            // A domain that takes no mail has no addresses, and no filter is no restriction.
            [] => vec![Evidence { asked: asked.to_owned(), port: self.port, ..Evidence::default() }],
            _ => history.snapshot(|history| {
                let (hosts, left_out) = self.hosts(history, networks)?;
                let mut of_each = self.gather_each(history, &hosts)?;
                note_left_out(left_out, of_each.first_mut());
                Ok(of_each)
            })?,
        };
        if let Some(dns) = &self.dns {
            let single = asked.parse::<IpAddr>().ok().map(|address| address.to_canonical());
            of_each.iter_mut().take(LOOKED_UP).for_each(|evidence| dns.ask(single, evidence));
            let all = of_each.len();
            if let Some(first) = of_each.first_mut().filter(|_| all > LOOKED_UP) {
                first.not_seen.push(format!("DNS was asked of {LOOKED_UP} of {all} destinations"));
            }
        }
        if let Some(operators) = &self.operators {
            of_each.iter_mut().for_each(|evidence| name_operators(operators, evidence));
        }
        if self.is_probing {
            // Kept until the last probe has ended.
            let announced = announce(&self.socket);
            probing::probe_each(networks, self.port, self.is_forced, &mut of_each, &|line| say(line));
            if let Some(first) = of_each.first_mut() {
                first.not_seen.extend(announced.err());
            }
        }
        let diagnoses = of_each.iter().map(|evidence| diagnose(evidence, self.now)).collect();
        Ok(together(diagnoses, Some(asked)))
    }

    /// Every destination that fails by its own evidence, those with one cause together.
    fn ask_of_all(&self, history: &History) -> history::Result<Vec<Diagnosis>> {
        let mut failing: Vec<(u64, IpAddr)> = self
            .tried(history, &[])?
            .into_iter()
            .filter(|(failed, ..)| *failed > 0)
            .map(|(failed, _, ip)| (failed, ip))
            .collect();
        failing.sort_unstable_by(|a, b| b.cmp(a));
        let left_out = failing.len().saturating_sub(AT_MOST);
        failing.truncate(AT_MOST);
        let hosts: Vec<IpAddr> = failing.into_iter().map(|(_, host)| host).collect();
        let mut of_each = self.gather_each(history, &hosts)?;
        note_left_out(left_out, of_each.first_mut());
        let mut diagnoses = together(of_each.iter().map(|evidence| diagnose(evidence, self.now)).collect(), None);
        diagnoses.extend(self.ask_of_none(history)?);
        Ok(diagnoses)
    }

    /// Of what the mail server says that it was not permitted to connect, and no attempt tells: it came
    /// no further than bind().
    fn ask_of_none(&self, history: &History) -> history::Result<Option<Diagnosis>> {
        let asked = "deliveries that came to no attempt".to_owned();
        let mut evidence = Evidence { asked, port: self.port, ..Evidence::default() };
        let question = Question { since: Some(self.since), ..Question::default() };
        history.deliveries(&question, &[], |delivery| {
            if delivery.said == Said::NotPermitted && matches!(delivery.connect, Connect::None | Connect::Unseen) {
                evidence.mail.add(&delivery);
            }
            ControlFlow::Continue(())
        })?;
        Ok(Some(diagnose(&evidence, self.now)).filter(|diagnosis| !diagnosis.causes.is_empty()))
    }

    /// Failures, attempts and address of every destination in the networks that was tried on the
    /// port; no networks: of every one.
    fn tried(&self, history: &History, networks: &[IpNet]) -> history::Result<Vec<(u64, u64, IpAddr)>> {
        let of_port = self.totals(history)?.iter().filter(|totals| totals.destination.port() == self.port);
        let of_networks = of_port.filter(|totals| networks.is_empty() || is_in(totals.destination.ip(), networks));
        Ok(of_networks
            .map(|totals| {
                let mut seen = Seen::default();
                seen.add_totals(totals);
                (seen.all.failed(), seen.all.attempts, totals.destination.ip())
            })
            .collect())
    }

    /// The destinations that are judged, most failures first, and how many are not.
    fn hosts(&self, history: &History, networks: &[IpNet]) -> history::Result<(Vec<IpAddr>, usize)> {
        let mut tried = self.tried(history, networks)?;
        tried.sort_unstable_by(|a, b| b.cmp(a));
        let mut hosts: Vec<IpAddr> = tried.into_iter().map(|(.., host)| host).collect();
        // What was not tried may have been looked up, or be in the mail server's log.
        for host in single_hosts(networks) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            hosts.extend(networks.first().map(IpNet::network));
        }
        let left_out = hosts.len().saturating_sub(AT_MOST);
        hosts.truncate(AT_MOST);
        Ok((hosts, left_out))
    }

    /// This host's own addresses: those that it has now, and those that sent to themselves.
    fn own(&self, history: &History) -> history::Result<(OwnAddresses, Option<String>)> {
        let (mut own, error) = match own::addresses() {
            Ok(own) => (own, None),
            Err(error) => (OwnAddresses::default(), Some(format!("this host's own addresses: {error}"))),
        };
        for address in history.own_addresses(&self.question(), OwnAddresses::LEARNED)? {
            own.learn(Some(address), address);
        }
        Ok((own, error))
    }

    fn gather_each(&self, history: &History, hosts: &[IpAddr]) -> history::Result<Vec<Evidence>> {
        let (own, error) = self.own(history)?;
        let recorded = Recorded::read(history, self.since, self.port, hosts)?;
        let about = |&host: &IpAddr| Evidence::about(host, self.port, own.clone(), recorded.seen(host));
        let mut of_each: Vec<Evidence> = hosts.iter().map(about).collect();
        self.compare(history, hosts, &mut of_each)?;
        for (evidence, &host) in of_each.iter_mut().zip(hosts) {
            self.gather(history, &recorded, host, evidence)?;
        }
        if let Some(first) = of_each.first_mut() {
            first.not_seen.extend(error);
        }
        Ok(of_each)
    }

    /// Adds what was counted, of the host that each is about and of all others: those are many, and
    /// gone through once.
    fn compare(&self, history: &History, hosts: &[IpAddr], of_each: &mut [Evidence]) -> history::Result<()> {
        for totals in self.totals(history)? {
            for (evidence, &host) in of_each.iter_mut().zip(hosts) {
                if totals.destination == SocketAddr::new(host, self.port) {
                    evidence.subject.complete(totals);
                } else {
                    evidence.add_other(totals);
                }
            }
        }
        Ok(())
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

    /// The first and the last attempts of the period on this port.
    fn rejected(&self, history: &History) -> history::Result<&[Entry]> {
        if self.rejected.get().is_none() {
            let question = Question { ports: vec![self.port], ..self.question() };
            let mut entries = Vec::new();
            history.attempts(&question, |entry| {
                entries.push(entry);
                if entries.len() < OTHERS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if entries.len() == OTHERS {
                entries.extend(history.newest(&question, OTHERS)?);
            }
            let mut seen = HashSet::new();
            entries.retain(|entry| seen.insert(entry.id.clone()));
            let _ = self.rejected.set(entries);
        }
        Ok(self.rejected.get().map_or(&[], Vec::as_slice))
    }

    fn question(&self) -> Question {
        Question { since: Some(self.since), ..Question::default() }
    }

    /// What this host decides now, of the attempts that fail most.
    fn look_around(&self, attempts: &[Entry], evidence: &mut Evidence) {
        let Some((sender, pid)) = Sender::of(attempts.iter()) else { return };
        match route::to(sender.dst) {
            Ok(route) => {
                evidence.is_on_link = route::is_on_link(&route);
                evidence.route = Some(route);
            }
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
        host: IpAddr,
        evidence: &mut Evidence,
    ) -> history::Result<()> {
        if evidence.subject.counted_only > 0 {
            let (known, all) = (evidence.subject.counted_only, evidence.subject.all.attempts);
            evidence.not_seen.push(format!("{known} of {all} attempts to {host} are known by their count alone"));
        }
        let not_known = evidence.subject.by_whom_not_known + evidence.elsewhere.by_whom_not_known;
        if not_known > 0 {
            evidence.not_seen.push(format!(
                "whether this host redirected {not_known} sessions that went well to itself: an older version counted them"
            ));
        }
        self.rejected(history)?.iter().for_each(|entry| evidence.add_other_facts(entry));
        // A log does not say to which port.
        let is_of_other_port =
            |totals: &DestinationTotals| totals.destination.ip() == host && totals.destination.port() != self.port;
        let is_untried = evidence.subject.all.attempts == 0;
        if is_untried && self.totals(history)?.iter().any(is_of_other_port) {
            evidence.not_seen.push(format!("the mail server's log: attempts to {host} were to another port"));
        } else {
            recorded.add_deliveries(host, evidence);
        }
        recorded.add_before(host, &mut evidence.before);
        let details = recorded.details(host);
        evidence.sample(details);
        self.look_around(details, evidence);
        Ok(())
    }
}

fn note_left_out(left_out: usize, first: Option<&mut Evidence>) {
    if let Some(first) = first.filter(|_| left_out > 0) {
        first.not_seen.push(format!("{left_out} more destinations: only the {AT_MOST} that fail most are judged"));
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
