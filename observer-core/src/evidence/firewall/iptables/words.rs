//! The words of a rule as iptables-save writes it: quoted where they have other signs than
//! letters, digits, `_` and `-`, with a backslash before quotes and backslashes
//! (libxtables, `xtables_save_string`).

/// Lines that one rule has at most: a comment may have line breaks.
const LINES: usize = 64;

/// A word, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) is_quoted: bool,
}

impl Word {
    /// Whether an option begins with it.
    pub(super) fn is_option(&self) -> bool {
        !self.is_quoted && self.text.len() > 1 && self.text.starts_with('-')
    }

    pub(super) fn is_not(&self) -> bool {
        !self.is_quoted && self.text == "!"
    }
}

/// The words of a line; none: a quote is left open.
pub(super) fn words(line: &str) -> Option<Vec<Word>> {
    let (mut words, mut signs) = (Vec::new(), line.chars().peekable());
    while let Some(&sign) = signs.peek() {
        if sign.is_whitespace() {
            signs.next();
            continue;
        }
        let mut word = Word { text: String::new(), is_quoted: false };
        let mut is_open = false;
        while let Some(&sign) = signs.peek() {
            match sign {
                '"' => {
                    is_open = !is_open;
                    word.is_quoted = true;
                }
                '\\' if is_open => {
                    signs.next();
                    word.text.extend(signs.peek());
                }
                sign if sign.is_whitespace() && !is_open => break,
                sign => word.text.push(sign),
            }
            signs.next();
        }
        if is_open {
            return None;
        }
        words.push(word);
    }
    Some(words)
}

/// Lines of a listing, those that a quoted line break parts together. One whose quote is
/// never closed stays alone.
pub(super) fn lines(save: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = save;
    while !rest.is_empty() {
        let first = rest.find('\n').unwrap_or(rest.len());
        let mut end = first;
        if rest.starts_with('-') {
            let mut is_open = is_left_open(&rest[..end], false);
            let mut count = 1;
            while is_open && count < LINES && end < rest.len() {
                let next = rest[end + 1..].find('\n').map_or(rest.len(), |at| end + 1 + at);
                is_open = is_left_open(&rest[end..next], true);
                end = next;
                count += 1;
            }
            if is_open {
                end = first;
            }
        }
        lines.push(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    lines
}

/// Whether a quote is open at the end, which was at the beginning, or not.
fn is_left_open(text: &str, mut is_open: bool) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if is_open => {
                bytes.next();
            }
            b'"' => is_open = !is_open,
            _ => {}
        }
    }
    is_open
}
