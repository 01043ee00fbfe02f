//! Values of the formats that are text: sanitised, and with the format's own escapes.

use std::fmt::{self, Display, Write as _};

use crate::sanitize;

/// Appends a value's text, sanitised; `special` says what stands for a character that
/// has a meaning in the format.
pub(super) fn append(value: impl Display, special: impl Fn(char) -> Option<&'static str>, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail; a Display that fails says nothing more.
    let _ = write!(Escaping { special, out }, "{value}");
}

struct Escaping<'a, F> {
    special: F,
    out: &'a mut Vec<u8>,
}

impl<F: Fn(char) -> Option<&'static str>> fmt::Write for Escaping<'_, F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| self.is_special(c)) {
            self.out.extend_from_slice(&rest.as_bytes()[..at]);
            match (self.special)(c) {
                Some(escaped) => self.out.extend_from_slice(escaped.as_bytes()),
                None => self.hidden(c),
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.out.extend_from_slice(rest.as_bytes());
        Ok(())
    }
}

impl<F: Fn(char) -> Option<&'static str>> Escaping<'_, F> {
    fn is_special(&self, c: char) -> bool {
        !sanitize::is_visible(c) || (self.special)(c).is_some()
    }

    /// The backslash of what stands for a hidden character has its meaning too.
    fn hidden(&mut self, c: char) {
        for c in sanitize::escape(c).chars() {
            match (self.special)(c) {
                Some(escaped) => self.out.extend_from_slice(escaped.as_bytes()),
                None => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}
