//! The kernel's record of an attempt, decoded, and in terms of user space.

pub mod attempt;
pub mod decode;
pub mod own;
pub mod steady;
