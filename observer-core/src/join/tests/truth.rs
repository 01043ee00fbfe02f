//! Deliveries whose truth is known, in every order.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::{at, attempt, deferred, join, refused, sent};
use crate::join::delivery::Found;
use crate::join::{Attempt, Joiner, Settings, Settled};
use crate::mta::Line;

/// A delivery of the truth: a process, and the hosts that it tries.
#[derive(Clone, Debug)]
struct Truth {
    pid: u32,
    hosts: Vec<u8>,
    pause_ms: i64,
    is_sent: bool,
}

fn truths() -> impl Strategy<Value = Vec<Truth>> {
    let truth = (1_u32..4, prop::collection::vec(1_u8..4, 1..4), 0_i64..3_000, any::<bool>());
    prop::collection::vec(
        truth.prop_map(|(pid, hosts, pause_ms, is_sent)| Truth { pid, hosts, pause_ms, is_sent }),
        1..12,
    )
}

/// What the kernel sees and what Postfix logs; and of each attempt the message.
fn play(truths: &[Truth]) -> (Vec<Attempt>, Vec<Line>, BTreeMap<String, String>) {
    let (mut attempts, mut lines, mut owner) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut clocks = [0_i64; 4];
    for (nth, truth) in truths.iter().enumerate() {
        let clock = &mut clocks[truth.pid as usize];
        *clock += truth.pause_ms;
        let (id, began) = (format!("AAAA{nth:02}"), *clock);
        for (step, &host) in truth.hosts.iter().enumerate() {
            let name = format!("{nth}.{step}");
            let is_accepted = truth.is_sent && step + 1 == truth.hosts.len();
            attempts.push(attempt(&name, truth.pid, host, *clock, *clock + 20, is_accepted));
            owner.insert(name, id.clone());
            *clock += 25;
            if !is_accepted {
                lines.push((*clock, refused(*clock, truth.pid, host)));
            }
        }
        let (took, host) = ((*clock - began) as f64 / 1_000.0, truth.hosts[truth.hosts.len() - 1]);
        let mut last = if truth.is_sent {
            sent(*clock, truth.pid, &id, host, "")
        } else {
            deferred(*clock, truth.pid, &id, host, took)
        };
        last.took = Some(Duration::from_secs_f64(took));
        lines.push((*clock, last));
        *clock += 5;
    }
    // The log is in the order of time, and each process in its own order.
    lines.sort_by_key(|(ms, _)| *ms);
    (attempts, lines.into_iter().map(|(_, line)| line).collect(), owner)
}

/// Lines in their order, attempts in any, mixed by `mix`.
fn mixed(mut attempts: Vec<Attempt>, lines: Vec<Line>, mix: &[prop::sample::Index]) -> Settled {
    let mut joiner = Joiner::new(Settings::default());
    let mut lines = lines.into_iter();
    for pick in mix {
        if attempts.is_empty() {
            break;
        }
        match pick.index(attempts.len() + 3) {
            nth if nth < attempts.len() => joiner.attempt(attempts.swap_remove(nth)),
            _ => lines.next().into_iter().for_each(|line| joiner.line(line)),
        }
    }
    attempts.into_iter().for_each(|attempt| joiner.attempt(attempt));
    lines.for_each(|line| joiner.line(line));
    joiner.finish()
}

fn check(settled: &Settled, owner: &BTreeMap<String, String>) -> Result<usize, TestCaseError> {
    let mut joined = 0;
    prop_assert_eq!(settled.attempts.len(), owner.len());
    for judged in &settled.attempts {
        if let Some(id) = judged.mta.as_ref().and_then(|mta| mta.queue_id.as_ref()) {
            prop_assert_eq!(id, &owner[&judged.id], "{:?}", judged);
            joined += 1;
        }
    }
    for delivery in &settled.deliveries {
        for step in &delivery.steps {
            if let Found::One(id) = &step.found {
                prop_assert_eq!(delivery.queue_id.as_ref(), Some(&owner[id]));
            }
        }
    }
    Ok(joined)
}

proptest! {
    #[test]
    fn any_mixture_gives_the_same_and_all_of_it(truths in truths(), mix in prop::collection::vec(any::<prop::sample::Index>(), 80)) {
        let (attempts, lines, owner) = play(&truths);
        let plain = join(attempts.clone(), lines.clone());
        prop_assert_eq!(&mixed(attempts, lines, &mix), &plain);
        prop_assert_eq!(check(&plain, &owner)?, owner.len());
    }

    #[test]
    fn what_is_lost_joins_nothing_wrongly(
        truths in truths(),
        lost_attempt in prop::option::of(any::<prop::sample::Index>()),
        every in 1_i64..8,
    ) {
        let (mut attempts, lines, mut owner) = play(&truths);
        if let Some(lost) = lost_attempt {
            let lost = attempts.swap_remove(lost.index(attempts.len()));
            owner.remove(&lost.id);
        }
        // As it comes in, and settled again and again.
        let mut joiner = Joiner::new(Settings::default());
        let mut settled = Settled::default();
        attempts.sort_by_key(|attempt| attempt.ended);
        let (mut attempts, mut lines) = (attempts.into_iter().peekable(), lines.into_iter().peekable());
        for tick in 0..200 {
            let now = at(tick * every * 250);
            while let Some(attempt) = attempts.next_if(|attempt| attempt.ended <= now) {
                joiner.attempt(attempt);
            }
            while let Some(line) = lines.next_if(|line| line.time <= now) {
                joiner.line(line);
            }
            let more = joiner.settle(now - SignedDuration::from_millis(100));
            settled.attempts.extend(more.attempts);
            settled.deliveries.extend(more.deliveries);
        }
        attempts.for_each(|attempt| joiner.attempt(attempt));
        lines.for_each(|line| joiner.line(line));
        let more = joiner.finish();
        settled.attempts.extend(more.attempts);
        settled.deliveries.extend(more.deliveries);
        let total: u32 = settled.deliveries.iter().map(|delivery| delivery.recipients).sum();
        prop_assert_eq!(total as usize, truths.len());
        check(&settled, &owner)?;
    }
}
