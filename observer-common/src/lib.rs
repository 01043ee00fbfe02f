//! What the kernel programs and user space agree on.
//!
//! - [`address`]: IP addresses.
//! - [`record`]: the structs that cross the border: maps, ring buffer.
//! - [`attempt`]: which kernel facts begin, advance and end an attempt. It is
//!   compiled into the kernel programs and property-tested in user space.
//! - [`prober`]: whose connections are no attempts.
//! - [`stat`]: indexes of the kernel's own counters.
//!
//! No dependency, no `std`, no padding byte: an uninitialised byte would be
//! refused by the verifier, and its content would leak kernel stack.
#![no_std]

pub mod address;
pub mod attempt;
pub mod prober;
pub mod record;
pub mod stat;

/// Ports that one set of programs can watch.
pub const MAX_PORTS: usize = 8;

/// Bytes at the start of `struct sock` that hold both ports, the family and the
/// IPv4 addresses, on every kernel: the packet path finds sockets by them.
pub const SOCK_HEAD_LEN: usize = 24;
