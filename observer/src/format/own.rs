//! What formats with fields of their own have no field for, by the names of
//! `observer.event.v1`.

use super::object::Object;
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
    object.put("destination", &event.destination)
}
