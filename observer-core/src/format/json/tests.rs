use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::Value;

use super::append;
use crate::event::{Event, SCHEMA};
use crate::label::{Label, Origin, Reason};
use crate::sample;
use crate::sanitize::is_visible;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn schema() -> Value {
    let text = std::fs::read_to_string(repository().join("schema/observer.event.v1.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema()).unwrap()
}

fn line(event: &Event) -> String {
    let mut out = Vec::new();
    append(event, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn errors(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The paths of `value` that `schema` does not describe.
fn undocumented(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let described = |name: &String| schema["properties"].get(name);
    let deeper = |(name, value): (&String, &Value)| match described(name) {
        Some(inner) => undocumented(inner, value, &format!("{path}/{name}")),
        None => vec![format!("{path}/{name}")],
    };
    object.iter().flat_map(deeper).collect()
}

/// The paths of everything that `schema` describes, leaves only.
fn documented(schema: &Value, path: &str) -> Vec<String> {
    match schema["properties"].as_object() {
        Some(inner) => inner.iter().flat_map(|(name, inner)| documented(inner, &format!("{path}/{name}"))).collect(),
        None => vec![path.to_owned()],
    }
}

fn fixtures() -> Vec<(PathBuf, Value)> {
    let folder = repository().join("tests/fixtures/event-v1");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let parse = |path: PathBuf| {
        let value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (path, value)
    };
    paths.into_iter().map(parse).collect()
}

#[test]
fn an_event_is_one_line() {
    assert_snapshot!(line(&sample::event(Label::Refused, Some(Reason::Rst))), @r#"{"schema":"observer.event.v1","id":"mx1-6f0c2d9e-10c388d00.1","time":"2026-11-23T16:07:01.123456789Z","host":"mx1","label":"refused","reason":"rst","origin":"remote","active_refusal":true,"errno":"ECONNREFUSED","src":{"ip":"192.0.2.10","port":45890},"dst":{"ip":"203.0.113.5","port":25},"started":"2026-11-23T16:07:01.092054789Z","elapsed_ms":31.402,"syn_retransmits":0,"evidence":{"rst_ttl":57,"iface":"eth0","route_iface":"eth0"},"process":{"pid":1203,"uid":89,"comm":"smtp","cgroup":"/system.slice/postfix.service","netns":4026531840}}"#);
}

#[test]
fn absent_is_omitted() {
    let mut event = sample::event(Label::Connected, None);
    (event.process, event.src, event.started, event.elapsed) = (None, Default::default(), None, None);
    event.evidence = Default::default();
    assert_snapshot!(line(&event), @r#"{"schema":"observer.event.v1","id":"mx1-6f0c2d9e-10c388d00.1","time":"2026-11-23T16:07:01.123456789Z","host":"mx1","label":"connected","errno":"ECONNREFUSED","dst":{"ip":"203.0.113.5","port":25},"syn_retransmits":0}"#);
}

#[test]
fn what_could_deceive_is_escaped_and_parses_back() {
    let comm = "\x1b[2J\u{9b}31m\u{202e}\u{e0041}\n\"\\\u{7f}é";
    let mut event = sample::event(Label::Refused, Some(Reason::Rst));
    event.process.as_mut().unwrap().comm = comm.to_owned();
    let line = line(&event);
    let shown = r#""comm":"\u001b[2J\u009b31m\u202e\udb40\udc41\n\"\\\u007fé""#;
    assert!(line.contains(shown), "{line}");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["process"]["comm"], comm);
}

#[test]
fn the_schema_names_every_word() {
    let schema = schema();
    let listed = |name: &str| -> Vec<String> {
        let words = schema["properties"][name]["enum"].as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("label"), Label::ALL.map(Label::as_str));
    let judgements = proptest::collection::vec(sample::any_code(), 20_000);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let codes = judgements.new_tree(&mut runner).unwrap().current();
    let verdicts: Vec<_> = codes.iter().map(crate::label::label).collect();
    let seen = |word: &String| verdicts.iter().any(|verdict| verdict.reason.map(Reason::as_str) == Some(word));
    let unseen: Vec<_> = listed("reason").into_iter().filter(|word| !seen(word)).collect();
    assert!(unseen.is_empty(), "in the schema, and no judgement gives it: {unseen:?}");
    assert_eq!(listed("origin").len(), 6);
    assert!(listed("origin").contains(&Origin::SuspectedMiddlebox.as_str().to_owned()));
}

#[test]
fn every_fixture_validates_and_is_documented() {
    let (schema, validator) = (schema(), validator());
    let fixtures = fixtures();
    for (path, value) in &fixtures {
        assert_eq!(errors(&validator, value), [""; 0], "{}", path.display());
        assert_eq!(undocumented(&schema, value, ""), [""; 0], "{}", path.display());
        let label = value["label"].as_str().unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
        assert!(name.starts_with(label), "{name} holds {label}");
    }
    for label in Label::ALL {
        assert!(fixtures.iter().any(|(_, value)| value["label"] == label.as_str()), "no fixture for {label:?}");
    }
}

#[test]
fn fixtures_show_every_field() {
    let fixtures = fixtures();
    for path in documented(&schema(), "") {
        assert!(fixtures.iter().any(|(_, value)| value.pointer(&path).is_some()), "no fixture shows {path}");
    }
}

#[test]
fn the_schema_refuses_what_is_no_event() {
    let validator = validator();
    let good = &fixtures()[0].1;
    let changes: [(&str, Value); 8] = [
        ("/schema", "observer.event.v2".into()),
        ("/label", "denied".into()),
        ("/reason", Value::Null),
        ("/time", "yesterday".into()),
        ("/dst", serde_json::json!({"ip": "mx.example.net", "port": 25})),
        ("/dst", serde_json::json!({"ip": "203.0.113.5", "port": 65_536})),
        ("/elapsed_ms", "31".into()),
        ("/syn_retransmits", (-1).into()),
    ];
    for (path, wrong) in changes {
        let mut value = good.clone();
        value[path.trim_start_matches('/')] = wrong;
        assert!(!validator.is_valid(&value), "{path} {value}");
    }
    for name in ["schema", "id", "time", "host", "label", "reason", "origin", "active_refusal", "dst"] {
        let mut value = good.clone();
        value.as_object_mut().unwrap().remove(name);
        assert!(!validator.is_valid(&value), "without {name}");
    }
    let mut more = good.clone();
    more["a_later_addition"] = 1.into();
    assert!(validator.is_valid(&more), "additions are allowed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn every_event_validates_and_parses_back(event in sample::any_event()) {
        thread_local!(static SCHEMA_AND_VALIDATOR: (Value, Validator) = (schema(), validator()));
        let line = line(&event);
        let body = line.strip_suffix('\n').unwrap();
        prop_assert!(body.chars().all(is_visible), "{body:?}");
        let parsed: Value = serde_json::from_str(body).unwrap();
        let (errors, unknown) = SCHEMA_AND_VALIDATOR
            .with(|(schema, validator)| (errors(validator, &parsed), undocumented(schema, &parsed, "")));
        prop_assert!(errors.is_empty(), "{errors:?} {body}");
        prop_assert!(unknown.is_empty(), "{unknown:?}");
        let plain: Value = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        prop_assert_eq!(&parsed, &plain);
        prop_assert_eq!(parsed["schema"].as_str(), Some(SCHEMA));
        prop_assert_eq!(parsed["host"].as_str(), Some(event.host.as_str()));
        let comm = event.process.as_ref().map(|process| process.comm.as_str());
        prop_assert_eq!(parsed["process"]["comm"].as_str(), comm);
    }
}
