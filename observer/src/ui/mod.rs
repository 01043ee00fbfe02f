//! What a person sees besides events: the closing summary, the doctor's
//! findings, and the writer that puts events out.

pub mod doctor;
pub mod summary;
mod table;
pub mod watch;
