//! Whether anything in a log is understood.

use super::Writer;
use super::advice::COMPRESSED as SHOWN_COMPRESSED;
use super::words::redacted_unknown;

/// So many lines of other programs are nothing odd in a log that they share with the mail server.
const OTHERS_MAX: u64 = 100;
/// Bytes of a line that are shown.
const SHOWN_MAX: usize = 200;
/// So many bytes of it are looked at.
const LOOKED_AT: usize = 4_096;
/// What zstd(1) and gzip(1) begin with, as text.
const COMPRESSED: [&str; 2] = ["(\u{fffd}/\u{fffd}", "\u{1f}\u{fffd}"];

/// The lines of a log, as far as it takes to tell that nothing in it is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Understanding {
    others: u64,
    unknown: u64,
    is_understood: bool,
    first: Option<String>,
}

impl Understanding {
    /// Takes a line without its end, and who wrote it.
    pub fn take(&mut self, line: &[u8], writer: Writer) {
        match writer {
            Writer::Server => *self = Self { is_understood: true, ..Self::default() },
            _ if self.is_understood || line.trim_ascii().is_empty() => {}
            Writer::Other => {
                self.others += 1;
                self.first.get_or_insert_with(|| shown(line));
            }
            Writer::Unknown => {
                self.unknown += 1;
                // It says more than a line of another program.
                if self.unknown == 1 {
                    self.first = Some(shown(line));
                }
            }
        }
    }

    /// How many lines there are of which none is understood, and the first of them, in at most 200 bytes
    /// without control characters and local parts of addresses. `None` if one is understood, or
    /// there are too few to tell.
    pub fn nothing(&self) -> Option<(u64, &str)> {
        let is_odd = self.unknown > 0 || self.others > OTHERS_MAX;
        let first = self.first.as_deref().filter(|_| is_odd && !self.is_understood)?;
        Some((self.unknown + self.others, first))
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(LOOKED_AT)]);
    if COMPRESSED.iter().any(|magic| text.starts_with(magic)) {
        return SHOWN_COMPRESSED.to_owned();
    }
    let mut text = redacted_unknown(&text);
    if text.len() > SHOWN_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_MAX - 3));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{OTHERS_MAX, SHOWN_MAX, Understanding, Writer};

    #[test]
    fn one_line_that_is_understood_is_enough() {
        let mut all = Understanding::default();
        assert_eq!(all.nothing(), None);
        all.take(b"  ", Writer::Unknown);
        assert_eq!(all.nothing(), None);
        all.take(b"to=<john.doe@example.net> \x1b[2J \xff", Writer::Unknown);
        all.take(b"second", Writer::Unknown);
        assert_eq!(all.nothing(), Some((2, "to=<*@example.net>  [2J \u{fffd}")));
        all.take(b"third", Writer::Server);
        all.take(b"fourth", Writer::Unknown);
        assert_eq!(all.nothing(), None);
    }

    #[test]
    fn other_programs_may_be_there_alone_for_a_while() {
        let mut all = Understanding::default();
        for _ in 0..OTHERS_MAX {
            all.take(b"dovecot", Writer::Other);
        }
        assert_eq!(all.nothing(), None);
        let mut many = all.clone();
        many.take(b"dovecot", Writer::Other);
        assert_eq!(many.nothing(), Some((OTHERS_MAX + 1, "dovecot")));
        all.take(b"what", Writer::Unknown);
        assert_eq!(all.nothing(), Some((OTHERS_MAX + 1, "what")));
    }

    #[test]
    fn the_first_line_is_short_and_of_compressed_data_a_name() {
        let mut all = Understanding::default();
        all.take(&[b'x'; 100_000], Writer::Unknown);
        assert!(all.nothing().unwrap().1.len() <= SHOWN_MAX);
        let mut all = Understanding::default();
        all.take(&[0x28, 0xb5, 0x2f, 0xfd, 0, 1], Writer::Unknown);
        assert_eq!(all.nothing(), Some((1, "(compressed data)")));
        let mut all = Understanding::default();
        all.take(&[0x1f, 0x8b, 8], Writer::Unknown);
        assert_eq!(all.nothing(), Some((1, "(compressed data)")));
    }
}
