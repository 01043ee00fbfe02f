//! `observer.event.v1` and `observer.alert.v1` as NDJSON: one object, one line.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::sanitize::{is_plain, is_visible};

/// Appends an event, or whatever is to be one line, newline included. Characters that could
/// deceive on a terminal are written as `\u` escapes, which parse back to
/// themselves; newlines inside strings are among them.
pub fn append(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let start = out.len();
    if let Err(error) = write(value, out) {
        out.truncate(start);
        return Err(error);
    }
    out.push(b'\n');
    Ok(())
}

/// Appends compact JSON that another process wrote, newline included, with characters written
/// as in [`append`].
pub fn append_as_it_came(json: &str, out: &mut Vec<u8>) {
    for c in json.chars() {
        if is_visible(c) {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        // Such characters are inside strings only.
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
    out.push(b'\n');
}

/// Writes a value, as [`append`] does, without the newline.
pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, SafeFormatter))
}

/// serde_json's compact form; it escapes the C0 controls, this the rest.
struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if is_plain(fragment) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|&(_, c)| !is_visible(c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests;
