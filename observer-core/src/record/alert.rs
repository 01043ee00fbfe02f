//! The alert, version 1: how far failures reach has changed.
//!
//! It goes the way of events, and its JSON form is documented by
//! `schema/observer.alert.v1.json`.

use serde::{Deserialize, Deserializer, Serialize};

use crate::event::Host;
use crate::schema::{self, Name};
use crate::scope::ScopeChange;

/// Value of [`Alert::schema`].
pub const SCHEMA: &str = "observer.alert.v1";

/// A scope that began, widened or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "schema_name")]
    pub schema: Name,
    /// Stable and unique: host, boot, time, and which of that time's it is.
    pub id: String,
    /// This host's name.
    pub host: String,
    /// The change in a sentence, without a full stop.
    pub text: String,
    /// The change.
    #[serde(flatten)]
    pub change: ScopeChange,
}

impl Alert {
    /// The alerts of changes that were found at one time, in their order.
    pub fn of_changes(changes: Vec<ScopeChange>, host: &Host) -> Vec<Self> {
        let alert = |(nth, change): (usize, ScopeChange)| Self {
            schema: SCHEMA,
            id: format!("{}-{}-{:x}.s{nth}", host.name, host.boot, change.time.as_nanosecond()),
            host: host.name.clone(),
            text: change.to_string(),
            change,
        };
        changes.into_iter().enumerate().map(alert).collect()
    }
}

/// Reads [`SCHEMA`], and no other version.
fn schema_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    schema::expect(SCHEMA, deserializer)
}

#[cfg(test)]
pub(crate) mod tests;
