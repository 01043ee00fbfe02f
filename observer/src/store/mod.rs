//! What is kept on disk.

pub mod history;
pub mod spool;
