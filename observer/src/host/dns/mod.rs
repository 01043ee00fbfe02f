//! What DNS says about a destination, a domain's mail and our own addresses.
//!
//! Nothing here runs unless it is asked for: each question tells a name server,
//! and whoever runs the zone, whom this host sends mail to.
//!
//! [`Resolver`] asks, within a deadline and a number of questions; the answers
//! are plain facts, and [`finding`] concludes from them without asking anything.
//! [`asn`] looks addresses up in a local file.
//!
//! Answers are hostile. A name is kept as ASCII with everything else escaped, an
//! internationalised one in its `xn--` form, so that none can pass for another on
//! a screen; and only so many records of an answer are looked at. A look-up that
//! failed is [`Answer::Unknown`], never taken for absence.

pub mod asn;
mod lookup;
mod name;
mod zone;

pub use observer_core::evidence::dns::*;

pub use self::lookup::{Inquiry, Resolver, Settings};
pub use self::zone::Zone;

#[cfg(test)]
pub(crate) mod tests;
