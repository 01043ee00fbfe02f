//! Sums of the table `minute`.
//!
//! Its rows are added up here: to group them, SQLite would sort all of them first, which takes
//! longer than everything else that is asked of a file.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use jiff::Timestamp;
use observer_core::ledger::Outcome;
use observer_core::record::entry::{DestinationTotals, Tallies, Tally};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::{History, Question, SourceTotals, count_of, time_of_seconds};
use crate::store::history::entry::{minute, read_address, required_word, word};
use crate::store::history::{Error, Result};

impl History {
    /// Outcomes of everything asked for.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn outcomes(&self, question: &Question) -> Result<Tallies> {
        let mut all = Tallies::new();
        self.sums(
            question,
            &[],
            |_| Ok(()),
            |(), outcomes| {
                all = outcomes;
                ControlFlow::Continue(())
            },
        )?;
        Ok(all)
    }

    /// Outcomes of each destination, in the order of their addresses, until `take` breaks. What
    /// they take in memory grows with the destinations.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn destinations(
        &self,
        question: &Question,
        mut take: impl FnMut(DestinationTotals) -> ControlFlow<()>,
    ) -> Result<()> {
        let key = |row: &Row<'_>| {
            let ip = read_address(row, 0)?.ok_or_else(|| Error::Row { what: "no destination".to_owned() })?;
            Ok(SocketAddr::new(ip, row.get(1)?))
        };
        self.sums(question, &["dst_ip", "dst_port"], key, |destination, outcomes| {
            take(DestinationTotals { destination, outcomes })
        })
    }

    /// Outcomes of each local address, until `take` breaks.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn sources(&self, question: &Question, mut take: impl FnMut(SourceTotals) -> ControlFlow<()>) -> Result<()> {
        let key = |row: &Row<'_>| read_address(row, 0);
        self.sums(question, &["src_ip"], key, |source, outcomes| take(SourceTotals { source, outcomes }))
    }

    /// Outcomes of each minute in which attempts ended, oldest first, until
    /// `take` breaks.
    ///
    /// # Errors
    /// As [`History::attempts`].
    pub fn minutes(&self, question: &Question, take: impl FnMut(Timestamp, Tallies) -> ControlFlow<()>) -> Result<()> {
        let key = |row: &Row<'_>| time_of_seconds(row.get(0)?);
        self.sums(question, &["minute"], key, take)
    }

    /// Adds up what is asked for by the columns `by`, and hands over one group after the other.
    fn sums<K: Ord + Hash + Copy>(
        &self,
        question: &Question,
        by: &[&str],
        read_key: impl Fn(&Row<'_>) -> Result<K>,
        mut take: impl FnMut(K, Tallies) -> ControlFlow<()>,
    ) -> Result<()> {
        let condition = question.whole_minutes().condition("minute", minute);
        let by_columns: String = by.iter().map(|column| format!("{column}, ")).collect();
        let sql = format!("SELECT {by_columns}label, reason, count, redirected, minute FROM minute WHERE {condition}");
        let after = by.len();
        let mut outcomes = Outcomes::default();
        let mut sums: HashMap<(K, Outcome), Sum> = HashMap::new();
        let _ = self.rows(question, &sql, |row| {
            let key = (read_key(row)?, outcomes.read(row, after)?);
            sums.entry(key).or_default().add(row, after + 2)?;
            Ok(ControlFlow::Continue(()))
        })?;
        let mut groups: BTreeMap<K, Tallies> = BTreeMap::new();
        for ((key, outcome), sum) in sums {
            groups.entry(key).or_default().insert(outcome, sum.tally()?);
        }
        for (key, tallies) in groups {
            if take(key, tallies).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The few pairs of `label` and `reason` that rows have, each read once.
#[derive(Default)]
struct Outcomes(HashMap<Vec<u8>, Outcome>, Vec<u8>);

impl Outcomes {
    /// Of the columns from `first` on.
    fn read(&mut self, row: &Row<'_>, first: usize) -> Result<Outcome> {
        let Self(known, words) = self;
        words.clear();
        for column in [first, first + 1] {
            if let ValueRef::Text(word) = row.get_ref(column)? {
                words.extend_from_slice(word);
            }
            words.push(0);
        }
        if let Some(&outcome) = known.get(words.as_slice()) {
            return Ok(outcome);
        }
        let outcome = (required_word(row, first)?, word(row, first + 1)?);
        known.insert(words.clone(), outcome);
        Ok(outcome)
    }
}

/// Of the rows of one outcome. Times are seconds, as the table has them.
#[derive(Default)]
struct Sum {
    count: u64,
    redirected: u64,
    not_known: u64,
    /// First and last minute, and those with an attempt that was not redirected.
    span: Option<(i64, i64)>,
    outside: Option<(i64, i64)>,
}

impl Sum {
    /// A row's `count`, `redirected` and `minute`, from column `first` on.
    fn add(&mut self, row: &Row<'_>, first: usize) -> Result<()> {
        let count = row.get::<_, Option<i64>>(first)?;
        let redirected = row.get::<_, Option<i64>>(first + 1)?;
        let minute = row.get(first + 2)?;
        self.count = self.count.saturating_add(count_of(count));
        match redirected {
            Some(redirected) => self.redirected = self.redirected.saturating_add(count_of(Some(redirected))),
            None => self.not_known = self.not_known.saturating_add(count_of(count)),
        }
        widen(&mut self.span, minute);
        if redirected.is_none() || redirected != count {
            widen(&mut self.outside, minute);
        }
        Ok(())
    }

    fn tally(&self) -> Result<Tally> {
        let (first, last) = self.outside.or(self.span).unwrap_or_default();
        Ok(Tally {
            count: self.count,
            redirected: self.redirected,
            not_known: self.not_known,
            first: time_of_seconds(first)?,
            last: time_of_seconds(last)?,
        })
    }
}

fn widen(span: &mut Option<(i64, i64)>, minute: i64) {
    let (first, last) = span.unwrap_or((minute, minute));
    *span = Some((first.min(minute), last.max(minute)));
}
