//! Every cause that `observer diagnose` names, set up for real, in three variants at
//! least: what it says first must be what was set up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Hop, Ip, Lab, LabConfig, Mode, Scenario, Tool, Unreachable, Verdict, port, sources};
use serde_json::Value;

use crate::condition::nothing_is_attached;
use crate::noise::Noise;
use crate::watcher::{OBSERVER, Watcher};

/// Attempts of each kind: more than what says nothing.
const EACH: usize = 4;
/// Handshakes, one after the other, by which a destination's distance is known also on a
/// busy machine.
const HANDSHAKES: usize = 8;
/// Fewer would not be three variants.
const VARIANTS: usize = 3;

/// What is set up, what is tried, and what must come of it.
struct Variant {
    name: String,
    /// What is asked about.
    target: IpAddr,
    steps: Vec<Step>,
    /// The causes that the evidence leaves, the right one first.
    expected: &'static [&'static str],
}

enum Step {
    /// These attempts, at once.
    Attempts(Vec<Case>),
    /// These, one after the other.
    InTurn(Vec<Case>),
    /// A ruleset for the router.
    Router(String),
    /// A ruleset for the server.
    Server(String),
    /// A middlebox takes the target's connections from here on.
    Middlebox,
    /// The client serves the connections to these itself from here on.
    ServedHere(Vec<IpAddr>),
    /// What has nothing to do with it.
    Noise(Noise),
}

/// The causes are named, and the table is printed.
pub(crate) fn every_cause_is_named() -> Result<()> {
    let variants: Vec<Variant> = variants().into_iter().filter(runs_here).collect();
    let mut of_cause: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    println!("{:<56} {:<24} {:<24} confidence", "what was set up", "cause", "named first");
    for variant in &variants {
        let diagnosis = diagnosed(variant).with_context(|| variant.name.clone())?;
        let named = named(&diagnosis);
        let confidence = diagnosis.pointer("/causes/0/confidence").and_then(Value::as_str).unwrap_or("");
        let is_open = diagnosis.pointer("/is_open") == Some(&Value::Bool(true));
        let first = named.first().map_or("none", String::as_str);
        println!(
            "{:<56} {:<24} {first:<24} {}",
            variant.name,
            variant.expected[0],
            if is_open { "open" } else { confidence }
        );
        let expected = expected(variant, &diagnosis);
        let left = named.iter().take(expected.len()).map(String::as_str);
        if !left.eq(expected.iter().copied()) || is_open != (expected.len() > 1) {
            wrong.push(format!("{}: {diagnosis:#}", variant.name));
        }
        if variant.name.starts_with("local-") && !diagnosis.to_string().contains("\"a-rule-here-stops-it\"") {
            wrong.push(format!("{}: the rule is not named: {diagnosis:#}", variant.name));
        }
        *of_cause.entry(variant.expected[0]).or_default() += 1;
    }
    println!(
        "{} of {} variants named rightly, {} causes",
        variants.len() - wrong.len(),
        variants.len(),
        of_cause.len()
    );
    ensure!(wrong.is_empty(), "wrong:\n{}", wrong.join("\n"));
    let rare: Vec<_> = of_cause.iter().filter(|(_, count)| **count < VARIANTS).collect();
    ensure!(rare.is_empty(), "fewer than {VARIANTS} variants: {rare:?}");
    nothing_is_attached()
}

/// Of an ICMPv6 error a kernel may keep the errno alone, which host unreachable and time
/// exceeded share.
fn expected(variant: &Variant, diagnosis: &Value) -> &'static [&'static str] {
    let mut endings = diagnosis.pointer("/endings").and_then(Value::as_array).into_iter().flatten();
    let is_errno_alone = endings.any(|of| of["reason"] == "icmp-host-unreachable" && of["origin"] == "unknown");
    if is_errno_alone { &["server-down", "network-fault"] } else { variant.expected }
}

fn named(diagnosis: &Value) -> Vec<String> {
    let causes = diagnosis.pointer("/causes").and_then(Value::as_array).into_iter().flatten();
    causes.filter_map(|cause| Some(cause.get("cause")?.as_str()?.to_owned())).collect()
}

/// A free port can be left to one socket from Linux 6.3 on.
fn runs_here(variant: &Variant) -> bool {
    let release = crate::privilege::release();
    variant.steps.iter().all(|step| match step {
        Step::Attempts(cases) | Step::InTurn(cases) => cases.iter().all(|case| case.since() <= release),
        _ => true,
    })
}

