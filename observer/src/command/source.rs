//! Where a command reads: as it was typed, or else as `observer run` is configured.

use std::path::{Path, PathBuf};

use super::Failure;
use super::configuration::load_to_read;
use super::socket::Occupant;
use crate::cli::SourceArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::history;

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Hooks of the command's own.
    Hooks,
    /// This socket of `observer run`, if one is up.
    Configured(PathBuf),
    /// This socket, and nothing else.
    Named(PathBuf),
}

impl Source {
    /// What was typed; the configuration is read only where it matters.
    ///
    /// # Errors
    /// If a configuration was named and cannot be read.
    pub(super) fn of(args: &SourceArgs) -> Result<Self, Failure> {
        match &args.socket {
            _ if args.standalone => Ok(Self::Hooks),
            Some(socket) => Ok(Self::Named(socket.clone())),
            None => Ok(match load_to_read(args.config.as_deref())?.socket {
                Some(socket) => Self::Configured(socket.path),
                None => Self::Hooks,
            }),
        }
    }
}

/// Nobody listens at a socket that was named.
pub(super) fn nobody_listens(socket: &Path) -> Failure {
    let shown = socket.display();
    let text = match Occupant::at(socket) {
        Ok(Occupant::Other(what)) => format!("--socket {shown}: it is {what}: name the socket of observer run"),
        _ => format!(
            "--socket {shown}: no observer run listens there: start one with this socket, or leave the option out"
        ),
    };
    Failure::with(Exit::Failure, text)
}

/// Fails where nobody listens at a socket that was named.
pub(super) fn ensure_served(args: &SourceArgs) -> Result<(), Failure> {
    match &args.socket {
        Some(socket) if !matches!(Occupant::at(socket), Ok(Occupant::InUse) | Err(_)) => Err(nobody_listens(socket)),
        _ => Ok(()),
    }
}

/// The socket of `observer run`, whether one is up or not.
pub(super) fn socket(args: &SourceArgs, config: &Config) -> PathBuf {
    let configured = || config.socket.clone().unwrap_or_default().path;
    args.socket.clone().unwrap_or_else(configured)
}

/// History as it was typed, or as it is configured.
pub(super) fn history(typed: Option<&PathBuf>, config: &Config) -> PathBuf {
    let configured = || config.history.as_ref().map(|history| history.path.clone());
    typed.cloned().or_else(configured).unwrap_or_else(|| history::DEFAULT_PATH.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(socket: Option<&str>, config: Option<&Path>, standalone: bool) -> SourceArgs {
        SourceArgs { socket: socket.map(Into::into), config: config.map(Into::into), standalone }
    }

    #[test]
    fn what_was_typed_is_stronger_than_what_is_configured() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("observer.toml");
        std::fs::write(&file, "[socket]\npath = '/srv/o.sock'\n[history]\npath = '/srv/h.sqlite'\n").unwrap();
        let of = |socket, standalone| Source::of(&args(socket, Some(&file), standalone)).unwrap();
        assert_eq!(of(None, false), Source::Configured("/srv/o.sock".into()));
        assert_eq!(of(Some("/x"), false), Source::Named("/x".into()));
        assert_eq!(of(None, true), Source::Hooks);
        let config = load_to_read(Some(&file)).unwrap();
        assert_eq!(history(None, &config), Path::new("/srv/h.sqlite"));
        assert_eq!(history(Some(&"/y".into()), &config), Path::new("/y"));
        assert_eq!(socket(&args(None, None, false), &config), Path::new("/srv/o.sock"));
        std::fs::write(&file, "[socket]\nenabled = false\n").unwrap();
        assert_eq!(of(None, false), Source::Hooks);
        assert!(Source::of(&args(None, Some(&place.path().join("none")), false)).is_err());
        let named = place.path().join("socket");
        let named = named.to_str();
        assert!(ensure_served(&args(named, None, false)).is_err());
        let _listener = std::os::unix::net::UnixListener::bind(named.unwrap()).unwrap();
        assert!(ensure_served(&args(named, None, false)).is_ok() && ensure_served(&args(None, None, false)).is_ok());
    }
}
