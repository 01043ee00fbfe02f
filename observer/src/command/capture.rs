//! So many minutes of what connects: as `observer run` sees it, or with hooks of one's own.

use std::time::Duration;

use observer_core::wire::{Request, Summary};

use super::Failure;
use super::live::{Consumer, Live, Stop, say, settings};
use super::remote::Remote;
use crate::cli::{KernelArgs, SourceArgs, or_smtp};

/// A capture that has begun.
pub(super) struct Capture {
    origin: Origin,
    stop: Stop,
}

enum Origin {
    Run(Remote),
    Hooks(Box<Live>),
}

/// How a capture ended.
pub(super) enum Ended {
    /// With what `observer run` says of the time; `None` if it said nothing.
    Run(Option<Summary>),
    /// With the hooks taken off, and their counters still there to read.
    Hooks(Box<Live>),
}

impl Capture {
    /// Begins a capture of these ports; none are all that `observer run` watches, or 25.
    /// It ends after `duration`, or with Ctrl-C.
    pub(super) async fn begin(
        source: &SourceArgs,
        kernel: &KernelArgs,
        ports: &[u16],
        duration: Duration,
    ) -> Result<Self, Failure> {
        let request = Request { successes: true, ..Request::default() };
        let Some(remote) = Remote::connect(source, &request).await? else {
            let ports = or_smtp(ports);
            let live = Box::new(Live::attach(&settings(&ports, true, kernel))?);
            // Attached first: the time asked for is time that is seen.
            let stop = Stop::new(Some(duration))?;
            let scope = live.scope(&ports);
            say(&capturing(&scope, duration));
            return Ok(Self { origin: Origin::Hooks(live), stop });
        };
        remote.ensure_watched(ports)?;
        let stop = Stop::new(Some(duration))?;
        say(&reading(&remote.scope(ports), duration));
        Ok(Self { origin: Origin::Run(remote), stop })
    }

    /// What the hooks of `observer run` do not see, as far as it tells; a [`Live`] tells it itself.
    pub(super) fn unseen(&self) -> &[String] {
        match &self.origin {
            Origin::Run(remote) => &remote.hello().unseen,
            Origin::Hooks(_) => &[],
        }
    }

    /// Hands over all that is captured until it ends.
    pub(super) async fn finish(mut self, into: &mut impl Consumer) -> Result<Ended, Failure> {
        match self.origin {
            Origin::Run(mut remote) => {
                remote.until(&mut self.stop, into).await?;
                remote.finish(into).await.map(Ended::Run)
            }
            Origin::Hooks(mut live) => {
                live.until(&mut self.stop, into).await?;
                live.finish(into).await?;
                Ok(Ended::Hooks(live))
            }
        }
    }
}

fn capturing(scope: &str, duration: Duration) -> String {
    format!("capturing for {duration:?}: outbound TCP connections {scope}; Ctrl-C ends it")
}

fn reading(scope: &str, duration: Duration) -> String {
    format!("reading for {duration:?}, as observer run sees it: outbound TCP connections {scope}; Ctrl-C ends it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_says_for_how_long_and_of_what() {
        let (scope, duration) = ("to port 2626, 10 hooks attached", Duration::from_secs(7));
        assert_eq!(
            capturing(scope, duration),
            "capturing for 7s: outbound TCP connections to port 2626, 10 hooks attached; Ctrl-C ends it"
        );
        assert_eq!(
            reading(scope, duration),
            "reading for 7s, as observer run sees it: outbound TCP connections to port 2626, 10 hooks attached; Ctrl-C ends it"
        );
    }
}
