//! Where a domain's mail goes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::future::{join, join_all};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use observer_core::sanitize::sanitize;

use super::{Inquiry, Records};
use crate::host::dns::name;
use crate::host::dns::{Absence, Answer, DomainMail, Failure, Host, MailExchanger, Route};

/// Exchangers of a domain that are looked at. The large providers have five.
const MAX_EXCHANGERS: usize = 20;
/// Addresses of a host, in each family, that are looked at.
const MAX_ADDRESSES: usize = 16;
/// What is kept of a text that is no domain name, in characters.
const MAX_TEXT: usize = 255;

impl Inquiry<'_> {
    /// Where a domain's mail goes: its MX records and their addresses, or its own
    /// address. At most 20 exchangers and 16 addresses of each family for one are
    /// considered. The domain may be internationalised.
    pub async fn domain_mail(&self, domain: &str) -> DomainMail {
        let Some(name) = name::parse(domain) else {
            let domain = sanitize(domain).chars().take(MAX_TEXT).collect();
            return DomainMail { domain, route: Route::Unknown(Failure::NotAName), omitted: 0 };
        };
        let (route, omitted) = match self.ask(&name, RecordType::MX).await {
            Answer::Found(records) => self.exchangers(&records).await,
            Answer::Absent(Absence::NoSuchName) => (Route::NoSuchDomain, 0),
            Answer::Absent(Absence::NoData) => (Route::Implicit(self.host(&name).await), 0),
            Answer::Unknown(failure) => (Route::Unknown(failure), 0),
        };
        DomainMail { domain: name::printable(&name), route, omitted }
    }

    async fn exchangers(&self, records: &Records) -> (Route, usize) {
        let mut best: BTreeMap<&Name, u16> = BTreeMap::new();
        for data in &records.data {
            if let RData::MX(mx) = data {
                let preference = best.entry(&mx.exchange).or_insert(mx.preference);
                *preference = mx.preference.min(*preference);
            }
        }
        if best.keys().all(|exchange| exchange.is_root()) {
            return (Route::NullMx, 0);
        }
        let mut sorted: Vec<(u16, &Name)> =
            best.into_iter().map(|(exchange, preference)| (preference, exchange)).collect();
        sorted.sort_unstable();
        let omitted = sorted.len().saturating_sub(MAX_EXCHANGERS);
        sorted.truncate(MAX_EXCHANGERS);
        let exchanger = async |(preference, exchange)| MailExchanger { preference, host: self.host(exchange).await };
        (Route::Exchangers(join_all(sorted.into_iter().map(exchanger)).await), omitted)
    }

    /// A host's addresses.
    async fn host(&self, name: &Name) -> Host {
        let printable = name::printable(name);
        let nothing = Answer::Absent(Absence::NoData);
        if name.is_root() {
            let ipv6 = Answer::Absent(Absence::NoData);
            return Host { name: printable, alias: None, ipv4: nothing, ipv6, omitted: 0 };
        }
        let (mut a, mut aaaa) = join(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA)).await;
        let mut alias = a.found().or(aaaa.found()).and_then(|records| records.alias.clone());
        if let (Answer::Absent(one), Answer::Absent(other)) = (&a, &aaaa) {
            let surely = *one == Absence::NoSuchName || *other == Absence::NoSuchName;
            match self.last_alias(name).await {
                Ok(last) => alias = last,
                // That the last name does not exist is certain; the alias is not.
                Err(_) if surely => {}
                Err(failure) => (a, aaaa) = (Answer::Unknown(failure), Answer::Unknown(failure)),
            }
        }
        let (ipv4, more4) = limited(a.map(|records| records.ipv4()));
        let (ipv6, more6) = limited(aaaa.map(|records| records.ipv6()));
        Host { name: printable, alias: alias.as_ref().map(name::printable), ipv4, ipv6, omitted: more4 + more6 }
    }
}

impl Records {
    /// The addresses among them.
    pub(super) fn ipv4(&self) -> Vec<Ipv4Addr> {
        let address = |data: &RData| if let RData::A(address) = data { Some(address.0) } else { None };
        self.data.iter().filter_map(address).collect()
    }

    /// As [`ipv4`](Self::ipv4).
    pub(super) fn ipv6(&self) -> Vec<Ipv6Addr> {
        let address = |data: &RData| if let RData::AAAA(address) = data { Some(address.0) } else { None };
        self.data.iter().filter_map(address).collect()
    }
}

/// The addresses sorted, the first ones of them, and how many others there are.
fn limited<T: Ord>(answer: Answer<Vec<T>>) -> (Answer<Vec<T>>, usize) {
    let mut omitted = 0;
    let answer = answer.map(|mut addresses| {
        addresses.sort_unstable();
        addresses.dedup();
        omitted = addresses.len().saturating_sub(MAX_ADDRESSES);
        addresses.truncate(MAX_ADDRESSES);
        addresses
    });
    (answer, omitted)
}
