//! From the spool to the receiver.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::backoff::Backoff;
use super::dead_letter::DeadLetters;
use super::message::Message;
use super::shared::Shared;
use super::transport::{self, Transport, Trouble};
use crate::store::spool::SpoolReader;

/// Messages of one request or write.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 512 << 10;
/// Left for the end of the connection.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);

/// A thread's worth of work.
pub(super) struct SinkThread {
    shared: Arc<Shared>,
    spool: SpoolReader,
    dead_letters: DeadLetters,
    backoff: Backoff,
    transport: Option<Box<dyn Transport>>,
    generation: u64,
    /// Messages sent since the last trouble.
    sent: u64,
    /// Of these, acknowledged to the spool.
    confirmed: u64,
    /// Refused ones among those that were sent and not confirmed.
    refused: u64,
}

impl SinkThread {
    /// `dead` is where messages go that nobody will take.
    pub(super) fn new(shared: Arc<Shared>, spool: SpoolReader, dead: &Path) -> Self {
        Self {
            shared,
            spool,
            dead_letters: DeadLetters::new(dead),
            backoff: Backoff::default(),
            transport: None,
            generation: 0,
            sent: 0,
            confirmed: 0,
            refused: 0,
        }
    }

    /// Until the end is asked for, and then until all is delivered or the time is up.
    pub(super) fn run(&mut self) {
        loop {
            let deadline = self.shared.deadline();
            if deadline.is_some_and(|deadline| deadline <= Instant::now() + CLOSE_WITHIN) {
                break;
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) if deadline.is_some() && self.is_idle() => break,
                Ok(false) => self.shared.wait(),
                Err(_) if deadline.is_some() => break,
                Err(cause) => self.go_back(cause),
            }
        }
        if let Some(transport) = &mut self.transport {
            transport.close(CLOSE_WITHIN);
        }
    }

    /// Nothing waits, and nobody is about to add to it.
    fn is_idle(&self) -> bool {
        self.shared.status().waiting() == 0
    }

    /// Sends a batch and sees what has arrived. True if something was sent.
    fn step(&mut self) -> Result<bool, String> {
        self.follow_target()?;
        let taken = self.spool.take(BATCH, BATCH_BYTES);
        let batch = taken.map_err(|error| format!("cannot read the spool: {error}"))?;
        if !batch.is_empty() {
            self.send(&batch)?;
        }
        self.confirm()?;
        Ok(!batch.is_empty())
    }

    /// Opens the way to the target, and another one when the target has changed.
    fn follow_target(&mut self) -> Result<(), String> {
        let (generation, target) = self.shared.target();
        if self.transport.is_some() && generation == self.generation {
            return Ok(());
        }
        if let Some(mut old) = self.transport.take() {
            old.close(CLOSE_WITHIN);
            self.rewind();
        }
        self.transport = Some(transport::open(&target)?);
        self.generation = generation;
        Ok(())
    }

    fn send(&mut self, batch: &[Message]) -> Result<(), String> {
        let Some(transport) = &mut self.transport else { return Err("no transport".to_owned()) };
        let refused = match transport.send(batch) {
            Ok(sent) => {
                self.sent += batch.len() as u64;
                sent.refused
            }
            Err(Trouble::Permanent(cause)) if self.sent == self.confirmed => {
                self.bury(batch.iter().map(|message| (message, cause.as_str())))?;
                // To the transport this was a trouble, and it counts anew.
                (self.sent, self.confirmed) = (0, 0);
                return self.acknowledge(batch.len() as u64);
            }
            Err(trouble) => return Err(trouble.to_string()),
        };
        if refused.is_empty() {
            return Ok(());
        }
        self.bury(refused.iter().filter_map(|(nth, cause)| Some((batch.get(*nth)?, cause.as_str()))))
    }

    fn bury<'a>(&mut self, letters: impl Iterator<Item = (&'a Message, &'a str)> + Clone) -> Result<(), String> {
        let added = self.dead_letters.add(letters.clone(), Timestamp::now());
        added.map_err(|error| format!("cannot write what the receiver refused: {error}"))?;
        let mut health = self.shared.health();
        let count = letters.clone().count() as u64;
        self.refused += count;
        health.refused += count;
        health.last_refusal = letters.last().map(|(_, cause)| cause.to_owned()).or(health.last_refusal.take());
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), String> {
        let Some(transport) = &mut self.transport else { return Ok(()) };
        let confirmed = transport.confirmed().map_err(|trouble| trouble.to_string())?;
        let more = confirmed.saturating_sub(self.confirmed);
        self.confirmed += more;
        if more == 0 {
            return Ok(());
        }
        self.acknowledge(more)
    }

    fn acknowledge(&mut self, count: u64) -> Result<(), String> {
        self.backoff.reset();
        let refused = self.refused.min(count);
        self.refused -= refused;
        let mut health = self.shared.health();
        health.delivered += count - refused;
        health.trouble = None;
        drop(health);
        let acknowledged = self.spool.acknowledge(count);
        acknowledged.map_err(|error| format!("cannot note in the spool what was delivered: {error}"))
    }

    fn go_back(&mut self, cause: String) {
        self.shared.trouble(cause);
        self.rewind();
        let pause = self.backoff.pause(fastrand::f64());
        self.shared.pause(pause);
    }

    fn rewind(&mut self) {
        (self.sent, self.confirmed, self.refused) = (0, 0, 0);
        self.spool.rewind();
    }
}
