//! What is allowed and makes no sense.

use observer_core::label::Label;

use crate::config::{Config, Places, Problem, SinkConfig};
use crate::deliver::target::Target;

const TLS_KEYS: [&str; 4] = ["tls_ca", "tls_cert", "tls_key", "tls_server_name"];

/// What of a configuration has no effect, or hardly the one that was meant.
pub(super) fn remarks(config: &Config, places: &Places) -> Vec<Problem> {
    let mut remarks = Vec::new();
    for sink in &config.sinks {
        let section = format!("sink.{}", sink.name);
        let remark = |(key, text): (&str, String)| places.problem(&section, key, &text);
        remarks.extend(of_sink(sink, &config.ports).into_iter().map(remark));
        let is_written = |key: &str| places.has(&section, key);
        remarks.extend(of_target(&sink.target, is_written).into_iter().map(remark));
    }
    let is_idle = config.history.is_none() && config.socket.is_none() && config.metrics.is_none();
    if is_idle && config.sinks.is_empty() {
        let text = "= false: nothing is recorded, sent, served or counted: enable a part, or add a sink";
        remarks.push(places.problem("history", "enabled", text));
    }
    remarks
}

fn of_sink(sink: &SinkConfig, watched: &[u16]) -> Vec<(&'static str, String)> {
    let (kinds, filter) = (sink.kinds, &sink.filter);
    if !(kinds.failures || kinds.successes || kinds.minutes || kinds.alerts) {
        return vec![("send", "= []: nothing is sent: name kinds of records, or remove the sink".to_owned())];
    }
    let mut remarks = Vec::new();
    let has_events = kinds.failures || kinds.successes;
    let keys = [
        ("labels", filter.labels.is_empty()),
        ("destinations", filter.destinations.is_empty()),
        ("ports", filter.ports.is_empty()),
        ("comm", filter.comms.is_empty()),
        ("uid", filter.uids.is_empty()),
        ("cgroup", filter.cgroups.is_empty()),
    ];
    if !has_events {
        let set = keys.into_iter().filter(|(_, is_empty)| !is_empty);
        let text = "has no effect: it is about events, and the sink's \"send\" has neither failures nor successes";
        remarks.extend(set.map(|(key, _)| (key, text.to_owned())));
        return remarks;
    }
    let unwatched: Vec<u16> = filter.ports.iter().copied().filter(|port| !watched.contains(port)).collect();
    if !unwatched.is_empty() {
        let unwatched = super::super::live::list(&unwatched);
        let is_any = filter.ports.iter().any(|port| watched.contains(port));
        let follows = if is_any { "" } else { ", so that no event is sent" };
        let text = format!("names {unwatched}, not watched{follows}: add to [watch] ports, or leave out here");
        remarks.push(("ports", text));
    }
    remarks.extend(of_labels(sink));
    remarks
}

fn of_target(target: &Target, is_written: impl Fn(&str) -> bool) -> Vec<(&'static str, String)> {
    match target {
        Target::File(file) if file.rotate_bytes.is_none() && is_written("keep") => {
            vec![("keep", "has no effect without \"rotate_size\": set that too, or leave this out".to_owned())]
        }
        Target::File(file) if file.rotate_bytes.is_some() && file.keep == 0 => {
            let text = "= 0: all records are deleted whenever the file reaches \"rotate_size\": keep 1 at least";
            vec![("keep", text.to_owned())]
        }
        Target::Http(http) if http.url.starts_with("http://") => {
            let written = TLS_KEYS.into_iter().filter(|key| is_written(key));
            written.map(|key| (key, "has no effect: \"url\" begins with http://: use https://".to_owned())).collect()
        }
        _ => Vec::new(),
    }
}

fn of_labels(sink: &SinkConfig) -> Option<(&'static str, String)> {
    let (kinds, labels) = (sink.kinds, &sink.filter.labels);
    if labels.is_empty() {
        return None;
    }
    let has_success = labels.contains(&Label::Connected);
    let has_failure = labels.iter().any(|label| *label != Label::Connected);
    let text = match (has_success, has_failure, kinds.successes, kinds.failures) {
        (true, _, false, _) => "\"connected\" is a success, and \"send\" has no successes: add it there",
        (false, _, true, _) => {
            "leaves out \"connected\", and \"send\" has successes: add it here, or take them out there"
        }
        (_, true, _, false) => "names failures, and \"send\" has none: add failures there",
        (_, false, _, true) => "names no failure, and \"send\" has failures: add some here, or take them out there",
        _ => return None,
    };
    Some(("labels", text.to_owned()))
}
