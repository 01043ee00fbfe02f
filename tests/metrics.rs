//! What `observer run` tells Prometheus, read by Prometheus itself; and the rules
//! and the dashboard that are made for it.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use observer::command::metrics::MetricsServer;
use observer::config::Listen;
use observer_common::address::Address;
use observer_common::record::{DestinationKey, EndCode, OutcomeKey, end, fact, phase};
use observer_common::stat;
use observer_core::count::{Totals, missing};
use observer_core::event::Event;
use observer_core::metrics::{
    HistoryMetrics, HookMetrics, Metrics, MtaMetrics, ReaderMetrics, Reading, SinkMetrics, SpoolMetrics,
};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program of Debian's package prometheus: from PATH, or where `./x` puts it.
fn prometheus(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = repository().join(".cache/prometheus/usr/bin");
    let found = std::env::split_paths(&path).chain([unpacked]).map(|directory| directory.join(name));
    found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("no {name} in PATH or .cache: run `./x setup`, or install Prometheus");
    })
}

/// Runs promtool with this on its standard input.
fn promtool(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(prometheus("promtool"));
    command.args(args).current_dir(repository());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may fail before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn passes(args: &[&str], input: &str) -> String {
    let output = promtool(args, input);
    assert!(output.status.success(), "promtool {args:?}: {}", words(&output));
    words(&output)
}

/// A RST, an ICMP error, silence, this host's firewall, and two that were accepted.
fn end_codes() -> [EndCode; 6] {
    let syn = EndCode { phase: phase::SYN_SENT, end: end::CLOSE, family: 4, ..EndCode::default() };
    let accepted = EndCode { phase: phase::ESTABLISHED, end: end::LOCAL_FIN, ..syn };
    [
        EndCode { facts: fact::RST, sk_err: 111, ..syn },
        EndCode { facts: fact::ICMP | fact::ICMP_SENDER, sk_err: 113, icmp_type: 3, icmp_code: 13, ..syn },
        EndCode { facts: fact::SYN_RETRANSMITTED | fact::SHUTDOWN, ..syn },
        EndCode { facts: fact::SYN_DROPPED_ALL, ..syn },
        EndCode { facts: fact::BYTES_RECEIVED, ..accepted },
        EndCode { facts: fact::RST, ..accepted },
    ]
}

fn outcomes() -> Vec<(OutcomeKey, u64)> {
    let destinations = [1, 2, 3].map(|last| Ipv4Addr::new(203, 0, 113, last).to_ipv6_mapped().octets());
    let keys = destinations.into_iter().flat_map(|octets| {
        end_codes().map(|code| OutcomeKey {
            saddr: Address::UNSPECIFIED,
            destination: DestinationKey { daddr: Address::from_octets(octets), dport: 25, reserved: 0 },
            code,
        })
    });
    keys.zip(1u64..).collect()
}

fn totals() -> Totals {
    let outcomes = outcomes();
    let mut totals = Totals { in_flight: 2, ..Totals::default() };
    totals.known.add(&outcomes);
    for event in events() {
        let port = event.dst.port.unwrap();
        *Arc::make_mut(&mut totals.known.outcomes).entry((event.label, event.reason, port)).or_default() += 1;
    }
    let ended = totals.known.total();
    totals.stats[stat::OUTCOMES as usize] = ended;
    totals.stats[stat::ATTEMPTS as usize] = ended + 2;
    totals
}

/// With something in every metric, and strings that try to break out.
fn reading() -> Reading {
    let now: Timestamp = "2026-11-23T16:07:01Z".parse().unwrap();
    let causes = |cause: &str| BTreeMap::from([(cause.to_owned(), 3)]);
    let spool = SpoolMetrics {
        messages: 7,
        bytes: 4_096,
        limit_bytes: 65_536,
        oldest: Some(now - SignedDuration::from_secs(3)),
        dropped: causes("spool full"),
        corrupt: 1,
    };
    let sink = |name: &str, spool| SinkMetrics {
        name: name.to_owned(),
        dropped: causes("a \"cause\"\nwith \\ and \u{202e}"),
        trouble_since: Some(now - SignedDuration::from_secs(90)),
        spool,
        ..SinkMetrics::default()
    };
    let hook = |name: &str, is_attached| HookMetrics { name: name.to_owned(), group: "core".to_owned(), is_attached };
    Reading {
        now,
        totals: totals(),
        events_delivered: 40,
        events_malformed: 1,
        events_unnamed: 0,
        limits: vec![("readers", 2), ("outcomes of a minute", 0)],
        skipped_runs: 5,
        hooks: vec![hook("tcp_receive_reset", true), hook("tcp_destroy_sock", false)],
        sinks: vec![sink("siem", Some(spool)), sink("file\"} 1\n", None)],
        history: Some(HistoryMetrics {
            written: 36,
            dropped: causes("disk full"),
            is_failing: true,
            ..HistoryMetrics::default()
        }),
        readers: Some(ReaderMetrics { connected: 2, events_lost: 9, ..ReaderMetrics::default() }),
        mta: Some(MtaMetrics { is_read: true, ..MtaMetrics::default() }),
    }
}

fn events() -> Vec<Event> {
    let fixtures = fs::read_dir(repository().join("tests/fixtures/event-v1")).unwrap();
    let files = fixtures.map(|file| fs::read(file.unwrap().path()).unwrap());
    files.map(|json| serde_json::from_slice(&json).unwrap()).collect()
}

fn metrics() -> Metrics {
    let mut metrics = Metrics::new("2026-11-23T15:00:00Z".parse().unwrap(), 2);
    for event in events() {
        metrics.event(&event);
    }
    metrics.missing(&missing(&outcomes()));
    metrics
}

fn text() -> String {
    metrics().render(&reading()).unwrap()
}

/// Names of all series.
fn exported() -> BTreeSet<String> {
    let text = text();
    let samples = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Everything in a text that looks like the name of one of our metrics.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("observer_") || word.starts_with("process_")).collect()
}

