//! What the service manager is told: sd_notify(3). Without one, nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Between two status lines.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// The service manager's view of this process.
pub(super) struct Service {
    /// Between two signs of life; the manager asked for them.
    watchdog: Option<Duration>,
    alive_at: Instant,
    status_at: Instant,
}

impl Service {
    /// Says that observer is ready.
    pub(super) fn ready(status: &str) -> Self {
        let now = Instant::now();
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        // Half of the time, as sd_watchdog_enabled(3) advises.
        let watchdog = sd_notify::watchdog_enabled().map(|interval| interval / 2);
        Self { watchdog, alive_at: now, status_at: now + STATUS_EVERY }
    }

    /// A sign of life, and now and then a status line; to be called at every tick.
    pub(super) fn tick(&mut self, status: impl FnOnce() -> String) {
        let now = Instant::now();
        if let Some(every) = self.watchdog
            && now >= self.alive_at
        {
            self.alive_at = now + every;
            tell(&[NotifyState::Watchdog]);
        }
        if now >= self.status_at {
            self.status_at = now + STATUS_EVERY;
            tell(&[NotifyState::Status(&status())]);
        }
    }

    /// Before a reload, as `Type=notify-reload` asks for.
    pub(super) fn reloading() {
        if let Ok(state) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, state]);
        }
    }

    /// After a reload.
    pub(super) fn reloaded(status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Says that observer is about to end.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

/// A manager that does not listen is not worth a failure.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
