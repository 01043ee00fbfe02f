//! Exact counts, and what follows from them.

pub mod aggregate;
mod destinations;
mod drain;
pub mod ledger;
mod reconcile;
pub mod scope;
pub mod tally;
mod totals;

pub use self::destinations::{DestinationSum, Destinations};
pub use self::drain::{Drain, Ended, Missing};
pub use self::reconcile::Reconciler;
pub use self::totals::{ByPort, Totals};
