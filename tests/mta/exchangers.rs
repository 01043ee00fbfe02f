//! Domains whose mail goes to the wrong place or to none, by what a real name server
//! says: `observer diagnose --dns` has to name that first.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Mode, Scenario};
use serde_json::Value;

use crate::observer::{OBSERVER, Observer};
use crate::world::World;

/// More than what says nothing.
const ATTEMPTS: usize = 4;
const CAUSE: &str = "wrong-exchanger";

/// dnsmasq's configuration. 203.0.113.10 serves, and mail was sent to 203.0.113.11, where
/// nobody listens. Type 15 is MX; a null MX, of RFC 7505, has preference 0 and the root.
const ZONE: &str = "dns-rr=nomail.example,15,000000
mx-host=moved.example,mx.moved.example,10
host-record=mx.moved.example,203.0.113.10
mx-host=literal.example,203.0.113.10,10
mx-host=broken.example,mx.broken.example,10
mx-host=inside.example,mx.inside.example,10
host-record=mx.inside.example,10.1.2.3
";

/// What is asked, and what the evidence must name.
const QUESTIONS: [(&str, &[&str], &str); 6] = [
    ("a null MX", &["nomail.example", "--dns"], "takes no mail"),
    ("no such domain", &["gone.example", "--dns"], "does not exist"),
    ("the MX has moved", &["OLD", "--domain", "moved.example"], "none of the exchangers of moved.example"),
    ("the MX is an address", &["OLD", "--domain", "literal.example"], "203.0.113.10 is an address"),
    ("the MX has no address", &["OLD", "--domain", "broken.example"], "mx.broken.example"),
    ("the MX is in a private network", &["OLD", "--domain", "inside.example"], "mx.inside.example"),
];

pub(crate) fn wrong_exchangers_are_named() -> Result<()> {
    let world = World::new(ZONE)?;
    let case = Case { scenario: Scenario::ClosedPort, family: Family::V4, mode: Mode::NonBlocking };
    let history = world.path("history.sqlite").display().to_string();
    let recorder =
        Observer::start(&world, &["watch", "--standalone", "--successes", "--record", &history], "watching")?;
    let tried = world.lab().run(&[case; ATTEMPTS], 25)?;
    ensure!(tried.len() == ATTEMPTS, "{} attempts", tried.len());
    recorder.stop(&world)?;
    let mut wrong = Vec::new();
    println!("{:<32} {:<18} confidence", "what DNS says", "named first");
    for (name, words, evidence) in QUESTIONS {
        let old = case.destination().to_string();
        let words: Vec<&str> = words.iter().map(|word| if *word == "OLD" { old.as_str() } else { word }).collect();
        let diagnosis = diagnose(&world, &words)?;
        let of_first = |pointer: &str| diagnosis.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned();
        println!("{name:<32} {:<18} {}", of_first("/causes/0/cause"), of_first("/causes/0/confidence"));
        if of_first("/causes/0/cause") != CAUSE || !diagnosis.to_string().contains(evidence) {
            wrong.push(format!("{name}: {diagnosis:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Of a destination to which the mail server's log says whose mail went: no domain is
/// named by hand.
pub(crate) fn the_log_names_the_domain(world: &mut World, tried: IpAddr, domain: &str) -> Result<()> {
    world.serve_names(&format!("mx-host={domain},mx.{domain},10\nhost-record=mx.{domain},203.0.113.10\n"))?;
    let diagnosis = diagnose(world, &[&tried.to_string(), "--dns"])?;
    let expected = format!("none of the exchangers of {domain}");
    let first = diagnosis.pointer("/causes/0/cause").and_then(Value::as_str);
    ensure!(first == Some(CAUSE) && diagnosis.to_string().contains(&expected), "{diagnosis:#}");
    println!("the exchanger of a logged domain has moved: named {CAUSE}");
    Ok(())
}

pub(crate) fn diagnose(world: &World, words: &[&str]) -> Result<Value> {
    let history = world.path("history.sqlite");
    let script = format!(
        "{OBSERVER} diagnose --json --name-server 127.0.0.1 --history {} {}",
        history.display(),
        words.join(" ")
    );
    let output = world.client(&script).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("no JSON")
}
