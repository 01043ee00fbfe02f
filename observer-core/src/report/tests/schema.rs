use std::path::Path;

use serde_json::Value;

use super::{empty, live};
use crate::report::{Builder, Report, Source, json, sample};
use crate::sample::closed;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/observer.report.v1.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn errors(value: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&closed(schema())).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn value(report: &Report) -> Value {
    serde_json::from_slice(&json::render(report).unwrap()).unwrap()
}

#[test]
fn every_report_is_as_documented() {
    let mut captured = Builder::new(sample::frame());
    sample::attempts().iter().for_each(|(seen, comm)| _ = captured.add(seen, Some(comm)));
    let about = crate::report::About { source: Source::Live, ..sample::about() };
    for report in [sample::report(), empty(), captured.finish(about, live())] {
        assert_eq!(errors(&value(&report)), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_documented_is_found() {
    for (pointer, name) in [("", "more"), ("/overview", "more"), ("/destinations/0", "name"), ("/ledger", "lost")] {
        let mut changed = value(&sample::report());
        changed.pointer_mut(pointer).unwrap()[name] = Value::from(1);
        assert_ne!(errors(&changed), Vec::<String>::new(), "{pointer}/{name}");
    }
    let mut changed = value(&sample::report());
    changed["timeline"]["buckets"][0]["labels"]["refused"] = Value::from(-1);
    assert_ne!(errors(&changed), Vec::<String>::new());
}