fn assert_exported(file: &str, text: &str) -> usize {
    let (exported, named) = (exported(), named(text));
    let unknown: Vec<_> = named.iter().filter(|name| !exported.contains(**name)).collect();
    assert!(unknown.is_empty(), "{file} names metrics that there are not: {unknown:?}");
    named.len()
}

/// A size that something may have, or what was lost because of one.
fn is_limit(name: &str) -> bool {
    name.ends_with("_limit_bytes") || (name.contains("_dropped") && name.ends_with("_total"))
}

#[test]
fn the_page_of_limits_names_what_is_exported_and_alerts_that_there_are() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let (page, rules) = (read("docs/limits.md"), read("packaging/prometheus/observer.rules.yml"));
    assert!(assert_exported("docs/limits.md", &page) > 10);
    let unlisted: Vec<_> =
        exported().into_iter().filter(|name| is_limit(name) && !page.contains(name.as_str())).collect();
    assert!(unlisted.is_empty(), "docs/limits.md lacks {unlisted:?}");
    let alerts = page.split('`').filter(|word| word.starts_with("Observer"));
    for alert in alerts {
        assert!(rules.contains(&format!("- alert: {alert}\n")), "no alert {alert}");
    }
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    assert_eq!(passes(&["check", "metrics"], &text()), "");
    let without = Metrics::new(Timestamp::UNIX_EPOCH, 0).render(&Reading { sinks: Vec::new(), ..reading() }).unwrap();
    assert_eq!(passes(&["check", "metrics"], &without), "");
    // It would say something.
    assert!(!promtool(&["check", "metrics"], "# TYPE a counter\na_ms 1\n").status.success());
}

