//! The tests that need root, inside virtual machines with kernels of Debian's.
//!
//! [`archive`] and [`kernel`] fetch kernels, [`image`] packs this host's tools and
//! the programs under test ([`cpio`] writes it), [`qemu`] boots it, and [`guest`]
//! is this very program as the machine's first process, which runs a [`plan`].

mod arch;
mod archive;
mod boot;
mod cpio;
pub(crate) mod guest;
mod image;
mod kernel;
mod pinned;
mod plan;
mod qemu;
pub(crate) mod readme;
mod results;
mod suite;
mod userland;

pub(crate) use arch::Arch;
pub(crate) use boot::{Boot, SETTINGS, Setting};
pub(crate) use results::{Outcome, Tested};
pub(crate) use suite::Suite;
