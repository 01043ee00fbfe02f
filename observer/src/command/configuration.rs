//! `observer config`, and how every command reads the configuration.

use std::path::Path;

use super::live::{list, say};
use super::mta_log;
use super::{Failure, print};
use crate::cli::ConfigCommand;
use crate::config::{Config, Listen, Loaded, Surroundings, keys};
use crate::exit::Exit;
use crate::surroundings::host;

pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { config } => {
            let loaded = read(config.as_deref())?;
            print(meaning(&loaded).as_bytes())
        }
        ConfigCommand::Default => print(keys::default_file().as_bytes()),
    }
}

/// Reads the configuration, and says what is worth a word.
pub(super) fn load(file: Option<&Path>) -> Result<Config, Failure> {
    read(file).map(|loaded| loaded.config)
}

/// The configuration of a command that sends nothing. Secrets are not its matter, nor is
/// what is wrong with a file that was not named: it does as built in then.
pub(super) fn load_to_read(file: Option<&Path>) -> Result<Config, Failure> {
    match parse(file) {
        Ok(loaded) => Ok(loaded.config),
        Err(failure) if file.is_some() => Err(failure),
        Err(failure) => {
            say(&format!("going on without a configuration: {}", failure.text));
            Ok(Config::default())
        }
    }
}

fn read(file: Option<&Path>) -> Result<Loaded, Failure> {
    let loaded = parse(file)?;
    for warning in &loaded.warnings {
        say(&warning.to_string());
    }
    Ok(loaded)
}

fn parse(file: Option<&Path>) -> Result<Loaded, Failure> {
    let host = host().map_err(|error| Failure::new("cannot read this host's name from /proc", error))?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
    Config::load(file, &Surroundings { host: host.name, credentials }).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::with(Exit::Configuration, lines.join("\nobserver: "))
    })
}

/// A line for each part.
fn meaning(loaded: &Loaded) -> String {
    let Config { ports, history, socket, metrics, mta, sinks, .. } = &loaded.config;
    let files: Vec<_> = loaded.files.iter().map(|path| path.display().to_string()).collect();
    let mut lines = vec![
        format!("files    {}", if files.is_empty() { "none, all is as built in".to_owned() } else { files.join(", ") }),
        format!("watch    {}", list(ports)),
        match history {
            Some(history) => format!("history  {}", history.path.display()),
            None => "history  none".to_owned(),
        },
        match socket {
            Some(socket) => format!("socket   {}, group {}", socket.path.display(), socket.group),
            None => "socket   none".to_owned(),
        },
        match metrics.as_ref().map(|metrics| &metrics.listen) {
            Some(Listen::Tcp(address)) => format!("metrics  http://{address}/metrics"),
            Some(Listen::Unix(path)) => format!("metrics  {}", path.display()),
            None => "metrics  none".to_owned(),
        },
    ];
    lines.extend(mta.iter().map(|mta| format!("mta      {}", mta_log::named(mta.kind, &mta.log))));
    lines.extend(sinks.iter().map(|sink| format!("sink     {}: {} to {}", sink.name, sink.format.name(), sink.target)));
    lines.push("the configuration is in order".to_owned());
    lines.join("\n") + "\n"
}
