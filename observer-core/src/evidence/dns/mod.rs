//! What DNS says about a destination, a domain's mail and our own addresses: plain facts,
//! and what follows from them.

mod facts;
pub mod finding;
mod listing;
mod special;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::facts::{
    Absence, AddressNames, Answer, DomainMail, Failure, Host, MailExchanger, Pointer, Route, Standing,
};
pub use self::listing::{Listing, ListingAnswer};
pub use self::special::special_purpose;

/// The autonomous system that announces an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AutonomousSystem {
    /// Its number.
    pub number: u32,
    /// Who runs it, made safe to print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
}
