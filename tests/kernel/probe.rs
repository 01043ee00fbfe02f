//! Routes and probes in the lab: the truth is what the lab was told to do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer::host::probe::compare::{Born, BySource, born, by_source};
use observer::host::probe::connect::{Patience, Run, connect};
use observer::host::probe::{self, Plan, trace};
use observer::host::route::{self, Route};
use observer_core::label::{Label, Origin, Reason};
use observer_lab::{Hop, Ip, Lab, LabConfig, Scenario, Tool, Unreachable, Verdict, destination, port, router, sources};

use crate::condition::Named;

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] = &[
    ("route", routes_are_named),
    ("probe_outcomes", outcomes_have_their_labels),
    ("probe_sources", an_unwelcome_source_is_told_apart),
    ("probe_uplinks", probes_leave_from_addresses_whose_route_leads_there),
    ("probe_trace", the_hop_of_an_answer_is_found),
];

const PATIENCE: Patience = Patience { connect: Duration::from_millis(1_500), banner: Duration::from_millis(500) };

fn routes_are_named() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let ask = |ip: Ip, scenario: Scenario| {
        lab.client().inside(|| route::to(destination(scenario, ip)).map_err(anyhow::Error::msg))
    };
    for ip in Ip::BOTH {
        for scenario in
            [Scenario::NoRoute, Scenario::UnreachableRoute, Scenario::BlackholeRoute, Scenario::ProhibitRoute]
        {
            let route = ask(ip, scenario).with_context(|| format!("{scenario:?} {ip:?}"))?;
            ensure!(matches!(route, Route::Refused { .. }), "{scenario:?} {ip:?}: {route:?}");
        }
        let route = ask(ip, Scenario::Success)?;
        // The lab has no next hop: its router answers for all.
        let (interface, gateway, source) = ("wan0".to_owned(), None, Some(sources(ip)[0]));
        ensure!(route == Route::Goes { interface, gateway, source }, "{route:?}");
    }
    Ok(())
}

/// Makes the calling thread, which ends soon, nobody's: a probe needs no privilege.
fn as_nobody() -> Result<()> {
    let nobody = rustix::process::Uid::from_raw(65_534);
    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).context("setresuid")?;
    ensure!(rustix::process::geteuid() == nobody, "still root");
    Ok(())
}

fn probe(lab: &Lab, to: IpAddr, from: &[IpAddr]) -> Result<Run> {
    let plan = Plan { destinations: vec![to], sources: from.to_vec(), port: port() };
    // Forced, because the trial's port is no mail port.
    let run = lab.client().inside(|| {
        as_nobody()?;
        Ok(connect(&plan, PATIENCE, true)?)
    })?;
    ensure!(run.left_out == 0 && !run.probes.is_empty(), "{run:?}");
    Ok(run)
}

type Expected = (Scenario, Label, Option<Reason>, Option<Origin>);

#[rustfmt::skip]
const OUTCOMES: &[Expected] = &[
    (Scenario::Success, Label::Connected, None, None),
    (Scenario::ClosedPort, Label::Refused, Some(Reason::Rst), Some(Origin::Remote)),
    (Scenario::LoopbackClosed, Label::Refused, Some(Reason::Rst), Some(Origin::Local)),
    (Scenario::DropTimeout, Label::Timeout, Some(Reason::Abandoned), Some(Origin::None)),
    (Scenario::ResetBeforeBanner, Label::Reset, Some(Reason::BeforeBanner), Some(Origin::Remote)),
    (Scenario::ClosedBeforeBanner, Label::Closed, Some(Reason::BeforeBanner), Some(Origin::Remote)),
    (Scenario::Silent, Label::Silent, Some(Reason::NoBanner), Some(Origin::None)),
    (Scenario::NoRoute, Label::Unreachable, Some(Reason::NoRoute), Some(Origin::Local)),
    (Scenario::NoNeighbour, Label::Unreachable, Some(Reason::NoNeighbour), Some(Origin::Local)),
];

const fn prohibited(ip: Ip) -> Unreachable {
    match ip {
        Ip::V4 => Unreachable::AdminProhibited,
        Ip::V6 => Unreachable::V6AdminProhibited,
    }
}

fn outcomes_have_their_labels() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    for ip in Ip::BOTH {
        let by_icmp = [(Hop::Router, Origin::Network), (Hop::Server, Origin::Remote)].map(|(hop, origin)| {
            let reason = Some(Reason::IcmpAdminProhibited);
            (Scenario::Icmp(prohibited(ip), hop), Label::Refused, reason, Some(origin))
        });
        for &(scenario, label, reason, origin) in OUTCOMES.iter().chain(&by_icmp) {
            let run = probe(&lab, destination(scenario, ip), &[])?;
            let seen = &run.probes[0];
            ensure!((seen.label, seen.reason, seen.origin) == (label, reason, origin), "{scenario:?} {ip:?}: {seen:?}");
        }
        let run = probe(&lab, destination(Scenario::Success, ip), &[])?;
        let seen = &run.probes[0];
        ensure!(seen.banner.as_deref() == Some("220 mx.example.net ESMTP"), "{seen:?}");
        ensure!(seen.reply == Some(220) && seen.is_welcome() && seen.source == Some(sources(ip)[0]), "{seen:?}");
        // There and back, 10 ms each.
        ensure!((19.0..200.0).contains(&seen.connect_ms), "{seen:?}");
    }
    Ok(())
}

