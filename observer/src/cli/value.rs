//! Parsers of single values, for clap: it puts the option and the value before an error.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use observer_core::choice::Choice;

pub(crate) use crate::config::value::*;

/// One of a few values, by its name.
pub(crate) fn one_of<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let possible = |&value: &T| PossibleValue::new(value.name()).help(value.help());
    PossibleValuesParser::new(T::ALL.iter().map(possible)).try_map(|name| T::of(&name).ok_or("no such value"))
}
