//! Exact counts, and what follows from them.

pub mod aggregate;
mod destinations;
mod ended;
mod known;
pub mod ledger;
pub mod scope;
pub mod tally;
mod totals;

pub use self::destinations::{DestinationSum, Destinations};
pub use self::ended::{Ended, Missing, missing};
pub use self::known::{ByPort, Known, KnownEnds};
pub use self::totals::Totals;