fn an_unwelcome_source_is_told_apart() -> Result<()> {
    let port = port();
    let lab = Lab::up(LabConfig::default())?;
    for (ip, field) in [(Ip::V4, "ip"), (Ip::V6, "ip6")] {
        let [welcome, unwelcome] = sources(ip);
        let to = destination(Scenario::Success, ip);
        let run = probe(&lab, to, &sources(ip))?;
        ensure!(by_source(&run.probes) == BySource::AllWelcome, "{run:?}");
        lab.server().nft(&format!(
            "table inet deny_{field} {{ chain in {{ type filter hook input priority -5; policy accept;
               {field} saddr {unwelcome} tcp dport {port} reject with tcp reset; }}; }}\n"
        ))?;
        let run = probe(&lab, to, &sources(ip))?;
        let expected = BySource::Ours { welcome: vec![welcome], unwelcome: vec![unwelcome] };
        ensure!(by_source(&run.probes) == expected, "{run:?}");
        let closed = probe(&lab, destination(Scenario::ClosedPort, ip), &sources(ip))?;
        ensure!(by_source(&closed.probes) == BySource::AllAlike { label: Label::Refused }, "{closed:?}");
    }
    Ok(())
}

/// A second uplink: probes from its address go by it, or are not made.
fn probes_leave_from_addresses_whose_route_leads_there() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    for (ip, other, length) in [(Ip::V4, "198.18.0.9", 24), (Ip::V6, "2001:db8:99::9", 64)] {
        let to = destination(Scenario::ClosedPort, ip);
        let second: IpAddr = other.parse()?;
        let chosen = |used: &[IpAddr]| lab.client().inside(|| probe::sources(to, used).map_err(anyhow::Error::msg));
        let run = |arguments: &str| lab.client().inside(|| run_ip(arguments));
        run(&format!("link add up{length} type veth peer name peer{length}"))?;
        run(&format!("link set peer{length} up"))?;
        run(&format!("link set up{length} up"))?;
        run(&format!("address add {other}/{length} dev up{length} nodad"))?;
        let by_first = chosen(&[])?;
        // In the order in which ip(8) lists them.
        let expected = BTreeSet::from(sources(ip));
        ensure!(BTreeSet::from_iter(by_first.chosen.iter().copied()) == expected, "{by_first:?}");
        let reason = format!("not probed from {other}: it is an address of up{length}, and the route there leads by ");
        let is_left_out = |sources: &probe::Sources| sources.left_out.iter().any(|line| line.starts_with(&reason));
        ensure!(is_left_out(&by_first), "{by_first:?}");
        // Attempts left from it all the same.
        let by_used = chosen(&[second])?;
        ensure!(by_used.chosen.first() == Some(&second) && !is_left_out(&by_used), "{by_used:?}");
        let family = if ip == Ip::V4 { "-4" } else { "-6" };
        run(&format!("{family} route add default dev up{length} table 125"))?;
        run(&format!("{family} rule add from {other} table 125"))?;
        let by_both = chosen(&[])?;
        let expected: BTreeSet<_> = expected.into_iter().chain([second]).collect();
        let chosen = BTreeSet::from_iter(by_both.chosen.iter().copied());
        ensure!(chosen == expected && !is_left_out(&by_both), "{by_both:?}");
    }
    Ok(())
}

fn run_ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("ip")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn traced(lab: &Lab, to: IpAddr) -> Result<Born> {
    let plan = Plan { destinations: vec![to], sources: Vec::new(), port: port() };
    let (syn, udp) = lab.client().inside(|| {
        as_nobody()?;
        Ok((trace::syn(&plan, true)?, trace::udp(&plan, true)?))
    })?;
    let syn = syn.context("no trace of SYNs")?;
    println!("{syn}; {}", udp.as_ref().map(ToString::to_string).unwrap_or_default());
    Ok(born(&syn, udp.as_ref()))
}

/// The client, the router one hop away, the server two.
fn the_hop_of_an_answer_is_found() -> Result<()> {
    let port = port();
    let lab = Lab::up(LabConfig::default())?;
    for (ip, field) in [(Ip::V4, "ip"), (Ip::V6, "ip6")] {
        let at_router = Some(router(ip));
        for (scenario, expected) in [
            (Scenario::ClosedPort, Born::AtTheEnd { hop: 2 }),
            (Scenario::RemoteReset(Hop::Server, Tool::Nft), Born::AtTheEnd { hop: 2 }),
            (Scenario::Success, Born::AtTheEnd { hop: 2 }),
            (Scenario::Icmp(prohibited(ip), Hop::Router), Born::Named { hop: 2, by: router(ip) }),
            (Scenario::DropTimeout, Born::Silence { after: at_router, hop: 1 }),
        ] {
            let found = traced(&lab, destination(scenario, ip))?;
            ensure!(found == expected, "{scenario:?} {ip:?}: {found}, not {expected}");
        }
        // A box that answers before it looks at the TTL.
        let to = destination(Scenario::ResetMidSession, ip);
        lab.router().nft(&format!(
            "table inet box_{field} {{ chain pre {{ type filter hook prerouting priority 0; policy accept;
               {field} daddr {to} tcp dport {port} reject with tcp reset; }}; }}\n"
        ))?;
        let found = traced(&lab, to)?;
        ensure!(matches!(found, Born::OnTheWay { hop: 1, destination: 2, .. }), "{ip:?}: {found}");
    }
    // Our own firewall: no hop at all.
    let own = destination(Scenario::LocalFirewall(Tool::Nft, Verdict::Drop), Ip::V4);
    let found = traced(&lab, own)?;
    ensure!(matches!(found, Born::Silence { hop: 0, .. } | Born::Unclear { .. }), "{found}");
    Ok(())
}
