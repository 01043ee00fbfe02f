//! Whether something matches, and what that depends on where it cannot be known.

use std::fmt;

use serde::Serialize;

/// What decides a rule and cannot be known from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The user that connects.
    User,
    /// The group that connects.
    Group,
    /// The control group that connects.
    Cgroup,
    /// The source address.
    SourceAddress,
    /// The source port.
    SourcePort,
    /// The interface by which the SYN leaves or comes in.
    Interface,
    /// A mark of the packet or of the connection.
    Mark,
    /// A rate, a quota, or a number of connections.
    Rate,
    /// Chance.
    Chance,
    /// The time of day.
    Time,
    /// The members of a set that is not listed, or that packets change.
    Set,
    /// A program that decides: a queue.
    Program,
    /// What connection tracking knows.
    Tracking,
    /// Whether the destination was changed before.
    Redirect,
    /// A routing decision.
    Routing,
    /// Fields of the packet, such as its TTL or its options.
    Packet,
    /// A match or target that is not understood.
    Extension,
    /// A listing that could not be read in full.
    Listing,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 18] = [
        Self::User,
        Self::Group,
        Self::Cgroup,
        Self::SourceAddress,
        Self::SourcePort,
        Self::Interface,
        Self::Mark,
        Self::Rate,
        Self::Chance,
        Self::Time,
        Self::Set,
        Self::Program,
        Self::Tracking,
        Self::Redirect,
        Self::Routing,
        Self::Packet,
        Self::Extension,
        Self::Listing,
    ];

    /// It depends on...
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "the user",
            Self::Group => "the group",
            Self::Cgroup => "the control group",
            Self::SourceAddress => "the source address",
            Self::SourcePort => "the source port",
            Self::Interface => "the interface",
            Self::Mark => "a mark",
            Self::Rate => "a rate or a count",
            Self::Chance => "chance",
            Self::Time => "the time of day",
            Self::Set => "the members of a set",
            Self::Program => "a program behind a queue",
            Self::Tracking => "connection tracking",
            Self::Redirect => "a change of the destination before",
            Self::Routing => "a routing decision",
            Self::Packet => "fields of the packet",
            Self::Extension => "a match or target that is not understood",
            Self::Listing => "a listing that was not read in full",
        }
    }
}

/// A set of [`Condition`]s; empty: nothing is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions(u32);

impl Conditions {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn of(condition: Condition) -> Self {
        Self(1 << condition as u32)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn list(self) -> Vec<Condition> {
        Condition::ALL.into_iter().filter(|&condition| self.0 & Self::from(condition).0 != 0).collect()
    }
}

impl From<Condition> for Conditions {
    fn from(condition: Condition) -> Self {
        Self::of(condition)
    }
}

/// What is known, or why it is not.
pub(super) type Known<T> = Result<T, Conditions>;

/// Whether something matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
    /// It depends on these.
    Maybe(Conditions),
}

impl Match {
    pub(super) const fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }

    pub(super) fn maybe(condition: Condition) -> Self {
        Self::Maybe(condition.into())
    }

    /// Whether a value that may be unknown is as it should be.
    pub(super) fn known<T>(known: Known<T>, is_meant: impl FnOnce(T) -> bool) -> Self {
        match known {
            Ok(value) => Self::of(is_meant(value)),
            Err(conditions) => Self::Maybe(conditions),
        }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, same) | (same, Self::Yes) => same,
            (Self::Maybe(one), Self::Maybe(other)) => Self::Maybe(one.with(other)),
        }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, same) | (same, Self::No) => same,
            (Self::Maybe(one), Self::Maybe(other)) => Self::Maybe(one.with(other)),
        }
    }

    pub(super) const fn negated_if(self, is_negated: bool) -> Self {
        match self {
            Self::Yes if is_negated => Self::No,
            Self::No if is_negated => Self::Yes,
            same => same,
        }
    }

    /// What a match depends on; nothing if it is certain.
    pub(super) const fn conditions(self) -> Conditions {
        match self {
            Self::Maybe(conditions) => conditions,
            Self::Yes | Self::No => Conditions::NONE,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
