//! What one's own SYNs find out: only when somebody asks for it.
//!
//! - [`connect`]: one TCP connect for each address and each of our source
//!   addresses. The banner is awaited and answered with QUIT (RFC 5321 section
//!   4.1.1.10); never a mail, never a greeting.
//! - [`trace`]: SYNs with a rising TTL show at which hop the answer is born, and
//!   datagrams how far away the destination is (RFC 792, RFC 4443: time exceeded).
//! - [`compare`] is pure: whether it is our address, and whether somebody on the
//!   way answers in the destination's name.
//!
//! None needs a privilege. All is bounded, and [`admit`] refuses what is not meant
//! for mail.

pub mod connect;
mod socket;
mod sources;
pub mod trace;

pub use observer_core::evidence::probe::*;

pub use self::sources::{Sources, sources};

#[cfg(test)]
mod tests;
