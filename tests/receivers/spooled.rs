//! What a daemon says of its sinks.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::daemon::wait;

/// What a daemon's metrics say of a family with a line for each sink.
pub(crate) fn of_sinks(metrics: u16, family: &str) -> Result<BTreeMap<String, u64>> {
    let text = ureq::get(format!("http://127.0.0.1:{metrics}/metrics")).call()?.body_mut().read_to_string()?;
    let sample = |line: &str| -> Option<(String, u64)> {
        let (sink, value) = line.strip_prefix(family)?.strip_prefix("{sink=\"")?.split_once("\"} ")?;
        Some((sink.to_owned(), value.parse::<f64>().ok()? as u64))
    };
    let samples: BTreeMap<_, _> = text.lines().filter_map(sample).collect();
    ensure!(!samples.is_empty(), "no {family} in {text}");
    Ok(samples)
}

/// Waits until all that has come so far is in the sinks' spools: a daemon that is killed
/// then loses none of it.
pub(crate) fn spooled(metrics: u16) -> Result<()> {
    // An answer serves whoever asks again within a second.
    thread::sleep(Duration::from_millis(1_100));
    let is_none_queued = || Ok(of_sinks(metrics, "observer_sink_messages_queued")?.values().all(|&queued| queued == 0));
    wait(Duration::from_secs(60), is_none_queued).context("the sinks have not spooled all of it")
}
