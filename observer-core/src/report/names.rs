//! What a mail server's log calls the destinations: the domains that mail was for, and the hosts
//! that took it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

use serde::Serialize;

/// Addresses that have names: as many as a report can list, and more.
const MAX_ADDRESSES: usize = 10_000;
/// Domains of one address; more are counted. A provider serves thousands.
const MAX_DOMAINS: usize = 3;
/// Domains of one address that are told apart to be counted.
const MAX_COUNTED: usize = 1_000;
/// Host names of one address.
const MAX_HOSTS: usize = 2;
/// Bytes of a name: RFC 1035, 2.3.4. What is longer is none.
const MAX_NAME: usize = 255;

/// The names of one address, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// Domains of recipients, as the log has them; hostile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// More domains than these; 1,000 at most are counted.
    pub domains_omitted: u64,
    /// What the mail server calls the host; hostile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// Names of all addresses, in bounded memory.
#[derive(Debug, Default)]
pub struct NameBook {
    names: HashMap<IpAddr, (Names, Vec<u64>)>,
}

impl NameBook {
    /// A delivery for a recipient's domain tried a host at this address.
    pub fn add(&mut self, ip: IpAddr, domain: Option<&str>, host: Option<&str>) {
        let ip = ip.to_canonical();
        if !self.names.contains_key(&ip) && self.names.len() >= MAX_ADDRESSES {
            return;
        }
        let (names, counted) = self.names.entry(ip).or_default();
        let known =
            |name: Option<&str>| name.filter(|name| (1..=MAX_NAME).contains(&name.len())).map(str::to_lowercase);
        if let Some(host) = known(host)
            && names.hosts.len() < MAX_HOSTS
            && !names.hosts.contains(&host)
        {
            names.hosts.push(host);
        }
        let Some(domain) = known(domain).filter(|domain| !names.domains.contains(domain)) else { return };
        if names.domains.len() < MAX_DOMAINS {
            names.domains.push(domain);
            return;
        }
        let digest = digest(&domain);
        if counted.len() < MAX_COUNTED && !counted.contains(&digest) {
            counted.push(digest);
            names.domains_omitted += 1;
        }
    }

    /// The names of an address; `None` where the log has none.
    pub(super) fn of(&self, ip: IpAddr) -> Option<Names> {
        let (names, _) = self.names.get(&ip.to_canonical())?;
        (!names.domains.is_empty() || !names.hosts.is_empty()).then(|| names.clone())
    }
}

/// Two domains that have the same are counted as one.
fn digest(domain: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    domain.hash(&mut hasher);
    hasher.finish()
}
