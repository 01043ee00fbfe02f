//! A mail server's words without anybody's local part, and the domains of addresses.

use crate::answer::{self, Reply};

/// Words are cut after so many bytes: Postfix cuts its whole lines here.
pub const WORDS_MAX: usize = 2_000;
/// Of longer words only so many bytes are looked at.
const READ_MAX: usize = 4_096;
/// RFC 1035, section 3.1.
const DOMAIN_MAX: usize = 255;

/// The domain of an address, in lower case; `None` if there is none, or it could
/// not be one.
pub fn domain_of(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    host_name(domain)
}

/// A host or domain name in lower case, or an address literal in brackets.
pub(super) fn host_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_good = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '%')),
        None => text.chars().all(is_name),
    };
    let is_sized = !text.is_empty() && text.len() <= DOMAIN_MAX;
    (is_good && is_sized).then(|| text.to_lowercase())
}

/// The words, as one line of at most [`WORDS_MAX`] bytes: of a mail address its
/// domain stays, and where the other side repeats the local part of one of the
/// `recipients` alone, that goes too.
pub(super) fn redacted(words: &str, recipients: &[&str]) -> String {
    let mut text = without_addresses(whole_words(words));
    for recipient in recipients {
        let local = recipient.rsplit_once('@').map_or(*recipient, |(local, _)| local).trim_matches('"');
        text = without_token(&text, local);
        if let Some((first, _)) = local.split_once('@') {
            text = without_token(&text, first.trim_matches('"'));
        }
        // A subaddress: the box itself may be named.
        if let Some((mailbox, _)) = local.split_once('+') {
            text = without_token(&text, mailbox);
        }
    }
    text.truncate(text.floor_char_boundary(WORDS_MAX));
    text
}

/// As [`redacted`], where the recipients are not known: of an answer to a command
/// that may have named one, only its codes are kept, and the words by which the answer
/// is known.
pub(super) fn redacted_unknown(words: &str) -> String {
    let answer =
        [" said: ", " after RCPT TO", " after MAIL FROM", " after DATA", " after end of data", " after pipelined "];
    let Some(at) = answer.iter().filter_map(|mark| words.find(mark).map(|at| at + mark.len())).min() else {
        return redacted(words, &[]);
    };
    let is_code = |word: &&str| {
        word.starts_with(['2', '4', '5'])
            && word.len() <= 11
            && word.chars().all(|c| c.is_ascii_digit() || "-.".contains(c))
    };
    let (before, answer) = words.split_at(at);
    let codes: Vec<_> = answer.split([' ', ':']).skip_while(|word| !is_code(word)).take_while(is_code).collect();
    let mut text = redacted(before.trim_end(), &[]);
    for code in codes.iter().take(2) {
        text.push(' ');
        text.push_str(code);
    }
    text.push_str(&known_words(words));
    text.truncate(text.floor_char_boundary(WORDS_MAX));
    text
}

/// The words of the table of answers that stand in this one, and the time that it asks to
/// wait. They are the table's own, and name nobody.
fn known_words(words: &str) -> String {
    let Some(meaning) = Reply::in_words(words).as_ref().and_then(answer::meaning) else { return String::new() };
    let mut known = String::new();
    if !meaning.matched.is_empty() {
        known = format!(" {}", redacted(meaning.matched.trim_end_matches('*'), &[]).replace("* ", " "));
    }
    if let Some(wait) = meaning.wait {
        known.push_str(&format!(" in {} s", wait.as_secs()));
    }
    known
}

/// Without the last word, where the text was cut: it may be the beginning of an address.
fn whole_words(words: &str) -> &str {
    if words.len() <= READ_MAX {
        return words;
    }
    let cut = &words[..words.floor_char_boundary(READ_MAX)];
    cut.rfind(' ').map_or("", |at| &cut[..at])
}

/// True for a character that ends a local part, going backwards from its `@`.
fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"')
}

fn without_addresses(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for c in words.chars() {
        if c == '@' {
            drop_local_part(&mut text);
            text.push_str("*@");
        } else {
            text.push(if c.is_control() { ' ' } else { c });
        }
    }
    text
}

/// Takes from the end what is before an `@`: atoms and quoted strings.
fn drop_local_part(text: &mut String) {
    while let Some(c) = text.chars().next_back() {
        if c == '"' && text.trim_end_matches('"').contains('"') {
            drop_quoted(text);
            continue;
        }
        if is_delimiter(c) && !text[..text.len() - c.len_utf8()].ends_with('\\') {
            break;
        }
        text.pop();
    }
}

/// Takes a string in quotes from the end, of which one is the last character.
fn drop_quoted(text: &mut String) {
    text.pop();
    while let Some(c) = text.pop() {
        if c == '"' && !text.ends_with('\\') {
            break;
        }
    }
}

/// Every occurrence of a token that stands alone becomes `*`.
fn without_token(text: &str, token: &str) -> String {
    replaced(text, token, "*", char::is_alphanumeric)
}

