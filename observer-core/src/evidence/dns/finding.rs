//! What is wrong, as far as the facts say.
//!
//! Pure: nothing is asked here. What could not be found out is no finding but
//! [`Finding::Unknown`], with the reason.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::facts::{AddressNames, Answer, DomainMail, Failure, Host, Route, Standing};
use super::listing::{Listing, ListingAnswer};
use super::special::special_purpose;

/// Something that explains refused or failing mail, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// The recipients' domain does not exist.
    NoSuchDomain {
        /// The domain.
        domain: String,
    },
    /// The domain says that it takes no mail (RFC 7505).
    NullMx {
        /// The domain.
        domain: String,
    },
    /// A null MX stands beside others, which RFC 7505 (section 3) forbids:
    /// senders differ in what they make of it.
    NullMxAmongOthers {
        /// The domain.
        domain: String,
    },
    /// The domain has no MX, and its own address counts (RFC 5321, section 5.1).
    /// Legitimate, but often a mistake.
    ImplicitMx {
        /// The domain.
        domain: String,
    },
    /// An exchanger is an alias, which RFC 2181 (section 10.3) and RFC 5321
    /// (section 5.1) forbid: some senders do not follow it.
    MxIsCname {
        /// The exchanger.
        exchanger: String,
        /// What it is an alias of.
        target: String,
    },
    /// An exchanger is an IP address instead of a name.
    MxIsAddress {
        /// The address.
        exchanger: String,
    },
    /// An exchanger, or a domain without one, has no address.
    MxHasNoAddress {
        /// The host.
        exchanger: String,
    },
    /// An exchanger has an address that cannot be reached from everywhere.
    MxAddressSpecial {
        /// The host.
        exchanger: String,
        /// The address.
        address: IpAddr,
        /// What it is reserved for, with the RFC that says so.
        purpose: &'static str,
    },
    /// The destination is none of the domain's: what DNS said earlier is still in
    /// use, or mail is routed by hand.
    NotAnMxOfDomain {
        /// The domain.
        domain: String,
        /// The destination.
        destination: IpAddr,
    },
    /// An address has no name in reverse DNS.
    NoPtr {
        /// The address.
        address: IpAddr,
    },
    /// An address has names, and none leads back to it.
    NotForwardConfirmed {
        /// The address.
        address: IpAddr,
        /// The names.
        names: Vec<String>,
    },
    /// An address is on a list.
    Listed {
        /// The address.
        address: IpAddr,
        /// The list.
        zone: String,
        /// Its answers.
        codes: Vec<Ipv4Addr>,
        /// What it says to people.
        text: Vec<String>,
    },
    /// A list gives no usable answers: its terms, or the zone, are to be looked
    /// at.
    ListUnusable {
        /// The list.
        zone: String,
        /// What it did; never listed or not listed.
        outcome: ListingAnswer,
    },
    /// Something could not be found out. It may be wrong or right.
    Unknown {
        /// What was asked about: a name or an address.
        about: String,
        /// Why it is unknown.
        why: Failure,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDomain { domain } => write!(f, "the domain {domain} does not exist"),
            Self::NullMx { domain } => write!(f, "{domain} takes no mail: it has a null MX"),
            Self::NullMxAmongOthers { domain } => write!(f, "{domain} has a null MX beside others"),
            Self::ImplicitMx { domain } => write!(f, "{domain} has no MX: its own address counts"),
            Self::MxIsCname { exchanger, target } => write!(f, "the exchanger {exchanger} is an alias of {target}"),
            Self::MxIsAddress { exchanger } => write!(f, "the exchanger {exchanger} is an address instead of a name"),
            Self::MxHasNoAddress { exchanger } => write!(f, "{exchanger} has no address"),
            Self::MxAddressSpecial { exchanger, address, purpose } => {
                write!(f, "{exchanger} has the address {address}: {purpose}")
            }
            Self::NotAnMxOfDomain { domain, destination } => {
                write!(f, "{destination} is none of the exchangers of {domain} now")
            }
            Self::NoPtr { address } => write!(f, "{address} has no name in reverse DNS"),
            Self::NotForwardConfirmed { address, names } => {
                write!(f, "{address} is called {}, and none of these names leads back to it", names.join(", "))
            }
            Self::Listed { address, zone, text, .. } => {
                write!(f, "{address} is listed by {zone}")?;
                text.first().map_or(Ok(()), |text| write!(f, ": {text}"))
            }
            Self::ListUnusable { zone, .. } => write!(f, "{zone} gives no usable answers"),
            Self::Unknown { about, why } => write!(f, "DNS of {about}: {why}"),
        }
    }
}

