//! Asks name servers, through hickory, within limits.

mod listings;
mod mail;
mod names;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::{Instant, timeout_at};

use super::{Absence, AddressNames, Answer, DomainMail, Failure, Listing, Zone};

/// Answers that are remembered. One takes up to 64 KiB, hostile ones included.
const CACHED_ANSWERS: u64 = 256;
/// A repair is to be seen soon, whatever an answer says how long it holds.
const LONGEST_CACHED: Duration = Duration::from_mins(5);
/// The same for absence.
const LONGEST_CACHED_ABSENCE: Duration = Duration::from_mins(1);
/// Aliases in a row. hickory gives up after as many, and then says that there is
/// no data.
const MAX_ALIASES: usize = 7;

/// Whom to ask, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name servers, by address and port; those of `/etc/resolv.conf` if
    /// empty.
    pub servers: Vec<SocketAddr>,
    /// Longest wait for the answer to one question. Lost datagrams are repeated
    /// within it.
    pub timeout: Duration,
    /// Longest time that an [`Inquiry`] takes.
    pub deadline: Duration,
    /// Most questions in an [`Inquiry`]. What the cache answers counts too.
    pub queries: usize,
}

impl Default for Settings {
    /// A diagnosis is to take less than two seconds, and asks at most for 20
    /// exchangers' addresses of two families, names of two addresses, and lists.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_millis(1200),
            deadline: Duration::from_millis(1700),
            queries: 150,
        }
    }
}

/// Asks name servers and remembers their answers. Cheap to clone; clones share
/// the memory. Needs a Tokio runtime with its clock and network when asked.
///
/// Keep it no longer than there is something to ask: a connection to a name
/// server that never stops sending is read from until then.
#[derive(Clone, Debug)]
pub struct Resolver {
    hickory: TokioResolver,
    settings: Settings,
}

impl Resolver {
    /// A resolver. `/etc/resolv.conf` is read here and not again.
    ///
    /// # Errors
    /// If no name servers are given and `/etc/resolv.conf` cannot be read, is
    /// malformed or names none.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| format!("cannot use /etc/resolv.conf: {error}"))?
        } else {
            let servers = settings.servers.iter().map(|&server| name_server(server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let hickory = builder.with_options(options(&settings)).build();
        let hickory = hickory.map_err(|error| format!("cannot make a DNS resolver: {error}"))?;
        Ok(Self { hickory, settings })
    }

    /// Begins to ask: what it asks shares one deadline, from now on, and one
    /// number of questions.
    pub fn inquiry(&self) -> Inquiry<'_> {
        Inquiry {
            resolver: self,
            deadline: Instant::now() + self.settings.deadline,
            left: AtomicUsize::new(self.settings.queries),
        }
    }

    /// [`Inquiry::domain_mail`] in an inquiry of its own.
    pub async fn domain_mail(&self, domain: &str) -> DomainMail {
        self.inquiry().domain_mail(domain).await
    }

    /// [`Inquiry::names`] in an inquiry of its own.
    pub async fn names(&self, address: IpAddr) -> AddressNames {
        self.inquiry().names(address).await
    }

    /// [`Inquiry::listings`] in an inquiry of its own.
    pub async fn listings(&self, source: IpAddr, zones: &[Zone]) -> Vec<Listing> {
        self.inquiry().listings(source, zones).await
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    udp.port = server.port();
    tcp.port = server.port();
    NameServerConfig::new(server.ip(), true, vec![udp, tcp])
}

fn options(settings: &Settings) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = settings.timeout;
    // Once more after what is no answer at all: it may have been forged.
    options.attempts = 1;
    options.cache_size = CACHED_ANSWERS;
    options.positive_max_ttl = Some(LONGEST_CACHED);
    options.negative_max_ttl = Some(LONGEST_CACHED_ABSENCE);
    // What DNS says is asked for, and mail servers do not look into /etc/hosts.
    options.use_hosts_file = ResolveHosts::Never;
    options
}

/// Questions under one deadline. Ask them at once (`tokio::join!`): those that
/// come after it are not asked any more, and answered with [`Failure::Timeout`].
#[derive(Debug)]
pub struct Inquiry<'a> {
    resolver: &'a Resolver,
    deadline: Instant,
    left: AtomicUsize,
}

