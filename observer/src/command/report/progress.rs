//! How far a report is, on a terminal, once one has to wait for it.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nobody wants to know of shorter waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on stderr, gone when dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    is_waiting: bool,
}

impl Progress {
    pub(super) fn new(total: u64, what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()).with_message(what);
        // Without the style the bar is plain, and no report fails for it.
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}%") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, begun: Instant::now(), is_waiting: io::stderr().is_terminal() }
    }

    pub(super) fn set(&mut self, done: u64) {
        if self.is_waiting && self.begun.elapsed() >= PATIENCE {
            self.is_waiting = false;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