/// What is wrong with where a domain's mail goes, and with `destination`, which
/// mail for it was sent to.
pub fn of_mail(mail: &DomainMail, destination: Option<IpAddr>) -> Vec<Finding> {
    let domain = || mail.domain.clone();
    let mut findings = match &mail.route {
        Route::NoSuchDomain => return vec![Finding::NoSuchDomain { domain: domain() }],
        Route::NullMx => return vec![Finding::NullMx { domain: domain() }],
        Route::Unknown(why) => return vec![Finding::Unknown { about: domain(), why: *why }],
        Route::Implicit(_) => vec![Finding::ImplicitMx { domain: domain() }],
        Route::Exchangers(exchangers) if exchangers.iter().any(|mx| mx.host.name == ".") => {
            vec![Finding::NullMxAmongOthers { domain: domain() }]
        }
        Route::Exchangers(_) => Vec::new(),
    };
    for (preference, host) in mail.hosts().filter(|(_, host)| host.name != ".") {
        of_host(host, preference.is_some(), &mut findings);
    }
    if let Some(destination) = destination
        && mail.standing(destination) == Standing::NotAmongThem
    {
        findings.push(Finding::NotAnMxOfDomain { domain: domain(), destination: destination.to_canonical() });
    }
    findings
}

fn of_host(host: &Host, is_exchanger: bool, findings: &mut Vec<Finding>) {
    let exchanger = || host.name.clone();
    if let (true, Some(target)) = (is_exchanger, &host.alias) {
        findings.push(Finding::MxIsCname { exchanger: exchanger(), target: target.clone() });
    }
    match host.has_address() {
        // No top-level domain is a number, whatever a name server says of it.
        Some(false) | None if host.name.parse::<Ipv4Addr>().is_ok() => {
            findings.push(Finding::MxIsAddress { exchanger: exchanger() });
        }
        Some(false) => findings.push(Finding::MxHasNoAddress { exchanger: exchanger() }),
        Some(true) | None => {}
    }
    if let Some(why) = host.failure() {
        findings.push(Finding::Unknown { about: exchanger(), why });
    }
    for address in host.addresses() {
        if let Some(purpose) = special_purpose(address) {
            findings.push(Finding::MxAddressSpecial { exchanger: exchanger(), address, purpose });
        }
    }
}

/// What is wrong with an address's names. Receivers ask it of a source address:
/// many refuse mail from one without a name that leads back.
pub fn of_names(names: &AddressNames) -> Option<Finding> {
    let address = names.address;
    match &names.names {
        _ if names.confirmed().is_some() => None,
        Answer::Absent(_) => Some(Finding::NoPtr { address }),
        Answer::Unknown(why) => Some(Finding::Unknown { about: address.to_string(), why: *why }),
        Answer::Found(pointers) => Some(match pointers.iter().find_map(|pointer| pointer.leads_back.failure()) {
            Some(why) => Finding::Unknown { about: address.to_string(), why },
            None if names.omitted > 0 => Finding::Unknown { about: address.to_string(), why: Failure::TooManyQueries },
            None => {
                let names = pointers.iter().map(|pointer| pointer.name.clone()).collect();
                Finding::NotForwardConfirmed { address, names }
            }
        }),
    }
}

/// What a list says, if that is something to look at.
pub fn of_listing(listing: &Listing) -> Option<Finding> {
    let zone = listing.zone.clone();
    match &listing.outcome {
        ListingAnswer::NotListed | ListingAnswer::NotPublic => None,
        ListingAnswer::Listed { codes, text } => {
            Some(Finding::Listed { address: listing.address, zone, codes: codes.clone(), text: text.clone() })
        }
        ListingAnswer::Failed(why) => Some(Finding::Unknown { about: zone, why: *why }),
        outcome @ (ListingAnswer::QueryRefused { .. }
        | ListingAnswer::NotAList { .. }
        | ListingAnswer::ListsEverything) => Some(Finding::ListUnusable { zone, outcome: outcome.clone() }),
    }
}
