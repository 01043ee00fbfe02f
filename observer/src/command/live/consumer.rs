//! Whoever takes what is observed.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;
use observer_core::alert::Alert;
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::wire::{Account, Joined, Known, LaterAlert};

use super::super::Failure;
use super::{Live, say};

/// Takes what is observed: with hooks of this process's own, from [`Live`], or by
/// `observer run`, from `Remote`.
pub(in crate::command) trait Consumer {
    /// Takes an event. `Break` ends it at once.
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure>;

    /// Called after each batch, however small; from `observer run` when nothing waits any
    /// more, and every now and then. `Break` ends it.
    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Continue(()))
    }

    /// Takes attempts of which no event came, found missing at `time`.
    fn missing(&mut self, missing: &[(Ended, u64)], time: Timestamp) -> Result<(), Failure> {
        let _ = (missing, time);
        Ok(())
    }

    /// Called after each look at the kernel. Not from `observer run`.
    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        let _ = live;
        Ok(())
    }

    /// Takes an event of another version of `observer run`, and how that wrote it.
    fn event_as_it_came(&mut self, event: &Arc<Event>, json: &str) -> Result<ControlFlow<()>, Failure> {
        let _ = json;
        self.event(event)
    }

    /// Takes a part of what `observer run` counted before, if it was asked for.
    fn known(&mut self, known: Known) {
        let _ = known;
    }

    /// Takes an alert of `observer run`.
    fn alert(&mut self, alert: &Alert) -> Result<(), Failure> {
        let _ = alert;
        Ok(())
    }

    /// Takes an alert of `observer run` of which only the sentence can be read.
    fn later_alert(&mut self, alert: &LaterAlert) -> Result<(), Failure> {
        let _ = alert;
        Ok(())
    }

    /// Takes what the mail server's log says of an attempt, from `observer run`.
    fn delivery(&mut self, delivery: &Joined) -> Result<(), Failure> {
        let _ = delivery;
        Ok(())
    }

    /// Takes the ledger of `observer run` in numbers.
    fn account(&mut self, account: Account) {
        let _ = account;
    }

    /// This reader of `observer run` was too slow for so many events.
    fn lost(&mut self, events: u64) {
        say(&format!("{events} events were not read fast enough, and are lost to this reader"));
    }
}
