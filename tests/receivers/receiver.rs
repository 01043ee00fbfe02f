//! Receivers that can be taken away while observer sends.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::daemon::{Place, id};

/// An event's id, and the event as the receiver has it.
pub(crate) type Received = (String, Value);

pub(crate) trait Receiver {
    /// kill -9.
    fn kill(&mut self) -> Result<()>;

    fn restart(&mut self) -> Result<()>;

    /// The events that it has, in the order in which they came.
    fn events(&self, place: &Place) -> Result<Vec<Received>>;

    /// The events that it should have, in the order in which they were sent.
    fn expected(&self, place: &Place) -> Result<Vec<Received>> {
        Ok(place.json("reference.json")?.into_iter().filter_map(event).collect())
    }

    /// Whether it has so many.
    fn has(&self, place: &Place, count: usize) -> Result<bool> {
        Ok(distinct(&self.events(place)?) >= count)
    }
}

/// A record in format json, if it is an event.
pub(crate) fn event(record: Value) -> Option<Received> {
    (record["schema"] == "observer.event.v1").then(|| (id(&record).to_owned(), record))
}

/// Those of the file `NAME.out`, in format json.
pub(crate) fn written(place: &Place, name: &str) -> Result<Vec<Received>> {
    let lines = place.lines(&format!("{name}.out"))?;
    // The last line may be half written yet.
    Ok(lines.iter().filter_map(|line| event(serde_json::from_str(line).ok()?)).collect())
}

pub(crate) fn distinct(events: &[Received]) -> usize {
    events.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len()
}
