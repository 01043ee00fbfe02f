//! Breaks text into lines.

use textwrap::{Options, WordSeparator, WordSplitter};

/// A line in lines of at most `width` columns, all but the first after `others`; what is between its
/// words stays, and so do escape sequences, which take no room. A word is never broken.
pub fn fit(line: &str, width: usize, others: &str) -> String {
    textwrap::fill(line, options(width).subsequent_indent(others))
}

/// The words in lines of at most `width` columns, the first after `first`, the others
/// after `others`. A word is never broken: one that is longer has a line of its own.
pub fn wrap(words: &str, width: usize, first: &str, others: &str) -> String {
    let words: Vec<_> = words.split_whitespace().collect();
    textwrap::fill(&words.join(" "), options(width).initial_indent(first).subsequent_indent(others))
}

fn options<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_columns_and_its_colours() {
        let line = "16:07  \u{1b}[31mrefused\u{1b}[0m    203.0.113.5:25  by the remote host";
        assert_eq!(fit(line, 36, "  "), "16:07  \u{1b}[31mrefused\u{1b}[0m    203.0.113.5:25  by\n  the remote host");
        assert_eq!(fit(line, 80, "  "), line);
    }

    #[test]
    fn words_stay_whole() {
        let text = "a b\n c\u{e4}c-dddd a-word-that-is-longer e";
        assert_eq!(wrap(text, 9, "> ", "  "), "> a b\n  c\u{e4}c-dddd\n  a-word-that-is-longer\n  e");
    }
}