/// The records that answer a question.
#[derive(Debug)]
struct Records {
    /// Of the type that was asked for; never empty.
    data: Vec<RData>,
    /// What the name is an alias of in the end.
    alias: Option<Name>,
}

impl Inquiry<'_> {
    /// Asks one question. "No data" may be an alias loop: see
    /// [`ask_surely`](Self::ask_surely).
    async fn ask(&self, name: &Name, kind: RecordType) -> Answer<Records> {
        let take = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Answer::Unknown(Failure::TooManyQueries);
        }
        let now = Instant::now();
        if now >= self.deadline {
            return Answer::Unknown(Failure::Timeout);
        }
        let until = self.deadline.min(now + self.resolver.settings.timeout);
        match timeout_at(until, self.resolver.hickory.lookup(name.clone(), kind)).await {
            Ok(Ok(lookup)) => records(name, kind, lookup.answers()),
            Ok(Err(error)) => without_records(&error),
            Err(_) => Answer::Unknown(Failure::Timeout),
        }
    }

    /// Asks one question, and where there is no data, whether it is because of
    /// aliases.
    async fn ask_surely(&self, name: &Name, kind: RecordType) -> Answer<Records> {
        match self.ask(name, kind).await {
            Answer::Absent(Absence::NoData) => match self.last_alias(name).await {
                Ok(_) => Answer::Absent(Absence::NoData),
                Err(failure) => Answer::Unknown(failure),
            },
            answer => answer,
        }
    }

    /// What a name is an alias of in the end, asked alias by alias.
    async fn last_alias(&self, name: &Name) -> Result<Option<Name>, Failure> {
        let mut chain = vec![name.clone()];
        while let Some(last) = chain.last() {
            match self.ask(last, RecordType::CNAME).await {
                Answer::Absent(_) => break,
                Answer::Unknown(failure) => return Err(failure),
                Answer::Found(records) => match records.alias {
                    Some(next) if chain.len() < MAX_ALIASES && !chain.contains(&next) => chain.push(next),
                    _ => return Err(Failure::AliasLoop),
                },
            }
        }
        Ok(if chain.len() > 1 { chain.pop() } else { None })
    }
}

/// The records among `answers` that are `name`'s, or those of what it is an alias
/// of. Others may be anything.
fn records(name: &Name, kind: RecordType, answers: &[Record]) -> Answer<Records> {
    let target = |owner: &Name| {
        answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some(target.0.clone()),
            _ => None,
        })
    };
    if kind == RecordType::CNAME {
        let Some(alias) = target(name) else { return Answer::Unknown(Failure::Malformed) };
        return Answer::Found(Records { data: Vec::new(), alias: Some(alias) });
    }
    let mut owners = vec![name.clone()];
    while let Some(next) = owners.last().and_then(target) {
        // One answer may hold more aliases than hickory would ask for.
        if owners.contains(&next) || owners.len() > 2 * MAX_ALIASES {
            return Answer::Unknown(Failure::AliasLoop);
        }
        owners.push(next);
    }
    let ours = |record: &&Record| record.record_type() == kind && owners.contains(&record.name);
    let data: Vec<RData> = answers.iter().filter(ours).map(|record| record.data.clone()).collect();
    if data.is_empty() {
        return Answer::Unknown(Failure::Malformed);
    }
    let alias = if owners.len() > 1 { owners.pop() } else { None };
    Answer::Found(Records { data, alias })
}

/// What it means that hickory has no records.
fn without_records(error: &NetError) -> Answer<Records> {
    Answer::Unknown(match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => return Answer::Absent(Absence::NoSuchName),
            // RFC 2308, section 2.2: name servers and no SOA are a referral.
            ResponseCode::NoError if none.soa.is_none() && none.ns.is_some() => Failure::Referral,
            ResponseCode::NoError => return Answer::Absent(Absence::NoData),
            code => of_code(code),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => of_code(*code),
        NetError::Timeout => Failure::Timeout,
        NetError::Truncated => Failure::Truncated,
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => Failure::Unreachable,
        _ => Failure::Malformed,
    })
}

fn of_code(code: ResponseCode) -> Failure {
    match code {
        ResponseCode::ServFail => Failure::ServFail,
        ResponseCode::Refused => Failure::Refused,
        code => Failure::Code(code.into()),
    }
}
