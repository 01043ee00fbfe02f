//! What `observer diagnose` asks DNS, if it is to.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use observer_core::diagnose::{Evidence, Mail};
use tokio::runtime::Runtime;

use super::super::Failure;
use super::super::live::runtime;
use crate::cli::DiagnoseArgs;
use crate::config;
use crate::host::dns::finding::{Finding, of_listing, of_mail, of_names};
use crate::host::dns::{DomainMail, Resolver, Settings, Zone};

/// Two inquiries, and a diagnosis takes less than two seconds.
const DEADLINE: Duration = Duration::from_millis(900);
const TIMEOUT: Duration = Duration::from_millis(700);
/// Addresses of either end whose names are asked.
const ADDRESSES: usize = 4;

/// Whom to ask, and about what.
pub(super) struct Dns {
    runtime: Runtime,
    resolver: Resolver,
    zones: Vec<Zone>,
    /// What is known of the domain in question.
    mail: Option<DomainMail>,
}

impl Dns {
    /// Asks about the domain, if there is one; `None` if DNS is not to be asked.
    pub(super) fn begin(args: &DiagnoseArgs, config: &config::Diagnose) -> Result<Option<Self>, Failure> {
        let is_configured = config.dns && args.destination.is_some() && !args.no_dns;
        if !is_configured && !args.dns && args.domain.is_none() && args.dnsbl.is_empty() {
            return Ok(None);
        }
        let (dnsbl, servers) = (or(&args.dnsbl, &config.dnsbl), or(&args.name_server, &config.name_servers));
        let zones: Result<Vec<Zone>, String> = dnsbl.iter().map(|zone| Zone::new(zone, Vec::new())).collect();
        let zones = zones.map_err(|error| Failure::usage(&format!("--dnsbl: {error}")))?;
        let settings =
            Settings { servers: servers.to_vec(), timeout: TIMEOUT, deadline: DEADLINE, ..Settings::default() };
        let runtime = runtime()?;
        let resolver = {
            let _guard = runtime.enter();
            Resolver::new(settings).map_err(|error| Failure::new("cannot ask DNS", error))?
        };
        let asked = args
            .destination
            .as_deref()
            .filter(|asked| asked.parse::<IpAddr>().is_err() && asked.parse::<IpNet>().is_err());
        let mail = args.domain.as_deref().or(asked).map(|domain| runtime.block_on(resolver.domain_mail(domain)));
        Ok(Some(Self { runtime, resolver, zones, mail }))
    }

    /// Where the domain's mail goes, if DNS says.
    pub(super) fn networks(&self) -> Option<Vec<IpNet>> {
        let mail = self.mail.as_ref()?;
        let mut networks: Vec<IpNet> =
            mail.hosts().flat_map(|(_, host)| host.addresses().map(IpNet::from).collect::<Vec<_>>()).collect();
        networks.sort();
        networks.dedup();
        let is_told = !networks.is_empty()
            || of_mail(mail, None).iter().any(|finding| !matches!(finding, Finding::Unknown { .. }));
        is_told.then_some(networks)
    }

    /// Of the domain for which the mail server tried that destination most.
    fn of_logged_domain(&self, destination: Option<IpAddr>, log: &Mail) -> Vec<Finding> {
        // A hash is no name.
        let domain = log.top_domains().into_iter().find(|domain| domain.contains('.'));
        let mail = domain.map(|domain| self.runtime.block_on(self.resolver.domain_mail(domain)));
        mail.map(|mail| of_mail(&mail, destination)).unwrap_or_default()
    }

    /// Adds what is remarkable: of the domain, of the destinations, of our addresses.
    pub(super) fn ask(&self, destination: Option<IpAddr>, evidence: &mut Evidence) {
        let (subject, inquiry) = (&evidence.subject, self.resolver.inquiry());
        let mut findings = match (&self.mail, destination) {
            (Some(mail), _) => of_mail(mail, destination),
            (None, Some(_)) => self.of_logged_domain(destination, &evidence.mail),
            (None, None) => Vec::new(),
        };
        self.runtime.block_on(async {
            let ends = subject.destinations.keys().take(ADDRESSES).chain(subject.sources.keys().take(ADDRESSES));
            for &address in ends {
                findings.extend(of_names(&inquiry.names(address).await));
            }
            for &source in subject.sources.keys().take(ADDRESSES) {
                findings.extend(inquiry.listings(source, &self.zones).await.iter().filter_map(of_listing));
            }
        });
        let (unknown, known): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|finding| matches!(finding, Finding::Unknown { .. }));
        evidence.not_seen.extend(unknown.iter().map(ToString::to_string));
        evidence.dns = known;
    }
}

/// What was typed, or else what was configured.
fn or<'a, T>(typed: &'a [T], configured: &'a [T]) -> &'a [T] {
    if typed.is_empty() { configured } else { typed }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::host::dns::tests::server::{Data, Server};

    /// A name server with these records, until the test program ends.
    fn serve(data: Data) -> SocketAddr {
        let (tell, address) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tell.send(Server::of(data).await.address).unwrap();
                std::future::pending::<()>().await;
            });
        });
        address.recv().unwrap()
    }

    fn begin(words: &[&str], server: SocketAddr) -> Option<Dns> {
        let server = server.to_string();
        let typed = ["observer", "diagnose"].into_iter().chain(words.iter().copied()).chain(["--name-server", &server]);
        match Cli::from_args(typed).unwrap().command {
            Command::Diagnose(args) => Dns::begin(&args, &config::Diagnose::default()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn network(address: &str) -> IpNet {
        IpNet::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_domain_means_its_exchangers_and_a_destination_is_compared_with_them() {
        let data = Data::default().mx("example.net", 10, "mx.example.net").address("mx.example.net", "203.0.113.5");
        let server = serve(data);
        let dns = begin(&["example.net", "--dns"], server).unwrap();
        assert_eq!(dns.networks(), Some(vec![network("203.0.113.5")]));
        for (destination, is_stale) in [("203.0.113.5", false), ("203.0.113.9", true)] {
            let mut evidence = Evidence::default();
            let dns = begin(&[destination, "--domain", "example.net"], server).unwrap();
            dns.ask(destination.parse().ok(), &mut evidence);
            let stale =
                evidence.dns.iter().filter(|finding| matches!(finding, Finding::NotAnMxOfDomain { .. })).count();
            assert_eq!(stale > 0, is_stale, "{:?}", evidence.dns);
        }
        assert!(begin(&["example.net"], server).is_none(), "asked without being told to");
    }

    #[test]
    fn a_domain_without_mail_has_no_addresses_and_is_told() {
        let dns = begin(&["example.net", "--dns"], serve(Data::default().mx("example.net", 0, "."))).unwrap();
        let mut evidence = Evidence::default();
        dns.ask(None, &mut evidence);
        assert_eq!(dns.networks(), Some(Vec::new()));
        assert_eq!(evidence.dns, [Finding::NullMx { domain: "example.net".to_owned() }]);
        let diagnosis = observer_core::diagnose::diagnose(&evidence, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(diagnosis.causes[0].cause, observer_core::diagnose::Cause::WrongExchanger);
    }
}
