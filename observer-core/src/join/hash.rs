//! Recipients' domains as keyed hashes, for who may not keep them: HMAC-SHA-256, RFC
//! 2104. The same key makes the same hash on every host, and without the key nobody can
//! tell which domain it was by trying all that there are.

use std::io::{self, Read};

use ring::hmac;

use crate::mta::{Line, words};

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

    /// Hashes the domain of the recipient wherever it stands in a line, also at the end
    /// of a host's name, and every domain behind an `@`.
    pub fn hide(&self, line: &mut Line) {
        let words = self.without_addresses(&line.words);
        let Some(domain) = line.recipient_domain.take() else {
            line.words = words;
            return;
        };
        let hash = self.hash(&domain);
        line.words = replaced(&words, &domain, &hash);
        if let Some(host) = line.relay.as_mut().and_then(|relay| relay.host.as_mut()) {
            *host = replaced(host, &domain, &hash);
        }
        line.recipient_domain = Some(hash);
    }

    fn without_addresses(&self, words: &str) -> String {
        let mut parts = words.split('@');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            let end = part.find(|c| !is_of_name(c)).unwrap_or(part.len());
            let (domain, rest) = part.split_at(end);
            text.push('@');
            if !domain.is_empty() {
                text.push_str(&self.hash(domain));
            }
            text.push_str(rest);
        }
        text
    }
}

/// `text` with `hash` for each occurrence of `domain` as a whole or as the end of a name.
fn replaced(text: &str, domain: &str, hash: &str) -> String {
    words::replaced(text, domain, hash, |c| c.is_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::mta::stamp::Clock;
    use crate::mta::{Kind, parse};
    use crate::sample;

    fn hidden(text: &str) -> Line {
        let clock = Clock { now: sample::time(), zone: TimeZone::UTC };
        let line = format!("2026-11-23T16:07:01.124Z mx1 postfix/smtp[1203]: {text}");
        let mut line = parse(Kind::Postfix, line.as_bytes(), &clock).unwrap();
        DomainKey::new(b"0123456789abcdef").hide(&mut line);
        line
    }

    #[test]
    fn a_recipients_domain_is_in_nothing_that_is_left() {
        let line = hidden(
            "AAAAAA: to=<john@Example.net>, relay=mx.example.net[203.0.113.5]:25, delay=1, delays=0/0/0.1/0, dsn=4.0.0, \
             status=deferred (host mx.example.net[203.0.113.5] said: 450 4.2.0 <john@example.net>: greylisted, see \
             https://myexample.net/ for jane@other.example)",
        );
        let hash = DomainKey::new(b"0123456789abcdef").hash("example.net");
        assert_eq!(line.recipient_domain.as_deref(), Some(hash.as_str()));
        assert_eq!(line.relay.as_ref().unwrap().host, Some(format!("mx.{hash}")));
        let everything = format!("{line:?}");
        assert!(!everything.to_lowercase().replace("myexample.net", "").contains("example.net"), "{everything}");
        assert!(!everything.contains("other.example"), "{everything}");
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
            let _ = replaced(&words, &domain, "x");
            let _ = DomainKey::new(b"0123456789abcdef").without_addresses(&words);
        }
    }
}
