//! An answer of the other side, as a mail server's log or a greeting has it.

use serde::Deserialize;

/// Of a longer answer only so many bytes are looked at: RFC 5321, 4.5.3.1.5 allows 512 a
/// line, and the longest known answers have four.
const TEXT_MAX: usize = 4_096;

/// An answer, its lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Reply code.
    pub code: u16,
    /// Enhanced status code, if there is one.
    pub enhanced: Option<Enhanced>,
    /// To which command it was, if that is known.
    pub stage: Option<Stage>,
    /// The text without the codes at the beginning of its lines.
    pub text: String,
}

/// RFC 3463, section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What about it.
    pub detail: u16,
}

impl std::fmt::Display for Enhanced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// Where in a session an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// In the place of a greeting, or to EHLO: about the client as such.
    Greeting,
    /// STARTTLS.
    Starttls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, or the end of it.
    Data,
}

impl Stage {
    /// Of a command, as Postfix, Exim and OpenSMTPD name it.
    fn of_command(command: &str) -> Option<Self> {
        const COMMANDS: [(&str, Stage); 11] = [
            ("initial connection", Stage::Greeting),
            ("BANNER", Stage::Greeting),
            ("EHLO", Stage::Greeting),
            ("HELO", Stage::Greeting),
            ("STARTTLS", Stage::Starttls),
            ("AUTH", Stage::Auth),
            ("MAIL FROM", Stage::Mail),
            ("RCPT TO", Stage::Rcpt),
            ("DATA", Stage::Data),
            ("end of data", Stage::Data),
            ("sending message body", Stage::Data),
        ];
        // The end of DATA is one of these too.
        let command = command.trim_start_matches("end of ").trim_start_matches("pipelined ");
        COMMANDS
            .iter()
            .find(|(name, _)| command.starts_with(name))
            .map(|(_, stage)| *stage)
            .or_else(|| command.starts_with("data").then_some(Stage::Data))
    }
}

/// What Postfix and Exim write before the other side's words.
const SAID: &str = " said: ";
const REFUSED_TO_TALK: &str = " refused to talk to me: ";
const AFTER: [&str; 3] =
    ["error from remote mail server after ", "error from remote mailer after ", "LMTP error after "];
/// What OpenSMTPD writes before them.
const REJECTED: &str = " rejected: ";
/// What Postfix writes after them.
const IN_REPLY_TO: &str = " (in reply to ";

impl Reply {
    /// The answer in the words of a mail server's log: of Postfix, Exim, OpenSMTPD or
    /// KumoMTA. `None` if there is none.
    pub fn in_words(words: &str) -> Option<Self> {
        let words = &words[..words.floor_char_boundary(TEXT_MAX)];
        let first = |marks: &[&str]| marks.iter().filter_map(|mark| Some((words.find(mark)?, mark.len()))).min();
        let said = words.starts_with(SAID.trim_start()).then_some((0, SAID.len() - 1));
        if let Some((at, length)) = said.or_else(|| first(&[SAID, REFUSED_TO_TALK])) {
            let (text, command) = match words.rfind(IN_REPLY_TO).filter(|end| *end >= at + length) {
                Some(end) => (&words[at + length..end], Some(&words[end + IN_REPLY_TO.len()..])),
                None => (&words[at + length..], None),
            };
            let stage = command.and_then(Stage::of_command);
            let is_greeting = words[at..].starts_with(REFUSED_TO_TALK);
            return Self::begin(text, if is_greeting { Some(Stage::Greeting) } else { stage });
        }
        if let Some((at, length)) = first(&AFTER) {
            let command = &words[at + length..];
            return Self::begin(&command[code_at(command)?..], Stage::of_command(command));
        }
        if let Some(at) = words.find(REJECTED)
            && let Some(reply) = Self::begin(
                &words[at + REJECTED.len()..],
                words[..at].split(' ').next_back().and_then(Stage::of_command),
            )
        {
            return Some(reply);
        }
        Self::begin(words, None)
    }

    /// The answer that stands where a greeting should be.
    pub fn of_greeting(text: &str) -> Option<Self> {
        Self::begin(&text[..text.floor_char_boundary(TEXT_MAX)], Some(Stage::Greeting))
    }

    /// An answer that begins here.
    fn begin(text: &str, stage: Option<Stage>) -> Option<Self> {
        let text = text.trim_start();
        let code = text.get(..3).filter(|_| is_code(text))?;
        let is_multiline = text.as_bytes().get(3) == Some(&b'-');
        let mut enhanced = None;
        let mut joined = String::with_capacity(text.len());
        // Exim writes a line's end as `\n`, Postfix as a blank, KumoMTA as either.
        let rest = text[3..].strip_prefix(['-', ' ']).unwrap_or(&text[3..]).replace("\\n", "\n").replace('’', "'");
        let mut is_at_line = true;
        for (number, line) in rest.split('\n').enumerate() {
            is_at_line |= number > 0;
            for token in line.split_ascii_whitespace() {
                let token = match token.strip_prefix(code) {
                    Some("") if is_at_line && number > 0 || is_multiline => {
                        is_at_line = true;
                        continue;
                    }
                    Some(rest) if rest.starts_with('-') && (is_multiline || number > 0) => {
                        is_at_line = true;
                        &rest[1..]
                    }
                    _ => token,
                };
                if let Some(found) = Enhanced::read(token).filter(|_| is_at_line) {
                    enhanced = enhanced.or(Some(found));
                    continue;
                }
                if !token.is_empty() {
                    is_at_line = false;
                    joined.push_str(if joined.is_empty() { "" } else { " " });
                    joined.push_str(token);
                }
            }
        }
        let code: u16 = code.parse().ok()?;
        let enhanced = enhanced.or_else(|| joined.split(' ').find_map(|token| Enhanced::within(token, code)));
        Some(Self { code, enhanced, stage, text: joined })
    }

    /// `421 4.7.28` or `421`.
    pub fn codes(&self) -> String {
        self.enhanced.map_or_else(|| self.code.to_string(), |enhanced| format!("{} {enhanced}", self.code))
    }
}

/// Where a reply code stands alone after a blank.
fn code_at(text: &str) -> Option<usize> {
    text.match_indices([' ', ':']).map(|(at, _)| at + 1).find(|&at| is_code(&text[at..]))
}

/// Whether the text begins with a reply code that ends a word or has a line after it.
fn is_code(text: &str) -> bool {
    match text.as_bytes() {
        [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', rest @ ..] => matches!(rest, [] | [b' ' | b'-' | b'\n' | b'\\', ..]),
        _ => false,
    }
}

impl Enhanced {
    /// A status code that is a whole word.
    fn read(word: &str) -> Option<Self> {
        let mut parts = word.split('.');
        let mut part = |digits| {
            let part = parts.next().filter(|part| (1..=digits).contains(&part.len()))?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u16>().ok()).flatten()
        };
        let (class, subject, detail) = (part(1)?, part(3)?, part(3)?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Self { class, subject, detail })
    }

    /// One within the text, such as `(#5.1.1)`, of the class that the reply code has.
    fn within(word: &str, code: u16) -> Option<Self> {
        let bare = word.trim_start_matches(['(', '[', '#', '<']).trim_end_matches([')', ']', ',', ';', ':', '.', '>']);
        Self::read(bare).filter(|found| u16::from(found.class) == code / 100)
    }
}