fn diagnosed(variant: &Variant) -> Result<Value> {
    let place = tempfile::tempdir()?;
    let history = place.path().join("history.sqlite");
    let lab = Lab::up(LabConfig::default())?;
    let path = history.to_str().context("a path that is no text")?;
    let watcher = Watcher::start(&["--successes", "--record", path])?;
    let mut attempts = 0;
    let (mut middlebox, mut instead) = (None, None);
    for step in &variant.steps {
        match step {
            Step::Attempts(cases) => attempts += lab.run(cases, port())?.len(),
            Step::InTurn(cases) => {
                for case in cases {
                    attempts += lab.run(&[*case], port())?.len();
                }
            }
            Step::Router(rules) => lab.router().nft(rules)?,
            Step::Server(rules) => lab.server().nft(rules)?,
            Step::Middlebox => middlebox = Some(lab.intercept(variant.target)?),
            Step::ServedHere(destinations) => instead = Some(lab.serve_instead(destinations)?),
            Step::Noise(noise) => attempts += noise.make(&lab).with_context(|| noise.name())?,
        }
    }
    watcher.wait_for(attempts, Duration::from_secs(30))?;
    drop((middlebox, instead));
    watcher.stop()?;
    let diagnosis = diagnose(&lab, &variant.target.to_string(), &history, &[])?;
    if variant.name.starts_with("one address") {
        probes_tell_addresses_apart(
            &diagnose(&lab, &variant.target.to_string(), &history, &["--probe", "--force"])?,
            variant,
        )?;
    }
    Ok(diagnosis)
}

/// The blocked address is told from the other one now, too.
fn probes_tell_addresses_apart(diagnosis: &Value, variant: &Variant) -> Result<()> {
    let [first, second] = sources(if variant.target.is_ipv4() { Ip::V4 } else { Ip::V6 });
    let label = |source: IpAddr| {
        let probes = diagnosis.pointer("/probes").and_then(Value::as_array).into_iter().flatten();
        let mut of_source = probes.filter(|probe| probe["source"] == source.to_string().as_str());
        of_source.next().map(|probe| probe["label"].clone())
    };
    ensure!(label(first) == Some("connected".into()), "from {first}: {diagnosis:#}");
    ensure!(label(second).is_some_and(|label| label != "connected"), "from {second}: {diagnosis:#}");
    ensure!(diagnosis.to_string().contains("\"a-probe-from-another-source-works\""), "{diagnosis:#}");
    Ok(())
}

/// As somebody on the client's host would ask.
fn diagnose(lab: &Lab, target: &str, history: &Path, options: &[&str]) -> Result<Value> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", lab.client().path().display())).arg(OBSERVER);
    let output = command
        .args(["diagnose", target, "--json", "--port", &port().to_string(), "--history"])
        .arg(history)
        .args(options)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("no JSON")
}

const V4: Family = Family::V4;
const V6: Family = Family::V6;

fn case(scenario: Scenario, family: Family) -> Case {
    Case { scenario, family, mode: Mode::NonBlocking }
}

fn times(scenario: Scenario, family: Family) -> Vec<Case> {
    vec![case(scenario, family); EACH]
}

/// From the second local address.
fn from_second(scenario: Scenario, family: Family) -> Vec<Case> {
    vec![Case { scenario, family, mode: Mode::IoUring }; EACH]
}

/// Attempts to others that go well, in both families.
fn others() -> Step {
    Step::Attempts([times(Scenario::Success, V4), times(Scenario::Success, V6)].concat())
}

/// A scenario of the lab that is the cause all by itself.
fn alone(scenario: Scenario, family: Family, expected: &'static [&'static str]) -> Variant {
    let steps = vec![others(), Step::Attempts(times(scenario, family))];
    let name = format!("{} {family:?}", scenario.name());
    Variant { name, target: case(scenario, family).destination(), steps, expected }
}

/// The destination that works, until `steps`.
fn at_success(name: &str, family: Family, steps: Vec<Step>, expected: &'static [&'static str]) -> Variant {
    let others = if family == V6 { V4 } else { V6 };
    let mut all = vec![Step::Attempts(times(Scenario::Success, others))];
    all.extend(steps);
    let target = case(Scenario::Success, family).destination();
    Variant { name: format!("{name} {family:?}"), target, steps: all, expected }
}

