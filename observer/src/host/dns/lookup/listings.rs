//! Whether lists have an address.

use std::net::IpAddr;

use futures_util::future::{join, join_all};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use observer_core::sanitize::sanitize;

use super::Inquiry;
use crate::host::dns::zone::{Zone, is_private, never_listed};
use crate::host::dns::{Answer, Failure, Listing, ListingAnswer, name};

/// Lists that are asked.
const MAX_ZONES: usize = 32;
/// Texts of a listing that are kept, and characters of one.
const MAX_TEXTS: usize = 4;
/// As [`MAX_TEXTS`].
const MAX_TEXT: usize = 512;

impl Inquiry<'_> {
    /// Whether lists have one of our source addresses, in the order of the zones.
    /// At most 32 are asked.
    pub async fn listings(&self, source: IpAddr, zones: &[Zone]) -> Vec<Listing> {
        let address = source.to_canonical();
        let listing = async |(nth, zone): (usize, &Zone)| {
            let outcome = match () {
                () if is_private(address) => ListingAnswer::NotPublic,
                () if nth >= MAX_ZONES => ListingAnswer::Failed(Failure::TooManyQueries),
                () => self.outcome(address, zone).await,
            };
            Listing { zone: zone.name(), address, outcome }
        };
        join_all(zones.iter().enumerate().map(listing)).await
    }

    async fn outcome(&self, address: IpAddr, zone: &Zone) -> ListingAnswer {
        let Some(name) = name::listed(address, &zone.name) else { return ListingAnswer::Failed(Failure::NotAName) };
        let codes = match self.ask_surely(&name, RecordType::A).await {
            Answer::Found(records) => records.ipv4(),
            Answer::Absent(_) => return ListingAnswer::NotListed,
            Answer::Unknown(failure) => return ListingAnswer::Failed(failure),
        };
        let codes = match ListingAnswer::of_codes(codes, &zone.refusals) {
            ListingAnswer::Listed { codes, .. } => codes,
            outcome => return outcome,
        };
        match join(self.lists_everything(address, zone), self.text(&name)).await {
            (true, _) => ListingAnswer::ListsEverything,
            (false, text) => ListingAnswer::Listed { codes, text },
        }
    }

    async fn lists_everything(&self, address: IpAddr, zone: &Zone) -> bool {
        let Some(name) = name::listed(never_listed(address), &zone.name) else { return false };
        self.ask(&name, RecordType::A).await.found().is_some()
    }

    /// What a zone says to people about a listing; nothing if it does not.
    async fn text(&self, name: &Name) -> Vec<String> {
        let Answer::Found(records) = self.ask(name, RecordType::TXT).await else { return Vec::new() };
        let text = |data: &RData| {
            let RData::TXT(text) = data else { return None };
            let bytes: Vec<u8> = text.txt_data.concat().into_iter().take(MAX_TEXT).collect();
            Some(sanitize(&String::from_utf8_lossy(&bytes)).chars().take(MAX_TEXT).collect())
        };
        records.data.iter().filter_map(text).take(MAX_TEXTS).collect()
    }
}
