//! The `observer` command.

use std::process::ExitCode;

use observer::cli::Cli;
use observer::command;

fn main() -> ExitCode {
    match Cli::from_args(std::env::args_os()) {
        Ok(cli) => command::run(&cli).into(),
        Err(error) => error.exit(),
    }
}
