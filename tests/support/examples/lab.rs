//! Brings the lab up, runs every case and says where a client saw anything but
//! what its scenario promises. `lab [FILTER]` runs the cases whose name contains
//! FILTER; `lab storm`, `lab blast` and `lab demo` do those.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Lab, LabConfig, Storm, StormAttempt, dispatch_role, matrix};

fn main() -> Result<()> {
    dispatch_role();
    let start = Instant::now();
    let lab = Lab::up(LabConfig::default())?;
    println!("up after {:?}", start.elapsed());
    match std::env::args().nth(1).as_deref() {
        Some("storm") => storm(&lab),
        Some("blast") => blast(&lab),
        Some("demo") => {
            let demo = lab.demo(25)?;
            println!("traffic by processes {:?} for 20 s", demo.pids());
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        filter => cases(&lab, filter.unwrap_or_default()),
    }
}

fn cases(lab: &Lab, filter: &str) -> Result<()> {
    let cases: Vec<Case> = matrix().into_iter().filter(|case| case.name().contains(filter)).collect();
    let start = Instant::now();
    let seen = lab.run(&cases, 25)?;
    let took = start.elapsed();
    let mut wrong = 0;
    for (case, seen) in cases.iter().zip(&seen) {
        let right = seen.errno.as_deref() == case.expected_errno();
        wrong += u32::from(!right);
        println!(
            "{} {:48} {:14} {:9.1} ms  retransmits {:?}  {} {} -> {}",
            if right { "ok   " } else { "WRONG" },
            seen.case,
            seen.errno.as_deref().unwrap_or("-"),
            seen.elapsed_ns as f64 / 1e6,
            seen.retransmits,
            seen.comm,
            seen.src_ip.map_or_else(|| "?".to_owned(), |ip| format!("{ip}:{}", seen.src_port.unwrap_or_default())),
            seen.dst_ip,
        );
    }
    println!("{} cases in {took:?}, {wrong} wrong", cases.len());
    ensure!(wrong == 0, "{wrong} clients saw something else than their scenario promises");
    Ok(())
}

fn storm(lab: &Lab) -> Result<()> {
    let start = Instant::now();
    let seen = lab.storm(Storm::default())?;
    let took = start.elapsed();
    let mut counts = BTreeMap::new();
    for attempt in &seen {
        *counts.entry((attempt.scenario.as_str(), attempt.errno.as_deref())).or_insert(0_u32) += 1;
    }
    for ((scenario, errno), count) in counts {
        println!("{count:6} {scenario} {}", errno.unwrap_or("-"));
    }
    let distinct = |key: &dyn Fn(&StormAttempt) -> String| seen.iter().map(key).collect::<HashSet<_>>().len();
    println!(
        "{} attempts in {took:?}, from {} ports, {} different connections",
        seen.len(),
        distinct(&|attempt| attempt.src_port.to_string()),
        distinct(&|attempt| format!("{} {} {}", attempt.src_ip, attempt.src_port, attempt.dst_ip)),
    );
    Ok(())
}

fn blast(lab: &Lab) -> Result<()> {
    let count = 100_000;
    let took = lab.blast(count, "127.0.0.1".parse().context("address")?, 25, 2)?;
    println!("{count} refused connects in {took:?}");
    Ok(())
}
