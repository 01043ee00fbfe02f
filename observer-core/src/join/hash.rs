//! Names of domains and hosts as keyed hashes, for who may not keep them: HMAC-SHA-256,
//! RFC 2104. The same key makes the same hash on every host, and without the key nobody
//! can tell which name it was by trying all that there are.
//!
//! Names are hidden where the join hands them out, and not in the lines: most lines name
//! a host and no recipient, and only the join knows that they belong together.

use std::io::{self, Read};
use std::net::IpAddr;

use ring::hmac;

use super::delivery::MailDelivery;
use crate::event::Mta;
use crate::mta::words::{self, WORDS_MAX};

/// Of a hash so many bytes are kept, which is enough to tell all domains apart.
const KEPT: usize = 12;
/// A shorter key could be guessed.
const KEY_MIN: usize = 16;
const KEY_MAX: u64 = 4_096;

/// The key.
#[derive(Clone, Debug)]
pub struct DomainKey(hmac::Key);

impl DomainKey {
    /// Reads the key: all of its file but white space at its end.
    ///
    /// # Errors
    /// Those of reading; and a key of less than 16 bytes or more than 4,096.
    pub fn read(file: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.take(KEY_MAX + 1).read_to_end(&mut bytes)?;
        let key = bytes.trim_ascii_end();
        if key.len() < KEY_MIN || bytes.len() as u64 > KEY_MAX {
            let text = format!("a key has {KEY_MIN} to {KEY_MAX} bytes: head -c 32 /dev/urandom | base64 makes one");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self::new(key))
    }

    /// A key from its bytes.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// `hashed-` and 24 hexadecimal digits: the same whatever the case, and with or
    /// without a dot at the end.
    pub fn hash(&self, domain: &str) -> String {
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_lowercase();
        let tag = hmac::sign(&self.0, domain.as_bytes());
        let digits = tag.as_ref().iter().take(KEPT).map(|byte| format!("{byte:02x}"));
        "hashed-".to_owned() + &digits.collect::<String>()
    }

    /// Hides the recipient's domain, the host, and every name in the words.
    pub fn hide_mta(&self, mta: &mut Mta) {
        let known: Vec<String> = mta.recipient_domain.iter().chain(&mta.host).cloned().collect();
        if let Some(words) = &mut mta.words {
            *words = self.without_names(words, &known);
        }
        for name in mta.recipient_domain.iter_mut().chain(&mut mta.host) {
            *name = self.hash(name);
        }
    }

    /// The same of a delivery, with all its recipients and hosts.
    pub fn hide_delivery(&self, delivery: &mut MailDelivery) {
        let known: Vec<String> = delivery.names_mut().map(|name| name.clone()).collect();
        delivery.texts_mut().for_each(|words| *words = self.without_names(words, &known));
        delivery.names_mut().for_each(|name| *name = self.hash(name));
    }

    /// Hides every name in a line that was not understood.
    pub fn hide_line(&self, line: &str) -> String {
        self.without_names(line, &[])
    }

    /// A hash for every name in the words: what follows an `@`, what an address in
    /// brackets follows, what has a dot and is no number, and the names that are known.
    fn without_names(&self, words: &str, known: &[String]) -> String {
        let mut rest = self.without_literals(words, known);
        let is_cut = words.len() + MAX_CHAR > WORDS_MAX;
        let mut text = String::with_capacity(rest.len());
        while let Some(at) = rest.find(is_of_name) {
            let token = &rest[at..];
            let end = token.find(|c| !is_of_name(c)).unwrap_or(token.len());
            text.push_str(&rest[..at]);
            let (token, after) = token.split_at(end);
            let name = token.trim_matches(|c| matches!(c, '.' | '-'));
            let is_name = text.ends_with('@')
                || precedes_address(after) && !is_before_addresses(name) && !is_number(name)
                || name.contains('.') && !is_number(name)
                || known.iter().any(|known| known.to_lowercase() == name.to_lowercase());
            if is_name && !name.is_empty() {
                let (before, behind) = token.split_once(name).unwrap_or_default();
                text.extend([before, &self.hash(name), behind]);
            } else if !(is_cut && after.is_empty() && !is_number(name)) {
                // What the words were cut in may be the beginning of a name.
                text.push_str(token);
            }
            rest = after.to_owned();
        }
        text.push_str(&rest);
        text.truncate(text.floor_char_boundary(WORDS_MAX));
        text
    }

    /// A hash for each of the known names that no token is: `[192.0.2.1]`.
    fn without_literals(&self, words: &str, known: &[String]) -> String {
        let literals = known.iter().filter(|name| !name.chars().all(is_of_name));
        literals.fold(words.to_owned(), |text, name| words::replaced(&text, name, &self.hash(name), is_of_name))
    }
}

