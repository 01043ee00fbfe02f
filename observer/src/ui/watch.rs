//! Puts events out.

use std::io::{self, ErrorKind, Write};

use observer_core::alert::Alert;
use observer_core::event::Event;
use observer_core::format::{Entry, Format, json, text};
use observer_core::wire::{Joined, LaterAlert};
use observer_core::wrap;

/// Bytes kept back until a flush: more than a pipe holds gains nothing.
const BUFFER: usize = 64 << 10;

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Shown {
    /// Go on.
    Yes,
    /// The reader closed the pipe: stop, quietly.
    ReaderGone,
}

/// Formats events and writes them to one place.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    format: Format,
    is_coloured: bool,
    pending: Vec<u8>,
    /// Columns of the terminal, if it is one.
    columns: fn() -> Option<u16>,
}

/// Lines that go on begin below the label, behind the time.
const INDENT: &str = "              ";

impl<W: Write> Writer<W> {
    /// A writer to `out`, which need not be buffered.
    pub fn new(out: W, format: Format, is_coloured: bool) -> Self {
        Self { out, format, is_coloured, pending: Vec::new(), columns: || None }
    }

    /// With lines of text as wide as `columns` says, where it does: a terminal breaks words.
    #[must_use]
    pub fn fitting(self, columns: fn() -> Option<u16>) -> Self {
        Self { columns, ..self }
    }

    /// Takes an event; it is surely written only after [`Self::flush`]. Never
    /// writes a part of a line, unless the write itself fails.
    ///
    /// # Errors
    /// Those of the write, but not a closed pipe; a full disk says what to do.
    /// What was pending then is dropped, so that the next call does not repeat it.
    pub fn event(&mut self, event: &Event) -> io::Result<Shown> {
        self.format.append(Entry::Event(event), self.is_coloured, &mut self.pending)?;
        if self.pending.len() < BUFFER {
            return Ok(Shown::Yes);
        }
        self.send(false)
    }

    /// Takes an event of another version, and how that wrote it: JSON and text show what this
    /// version cannot read.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn event_as_it_came(&mut self, event: &Event, json: &str) -> io::Result<Shown> {
        match self.format {
            Format::Json => json::append_as_it_came(json, &mut self.pending),
            Format::Text => text::append_in_words(event, &text::Words::read(json), self.is_coloured, &mut self.pending),
            _ => return self.event(event),
        }
        if self.pending.len() < BUFFER { Ok(Shown::Yes) } else { self.send(false) }
    }

    /// Takes an alert of which only the sentence can be read. Only text has a line for it.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn later_alert(&mut self, alert: &LaterAlert) -> io::Result<Shown> {
        if self.format == Format::Text {
            text::append_sentence(alert.time, &alert.text, self.is_coloured, &mut self.pending);
        }
        self.send(true)
    }

    /// Takes an alert, as [`Self::event`] does an event.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn alert(&mut self, alert: &Alert) -> io::Result<Shown> {
        self.format.append(Entry::Alert(alert), self.is_coloured, &mut self.pending)?;
        self.send(true)
    }

    /// Takes what the mail server's log says of an attempt. Only text has a line for it.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn delivery(&mut self, delivery: &Joined) -> io::Result<Shown> {
        if self.format == Format::Text {
            text::append_delivery(delivery, self.is_coloured, &mut self.pending);
        }
        Ok(Shown::Yes)
    }

    /// Writes what is pending; to be called after each batch.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn flush(&mut self) -> io::Result<Shown> {
        self.send(true)
    }

    fn send(&mut self, is_flush: bool) -> io::Result<Shown> {
        if self.format == Format::Text
            && let Some(columns) = (self.columns)()
        {
            self.pending = fitted(&self.pending, columns);
        }
        let written = self.out.write_all(&self.pending);
        self.pending.clear();
        let written = written.and_then(|()| if is_flush { self.out.flush() } else { Ok(()) });
        match written {
            Ok(()) => Ok(Shown::Yes),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Shown::ReaderGone),
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(io::Error::new(error.kind(), format!("{error}; free some space, or write elsewhere")))
            }
            Err(error) => Err(error),
        }
    }
}

fn fitted(lines: &[u8], columns: u16) -> Vec<u8> {
    let text = String::from_utf8_lossy(lines);
    let fitted: String = text.lines().map(|line| wrap::fit(line, usize::from(columns), INDENT) + "\n").collect();
    fitted.into_bytes()
}

#[cfg(test)]
mod tests;
