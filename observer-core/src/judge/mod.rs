//! What became of an attempt, and who said so.

pub mod filter;
pub mod label;
pub mod origin;
pub mod pipeline;
