//! make a mail host's traffic, good and bad, in network namespaces, until Ctrl-C

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use observer_lab::{Lab, LabConfig};

use crate::foreground::Stop;
use crate::privilege;

/// The port that the demo's traffic goes to.
pub(crate) const PORT: u16 = 25;

/// Make a mail host's traffic, good and bad, in network namespaces, until Ctrl-C
///
/// No packet leaves this machine. `./x watch` in another terminal shows it.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {}

impl Demo {
    #[expect(clippy::unused_self, reason = "every verb is run in the same way")]
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !privilege::is_root() {
            let this = std::env::current_exe().context("find this program")?;
            match privilege::exec_as_root(&this, ["demo"])? {}
        }
        let stop = Stop::catch()?;
        let lab = Lab::up(LabConfig::default()).context("bring the lab up")?;
        let _traffic = lab.demo(PORT).context("start the demo's traffic")?;
        eprintln!("x: a dozen kinds of attempts to port {PORT}, from namespace {}; Ctrl-C ends", lab.client().name());
        stop.wait();
        Ok(ExitCode::SUCCESS)
    }
}
