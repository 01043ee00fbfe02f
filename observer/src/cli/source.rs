//! Where live commands get their events from.

use std::path::PathBuf;

pub use crate::config::{GROUP, SOCKET};
use clap::Args;

/// Where events come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Unix socket of `observer run`
    ///
    /// Where one is up, its events are read, which takes no more than being in the group observer. Otherwise hooks are
    /// attached, as with --standalone. When `observer run` ends meanwhile, its readers end with code 1.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// Attach hooks, whether or not `observer run` is up
    ///
    /// The options on the kernel, and --record, have an effect only then.
    #[arg(long)]
    pub standalone: bool,
}
