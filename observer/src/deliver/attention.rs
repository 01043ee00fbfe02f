//! What of a sink's state is worth a notice, and when.

use jiff::{SignedDuration, Timestamp};
use observer_core::notice::{Finding, NoticeKind};

use super::health::SinkStatus;

/// A receiver that is away for less is restarting.
const DOWN_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// Between two notices of the same kind.
const EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Compares a sink's state with what was told of it.
#[derive(Debug, Default)]
pub struct Attention {
    down: Option<Down>,
    dropped: Counted,
    refused: Counted,
    corrupt: Counted,
}

/// A sink that was said to be down.
#[derive(Debug)]
struct Down {
    since: Timestamp,
    /// Messages that it had lost when it was found down.
    dropped: u64,
    /// Its spool does not take messages, which is worse than a receiver that is away.
    is_spool: bool,
}

/// How much of a counter was told, and when.
#[derive(Debug, Default)]
struct Counted {
    told: u64,
    at: Option<Timestamp>,
}

impl Counted {
    /// What is to be told now: at once the first time, then not too often.
    fn more(&mut self, total: u64, now: Timestamp) -> Option<u64> {
        let more = total.checked_sub(self.told).filter(|&more| more > 0)?;
        if self.at.is_some_and(|at| now.duration_since(at) < EVERY) {
            return None;
        }
        (self.told, self.at) = (total, Some(now));
        Some(more)
    }
}

impl Attention {
    /// What has changed so that somebody should know.
    pub fn findings(&mut self, status: &SinkStatus, now: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.reach(status, now));
        let spool = status.spool.as_ref();
        if let Some(count) = self.dropped.more(status.dropped_total(), now) {
            findings.push(Finding {
                kind: NoticeKind::EventsDropped,
                count,
                since: None,
                cause: status.drops_in_words(),
            });
        }
        if let Some(count) = self.refused.more(status.refused, now) {
            let cause = status.last_refusal.clone().unwrap_or_default();
            findings.push(Finding { kind: NoticeKind::MessagesRefused, count, since: None, cause });
        }
        if let Some(count) = self.corrupt.more(spool.map_or(0, |spool| spool.corrupt_records), now) {
            let cause = "the spool was damaged on disk".to_owned();
            findings.push(Finding { kind: NoticeKind::SpoolCorrupt, count, since: None, cause });
        }
        findings
    }

    fn reach(&mut self, status: &SinkStatus, now: Timestamp) -> Option<Finding> {
        let is_spool = status.spool_trouble.is_some();
        match (status.any_trouble(), &self.down) {
            (Some((since, cause)), down)
                if now.duration_since(*since) >= DOWN_AFTER
                    && down.as_ref().is_none_or(|down| is_spool && !down.is_spool) =>
            {
                let (first, dropped) =
                    down.as_ref().map_or((*since, status.dropped_total()), |down| (down.since, down.dropped));
                let finding =
                    Finding { kind: NoticeKind::SinkDown, count: 0, since: Some(*since), cause: cause.clone() };
                self.down = Some(Down { since: first, dropped, is_spool });
                Some(finding)
            }
            // The disk has room again, and the receiver is away still.
            (Some((since, cause)), Some(Down { since: first, dropped, is_spool: true })) if !is_spool => {
                let lost = status.dropped_total().saturating_sub(*dropped);
                let cause = format!("the spool takes messages again, {lost} were lost meanwhile; still {cause}");
                let finding = Finding { kind: NoticeKind::SinkDown, count: 0, since: Some(*since), cause };
                self.down = Some(Down { since: *first, dropped: *dropped, is_spool: false });
                Some(finding)
            }
            (None, Some(Down { since, dropped, .. })) => {
                let lost = status.dropped_total().saturating_sub(*dropped);
                let cause = format!("{} messages are waiting, {lost} were lost meanwhile", status.waiting());
                let since = Some(*since);
                self.down = None;
                Some(Finding { kind: NoticeKind::SinkUp, count: 0, since, cause })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn kinds(attention: &mut Attention, status: &SinkStatus, second: i64) -> Vec<(NoticeKind, u64)> {
        let findings = attention.findings(status, at(second));
        findings.into_iter().map(|finding| (finding.kind, finding.count)).collect()
    }

    #[test]
    fn a_receiver_that_stays_away_is_told_once_and_so_is_its_return() {
        let mut attention = Attention::default();
        let mut status = SinkStatus { trouble: Some((at(0), "refused".to_owned())), ..SinkStatus::default() };
        assert_eq!(kinds(&mut attention, &status, 9), []);
        assert_eq!(kinds(&mut attention, &status, 10), [(NoticeKind::SinkDown, 0)]);
        assert_eq!(kinds(&mut attention, &status, 100), []);
        status.trouble = None;
        (status.queued, status.dropped) = (7, [("queue full", 3)].into());
        let findings = attention.findings(&status, at(101));
        assert_eq!((findings[0].kind, findings[0].since), (NoticeKind::SinkUp, Some(at(0))));
        assert_eq!(findings[0].cause, "7 messages are waiting, 3 were lost meanwhile");
        assert_eq!(kinds(&mut attention, &status, 102), []);
    }

    #[test]
    fn a_spool_that_fails_behind_a_receiver_that_is_away_is_told_too() {
        let mut attention = Attention::default();
        let mut status = SinkStatus { trouble: Some((at(0), "refused".to_owned())), ..SinkStatus::default() };
        assert_eq!(kinds(&mut attention, &status, 10), [(NoticeKind::SinkDown, 0)]);
        status.spool_trouble = Some((at(20), "no space left".to_owned()));
        let findings = attention.findings(&status, at(30));
        assert_eq!((findings.len(), findings[0].cause.as_str()), (1, "no space left"));
        status.spool_trouble = None;
        status.dropped = [("queue full", 3)].into();
        let findings = attention.findings(&status, at(40));
        assert_eq!(findings[0].kind, NoticeKind::SinkDown);
        assert_eq!(findings[0].cause, "the spool takes messages again, 3 were lost meanwhile; still refused");
        assert_eq!(kinds(&mut attention, &status, 41), []);
        status.trouble = None;
        assert_eq!(kinds(&mut attention, &status, 42), [(NoticeKind::SinkUp, 0)]);
    }

    #[test]
    fn a_restart_is_not_worth_a_notice() {
        let mut attention = Attention::default();
        let status = SinkStatus { trouble: Some((at(0), "refused".to_owned())), ..SinkStatus::default() };
        assert_eq!(kinds(&mut attention, &status, 5), []);
        assert_eq!(kinds(&mut attention, &SinkStatus::default(), 6), []);
    }

    #[test]
    fn drops_are_told_at_once_and_then_once_a_minute_with_nothing_left_out() {
        let mut attention = Attention::default();
        let with = |count| SinkStatus { dropped: [("queue full", count)].into(), ..SinkStatus::default() };
        assert_eq!(kinds(&mut attention, &with(3), 0), [(NoticeKind::EventsDropped, 3)]);
        assert_eq!(kinds(&mut attention, &with(10), 30), []);
        assert_eq!(kinds(&mut attention, &with(12), 60), [(NoticeKind::EventsDropped, 9)]);
        assert_eq!(kinds(&mut attention, &with(12), 200), []);
    }
}
