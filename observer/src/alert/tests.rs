use std::collections::BTreeSet;

use insta::assert_snapshot;
use jiff::Timestamp;
use serde_json::Value;

use super::Alert;
use crate::event::Host;
use crate::format::{Entry, Format};
use crate::label::Label;
use crate::sample;
use crate::scope::{Change, Numbers, Scope, ScopeChange, Verdict};
use crate::tally::Window;

fn host() -> Host {
    Host { name: "mx1".to_owned(), boot: "6f0c2d9e".to_owned() }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn change(kind: Change, scope: Scope, from: Vec<Scope>) -> ScopeChange {
    let numbers = Numbers {
        window: Window::TenMinutes,
        attempts: 40,
        failures: 39,
        destinations: 4,
        label: Some(Label::Refused),
        elsewhere_attempts: 200,
        elsewhere_successes: 198,
    };
    let (time, since) = (time("2026-11-23T16:07:01.123Z"), time("2026-11-23T15:58:41Z"));
    ScopeChange { kind, time, since, verdict: Verdict { scope, numbers }, from }
}

/// Every scope and every change.
pub(crate) fn alerts() -> Vec<Alert> {
    let (ip, port) = (sample::ip("203.0.113.5"), 25);
    let destination = Scope::Destination { ip, port };
    let scopes = vec![
        Scope::Everything { port },
        Scope::OnlyIpv4 { port },
        Scope::OnlyIpv6 { port },
        Scope::OnlySource { ip: sample::ip("192.0.2.10") },
        destination.clone(),
        Scope::Intermittent { ip, port, connections: 20, period_s: 60 },
        Scope::TooLittleData { port },
    ];
    let mut changes: Vec<_> = scopes.into_iter().map(|scope| change(Change::Began, scope, Vec::new())).collect();
    let prefix = || Scope::Prefix { prefix: "203.0.113.0/24".parse().unwrap(), port };
    changes.push(change(Change::Widened, prefix(), vec![destination]));
    changes.push(change(Change::Ended, prefix(), Vec::new()));
    Alert::of_changes(changes, &host())
}

fn line(alert: &Alert, format: Format) -> String {
    let mut out = Vec::new();
    format.append(Entry::Alert(alert), false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn alerts_in_words() {
    let lines: String = alerts().iter().map(|alert| line(alert, Format::Text)).collect();
    assert_snapshot!(lines);
}

#[test]
fn an_alert_is_one_line_of_json() {
    assert_snapshot!(line(&alerts()[7], Format::Json));
}

#[test]
fn the_schema_describes_every_alert() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/observer.alert.v1.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    let described: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut used = BTreeSet::new();
    let alerts = alerts();
    let values: Vec<Value> =
        alerts.iter().map(|alert| serde_json::from_str(&line(alert, Format::Json)).unwrap()).collect();
    for value in &values {
        let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{value}");
        used.extend(value.as_object().unwrap().keys());
    }
    assert_eq!(used, described);
}

#[test]
fn alerts_of_one_time_have_ids_of_their_own() {
    let ids: BTreeSet<String> = alerts().into_iter().map(|alert| alert.id).collect();
    assert_eq!(ids.len(), alerts().len());
}
