//! Where live commands get their events from.

use std::path::PathBuf;

pub use crate::config::{GROUP, SOCKET};
use clap::Args;

/// Where events come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Unix socket of `observer run` [default: as configured, else /run/observer/observer.sock]
    ///
    /// Where one is up, its events are read, which takes no more than being in the group observer. Otherwise hooks are
    /// attached, as with --standalone; but if this option names a socket, somebody must listen there. When
    /// `observer run` ends meanwhile, its readers end with code 1.
    #[arg(long, value_name = "PATH", conflicts_with = "standalone")]
    pub socket: Option<PathBuf>,
    /// Configuration of `observer run`, which says where its socket and its history are [default:
    /// /etc/observer/observer.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Attach hooks, whether or not `observer run` is up
    ///
    /// The options on the kernel, and --record, have an effect only then.
    #[arg(long)]
    pub standalone: bool,
}
