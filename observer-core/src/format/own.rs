//! What formats with fields of their own have no field for, by the names of
//! `observer.event.v1` and `observer.alert.v1`.

use serde_json::Value;

use super::object::Object;
use crate::alert::Alert;
use crate::event::Event;

/// Writes it: all of the event but its identity, times, ends and process.
pub(super) fn put(event: &Event, object: &mut Object<'_>) -> serde_json::Result<()> {
    object.put("label", event.label)?;
    object.put("reason", event.reason)?;
    object.put("origin", event.origin)?;
    object.put("active_refusal", event.active_refusal)?;
    object.put("syn_retransmits", event.syn_retransmits)?;
    object.put("evidence", &event.evidence)?;
    object.nest("process", |object| {
        let process = event.process.as_ref();
        object.put("cgroup", process.and_then(|process| process.cgroup.as_ref()))?;
        object.put("netns", process.map(|process| process.netns))
    })?;
    object.put("mta", &event.mta)?;
    object.put("destination", &event.destination)
}

/// All of the alert but its identity, times and text.
pub(super) fn of_alert(alert: &Alert) -> serde_json::Result<Value> {
    let mut own = serde_json::to_value(alert)?;
    if let Value::Object(members) = &mut own {
        members.retain(|name, _| !["schema", "id", "time", "host", "text", "since"].contains(&name.as_str()));
    }
    Ok(own)
}
