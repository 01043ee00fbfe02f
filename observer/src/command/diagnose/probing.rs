//! Probes and traces for a diagnosis, if they were asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnose::{Evidence, Traced};
use crate::probe::compare::born;
use crate::probe::connect::{Patience, connect};
use crate::probe::{self, Plan, Probe, trace};

/// Destinations that are probed.
const PROBED: usize = 4;

/// Connects to the destinations that are addresses by themselves, as far as there
/// are few, from each of this host's addresses; and traces those that fail.
pub(super) fn probe(networks: &[IpNet], port: u16, is_forced: bool, evidence: &mut Evidence) {
    let hosts = networks.iter().filter(|network| network.prefix_len() == network.max_prefix_len());
    let hosts: Vec<IpAddr> = hosts.map(IpNet::addr).collect();
    if hosts.len() > PROBED || hosts.len() < networks.len() {
        evidence.not_seen.push(format!("probes go to at most {PROBED} addresses, and to no networks"));
    }
    for host in hosts.into_iter().take(PROBED) {
        let sources = match probe::sources(host) {
            Ok(sources) => sources,
            Err(error) => {
                evidence.not_seen.push(error);
                continue;
            }
        };
        let plan = Plan { destinations: vec![host], sources, port };
        match connect(&plan, Patience::default(), is_forced) {
            Ok(run) => {
                if run.probes.iter().any(|probe| !probe.is_welcome()) {
                    trace_from_first(&plan, &run.probes, is_forced, evidence);
                }
                evidence.probes.extend(run.probes);
            }
            Err(refused) => evidence.not_seen.push(refused.to_string()),
        }
    }
}

/// SYNs and datagrams with a rising TTL, from the first address that is not welcome.
fn trace_from_first(plan: &Plan, probes: &[Probe], is_forced: bool, evidence: &mut Evidence) {
    let unwelcome = probes.iter().find(|probe| !probe.is_welcome()).and_then(|probe| probe.source);
    let plan = Plan { sources: unwelcome.into_iter().collect(), ..plan.clone() };
    let traced = trace::syn(&plan, is_forced).and_then(|syn| Ok((syn, trace::udp(&plan, is_forced)?)));
    match traced {
        Ok((Some(syn), reference)) => {
            let born = born(&syn, reference.as_ref());
            evidence.traced.push(Traced { trace: syn, born });
        }
        Ok((None, _)) => {}
        Err(error) => evidence.not_seen.push(error.to_string()),
    }
}
