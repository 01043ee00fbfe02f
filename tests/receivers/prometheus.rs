//! Prometheus, the server: what it has scraped from `observer run`, against the events
//! and the ledger of the same run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::daemon::{Daemon, Place, free_port, mortal, wait};
use crate::receiver::event;
use crate::{traffic, unpacked};

/// For an attempt that is in flight to end, and the scrape after that.
const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

/// Counts by the values of some labels.
type Counts = BTreeMap<Vec<String>, u64>;

struct Prometheus {
    server: Child,
    port: u16,
}

impl Prometheus {
    /// Scrapes one address each second.
    fn start(place: &Place, target: &str) -> Result<Self> {
        let (config, port) = (place.path("prometheus.yml"), free_port()?);
        let job = format!("{{job_name: observer, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}");
        std::fs::write(&config, format!("scrape_configs: [{job}]\n"))?;
        let mut command = mortal(unpacked::program("prometheus", "prometheus")?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", place.path("prometheus").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = std::fs::File::create(place.path("prometheus.log"))?;
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let prometheus = Self { server, port };
        wait(Duration::from_secs(30), || Ok(prometheus.query("up").is_ok_and(|up| !up.is_empty())))
            .with_context(|| said(&place.path("prometheus.log")))?;
        Ok(prometheus)
    }

    /// Metrics and values of an instant query by the HTTP API.
    fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let mut response = ureq::get(url).query("query", query).call()?;
        let answer: Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
        let result = answer["data"]["result"].as_array().with_context(|| answer.to_string())?;
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str().and_then(|text| text.parse().ok());
            Ok((sample["metric"].clone(), value.with_context(|| sample.to_string())?))
        };
        result.iter().map(sample).collect()
    }

    fn counts(&self, query: &str, labels: &[&str]) -> Result<Counts> {
        let text = |metric: &Value, label: &&str| metric[*label].as_str().unwrap_or_default().to_owned();
        let key = |metric: &Value| -> Vec<String> { labels.iter().map(|label| text(metric, label)).collect() };
        let samples = self.query(query)?.into_iter().filter(|(_, count)| *count > 0.0);
        Ok(samples.map(|(metric, count)| (key(&metric), count as u64)).collect())
    }

    fn number(&self, query: &str) -> Result<u64> {
        let samples = self.query(query)?;
        let (_, number) = samples.first().with_context(|| format!("{query} is nothing"))?;
        Ok(*number as u64)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Outcomes by label and reason, failures by destination, and every number of the
/// ledger are in Prometheus what they are in the events and at the end of the run.
pub(crate) fn prometheus_has_the_ledger() -> Result<()> {
    let place = Place::new()?;
    let target = format!("127.0.0.1:{}", free_port()?);
    place.configure(&format!("[metrics]\nlisten = '{target}'\ndestinations = 1000\n"))?;
    let daemon = Daemon::start(&place)?;
    let prometheus = Prometheus::start(&place, &target)?;
    let made = traffic::make()?;
    let attempts = "observer_attempts_total == observer_events_total and observer_attempts_in_flight == 0";
    let is_scraped = || Ok(prometheus.number(attempts).is_ok_and(|attempts| attempts >= made.seen as u64));
    wait(SCRAPED_WITHIN, is_scraped).with_context(|| {
        format!(
            "{:?} of {}: {}",
            prometheus.query("{__name__=~'observer_(attempts|events).*'}"),
            made.seen,
            daemon.said()
        )
    })?;
    // Whoever writes the file looks twice a second.
    std::thread::sleep(Duration::from_secs(1));
    let records = place.json("reference.json")?;
    let events: Vec<Value> = records.into_iter().filter_map(event).map(|(_, event)| event).collect();
    let outcomes = "sum by (outcome, reason, dst_port) (observer_tcp_connects_total)";
    let found = prometheus.counts(outcomes, &["outcome", "reason", "dst_port"])?;
    let expected = count(&events, &["/label", "/reason", "/dst/port"]);
    ensure!(found == expected, "{found:?}\nis not\n{expected:?}");
    let failures = "sum by (destination, outcome) (observer_destination_connects_total{outcome!=\"connected\"})";
    let found = prometheus.counts(failures, &["destination", "outcome"])?;
    let failed: Vec<Value> = events.iter().filter(|event| event["label"] != "connected").cloned().collect();
    let expected = count(&failed, &["/dst/ip", "/label"]);
    ensure!(found == expected, "{found:?}\nis not\n{expected:?}");
    let numbers = ["observer_attempts_total", "observer_tcp_connects_total", "observer_attempts_lost_total"];
    let [attempts, outcomes, lost] = numbers.map(|name| prometheus.number(&format!("sum({name})")));
    let (attempts, outcomes, lost) = (attempts?, outcomes?, lost?);
    ensure!(prometheus.number("observer_ledger_imbalance")? == 0, "the ledger does not balance");
    let ended = daemon.end()?;
    let ledger = format!("attempts {attempts} = outcomes {outcomes} + in flight 0 + lost {lost}");
    ensure!(ended.contains(&ledger), "Prometheus has {ledger}\n{ended}");
    println!("Prometheus: {ledger}, by {} outcomes and {} failures of destinations", expected.len(), failed.len());
    Ok(())
}

/// Events by what is at these places.
fn count(events: &[Value], pointers: &[&str]) -> Counts {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        other => other.map(Value::to_string).unwrap_or_default(),
    };
    let mut counts = Counts::new();
    for event in events {
        *counts.entry(pointers.iter().map(|pointer| text(event.pointer(pointer))).collect()).or_default() += 1;
    }
    counts
}
