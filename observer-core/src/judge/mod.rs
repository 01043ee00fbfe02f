//! What became of an attempt, and who said so.

pub mod label;
pub mod origin;