/// Of the longest character the bytes: words are cut between two.
const MAX_CHAR: usize = 4;

/// True for what names are made of, also of other alphabets, with accents apart.
fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '\u{300}'..='\u{36f}')
}

/// True if an address in brackets follows: `[203.0.113.5]`, with a blank before or without.
fn precedes_address(after: &str) -> bool {
    let bracketed = after.strip_prefix(' ').unwrap_or(after).strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let address = bracketed.map(|(text, _)| text.strip_prefix("IPv6:").unwrap_or(text));
    address.is_some_and(|text| text.parse::<IpAddr>().is_ok())
}

/// True for a word that is no name though an address follows: `Client host [192.0.2.1] blocked`.
fn is_before_addresses(word: &str) -> bool {
    const WORDS: [&str; 10] = ["address", "at", "by", "client", "for", "from", "host", "ip", "server", "to"];
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// `4.7.1`, `203.0.113.5`.
fn is_number(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    fn key() -> DomainKey {
        DomainKey::new(b"0123456789abcdef")
    }

    fn hidden(words: &str, known: &[&str]) -> String {
        key().without_names(words, &known.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_name_in_the_words_is_hashed_and_nothing_else() {
        let hash = |name: &str| key().hash(name);
        let (mx, domain) = (hash("mx.example.net"), hash("example.net"));
        for (words, known, expected) in [
            ("Connection refused", &["example.net"][..], "Connection refused".to_owned()),
            (
                "host mx.example.net[203.0.113.5]:25 said: 450 4.2.0 <*@Example.NET>: greylisted.",
                &[],
                format!("host {mx}[203.0.113.5]:25 said: 450 4.2.0 <*@{domain}>: greylisted."),
            ),
            ("see https://example.net/a?b=mx.example.net.", &[], format!("see https://{domain}/a?b={mx}.")),
            (
                "mailhost[192.0.2.1] or mailhost [IPv6:2001:db8::1]: *@mailhost",
                &[],
                format!("{0}[192.0.2.1] or {0} [IPv6:2001:db8::1]: *@{0}", hash("mailhost")),
            ),
            ("the mailhost says", &["MailHost"], format!("the {} says", hash("mailhost"))),
            ("for [192.0.2.1]:", &["[192.0.2.1]"], format!("for {}:", hash("[192.0.2.1]"))),
            ("größe.example", &[], hash("größe.example")),
            ("gro\u{308}ße.example", &[], hash("gro\u{308}ße.example")),
            ("... - 5.7.606 [::ffff:192.0.2.1] S3150", &[], "... - 5.7.606 [::ffff:192.0.2.1] S3150".to_owned()),
            ("Client host [192.0.2.1] blocked", &[], "Client host [192.0.2.1] blocked".to_owned()),
        ] {
            assert_eq!(hidden(words, known), expected, "{words}");
        }
    }

    #[test]
    fn a_cut_leaves_no_piece_of_a_name() {
        let words = format!("{} exam", "x ".repeat(WORDS_MAX / 2 - 3));
        assert!(words.len() < WORDS_MAX && !hidden(&words, &[]).contains("exam"));
        let words = format!("{}*@exam", "x ".repeat(WORDS_MAX / 2 - 3));
        assert!(words.len() == WORDS_MAX && !hidden(&words, &[]).contains("exam"));
    }

    #[test]
    fn a_hash_depends_on_the_key_and_not_on_the_case() {
        let (one, other) = (DomainKey::new(b"0123456789abcdef"), DomainKey::new(b"0123456789abcdeg"));
        assert_eq!(one.hash("Example.NET."), one.hash("example.net"));
        assert_ne!(one.hash("example.net"), other.hash("example.net"));
        // As any other program makes it: openssl dgst -sha256 -hmac KEY.
        assert_eq!(one.hash("example.net"), "hashed-1331183dd6867e600ff180da");
    }

    #[test]
    fn a_key_that_could_be_guessed_is_none() {
        assert!(DomainKey::read(&b"short\n"[..]).unwrap_err().to_string().contains("/dev/urandom"));
        let read = DomainKey::read(&b"0123456789abcdef\n"[..]).unwrap();
        assert_eq!(read.hash("a"), DomainKey::new(b"0123456789abcdef").hash("a"));
    }

    proptest! {
        #[test]
        fn any_words_can_be_cleaned(words in sample::hostile(), domain in "[a-zß.]{0,6}") {
            prop_assert!(hidden(&words, &[&domain]).len() <= WORDS_MAX.max(words.len()));
        }
    }
}