/// Every occurrence of a token, whatever its case, with nothing of a word beside it
/// becomes something else.
pub(crate) fn replaced(text: &str, token: &str, with: &str, is_of_word: fn(char) -> bool) -> String {
    if token.is_empty() || token.len() > text.len() {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find_token(rest, token, clean.chars().next_back(), is_of_word) {
        clean.push_str(&rest[..at]);
        clean.push_str(with);
        rest = &rest[at + token.len()..];
    }
    clean.push_str(rest);
    clean
}

fn find_token(text: &str, token: &str, before: Option<char>, is_of_word: fn(char) -> bool) -> Option<usize> {
    let (bytes, token) = (text.as_bytes(), token.as_bytes());
    let first = [token[0].to_ascii_lowercase(), token[0].to_ascii_uppercase()];
    (0..=bytes.len().checked_sub(token.len())?).find(|&at| {
        first.contains(&bytes[at])
            && bytes[at..at + token.len()].eq_ignore_ascii_case(token)
            && text.is_char_boundary(at)
            && text.is_char_boundary(at + token.len())
            && !text[..at].chars().next_back().or(before).is_some_and(is_of_word)
            && !text[at + token.len()..].chars().next().is_some_and(is_of_word)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{READ_MAX, WORDS_MAX, domain_of, redacted, redacted_unknown};

    #[test]
    fn of_an_address_only_the_domain_stays() {
        for (words, expected) in [
            ("550 5.1.1 <john.doe@example.net>: unknown", "550 5.1.1 <*@example.net>: unknown"),
            ("rcpt=john@example.net", "*@example.net"),
            ("a@b, c@d (e@f)", "*@b, *@d (*@f)"),
            ("\"john doe\"@example.net gone", "*@example.net gone"),
            ("<\"a\\\"b c\"@example.net>", "<*@example.net>"),
            ("john\\ doe@example.net", "*@example.net"),
            ("john@doe@example.net", "*@example.net"),
            ("<@relay.net:john@example.net>", "<*@relay.net:*@example.net>"),
            ("größe@example.net", "*@example.net"),
            ("it is \"x\" for me@example.net", "it is \"x\" for *@example.net"),
            ("no address\x1b[2J\nhere", "no address [2J here"),
            ("@", "*@"),
            ("", ""),
        ] {
            assert_eq!(redacted(words, &[]), expected, "{words}");
        }
    }

    #[test]
    fn a_recipient_named_alone_is_dropped() {
        for (words, recipient, expected) in [
            ("550 John.Doe: no such user", "john.doe@example.net", "550 *: no such user"),
            ("user johnny unknown, john too", "john@example.net", "user johnny unknown, * too"),
            ("mailbox john full", "john+list@example.net", "mailbox * full"),
            ("'john doe' unknown", "\"john doe\"@example.net", "'*' unknown"),
            ("a a", "a@example.net", "* *"),
            ("“ü” unknown", "ü@example.net", "“*” unknown"),
        ] {
            assert_eq!(redacted(words, &[recipient]), expected, "{words}");
        }
    }

    #[test]
    fn an_answer_that_may_name_an_unknown_recipient_keeps_its_codes() {
        for (words, expected) in [
            ("host mx[192.0.2.1] said: 450 4.2.1 john is over quota", "host mx[192.0.2.1] said: 450 4.2.1 over quota"),
            ("host mx[192.0.2.1] said: john", "host mx[192.0.2.1] said:"),
            (
                "host mx[192.0.2.1] said: 450 4.2.0 john: Greylisted for 300 seconds (in reply to RCPT TO command)",
                "host mx[192.0.2.1] said: 450 4.2.0 greylist in 300 s",
            ),
            (
                "SMTP error from remote mail server after RCPT TO:<john@example.net>: 553 5.3.0 john: DNSBL:RBL",
                "SMTP error from remote mail server after RCPT TO 553 5.3.0 dnsbl:rbl",
            ),
            (
                "SMTP error from remote mail server after RCPT TO:<john@example.net>: 451 john",
                "SMTP error from remote mail server after RCPT TO 451",
            ),
            ("Connection refused", "Connection refused"),
        ] {
            assert_eq!(redacted_unknown(words), expected, "{words}");
        }
    }

    #[test]
    fn a_cut_leaves_no_piece_of_an_address() {
        let words = format!("{} secret.name@example.net", "x".repeat(READ_MAX - 8));
        assert!(!redacted(&words, &[]).contains("secret"));
        assert_eq!(redacted(&"y".repeat(READ_MAX + 1), &[]), "");
    }

    #[test]
    fn domains_are_names_or_literals() {
        for (address, expected) in [
            ("john@Example.NET", Some("example.net")),
            ("john@example.net.", Some("example.net")),
            ("\"a@b\"@example.net", Some("example.net")),
            ("john@[192.0.2.1]", Some("[192.0.2.1]")),
            ("john@[IPv6:2001:db8::1]", Some("[ipv6:2001:db8::1]")),
            ("john@größe.example", Some("größe.example")),
            ("john", None),
            ("john@", None),
            ("john@a b", None),
            ("john@a/b", None),
        ] {
            assert_eq!(domain_of(address).as_deref(), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_local_part_survives(before in "[a-z <>(,:\"]{0,20}", local in "[A-Z]{3,20}([.+=_-][A-Z]{1,9})?", after in ".{0,40}") {
            // Upper case is the recipient's alone; `after` may hold any character.
            prop_assume!(!after.contains(&local));
            let words = format!("{before} {local}@example.net: {local} {after}");
            let text = redacted(&words, &[&format!("{local}@example.net")]);
            prop_assert!(!text.contains(&local), "{}", text);
            prop_assert!(text.len() <= WORDS_MAX);
        }

        #[test]
        fn anything_is_words(text in any::<String>(), recipient in any::<String>()) {
            prop_assert!(!redacted(&text, &[&recipient]).contains('\n'));
            redacted_unknown(&text);
            domain_of(&text);
        }
    }
}
