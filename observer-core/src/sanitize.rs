//! Makes foreign text safe to print on a terminal.
//!
//! Task names, cgroup paths and host names are chosen by others. Printed as they
//! are, they could move the cursor, recolour the screen, start a new line that
//! looks like ours, or reorder the text around them.

use std::borrow::Cow;

/// The text with every character that is not plainly visible written as an
/// escape: `\x1b` below U+0100, `\u{202e}` above. Spaces stay. A text without
/// such characters is borrowed.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if is_plain(text) || text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_visible(c) {
            safe.push(c);
        } else {
            safe.push_str(&escape(c));
        }
    }
    Cow::Owned(safe)
}

/// Of a longer text a person reads the beginning.
const EXCERPT: usize = 300;

/// The beginning of a text, sanitised: cut for display, never for what is looked for in it.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    if text.len() <= EXCERPT {
        return sanitize(text);
    }
    Cow::Owned(format!("{} [...]", sanitize(text[..text.floor_char_boundary(EXCERPT)].trim_end())))
}

/// True for text of visible ASCII characters alone; quickly, for nearly all text is.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// What stands for a character that is not plainly visible.
pub(crate) fn escape(c: char) -> String {
    match u32::from(c) {
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code => format!("\\u{{{code:x}}}"),
    }
}

/// True for a character that shows as itself, alone, and changes nothing around
/// it. The tables are the standard library's: what `escape_debug` escapes are
/// controls, format and bidi characters, combining marks, odd spaces,
/// unassigned and private ones.
pub fn is_visible(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Letters by category, but blank: the Hangul fillers.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => false,
        _ => c.escape_debug().len() == 1,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::{is_visible, sanitize};

    #[test]
    fn plain_text_is_borrowed() {
        for text in ["smtp", "postfix/smtp [1]", "Größe 東京", "a\\x2d'\"b", ""] {
            assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_could_deceive_is_escaped() {
        for (hostile, safe) in [
            ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
            ("a\nb\rc\td\0", "a\\x0ab\\x0dc\\x09d\\x00"),
            ("\x7f\u{9b}31m", "\\x7f\\x9b31m"),
            ("\u{202e}ptms", "\\u{202e}ptms"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("sm\u{200b}tp\u{200d}\u{feff}", "sm\\u{200b}tp\\u{200d}\\u{feff}"),
            ("a\u{ad}b\u{61c}", "a\\xadb\\u{61c}"),
            ("line\u{2028}para\u{2029}", "line\\u{2028}para\\u{2029}"),
            ("nb\u{a0}wide\u{3000}", "nb\\xa0wide\\u{3000}"),
            ("e\u{301}\u{fe0f}", "e\\u{301}\\u{fe0f}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("\u{3164}", "\\u{3164}"),
        ] {
            assert_eq!(sanitize(hostile), safe);
        }
    }

    #[test]
    fn every_character_comes_out_visible() {
        for c in '\0'..=char::MAX {
            assert!(sanitize(&c.to_string()).chars().all(is_visible), "{c:?}");
            assert!(!(c.is_control() && is_visible(c)), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn output_is_stable(text in any::<String>()) {
            let once = sanitize(&text).into_owned();
            prop_assert!(once.chars().all(is_visible));
            prop_assert_eq!(sanitize(&once), once.as_str());
        }
    }
}
