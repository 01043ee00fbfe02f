//! `observer config`.

use std::path::Path;

use super::live::list;
use super::mta_log;
use super::startup::{Purpose, User, as_user, look};
use super::{Failure, print};
use crate::cli::ConfigCommand;
use crate::config::{Config, Listen, Loaded, keys};

pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { file, config, user } => check(file.as_deref().or(config.as_deref()), user.as_deref()),
        ConfigCommand::Default => print(keys::default_file().as_bytes()),
    }
}

/// Reads and looks at all of it as the service's user does.
fn check(file: Option<&Path>, user: Option<&str>) -> Result<(), Failure> {
    let user = user.map(User::named).transpose()?.or_else(User::of_service);
    let (loaded, findings) = as_user(user.as_ref(), || look(file, |_| {}, Purpose::Check))??;
    findings.reject()?;
    let mut text = meaning(&loaded);
    let as_whom = user.map(|user| format!(", looked at as the user {}", user.name())).unwrap_or_default();
    match findings.remarks.len() {
        0 => text.push_str(&format!("the configuration is in order{as_whom}\n")),
        1 => text.push_str(&format!("no errors, 1 warning{as_whom}\n")),
        count => text.push_str(&format!("no errors, {count} warnings{as_whom}\n")),
    }
    print(text.as_bytes())
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
    lines.join("\n") + "\n"
}
