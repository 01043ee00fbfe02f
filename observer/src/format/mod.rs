//! Formats: pure functions from an event to bytes. Adding one is a file and an
//! arm of [`Format`].

pub mod json;
pub mod phrase;
pub mod span;
pub mod text;

use std::io;

use crate::alert::Alert;
use crate::event::Event;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line per event, for people
    #[default]
    Text,
    /// One JSON object per line, observer.event.v1, for programs
    Json,
}

impl Format {
    /// Appends the event, newline included. Only text has colour.
    pub fn append(self, event: &Event, is_coloured: bool, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text => text::append(event, is_coloured, out),
            Self::Json => json::append(event, out)?,
        }
        Ok(())
    }

    /// Appends the alert, newline included. Only text has colour.
    pub fn append_alert(self, alert: &Alert, is_coloured: bool, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text => text::append_alert(alert, is_coloured, out),
            Self::Json => json::append(alert, out)?,
        }
        Ok(())
    }
}
