//! Probes and traces for a diagnosis, if they were asked for.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use observer_core::diagnose::{Evidence, Seen, Traced};

use super::recorded::single_hosts;
use crate::host::probe::compare::born;
use crate::host::probe::connect::{Patience, connect_and_tell};
use crate::host::probe::{self, BANNER_WAIT, CONNECT_WAIT, Plan, Probe, trace};

/// Destinations that are probed.
const PROBED: usize = 4;

/// For both kinds of a trace.
const TRACED_WITHIN: Duration = trace::MAX_TRACE.saturating_mul(2);

/// Connects to the destinations that are addresses by themselves, as far as there
/// are few, from each of this host's addresses whose route leads there; and traces those
/// that fail. Each is evidence of its own destination. Probes take their time: `tell` is told
/// what goes on, and of each result as it comes.
pub(super) fn probe_each(
    networks: &[IpNet],
    port: u16,
    is_forced: bool,
    of_each: &mut [Evidence],
    tell: &(dyn Fn(&str) + Sync),
) {
    let hosts: Vec<IpAddr> = single_hosts(networks).collect();
    if let Some(first) = of_each.first_mut().filter(|_| hosts.len() > PROBED || hosts.len() < networks.len()) {
        first.not_seen.push(format!("probes go to at most {PROBED} addresses, and to no networks"));
    }
    let mut probed = 0;
    for evidence in of_each {
        let host = evidence.subject.destinations.keys().next().copied().filter(|host| hosts.contains(host));
        if let Some(host) = host.filter(|_| probed < PROBED) {
            probed += 1;
            probe(host, port, is_forced, evidence, tell);
        }
    }
}

fn probe(host: IpAddr, port: u16, is_forced: bool, evidence: &mut Evidence, tell: &(dyn Fn(&str) + Sync)) {
    let used = used(&evidence.subject);
    let sources = match probe::sources(host, &used) {
        Ok(sources) => sources,
        Err(error) => return evidence.not_seen.push(error),
    };
    evidence.not_seen.extend(sources.left_out);
    let plan = Plan { destinations: vec![host], sources: sources.chosen, port };
    tell(&intent(&plan));
    match connect_and_tell(&plan, Patience::default(), is_forced, &|probe| tell(&format!("probed {probe}"))) {
        Ok(run) => {
            if run.left_out > 0 {
                evidence.not_seen.push(format!("{} probes of {host} were not made", run.left_out));
            }
            trace_from(to_trace_from(&run.probes, &used), &plan, is_forced, evidence, tell);
            evidence.probes.extend(run.probes);
        }
        Err(refused) => evidence.not_seen.push(refused.to_string()),
    }
}

/// `probing 203.0.113.5:25 from 192.0.2.10 and 192.0.2.11, for at most 30 s`.
fn intent(plan: &Plan) -> String {
    let sources: Vec<_> = plan.sources.iter().map(IpAddr::to_string).collect();
    let from = match sources.as_slice() {
        [] => "an address that the kernel chooses".to_owned(),
        sources => sources.join(" and "),
    };
    let destinations = plan.destinations.iter().map(|&ip| SocketAddr::new(ip, plan.port).to_string());
    let (to, within) = (destinations.collect::<Vec<_>>().join(", "), (CONNECT_WAIT + BANNER_WAIT).as_secs());
    format!("probing {to} from {from}, for at most {within} s")
}

/// The local addresses that failing attempts used, most failures first.
fn used(subject: &Seen) -> Vec<IpAddr> {
    let mut used: Vec<_> = subject.sources.iter().filter(|(_, share)| share.failed() > 0).collect();
    used.sort_by_key(|(_, share)| Reverse(share.failed()));
    used.into_iter().map(|(&source, _)| source).collect()
}

/// Where a trace tells of what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Everybody is welcome.
    Nowhere,
    /// From this address; `None`: as the kernel chooses.
    Address(Option<IpAddr>),
    /// No failing attempt used those that are not welcome.
    Unused,
}

/// The first of the used addresses that is not welcome; any, if it is not known which were
/// used.
fn to_trace_from(probes: &[Probe], used: &[IpAddr]) -> From {
    let unwelcome: Vec<_> = probes.iter().filter(|probe| !probe.is_welcome()).map(|probe| probe.source).collect();
    let Some(&first) = unwelcome.first() else { return From::Nowhere };
    if used.is_empty() {
        return From::Address(first);
    }
    let of_used = used.iter().find(|&&source| unwelcome.contains(&Some(source)));
    of_used.map_or(From::Unused, |&source| From::Address(Some(source)))
}

/// SYNs and datagrams with a rising TTL.
fn trace_from(from: From, plan: &Plan, is_forced: bool, evidence: &mut Evidence, tell: &dyn Fn(&str)) {
    let source = match from {
        From::Nowhere => return,
        From::Address(source) => source,
        From::Unused => {
            let text = "not traced: the addresses that fail now are not those that failing attempts used";
            return evidence.not_seen.push(text.to_owned());
        }
    };
    let plan = Plan { sources: source.into_iter().collect(), ..plan.clone() };
    let to = plan.destinations.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    let from = source.map_or_else(String::new, |source| format!(" from {source}"));
    tell(&format!("tracing {to}{from}, for at most {} s", TRACED_WITHIN.as_secs()));
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;
    use observer_core::label::Label;

    fn probed(last: u8, label: Label) -> Probe {
        Probe {
            destination: "203.0.113.5:25".parse().unwrap(),
            source: Some(IpAddr::from([192, 0, 2, last])),
            label,
            reason: None,
            origin: None,
            active_refusal: false,
            connect_ms: 1.0,
            banner_ms: None,
            banner: None,
            reply: None,
            icmp: None,
        }
    }

    #[test]
    fn what_goes_on_and_each_result_is_told_with_its_source() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let told: Mutex<Vec<String>> = Mutex::default();
        let mut evidence = Evidence::default();
        let loopback = IpAddr::from([127, 0, 0, 1]);
        probe(loopback, port, true, &mut evidence, &|line| told.lock().unwrap().push(line.to_owned()));
        let told = told.into_inner().unwrap();
        let starts = [
            format!("probing 127.0.0.1:{port} from 127.0.0.1, for at most 30 s"),
            format!("probed 127.0.0.1:{port} from 127.0.0.1: refused (rst) after "),
            "tracing 127.0.0.1 from 127.0.0.1, for at most 60 s".to_owned(),
        ];
        assert_eq!(told.len(), starts.len(), "{told:?}");
        assert!(told.iter().zip(&starts).all(|(line, start)| line.starts_with(start)), "{told:?}");
        assert_eq!(evidence.traced[0].trace.source, Some(loopback), "{evidence:?}");
    }

    #[test]
    fn it_is_traced_from_an_address_that_failing_attempts_used() {
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let probes = [probed(1, Label::Timeout), probed(2, Label::Connected), probed(3, Label::Timeout)];
        for (used, expected) in [
            (&[][..], From::Address(Some(ip(1)))),
            (&[ip(3)][..], From::Address(Some(ip(3)))),
            (&[ip(2), ip(3), ip(1)][..], From::Address(Some(ip(3)))),
            (&[ip(2)][..], From::Unused),
        ] {
            assert_eq!(to_trace_from(&probes, used), expected, "{used:?}");
        }
        assert_eq!(to_trace_from(&[probed(1, Label::Connected)], &[ip(1)]), From::Nowhere);
    }
}
