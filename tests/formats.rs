//! ECS and OCSF output against the official definitions, and beyond what those can
//! tell. `./x setup` and `./x test` fetch the definitions into .cache/formats.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::path::PathBuf;
use std::process::Command;

use observer_core::alert::Alert;
use observer_core::event::Event;
use observer_core::format::{Entry, Format};
use observer_core::label::{Label, Reason};
use observer_core::minute::Minute;
use observer_core::notice::Notice;
use serde_json::{Value, json};

/// Where `./x` puts the definitions. Without them this fails.
fn definition(path: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/formats").join(path);
    assert!(path.exists(), "{} is not there: run ./x setup, which fetches it", path.display());
    path
}

/// Every fixture with every label and every reason, though most never meet.
fn events() -> Vec<Event> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/event-v1");
    let mut events = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let event: Event = serde_json::from_str(&text).unwrap();
        for label in Label::ALL {
            let reasons =
                ["rst", "abandoned", "icmp-admin-prohibited", "no-route", "local-firewall", "before-banner", "unknown"];
            let reasons = reasons.map(|reason| serde_json::from_value::<Reason>(reason.into()).unwrap());
            let of = |reason| Event { label, reason, ..event.clone() };
            match label {
                Label::Connected => events.push(of(None)),
                _ => events.extend(reasons.into_iter().map(|reason| of(Some(reason)))),
            }
        }
    }
    assert!(events.len() > 500, "{} events", events.len());
    events
}

fn alerts() -> Vec<Alert> {
    let scopes = [
        json!({ "scope": "everything", "port": 25 }),
        json!({ "scope": "only-ipv6", "port": 25 }),
        json!({ "scope": "only-source", "ip": "192.0.2.10" }),
        json!({ "scope": "prefix", "prefix": "203.0.113.0/24", "port": 25 }),
        json!({ "scope": "destination", "ip": "2001:db8::5", "port": 25 }),
        json!({ "scope": "intermittent", "ip": "203.0.113.5", "port": 25, "connections": 20, "period_s": 600 }),
    ];
    let mut alerts = Vec::new();
    for (scope, change) in scopes.iter().flat_map(|scope| ["began", "widened", "ended"].map(|change| (scope, change))) {
        let mut alert = json!({
            "schema": "observer.alert.v1", "id": "mx1-6f0c2d9e-1.s0", "host": "mx1", "text": "It fails",
            "change": change, "time": "2026-11-23T16:07:01.123456789Z", "since": "2026-11-23T16:00:00Z",
            "window": "10m", "attempts": 40, "failures": 39, "destinations": 1, "label": "refused",
            "elsewhere_attempts": 200, "elsewhere_successes": 198,
        });
        alert.as_object_mut().unwrap().extend(scope.as_object().unwrap().clone());
        alerts.push(serde_json::from_value(alert).unwrap());
    }
    alerts
}

fn minutes() -> Vec<Minute> {
    let minute = |label: Label| {
        json!({
            "schema": "observer.minute.v1", "id": "mx1-6f0c2d9e-1.m1.1", "host": "mx1", "time": "2026-11-23T16:07:00Z",
            "end": "2026-11-23T16:08:00Z", "src_ip": "192.0.2.10", "dst": { "ip": "2001:db8::5", "port": 25 },
            "label": label.as_str(), "count": 40,
        })
    };
    Label::ALL.into_iter().map(|label| serde_json::from_value(minute(label)).unwrap()).collect()
}

fn notices() -> Vec<Notice> {
    let notice = |kind: &str| {
        json!({
            "schema": "observer.notice.v1", "id": "mx1-6f0c2d9e-1.n1", "time": "2026-11-23T16:07:01.123Z", "host": "mx1",
            "kind": kind, "sink": "siem", "count": 3, "since": "2026-11-23T16:00:00Z", "cause": "a \"cause\"", "text": "It ails",
        })
    };
    let kinds = ["sink-down", "sink-up", "events-dropped", "messages-refused", "spool-corrupt"];
    kinds.map(|kind| serde_json::from_value(notice(kind)).unwrap()).to_vec()
}

/// Everything in a format.
fn documents(format: Format) -> Vec<Value> {
    let (events, alerts, minutes, notices) = (events(), alerts(), minutes(), notices());
    let entries = events.iter().map(Entry::Event).chain(alerts.iter().map(Entry::Alert));
    let entries = entries.chain(minutes.iter().map(Entry::Minute)).chain(notices.iter().map(Entry::Notice));
    let document = |entry| {
        let mut line = Vec::new();
        format.append(entry, false, &mut line).unwrap();
        serde_json::from_slice(&line).unwrap()
    };
    entries.map(document).collect()
}

