//! Pseudo-terminals, for programs that want a terminal.

use std::fs::File;
use std::num::NonZeroU16;

use anyhow::{Context as _, Result};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The two ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The keyboard and the screen: what a program writes must be read here.
    pub controller: File,
    /// What a program gets as its standard input and output.
    pub device: File,
}

impl Terminal {
    /// Opens one of so many columns and lines.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn open([columns, lines]: [NonZeroU16; 2]) -> Result<Self> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("openpt")?;
        grantpt(&controller).context("grantpt")?;
        unlockpt(&controller).context("unlockpt")?;
        let size = Winsize { ws_row: lines.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controller, size).context("set the terminal's size")?;
        let name = ptsname(&controller, Vec::new()).context("ptsname")?;
        let device = File::options().read(true).write(true).open(name.to_str()?).context("open the terminal")?;
        Ok(Self { controller: File::from(controller), device })
    }
}
