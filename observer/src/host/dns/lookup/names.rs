//! The names of an address, and whether they lead back to it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::future::join_all;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::Inquiry;
use crate::host::dns::name;
use crate::host::dns::{AddressNames, Answer, Pointer};

/// Names of an address that are looked at. More than one is rare.
const MAX_POINTERS: usize = 8;

impl Inquiry<'_> {
    /// An address's names in reverse DNS, at most eight of them, and whether they
    /// lead back to it.
    pub async fn names(&self, address: IpAddr) -> AddressNames {
        let address = address.to_canonical();
        let mut omitted = 0;
        let names = match self.ask_surely(&name::reverse(address), RecordType::PTR).await {
            Answer::Absent(absence) => Answer::Absent(absence),
            Answer::Unknown(failure) => Answer::Unknown(failure),
            Answer::Found(records) => {
                let names: BTreeSet<&Name> = records.data.iter().filter_map(target).collect();
                omitted = names.len().saturating_sub(MAX_POINTERS);
                let pointers = names.into_iter().take(MAX_POINTERS).map(|name| self.pointer(name, address));
                Answer::Found(join_all(pointers).await)
            }
        };
        AddressNames { address, names, omitted }
    }

    async fn pointer(&self, target: &Name, address: IpAddr) -> Pointer {
        let leads_back = match address {
            IpAddr::V4(address) => {
                self.ask_surely(target, RecordType::A).await.map(|records| records.ipv4().contains(&address))
            }
            IpAddr::V6(address) => {
                self.ask_surely(target, RecordType::AAAA).await.map(|records| records.ipv6().contains(&address))
            }
        };
        Pointer { name: name::printable(target), leads_back }
    }
}

fn target(data: &RData) -> Option<&Name> {
    if let RData::PTR(target) = data { Some(&target.0) } else { None }
}