#[test]
fn ocsf_is_what_its_schemas_say() {
    let class = |uid: u64| match uid {
        4001 => "network_activity",
        2004 => "detection_finding",
        6008 => "application_error",
        _ => panic!("class {uid}"),
    };
    let schema = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(definition(&format!("ocsf/{name}.json"))).unwrap()).unwrap()
    };
    let uids = [4001, 2004, 6008];
    let schemas = uids.map(|uid| schema(class(uid)));
    let validators = schemas.each_ref().map(|schema| jsonschema::draft202012::new(schema).unwrap());
    for document in documents(Format::Ocsf) {
        let uid = document["class_uid"].as_u64().unwrap();
        let nth = uids.iter().position(|&known| known == uid).unwrap();
        let errors: Vec<_> = validators[nth].iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {document}");
        // What the schema cannot tell.
        let activity = document["activity_id"].as_u64().unwrap();
        assert_eq!(document["type_uid"].as_u64(), Some(uid * 100 + activity), "{document}");
        assert_eq!(document["category_uid"].as_u64(), Some(uid / 1_000), "{document}");
        let caption = |name: &str| document[name].as_str().unwrap().to_owned();
        assert_eq!(caption("type_name"), format!("{}: {}", caption("class_name"), caption("activity_name")));
        let time = document["time"].as_i64().unwrap();
        assert!((1_700_000_000_000..2_000_000_000_000).contains(&time), "milliseconds: {time}");
    }
}

/// The package has types for TypeScript, whose compiler refuses fields that are not
/// in them, and values of another type.
#[test]
fn ecs_has_no_field_that_is_not_in_its_definition() {
    let compiler = definition("ecs/node_modules/typescript/bin/tsc");
    definition("ecs/node_modules/@elastic/ecs/package.json");
    let directory = definition("ecs");
    // One by one: of a list the compiler makes the union of all types, which gets too large.
    let one = |(number, document)| format!("export const document{number}: Document = {document};\n");
    let list: String = documents(Format::Ecs).iter().enumerate().map(one).collect();
    let source = format!(
        "import type {{ Ecs }} from '@elastic/ecs';\ntype Document = Ecs & {{ tcp_observer: object }};\n{list}"
    );
    std::fs::write(directory.join("documents.ts"), &source).unwrap();
    // That the compiler would notice is a part of the test.
    let wrong = source.replacen("\"transport\":\"tcp\"", "\"transport\":6,\"trasport\":\"tcp\"", 1);
    std::fs::write(directory.join("wrong.ts"), wrong).unwrap();
    let compile = |file: &str| {
        let output = Command::new("node")
            .arg(&compiler)
            .args(["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", file])
            .current_dir(&directory)
            .output()
            .expect("node, which ./x setup installs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_right, said) = compile("documents.ts");
    assert!(is_right, "{}", said.chars().take(2_000).collect::<String>());
    let (is_right, said) = compile("wrong.ts");
    assert!(!is_right && (said.contains("trasport") || said.contains("not assignable")), "{said}");
}

/// What those types leave open: the values that ECS 9.4 allows.
#[test]
fn ecs_has_the_values_that_it_allows() {
    let network = ["access", "allowed", "connection", "denied", "end", "info", "protocol", "start"];
    let process = ["access", "change", "end", "info", "start"];
    for document in documents(Format::Ecs) {
        let event = &document["event"];
        assert!(["alert", "event", "metric"].contains(&event["kind"].as_str().unwrap()), "{document}");
        let category = event.pointer("/category/0").and_then(Value::as_str).unwrap();
        let allowed: &[&str] = match category {
            "network" => &network,
            "process" => &process,
            _ => panic!("category {category}"),
        };
        let types = event["type"].as_array().unwrap();
        assert!(types.iter().all(|kind| allowed.contains(&kind.as_str().unwrap())), "{document}");
        let outcome = event["outcome"].as_str();
        assert!(outcome.is_none_or(|outcome| ["success", "failure", "unknown"].contains(&outcome)), "{document}");
        assert!(event["duration"].is_null() || event["duration"].is_u64(), "nanoseconds: {document}");
        assert!(document.get("observer").is_none(), "ECS has that for itself: {document}");
        for ip in ["/source/ip", "/destination/ip"].map(|path| document.pointer(path).and_then(Value::as_str)) {
            assert!(ip.is_none_or(|ip| ip.parse::<std::net::IpAddr>().is_ok()), "{document}");
        }
        let time = document["@timestamp"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
    }
}
