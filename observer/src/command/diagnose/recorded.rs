//! What history has on the destinations in question: read once, however many diagnoses
//! are made of it. Every attempt is counted; details are read of the first and the last.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::IpNet;
use jiff::Timestamp;
use observer_core::diagnose::{Evidence, FirstAndLast, Seen};

use super::back;
use crate::store::history::{Connect, DeliveryRow, DestinationTotals, Entry, History, Question, Result};

/// What was before, for comparison.
const DAYS_BEFORE: i64 = 7;
/// Attempts to one destination of which details are read: so many of the first, and of the last.
const DETAILS: (usize, usize) = (50, 500);
/// Deliveries that are looked at: the last.
const DELIVERIES: usize = 50_000;

/// It, in the order of time.
pub(super) struct Recorded {
    of_each: HashMap<IpAddr, OfOne>,
    before: Vec<DestinationTotals>,
    deliveries: VecDeque<DeliveryRow>,
    /// Deliveries that there was no room for.
    forgotten: u64,
}

/// Of one destination.
#[derive(Default)]
struct OfOne {
    seen: Seen,
    /// Numbers of attempts.
    kept: FirstAndLast<i64>,
    details: Vec<Entry>,
}

impl Recorded {
    /// Of every attempt to these destinations.
    pub(super) fn read(history: &History, since: Timestamp, port: u16, hosts: &[IpAddr]) -> Result<Self> {
        let networks: Vec<IpNet> = hosts.iter().map(|host| IpNet::from(*host)).collect();
        let question =
            Question { since: Some(since), destinations: networks.clone(), ports: vec![port], ..Question::default() };
        let mut recorded = Self {
            of_each: if hosts.is_empty() { HashMap::new() } else { of_each(history, &question)? },
            before: before(history, since, &question)?,
            deliveries: VecDeque::new(),
            forgotten: 0,
        };
        recorded.read_deliveries(history, since, &networks)?;
        Ok(recorded)
    }

    /// The attempts to one destination, counted.
    pub(super) fn seen(&self, host: IpAddr) -> Seen {
        self.of_each.get(&host).map(|of_one| of_one.seen.clone()).unwrap_or_default()
    }

    /// The first and the last attempts to one destination.
    pub(super) fn details(&self, host: IpAddr) -> &[Entry] {
        self.of_each.get(&host).map_or(&[], |of_one| &of_one.details)
    }

    /// Counts the attempts to one destination in the week before.
    pub(super) fn add_before(&self, host: IpAddr, seen: &mut Seen) {
        let of_this = |totals: &&DestinationTotals| totals.destination.ip() == host;
        self.before.iter().filter(of_this).for_each(|totals| seen.add_totals(totals));
    }

    /// Counts the deliveries that tried one destination, and what was put off for the
    /// same domains. Says how many were not looked at.
    pub(super) fn add_deliveries(&self, host: IpAddr, evidence: &mut Evidence) {
        let mail = &mut evidence.mail;
        let of_this = |delivery: &&DeliveryRow| delivery.ip.is_some_and(|ip| ip.to_canonical() == host);
        self.deliveries.iter().filter(of_this).for_each(|delivery| mail.add(delivery));
        let domains = mail.domains.clone();
        let is_same =
            |delivery: &&DeliveryRow| delivery.recipient_domain.as_ref().is_some_and(|of| domains.contains_key(of));
        let put_off = self.deliveries.iter().filter(|delivery| delivery.connect == Connect::None);
        put_off.filter(is_same).for_each(|delivery| mail.add(delivery));
        if self.forgotten > 0 {
            evidence.not_seen.push(format!("{} earlier lines of the mail server's log", self.forgotten));
        }
    }

    fn read_deliveries(&mut self, history: &History, since: Timestamp, networks: &[IpNet]) -> Result<()> {
        let question = Question { since: Some(since), ..Question::default() };
        history.deliveries(&question, &[], |delivery| {
            if delivery.connect == Connect::None || delivery.ip.is_some_and(|ip| is_in(ip, networks)) {
                if self.deliveries.len() == DELIVERIES {
                    self.deliveries.pop_front();
                    self.forgotten += 1;
                }
                self.deliveries.push_back(delivery);
            }
            ControlFlow::Continue(())
        })
    }
}

/// Whether one of the networks has the address.
pub(super) fn is_in(ip: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&ip.to_canonical()))
}

/// The networks that are one address each.
pub(super) fn single_hosts(networks: &[IpNet]) -> impl Iterator<Item = IpAddr> {
    networks.iter().filter(|network| network.prefix_len() == network.max_prefix_len()).map(IpNet::addr)
}

fn of_each(history: &History, question: &Question) -> Result<HashMap<IpAddr, OfOne>> {
    let mut of_each: HashMap<IpAddr, OfOne> = HashMap::new();
    history.numbered(question, |number, brief| {
        if let Some(dst) = brief.dst_ip {
            let of_one = of_each.entry(dst.to_canonical()).or_default();
            of_one.seen.add_brief(&brief);
            of_one.kept.add(number, DETAILS);
        }
        ControlFlow::Continue(())
    })?;
    for of_one in of_each.values_mut() {
        let numbers: Vec<i64> = of_one.kept.iter().copied().collect();
        of_one.details = history.details(&numbers)?;
        for entry in &of_one.details {
            of_one.seen.add_facts(entry);
        }
    }
    Ok(of_each)
}

fn before(history: &History, since: Timestamp, question: &Question) -> Result<Vec<DestinationTotals>> {
    let of_before = Question { since: Some(back(since, 24 * DAYS_BEFORE)), until: Some(since), ..question.clone() };
    let mut before = Vec::new();
    history.destinations(&of_before, |totals| {
        before.push(totals);
        ControlFlow::Continue(())
    })?;
    Ok(before)
}
