//! What a person sees besides events: the closing summary, the doctor's
//! findings, the screen of `observer top`, and the writer that puts events out.

pub mod before;
pub mod diagnosis;
pub mod doctor;
pub mod summary;
mod table;
pub mod top;
pub mod watch;
