//! What is handed on: the records that are written, sent and kept.

pub mod alert;
pub mod entry;
pub mod event;
pub mod filter;
pub mod joined;
pub mod message;
pub mod minute;
pub mod notice;
pub mod schema;
