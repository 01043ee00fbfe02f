//! The screen of `observer top`.
//!
//! Data flows one way here as well: keys become [`input::Change`]s, the
//! [`Model`] applies them and counts events, [`draw()`] shows the model's last
//! [`Snapshot`]. Nothing here reads a clock or touches a terminal.

mod cells;
mod columns;
mod detail;
mod draw;
mod filter;
mod help;
pub mod input;
mod lines;
mod look;
mod model;
mod recent;
mod snapshot;
mod subject;

pub use self::draw::draw;
pub use self::look::Look;
pub use self::model::{Model, Next};
pub use self::snapshot::Snapshot;
pub use observer_core::wire::Account;

#[cfg(test)]
mod tests;
