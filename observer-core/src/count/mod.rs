//! Exact counts, and what follows from them.

pub mod aggregate;
pub mod ledger;
pub mod scope;
pub mod tally;
