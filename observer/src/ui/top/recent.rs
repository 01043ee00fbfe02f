//! The last attempts, kept for whoever opens one destination.

use std::collections::VecDeque;
use std::sync::Arc;

use observer_core::event::Event;

use super::subject::Subject;

/// Failures kept of everything, some 1 kB each.
const MAX_FAILURES: usize = 2_048;
/// Successes kept of everything: on a healthy host they would drive out the
/// failures.
const MAX_SUCCESSES: usize = 512;
/// Attempts kept of what is open.
pub(super) const MAX_OPEN: usize = 512;

/// The last attempts of everything, and those of the one subject that is open.
#[derive(Debug, Default)]
pub(super) struct Recent {
    failures: VecDeque<Arc<Event>>,
    successes: VecDeque<Arc<Event>>,
    open: Option<(Subject, VecDeque<Arc<Event>>)>,
}

impl Recent {
    pub(super) fn add(&mut self, event: &Event) {
        let event = Arc::new(event.clone());
        if let Some((subject, attempts)) = &mut self.open
            && subject.covers(&event)
        {
            push(attempts, MAX_OPEN, Arc::clone(&event));
        }
        if event.active_refusal.is_some() {
            push(&mut self.failures, MAX_FAILURES, event);
        } else {
            push(&mut self.successes, MAX_SUCCESSES, event);
        }
    }

    /// From now on keeps the attempts of `subject`, beginning with those that
    /// are still there.
    pub(super) fn open(&mut self, subject: Subject) {
        let all = self.failures.iter().chain(&self.successes);
        let mut attempts: Vec<_> = all.filter(|event| subject.covers(event)).map(Arc::clone).collect();
        attempts.sort_by_key(|event| event.time);
        let surplus = attempts.len().saturating_sub(MAX_OPEN);
        self.open = Some((subject, attempts.into_iter().skip(surplus).collect()));
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// The attempts of what is open, the latest first.
    pub(super) fn opened(&self) -> Vec<Arc<Event>> {
        self.open.iter().flat_map(|(_, attempts)| attempts.iter().rev()).map(Arc::clone).collect()
    }
}

fn push(ring: &mut VecDeque<Arc<Event>>, max: usize, event: Arc<Event>) {
    if ring.len() == max {
        ring.pop_front();
    }
    ring.push_back(event);
}
