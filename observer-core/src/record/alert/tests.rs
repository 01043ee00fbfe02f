use std::collections::BTreeSet;

use insta::assert_snapshot;
use serde_json::Value;

use super::Alert;
use crate::format::{Entry, Format};
use crate::sample::alerts;

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
