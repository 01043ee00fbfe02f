//! What a mail server's words say of a connection.

use serde::{Deserialize, Serialize};

/// What a line says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Nothing: it was good enough, or it is not the matter.
    Nothing,
    /// Connection refused.
    Refused,
    /// The connect timed out.
    TimedOut,
    /// Network is unreachable.
    NetworkUnreachable,
    /// No route to host, or one that leads nowhere.
    NoRoute,
    /// This host did not let it out, or had no address, port or memory for it.
    NotPermitted,
    /// Connected, and lost before the greeting was read, or while it was.
    LostBeforeGreeting,
    /// Connected, and no greeting came in time.
    NoGreeting,
    /// Lost, or silent for too long, later in the session.
    LostInSession,
    /// Connected, and TLS could not be agreed on.
    TlsFailed,
    /// The other side spoke, and its answer is in the words.
    Answered,
    /// There was no connect: an earlier failure stands in for it.
    Suspended,
    /// Something else.
    Other,
}

const ERRNOS: [(&str, Said); 27] = [
    ("Connection refused", Said::Refused),
    // What ICMP's rejections become.
    ("Protocol not available", Said::Refused),
    ("Connection timed out", Said::TimedOut),
    ("Operation timed out", Said::TimedOut),
    ("Network is unreachable", Said::NetworkUnreachable),
    ("Network unreachable", Said::NetworkUnreachable),
    ("Network is down", Said::NetworkUnreachable),
    ("No route to host", Said::NoRoute),
    ("Host is unreachable", Said::NoRoute),
    ("Host is down", Said::NoRoute),
    ("Machine is not on the network", Said::NoRoute),
    ("Permission denied", Said::NotPermitted),
    ("Operation not permitted", Said::NotPermitted),
    ("Cannot assign requested address", Said::NotPermitted),
    ("Address not available", Said::NotPermitted),
    ("Address already in use", Said::NotPermitted),
    ("Address in use", Said::NotPermitted),
    ("Address family not supported by protocol", Said::NotPermitted),
    ("Address family not supported", Said::NotPermitted),
    // A blackhole route answers so.
    ("Invalid argument", Said::NoRoute),
    ("No buffer space available", Said::NotPermitted),
    ("Cannot allocate memory", Said::NotPermitted),
    ("Out of memory", Said::NotPermitted),
    ("Too many open files", Said::NotPermitted),
    ("No file descriptors available", Said::NotPermitted),
    ("Resource temporarily unavailable", Said::NotPermitted),
    ("Connection reset by peer", Said::LostBeforeGreeting),
];

impl Said {
    /// As events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
            Self::NetworkUnreachable => "network-unreachable",
            Self::NoRoute => "no-route",
            Self::NotPermitted => "not-permitted",
            Self::LostBeforeGreeting => "lost-before-greeting",
            Self::NoGreeting => "no-greeting",
            Self::LostInSession => "lost-in-session",
            Self::TlsFailed => "tls-failed",
            Self::Answered => "answered",
            Self::Suspended => "suspended",
            Self::Other => "other",
        }
    }

    /// True where the words tell of a TCP handshake that was not completed.
    pub const fn is_not_connected(self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::NetworkUnreachable | Self::NoRoute | Self::NotPermitted)
    }

    /// Understands the words of glibc and musl for an errno, which every server passes on.
    pub(super) fn of_errno(words: &str) -> Option<Self> {
        ERRNOS.iter().find(|(name, _)| words.contains(name)).map(|(_, said)| *said)
    }

    /// True for words of which the last are those of an errno, whole.
    pub(super) fn ends_in_errno(words: &str) -> bool {
        ERRNOS.iter().any(|(name, _)| words.ends_with(name))
    }

    /// As [`Said::of_errno`], of words that are nothing else.
    pub(super) fn of_errno_alone(words: &str) -> Option<Self> {
        ERRNOS.iter().find(|(name, _)| words == *name).map(|(_, said)| *said)
    }
}
