//! What an answer of the other side means: a mail server's `421 4.7.28 ...`.
//!
//! [`Reply`] takes an answer out of a mail server's log or a greeting, and [`meaning`]
//! looks it up: in the table of known answers, then among the enhanced status codes
//! (RFC 3463, IANA's registry), then among the plain reply codes (RFC 5321). All three
//! are in `answers.toml`, which a mail engineer can read and extend.

mod reply;
mod table;
mod wait;

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::reply::{Enhanced, Reply, Stage};
use self::table::Table;

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// The reputation of this host's address or of the sender's domain; lists.
    Reputation,
    /// Too much, too fast, or too many connections at once.
    Rate,
    /// SPF, DKIM, DMARC, ARC.
    Authentication,
    /// The reverse name of this host's address, or the name that it greets with.
    PtrHelo,
    /// Not at the first try: the sender is to come again.
    Greylisting,
    /// The message itself: spam, a virus, a form that is not accepted.
    Content,
    /// The recipient: unknown, disabled, full, or not wanting this mail.
    Mailbox,
    /// The size of the message.
    Size,
    /// The number of recipients.
    Recipients,
    /// A fault of the other side that should pass.
    Temporary,
    /// Something is set up wrong, here or there: relaying, TLS, the protocol.
    Configuration,
    /// A policy that is not named.
    Policy,
    /// The answer does not say.
    Unclear,
}

impl AnswerKind {
    /// What it is about, for a person.
    pub const fn about(self) -> &'static str {
        match self {
            Self::PtrHelo => "the name of this host's address",
            Self::Greylisting => "greylisting",
            Self::Content => "the message's content",
            Self::Mailbox => "the recipient",
            Self::Size => "the message's size",
            Self::Recipients => "the number of recipients",
            Self::Temporary => "the receiver's own trouble",
            Self::Policy => "a policy",
            Self::Unclear => "something that they do not name",
            Self::Rate => "the rate",
            Self::Reputation | Self::Authentication | Self::Configuration => self.as_str(),
        }
    }

    /// As JSON writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reputation => "reputation",
            Self::Rate => "rate",
            Self::Authentication => "authentication",
            Self::PtrHelo => "ptr-helo",
            Self::Greylisting => "greylisting",
            Self::Content => "content",
            Self::Mailbox => "mailbox",
            Self::Size => "size",
            Self::Recipients => "recipients",
            Self::Temporary => "temporary",
            Self::Configuration => "configuration",
            Self::Policy => "policy",
            Self::Unclear => "unclear",
        }
    }
}

/// What the meaning rests on, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownBy {
    /// An entry of the table that has this meaning alone.
    Words,
    /// An entry of the table whose words have this meaning most of the time.
    Guess,
    /// The enhanced status code.
    Status,
    /// The reply code alone.
    Code,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning<'table> {
    /// The entry's name, the pattern of the status code, or the reply code.
    pub name: &'table str,
    /// What it rests on.
    pub known_by: KnownBy,
    /// What it is about.
    pub kind: AnswerKind,
    /// Who answers so; `None` where many do.
    pub provider: Option<&'table str>,
    /// In a sentence without a full stop.
    pub meaning: &'table str,
    /// What to do.
    pub next_step: &'table str,
    /// Where to ask for delisting, or where the receiver explains itself.
    pub ask: Option<&'table str>,
    /// How long to wait, if the answer says so.
    pub wait: Option<Duration>,
    /// Words of the table by which it was recognised.
    pub matched: &'table str,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::read(include_str!("answers.toml"))
        .unwrap_or_else(|error| panic!("answers.toml, which a test reads: {error}"))
});

/// What the answer means; `None` for one that refuses nothing.
pub fn meaning(reply: &Reply) -> Option<Meaning<'static>> {
    TABLE.meaning(reply)
}

#[cfg(test)]
mod tests;
