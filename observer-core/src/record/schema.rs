//! The names of what is written as JSON, and their versions.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};

/// Such as `observer.event.v1`. An alias, since serde takes a plain `&str` for one
/// that is borrowed from what is read.
pub type Name = &'static str;

/// Reads a schema's name.
///
/// # Errors
/// If it is another than `expected`.
pub(crate) fn expect<'de, D: Deserializer<'de>>(expected: Name, deserializer: D) -> Result<Name, D::Error> {
    let name = Cow::<'_, str>::deserialize(deserializer)?;
    if name == expected { Ok(expected) } else { Err(D::Error::custom(format!("not {expected}"))) }
}

/// Reads a value that a later version may have widened: what this one cannot read is left out.
///
/// # Errors
/// If it is no JSON.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::alert::Alert;
    use crate::event::Event;
    use crate::sample::alerts;
    use crate::sample::any_event;

    /// What a reader in microseconds gets of a duration.
    fn in_micros(duration: Duration) -> Duration {
        Duration::from_micros(u64::try_from(duration.as_micros()).unwrap())
    }

    proptest! {
        #[test]
        fn an_event_reads_back(event in any_event()) {
            let json = serde_json::to_string(&event).unwrap();
            let read: Event = serde_json::from_str(&json).unwrap();
            let (elapsed, handshake) = (event.elapsed.map(in_micros), event.handshake.map(in_micros));
            prop_assert_eq!(read, Event { elapsed, handshake, ..event });
        }
    }

    #[test]
    fn an_alert_reads_back() {
        for alert in alerts() {
            let json = serde_json::to_string(&alert).unwrap();
            assert_eq!(serde_json::from_str::<Alert>(&json).unwrap(), alert);
        }
    }

    #[test]
    fn another_version_is_refused() {
        let json = serde_json::to_string(&alerts()[0]).unwrap().replace("alert.v1", "alert.v2");
        let error = serde_json::from_str::<Alert>(&json).unwrap_err().to_string();
        assert!(error.contains("not observer.alert.v1"), "{error}");
    }
}