fn variants() -> Vec<Variant> {
    [
        server_down(),
        firewalls(),
        local(),
        outbound(),
        of_address(),
        not_served(),
        of_ipv6(),
        of_network(),
        forged(),
        cut(),
        served_here(),
        beside_noise(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn server_down() -> Vec<Variant> {
    // Whether a port is closed or a firewall sends the RST, nobody else can see.
    const EITHER: &[&str] = &["server-down", "remote-firewall-rejects"];
    let stopped = |family| {
        let target = case(Scenario::Success, family).destination();
        let steps = vec![
            Step::InTurn(vec![case(Scenario::Success, family); HANDSHAKES]),
            Step::Server(nobody_listens(target)),
            Step::InTurn(times(Scenario::Success, family)),
        ];
        at_success("stopped listening", family, steps, &["server-down"])
    };
    let host =
        |ip| Unreachable::ALL.into_iter().find(|kind| kind.ip() == ip && kind.truth().1 == "icmp-host-unreachable");
    let mut variants = vec![
        alone(Scenario::ClosedPort, V4, EITHER),
        alone(Scenario::ClosedPort, V6, EITHER),
        alone(Scenario::RemoteReset(Hop::Server, Tool::Nft), V4, EITHER),
        alone(Scenario::RemoteReset(Hop::Server, Tool::Iptables), V6, EITHER),
        stopped(V4),
        stopped(V6),
    ];
    variants.extend(host(Ip::V4).map(|kind| alone(Scenario::Icmp(kind, Hop::Router), V4, &["server-down"])));
    variants.extend(host(Ip::V6).map(|kind| alone(Scenario::Icmp(kind, Hop::Router), V6, &["server-down"])));
    variants
}

fn firewalls() -> Vec<Variant> {
    let rejects = Unreachable::ALL.into_iter().filter(|kind| kind.truth().0 == "refused").map(|kind| {
        let family = if kind.ip() == Ip::V4 { V4 } else { V6 };
        alone(
            Scenario::Icmp(kind, if family == V4 { Hop::Router } else { Hop::Server }),
            family,
            &["remote-firewall-rejects"],
        )
    });
    let drops = [
        (Scenario::DropTimeout, V4),
        (Scenario::DropTimeout, V6),
        (Scenario::DropAbandoned, V4),
        (Scenario::DropAbandonedLate, Family::Mapped),
    ];
    rejects.chain(drops.map(|(scenario, family)| alone(scenario, family, &["remote-firewall-drops"]))).collect()
}

fn local() -> Vec<Variant> {
    let own = |tool, verdict, family| alone(Scenario::LocalFirewall(tool, verdict), family, &["local-firewall"]);
    vec![
        own(Tool::Nft, Verdict::DropAbandoned, V4),
        own(Tool::Nft, Verdict::Reset, V6),
        own(Tool::Iptables, Verdict::IcmpAdmin, V4),
        own(Tool::Iptables, Verdict::Drop, V6),
        alone(Scenario::CgroupDeny, V4, &["local-firewall"]),
        alone(Scenario::PortsExhausted, V4, &["local-resource"]),
        alone(Scenario::PortsExhausted, V6, &["local-resource"]),
        alone(Scenario::PortsExhausted, Family::Mapped, &["local-resource"]),
    ]
    .into_iter()
    .chain([
        alone(Scenario::NoSourceAddress, V6, &["wrong-source-address"]),
        alone(Scenario::BoundToLoopback, V4, &["wrong-source-address"]),
        alone(Scenario::BoundToLoopback, Family::Mapped, &["wrong-source-address"]),
        alone(Scenario::SecurityPolicy, V4, &["security-policy"]),
        alone(Scenario::SecurityPolicy, V6, &["security-policy"]),
        alone(Scenario::SecurityPolicy, Family::Mapped, &["security-policy"]),
        alone(Scenario::RedirectedRefused, V4, &["local-redirect"]),
        alone(Scenario::RedirectedRefused, V6, &["local-redirect"]),
        alone(Scenario::RedirectedReset, V4, &["local-redirect"]),
        alone(Scenario::AnswerDropped, V4, &["local-firewall"]),
        alone(Scenario::AnswerDropped, V6, &["local-firewall"]),
    ])
    .collect()
}

/// Nothing gets out, and what this host serves itself in others' names does not show that it does.
fn served_here() -> Vec<Variant> {
    let success = [V4, V6].map(|family| case(Scenario::Success, family).destination());
    let of = ["all is reset V4", "all is rejected V4", "all is rejected V6"];
    let blocked = outbound().into_iter().filter(|variant| of.contains(&variant.name.as_str()));
    blocked
        .map(|mut variant| {
            variant.name += ", others are served here";
            variant.steps.splice(0..0, [Step::ServedHere(success.to_vec()), others()]);
            variant
        })
        .collect()
}

/// The same with something else beside it, before and after.
fn beside_noise() -> Vec<Variant> {
    const EITHER: &[&str] = &["server-down", "remote-firewall-rejects"];
    let named =
        |of: fn() -> Vec<Variant>, name: &str| of().into_iter().filter(|of| of.name == name).collect::<Vec<_>>();
    let rejected = |ip| {
        let kind = Unreachable::ALL.into_iter().find(|kind| kind.ip() == ip && kind.truth().0 == "refused");
        let family = if ip == Ip::V4 { V4 } else { V6 };
        kind.map(|kind| alone(Scenario::Icmp(kind, Hop::Server), family, &["remote-firewall-rejects"]))
    };
    let closed = || alone(Scenario::ClosedPort, V4, EITHER);
    let local =
        named(outbound, "all is reset V4").into_iter().chain(named(of_ipv6, "IPv6 has no route")).chain([closed()]);
    let second = rejected(Ip::V4).into_iter().chain([
        alone(Scenario::ResetBeforeBanner, V4, &["not-served"]),
        alone(Scenario::LocalFirewall(Tool::Nft, Verdict::Reset), V6, &["local-firewall"]),
    ]);
    let half = rejected(Ip::V4).into_iter().chain([closed(), alone(Scenario::NoRoute, V4, &["route-fault"])]);
    let relay = [
        alone(Scenario::RemoteReset(Hop::Server, Tool::Nft), V4, EITHER),
        alone(Scenario::SecurityPolicy, V4, &["security-policy"]),
        alone(Scenario::ClosedBeforeBanner, V6, &["not-served"]),
    ];
    let beside = |noise: Noise| {
        move |mut variant: Variant| {
            variant.name = format!("{} beside {}", variant.name, noise.name());
            variant.steps.insert(0, Step::Noise(noise));
            variant.steps.push(Step::Noise(noise));
            variant
        }
    };
    local
        .map(beside(Noise::Local))
        .chain(second.map(beside(Noise::SecondServer)))
        .chain(half.map(beside(Noise::HalfIpv6)))
        .chain(relay.into_iter().map(beside(Noise::BusyRelay)))
        .collect()
}

/// Nothing gets out: several destinations fail in one way, and none works.
fn outbound() -> Vec<Variant> {
    let all = |name: &str, scenarios: &[Scenario], family: Family| {
        let cases = scenarios.iter().flat_map(|&scenario| times(scenario, family)).collect();
        let target = case(scenarios[0], family).destination();
        let name = format!("{name} {family:?}");
        Variant { name, target, steps: vec![Step::Attempts(cases)], expected: &["port-blocked-outbound"] }
    };
    let silence = [Scenario::DropAbandoned, Scenario::DropAbandonedLate, Scenario::DropTimeout];
    let resets = [Tool::Nft, Tool::Iptables].map(|tool| Scenario::RemoteReset(Hop::Router, tool));
    let resets = [resets[0], resets[1], Scenario::ClosedPort];
    let rejects = |ip| -> Vec<Scenario> {
        let kinds = Unreachable::ALL.into_iter().filter(|kind| kind.ip() == ip && kind.truth().0 == "refused");
        kinds.map(|kind| Scenario::Icmp(kind, Hop::Router)).collect()
    };
    vec![
        all("nothing is answered", &silence, V4),
        all("nothing is answered", &silence, V6),
        all("all is reset", &resets, V4),
        all("all is rejected", &rejects(Ip::V4), V4),
        all("all is rejected", &rejects(Ip::V6), V6),
    ]
}

fn of_address() -> Vec<Variant> {
    let port = port();
    let blocked = |name: &str, family: Family, verdict: &str| {
        let (target, second) = (case(Scenario::Success, family).destination(), sources(family.ip())[1]);
        let field = if family == V6 { "ip6" } else { "ip" };
        let rule = format!("{field} saddr {second} {field} daddr {target} tcp dport {port} {verdict}");
        // In turn, as a mail server with both does: one after the other could be an outage.
        let mut steps = vec![Step::Router(filter("forward", &rule))];
        for _ in 0..2 {
            steps.push(Step::Attempts(times(Scenario::Success, family)));
            steps.push(Step::Attempts(from_second(Scenario::Success, family)));
        }
        at_success(name, family, steps, &["address-blocked"])
    };
    let limited = |name: &str, family: Family, verdict: &str| {
        let target = case(Scenario::Success, family).destination();
        let field = if family == V6 { "ip6" } else { "ip" };
        let rule = format!(
            "{field} daddr {target} tcp dport {port} tcp flags & (syn | ack) == syn numgen inc mod 2 0 {verdict}"
        );
        let steps = vec![Step::Server(filter("input", &rule)), Step::InTurn(vec![case(Scenario::Success, family); 12])];
        at_success(name, family, steps, &["rate-limited"])
    };
    vec![
        blocked("one address is reset", V4, "reject with tcp reset"),
        blocked("one address is reset", V6, "reject with tcp reset"),
        blocked("one address is rejected", V4, "reject with icmp admin-prohibited"),
        blocked("one address is rejected", V6, "reject with icmpv6 admin-prohibited"),
        limited("every second is reset", V4, "reject with tcp reset"),
        limited("every second is reset", V6, "reject with tcp reset"),
        limited("every second is rejected", V4, "reject with icmp port-unreachable"),
    ]
}

fn not_served() -> Vec<Variant> {
    [
        (Scenario::ResetBeforeBanner, V4),
        (Scenario::ResetBeforeBanner, V6),
        (Scenario::ClosedBeforeBanner, V4),
        (Scenario::ClosedBeforeBanner, V6),
        (Scenario::Silent, V4),
        (Scenario::Silent, V6),
    ]
    .map(|(scenario, family)| alone(scenario, family, &["not-served"]))
    .into()
}

fn of_ipv6() -> Vec<Variant> {
    let broken = |name: &str, scenarios: &[Scenario]| {
        let v6 = scenarios.iter().flat_map(|&scenario| times(scenario, V6));
        let cases = v6.chain(times(Scenario::Success, V4)).collect();
        let target = case(scenarios[0], V6).destination();
        Variant { name: name.to_owned(), target, steps: vec![Step::Attempts(cases)], expected: &["ipv6-broken"] }
    };
    let resets = [Tool::Nft, Tool::Iptables].map(|tool| Scenario::RemoteReset(Hop::Router, tool));
    vec![
        broken("IPv6 has no route", &[Scenario::NoRoute]),
        broken("IPv6 is not answered", &[Scenario::DropAbandoned, Scenario::DropAbandonedLate, Scenario::DropTimeout]),
        broken("IPv6 is reset", &[resets[0], resets[1], Scenario::ClosedPort]),
    ]
}

fn of_network() -> Vec<Variant> {
    let routes = [
        (Scenario::NoRoute, V4),
        (Scenario::NoRoute, V6),
        (Scenario::UnreachableRoute, V4),
        (Scenario::ProhibitRoute, V6),
        (Scenario::BlackholeRoute, V4),
    ];
    let routes = routes.map(|(scenario, family)| alone(scenario, family, &["route-fault"]));
    // On one's own link the destination is the next hop: who of the two is down cannot be told.
    let mute = [V4, V6].map(|family| alone(Scenario::NoNeighbour, family, &["server-down", "route-fault"]));
    let nets = Unreachable::ALL.into_iter().filter(|kind| kind.truth().1 == "icmp-net-unreachable").flat_map(|kind| {
        let family = if kind.ip() == Ip::V4 { V4 } else { V6 };
        [Hop::Router, Hop::Server].map(|hop| alone(Scenario::Icmp(kind, hop), family, &["network-fault"]))
    });
    let loops = [V4, V6].map(|family| alone(Scenario::TimeExceeded, family, &["network-fault"]));
    routes.into_iter().chain(mute).chain(nets).chain(loops).collect()
}

fn forged() -> Vec<Variant> {
    let intercepted = |family: Family, attempts: usize| {
        let steps = vec![
            Step::InTurn(vec![case(Scenario::Success, family); HANDSHAKES]),
            Step::Middlebox,
            Step::InTurn(vec![case(Scenario::Success, family); attempts]),
        ];
        at_success(&format!("{attempts} are forged"), family, steps, &["middlebox-forges"])
    };
    vec![intercepted(V4, EACH), intercepted(V4, 3 * EACH), intercepted(Family::Mapped, EACH)]
}

fn cut() -> Vec<Variant> {
    [
        (Scenario::Stalled, V4),
        (Scenario::Stalled, V6),
        (Scenario::StalledAbandoned, V4),
        (Scenario::ResetMidSession, V4),
        (Scenario::ResetMidSession, V6),
    ]
    .map(|(scenario, family)| alone(scenario, family, &["session-cut"]))
    .into()
}

fn filter(hook: &str, rule: &str) -> String {
    format!("table inet causes {{\n chain {hook} {{\n  type filter hook {hook} priority 5\n  {rule}\n }}\n}}\n")
}

/// What comes for the target goes to a port that nobody has opened.
fn nobody_listens(target: IpAddr) -> String {
    let port = port();
    let field = if target.is_ipv4() { "ip" } else { "ip6" };
    format!(
        "table inet causes {{\n chain prerouting {{\n  type nat hook prerouting priority -100\n  \
         {field} daddr {target} tcp dport {port} redirect to :9\n }}\n}}\n"
    )
}
