//! The Sigma rules: that they convert, name fields that ECS documents have, and
//! find what they are for and nothing else.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use observer_core::event::Event;
use observer_core::format::{Entry, Format};
use serde_json::{Value, json};

/// A refusal; scenarios change what they are about.
fn event(id: &str, changes: &Value) -> Event {
    let mut event = json!({
        "schema": "observer.event.v1",
        "id": id,
        "time": "2026-11-23T16:07:01.123456789Z",
        "host": "mx1",
        "label": "refused",
        "reason": "rst",
        "origin": "remote",
        "active_refusal": true,
        "errno": "ECONNREFUSED",
        "src": { "ip": "192.0.2.10", "port": 45890 },
        "dst": { "ip": "203.0.113.5", "port": 25 },
        "started": "2026-11-23T16:07:01.092Z",
        "elapsed_ms": 31.402,
        "syn_retransmits": 0,
        "evidence": { "rst_ttl": 57, "iface": "eth0" },
        "process": { "pid": 1203, "uid": 89, "comm": "smtp", "cgroup": "/postfix", "netns": 4_026_531_840_u32 },
    });
    merge(&mut event, changes);
    serde_json::from_value(event).unwrap()
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

/// So many refusals, `apart` seconds from each other, by the address that `to` gives.
fn refusals(host: &str, count: u8, apart: i64, to: impl Fn(u8) -> String) -> Vec<Event> {
    let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let one = |nth: u8| {
        let time = start + SignedDuration::from_secs(i64::from(nth) * apart);
        let changes = json!({ "host": host, "time": time, "started": time, "dst": { "ip": to(nth) } });
        event(&format!("{host}-{nth}"), &changes)
    };
    (0..count).map(one).collect()
}

fn events() -> Vec<Event> {
    let connected =
        json!({ "label": "connected", "reason": null, "origin": null, "active_refusal": null, "errno": null });
    let mut web = connected.clone();
    merge(&mut web, &json!({ "process": { "comm": "php-fpm", "uid": 33 } }));
    let submission = json!({ "dst": { "port": 587 }, "process": { "comm": "thunderbird", "uid": 1000 } });
    let blocked = json!({ "label": "blocked", "reason": "local-firewall", "origin": "local" });
    let (mut user, mut root) = (blocked.clone(), blocked);
    merge(&mut user, &json!({ "process": { "comm": "sendmail", "uid": 33 } }));
    merge(&mut root, &json!({ "process": { "comm": "sendmail", "uid": 0 } }));
    let mut events = vec![
        event("refused", &json!({})),
        event("connected", &connected),
        event("web", &web),
        event("submission", &submission),
        event("blocked-user", &user),
        event("blocked-root", &root),
        event("middlebox", &json!({ "origin": "suspected-middlebox" })),
        event("unnamed", &json!({ "process": null })),
    ];
    // Twenty within ten minutes; as many, more slowly; one too few.
    events.extend(refusals("scanner", 20, 30, |nth| format!("198.51.100.{nth}")));
    events.extend(refusals("slow", 20, 60, |nth| format!("198.51.100.{nth}")));
    events.extend(refusals("few", 19, 1, |nth| format!("198.51.100.{nth}")));
    // Thirty by one destination; one too few.
    events.extend(refusals("tireless", 30, 10, |_| "2001:db8::25".to_owned()));
    events.extend(refusals("patient", 29, 10, |_| "2001:db8::25".to_owned()));
    events
}

/// What `tests/sigma/check.py` says.
fn check() -> Value {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = repository.join(".cache/sigma/bin/python");
    assert!(python.exists(), "pySigma is not there: run `./x setup`");
    let mut documents = Vec::new();
    for event in events() {
        Format::Ecs.append(Entry::Event(&event), false, &mut documents).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), documents).unwrap();
    let mut command = Command::new(python);
    command.current_dir(repository).args(["tests/sigma/check.py", "packaging/sigma"]).arg(file.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_rules_find_what_they_are_for() {
    let checked = check();
    assert_eq!(checked["issues"], json!([]));

    let columns = strings(&checked["columns"]);
    let fields = strings(&checked["fields"]);
    let unknown: Vec<_> = fields.iter().filter(|field| !columns.contains(*field)).collect();
    assert!(unknown.is_empty(), "no ECS document has {unknown:?}");
    assert!(fields.len() > 10, "{fields:?}");

    // The two correlations stand for the rule that they count.
    let esql = strings(&checked["esql"]);
    assert_eq!(esql.len(), 5, "{esql:?}");
    assert_eq!(esql.iter().filter(|query| query.contains("date_trunc(10minutes, @timestamp)")).count(), 2, "{esql:?}");

    let matches = |rule: &str| strings(&checked["matches"][rule]);
    assert_eq!(matches("observer_smtp_no_mta"), ["web"]);
    assert_eq!(matches("observer_smtp_blocked_user"), ["blocked-user"]);
    assert_eq!(matches("observer_smtp_middlebox_rst"), ["middlebox"]);
    assert_eq!(matches("observer_smtp_mass_refusal"), [r#"{"host.name":"scanner"}"#]);
    let tireless = r#"{"host.name":"tireless","destination.ip":"2001:db8::25"}"#;
    assert_eq!(matches("observer_smtp_repeated_refusal"), [tireless]);
    let refused = matches("observer_smtp_refused");
    assert_eq!(refused.len(), 4 + 20 + 20 + 19 + 30 + 29, "{refused:?}");
    assert_eq!(checked["matches"].as_object().unwrap().len(), 6);
}
