//! What was found, and what could not be found out, and why.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// It exists.
    Found(T),
    /// DNS says that there is none.
    Absent(Absence),
    /// DNS did not say.
    Unknown(Failure),
}

impl<T> Answer<T> {
    /// What was found.
    pub const fn found(&self) -> Option<&T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Absent(_) | Self::Unknown(_) => None,
        }
    }

    /// Why it could not be found out.
    pub const fn failure(&self) -> Option<Failure> {
        match self {
            Self::Unknown(failure) => Some(*failure),
            Self::Found(_) | Self::Absent(_) => None,
        }
    }

    /// The same with what was found changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Found(value) => Answer::Found(change(value)),
            Self::Absent(absence) => Answer::Absent(absence),
            Self::Unknown(failure) => Answer::Unknown(failure),
        }
    }
}

/// How DNS says that there is nothing (RFC 2308).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// The name does not exist: NXDOMAIN.
    NoSuchName,
    /// The name exists, and has no record of this type.
    NoData,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "no such name (NXDOMAIN)",
            Self::NoData => "no record of this type",
        })
    }
}

/// Why a question has no answer. None of these says anything about what was
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The name server failed: SERVFAIL. A signature that does not verify is one
    /// too.
    ServFail,
    /// The name server refused to answer: REFUSED.
    Refused,
    /// Another response code (RFC 6895, section 2.3).
    Code(u16),
    /// No answer in time.
    Timeout,
    /// An answer that is no DNS message, or not one to what was asked.
    Malformed,
    /// A truncated answer, over TCP as well.
    Truncated,
    /// The name server refers to others instead of answering: it does not
    /// resolve for this host.
    Referral,
    /// Aliases that lead in a circle, or too far to follow.
    AliasLoop,
    /// No name server could be reached, or it broke the connection.
    Unreachable,
    /// Not asked: so many questions had been asked already.
    TooManyQueries,
    /// Not asked: this cannot be a name.
    NotAName,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServFail => "the name server failed (SERVFAIL)",
            Self::Refused => "the name server refused (REFUSED)",
            Self::Code(code) => return write!(f, "the name server answered with response code {code}"),
            Self::Timeout => "no answer in time",
            Self::Malformed => "the answer is malformed",
            Self::Truncated => "the answer is truncated",
            Self::Referral => "the name server does not resolve for this host",
            Self::AliasLoop => "aliases lead in a circle or too far",
            Self::Unreachable => "no name server could be reached",
            Self::TooManyQueries => "not asked: too many questions",
            Self::NotAName => "not asked: this is no domain name",
        })
    }
}

/// A host name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The name, in ASCII, lower case and without the final dot.
    pub name: String,
    /// What it is an alias of in the end (CNAME), if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Its A records, sorted.
    pub ipv4: Answer<Vec<Ipv4Addr>>,
    /// Its AAAA records, sorted.
    pub ipv6: Answer<Vec<Ipv6Addr>>,
    /// Addresses that were left out, being too many.
    pub omitted: usize,
}

impl Host {
    /// The addresses that were found, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.found().into_iter().flatten().copied().map(IpAddr::V4);
        let ipv6 = self.ipv6.found().into_iter().flatten().copied().map(IpAddr::V6);
        ipv4.chain(ipv6)
    }

    /// Why addresses of a family could not be found out, IPv4 first.
    pub fn failure(&self) -> Option<Failure> {
        self.ipv4.failure().or(self.ipv6.failure())
    }

    /// Whether the name has an address at all, where that is known.
    pub fn has_address(&self) -> Option<bool> {
        match (self.addresses().next(), self.failure()) {
            (Some(_), _) => Some(true),
            (None, None) => Some(false),
            (None, Some(_)) => None,
        }
    }

    /// Whether it has this address, where that is known.
    fn has(&self, address: IpAddr) -> Option<bool> {
        if self.addresses().any(|own| own == address) {
            return Some(true);
        }
        let failure = match address {
            IpAddr::V4(_) => self.ipv4.failure(),
            IpAddr::V6(_) => self.ipv6.failure(),
        };
        (failure.is_none() && self.omitted == 0).then_some(false)
    }
}

/// An MX record, and its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MailExchanger {
    /// The lower, the sooner it is tried.
    pub preference: u16,
    /// The exchanger.
    #[serde(flatten)]
    pub host: Host,
}

/// Where a domain's mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// To these, by preference and name. Never empty.
    Exchangers(Vec<MailExchanger>),
    /// Nowhere: the domain's only exchanger is the root, a null MX (RFC 7505).
    NullMx,
    /// To the domain's own address, as it has no MX (RFC 5321, section 5.1).
    Implicit(Host),
    /// Nowhere: the domain does not exist.
    NoSuchDomain,
    /// It could not be found out.
    Unknown(Failure),
}

/// How a domain receives mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainMail {
    /// The domain, as [`Host::name`].
    pub domain: String,
    /// Where its mail goes.
    pub route: Route,
    /// Exchangers that were left out, being too many; those of the least
    /// preference.
    pub omitted: usize,
}

/// Whether an address is among those that a domain's mail goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is an address of this host.
    Current {
        /// The host's name.
        host: String,
        /// The preference, unless the domain has no MX.
        #[serde(skip_serializing_if = "Option::is_none")]
        preference: Option<u16>,
    },
    /// It is none of them. Somebody uses what DNS said earlier, or mail is routed
    /// by hand (a transport table, a relay).
    NotAmongThem,
    /// Not all addresses could be found out.
    Unknown,
}

impl DomainMail {
    /// The hosts that mail goes to with their preferences.
    pub fn hosts(&self) -> impl Iterator<Item = (Option<u16>, &Host)> {
        let (exchangers, implicit) = match &self.route {
            Route::Exchangers(exchangers) => (exchangers.as_slice(), None),
            Route::Implicit(host) => (&[][..], Some((None, host))),
            Route::NullMx | Route::NoSuchDomain | Route::Unknown(_) => (&[][..], None),
        };
        exchangers.iter().map(|mx| (Some(mx.preference), &mx.host)).chain(implicit)
    }

    /// Whether a destination is among the domain's.
    pub fn standing(&self, destination: IpAddr) -> Standing {
        let destination = destination.to_canonical();
        let mut known = self.omitted == 0 && !matches!(self.route, Route::Unknown(_));
        for (preference, host) in self.hosts() {
            match host.has(destination) {
                Some(true) => return Standing::Current { host: host.name.clone(), preference },
                Some(false) => {}
                None => known = false,
            }
        }
        if known { Standing::NotAmongThem } else { Standing::Unknown }
    }
}

/// One of an address's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pointer {
    /// The name, as [`Host::name`].
    pub name: String,
    /// Whether it leads back to the address. Absent: it has no address of that
    /// family.
    pub leads_back: Answer<bool>,
}

/// An address's names in reverse DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressNames {
    /// The address; never an IPv4 address within IPv6.
    pub address: IpAddr,
    /// Its PTR records, sorted. Never empty if found.
    pub names: Answer<Vec<Pointer>>,
    /// Names that were left out, being too many.
    pub omitted: usize,
}

impl AddressNames {
    /// The first name that leads back to the address (forward-confirmed reverse
    /// DNS).
    pub fn confirmed(&self) -> Option<&str> {
        let confirmed = |pointer: &&Pointer| pointer.leads_back == Answer::Found(true);
        self.names.found()?.iter().find(confirmed).map(|pointer| pointer.name.as_str())
    }
}
