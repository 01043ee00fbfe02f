//! Breaks text into lines.

use textwrap::{Options, WordSeparator, WordSplitter};

/// The words in lines of at most `width` columns, the first after `first`, the others
/// after `others`. A word is never broken: one that is longer has a line of its own.
pub fn wrap(words: &str, width: usize, first: &str, others: &str) -> String {
    let options = Options::new(width)
        .initial_indent(first)
        .subsequent_indent(others)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let words: Vec<_> = words.split_whitespace().collect();
    textwrap::fill(&words.join(" "), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole() {
        let text = "a b\n c\u{e4}c-dddd a-word-that-is-longer e";
        assert_eq!(wrap(text, 9, "> ", "  "), "> a b\n  c\u{e4}c-dddd\n  a-word-that-is-longer\n  e");
    }
}
