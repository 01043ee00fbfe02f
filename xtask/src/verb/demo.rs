//! make a mail host's traffic, good and bad, in network namespaces, until Ctrl-C

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use observer_lab::{Demo as Traffic, Lab, LabConfig};

use crate::foreground::Stop;
use crate::privilege;

/// The port that the demo's traffic goes to.
const PORT: u16 = 25;

/// Make a mail host's traffic, good and bad, in network namespaces, until Ctrl-C
///
/// No packet leaves this machine. `./x watch` in another terminal shows it.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !privilege::is_root() {
            let this = std::env::current_exe().context("find this program")?;
            match privilege::exec_as_root(&this, ["demo"])? {}
        }
        let mut stop = Stop::catch()?;
        let (_traffic, lab) = bring_up(&mut stop)?;
        eprintln!("x: a dozen kinds of attempts to port {PORT}, from namespace {}; Ctrl-C ends", lab.client().name());
        stop.wait();
        Ok(ExitCode::SUCCESS)
    }
}

/// A lab with the demo's traffic, which ends before the lab does.
pub(crate) fn bring_up(stop: &mut Stop) -> Result<(Traffic, Lab)> {
    let up = || {
        let lab = Lab::up(LabConfig::default()).context("bring the lab up")?;
        let traffic = lab.demo(PORT).context("start the demo's traffic")?;
        Ok((traffic, lab))
    };
    // Ctrl-C ends the commands that build the lab as well; their complaint is noise then.
    up().map_err(|error| if stop.came() { anyhow!("interrupted") } else { error })
}