#[test]
fn prometheus_scrapes_every_series() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listen = Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let (mut server, _) = MetricsServer::serve(&listen, "observer", metrics()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let prometheus = Prometheus::start(directory.path(), &server.address().unwrap().to_string());
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            server.tick(reading);
            tokio::time::sleep(Duration::from_millis(50)).await;
            // promtool blocks, but the server's answer is given by then.
            let series = prometheus.query("{job=\"observer\"}");
            let found: BTreeSet<_> = named(&series).into_iter().map(str::to_owned).collect();
            if found == exported() {
                break;
            }
            assert!(Instant::now() < deadline, "Prometheus has {found:?}\n{series}");
        }
        let sink = prometheus.query("observer_sink_up{sink=\"file\\\"} 1\\n\"}");
        assert!(sink.contains("=> 0 @"), "{sink}");
        let connects = prometheus.query("sum(observer_tcp_connects_total) == sum(observer_destination_connects_total)");
        // 1 + 2 + ... + 18 without an event, and those that have one.
        let all = 171 + events().len();
        assert!(connects.contains(&format!("=> {all} @")), "{connects}");
    });
}

/// A server of Prometheus that scrapes one address each second.
struct Prometheus {
    server: Child,
    url: String,
}

impl Prometheus {
    fn start(directory: &Path, target: &str) -> Self {
        let config = directory.join("prometheus.yml");
        let jobs =
            format!("[{{job_name: observer, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]");
        fs::write(&config, format!("scrape_configs: {jobs}\n")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(prometheus("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { server, url: format!("http://127.0.0.1:{port}") }
    }

    fn query(&self, query: &str) -> String {
        words(&promtool(&["query", "instant", &self.url, query], ""))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const RULES: &str = "packaging/prometheus/observer.rules.yml";
const RULE_TESTS: &str = "packaging/prometheus/observer.rules.test.yml";
const DASHBOARD: &str = "packaging/grafana/observer.json";

#[test]
fn the_alert_rules_do_what_their_tests_say() {
    passes(&["check", "rules", RULES], "");
    passes(&["test", "rules", RULE_TESTS], "");
}

#[test]
fn every_alert_has_a_test_and_names_what_is_exported() {
    let (rules, tests) = (read(RULES), read(RULE_TESTS));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 13, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test of {alert}");
    }
    assert!(assert_exported(RULES, &rules) > 10);
    assert_exported(RULE_TESTS, &tests);
}

fn read(file: &str) -> String {
    fs::read_to_string(repository().join(file)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

/// Calls `visit` for every member of every object.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a str, &'a Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                visit(name, member);
                walk(member, visit);
            }
        }
        Value::Array(members) => members.iter().for_each(|member| walk(member, visit)),
        _ => {}
    }
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let mut expressions = Vec::new();
    walk(dashboard, &mut |name, value| {
        if name == "expr" {
            expressions.push(value.as_str().unwrap());
        }
    });
    expressions
}

#[test]
fn the_dashboard_names_what_is_exported() {
    assert!(assert_exported(DASHBOARD, &read(DASHBOARD)) > 20);
}

#[test]
fn the_dashboards_queries_are_queries() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 20);
    let rule = |(nth, expression): (usize, &&str)| {
        // What Grafana puts there; those in quotes may stay.
        let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
        serde_json::json!({ "record": format!("panel:query:{nth}"), "expr": expression })
    };
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    // YAML takes JSON.
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yml");
    fs::write(&file, rules.to_string()).unwrap();
    passes(&["check", "rules", file.to_str().unwrap()], "");
}

#[test]
fn the_dashboard_is_one_that_grafana_can_import() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"));
    walk(&dashboard, &mut |name, value| {
        if name == "datasource" {
            assert_eq!(value["uid"], "${datasource}", "a data source of somebody's own");
        }
    });
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "the id of {title} is another's too");
        assert!(panel["type"] == "row" || panel["description"].is_string(), "{title} says nothing of itself");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(cells.insert((x, y)), "{title} lies over another panel");
        }
    }
}
