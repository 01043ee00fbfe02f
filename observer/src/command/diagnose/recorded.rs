//! What history has on the destinations in question: read once, however many diagnoses
//! are made of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::IpNet;
use jiff::Timestamp;

use super::back;
use crate::diagnose::{Mail, Seen};
use crate::history::{Connect, Delivery, DestinationTotals, Entry, History, Question, Result};

/// What was before, for comparison.
const DAYS_BEFORE: i64 = 7;
/// Attempts of which details are read, and deliveries: enough for shares and medians.
const DETAILS: usize = 50_000;

/// It, in the order of time.
pub(super) struct Recorded {
    attempts: Vec<Entry>,
    before: Vec<DestinationTotals>,
    deliveries: Vec<Delivery>,
}

impl Recorded {
    /// Of the first attempts to each destination, at most `DETAILS` in all.
    pub(super) fn read(history: &History, since: Timestamp, port: u16, networks: &[IpNet]) -> Result<Self> {
        let question =
            Question { since: Some(since), destinations: networks.to_vec(), ports: vec![port], ..Question::default() };
        Ok(Self {
            attempts: attempts(history, &question, networks)?,
            before: before(history, since, &question)?,
            deliveries: deliveries(history, since, networks)?,
        })
    }

    /// Counts the attempts to these destinations.
    pub(super) fn add_attempts(&self, networks: &[IpNet], seen: &mut Seen) {
        self.attempts_to(networks).for_each(|entry| seen.add(entry));
    }

    /// The attempts to these destinations.
    pub(super) fn attempts_to(&self, networks: &[IpNet]) -> impl Iterator<Item = &Entry> {
        self.attempts.iter().filter(|entry| entry.dst.ip.is_some_and(|ip| is_in(ip, networks)))
    }

    /// Counts the attempts to these destinations in the week before.
    pub(super) fn add_before(&self, networks: &[IpNet], seen: &mut Seen) {
        let of_these = |totals: &&DestinationTotals| is_in(totals.destination.ip(), networks);
        self.before.iter().filter(of_these).for_each(|totals| seen.add_totals(totals));
    }

    /// Counts the deliveries that tried these destinations, and what was put off for the
    /// same domains.
    pub(super) fn add_deliveries(&self, networks: &[IpNet], mail: &mut Mail) {
        let of_these = |delivery: &&Delivery| delivery.ip.is_some_and(|ip| is_in(ip, networks));
        self.deliveries.iter().filter(of_these).for_each(|delivery| mail.add(delivery));
        let domains = mail.domains.clone();
        let is_same =
            |delivery: &&Delivery| delivery.recipient_domain.as_ref().is_some_and(|of| domains.contains_key(of));
        let put_off = self.deliveries.iter().filter(|delivery| delivery.connect == Connect::None);
        put_off.filter(is_same).for_each(|delivery| mail.add(delivery));
    }
}

/// Whether one of the networks has the address.
pub(super) fn is_in(ip: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&ip.to_canonical()))
}

fn attempts(history: &History, question: &Question, networks: &[IpNet]) -> Result<Vec<Entry>> {
    // One that fails often must not leave the others without details.
    let of_each = DETAILS / networks.len().max(1);
    let (mut attempts, mut counts) = (Vec::new(), HashMap::new());
    history.attempts(question, |entry| {
        let count: &mut usize =
            counts.entry(networks.iter().position(|of| entry.dst.ip.is_some_and(|ip| of.contains(&ip)))).or_default();
        if *count < of_each {
            *count += 1;
            attempts.push(entry);
        }
        if attempts.len() < DETAILS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(attempts)
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

fn deliveries(history: &History, since: Timestamp, networks: &[IpNet]) -> Result<Vec<Delivery>> {
    let question = Question { since: Some(since), ..Question::default() };
    let mut deliveries = Vec::new();
    history.deliveries(&question, &[], |delivery| {
        if delivery.connect == Connect::None || delivery.ip.is_some_and(|ip| is_in(ip, networks)) {
            deliveries.push(delivery);
        }
        if deliveries.len() < DETAILS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(deliveries)
}
