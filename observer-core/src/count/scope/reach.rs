//! Verdicts of several windows, each scope once, and in as few sentences as are right.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result, Write as _};

use serde::Serialize;

use super::text::{each_once, endpoint, in_the_last, sentence};
use super::{Numbers, Scope, Verdict};
use crate::tally::Window;

/// How far failures reach, whichever windows show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The verdict of the shortest window that shows it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The numbers of the longer windows that show the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub longer: Vec<Numbers>,
}

impl Reach {
    /// Each scope once, from the verdicts of each window, the shortest first; in the order
    /// in which they come.
    pub fn merged(verdicts: impl IntoIterator<Item = Verdict>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for verdict in verdicts {
            let identity = verdict.scope.identity();
            match all.iter_mut().find(|known| known.verdict.scope.identity() == identity) {
                Some(known) => known.longer.push(verdict.numbers),
                None => all.push(Self { verdict, longer: Vec::new() }),
            }
        }
        all
    }

    /// The numbers of each window that shows it, the shortest first.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &Numbers> {
        std::iter::once(&self.verdict.numbers).chain(&self.longer)
    }

    fn windows(&self) -> Vec<Window> {
        self.numbers().map(|numbers| numbers.window).collect()
    }
}

impl Display for Reach {
    /// A sentence, without a full stop.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        sentence(f, &self.verdict.scope, &self.numbers().collect::<Vec<_>>())
    }
}

/// What there is to say of them, a sentence each, without a full stop: destinations that
/// fail in the same windows share one. `omitted` more are not among them.
pub fn sentences(all: &[Reach], omitted: u64) -> Vec<String> {
    let mut groups: BTreeMap<(u16, Vec<Window>), Vec<&Reach>> = BTreeMap::new();
    let mut sentences = Vec::new();
    for reach in all {
        match reach.verdict.scope {
            Scope::Destination { port, .. } => groups.entry((port, reach.windows())).or_default().push(reach),
            _ => sentences.push(reach.to_string()),
        }
    }
    sentences.extend(groups.into_values().map(|group| match group.as_slice() {
        [one] => one.to_string(),
        several => Several { destinations: several, is_all: omitted == 0 }.to_string(),
    }));
    sentences.extend((omitted > 0).then(|| format!("{omitted} more like these")));
    sentences
}

/// Destinations of one port that fail in the same windows.
struct Several<'a> {
    destinations: &'a [&'a Reach],
    /// No other destination fails.
    is_all: bool,
}

impl Display for Several<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let windows = self.destinations.first().map(|first| first.windows()).unwrap_or_default();
        write!(f, "Fails for {} destinations {}: ", self.destinations.len(), in_the_last(&windows))?;
        for (nth, reach) in self.destinations.iter().enumerate() {
            let Scope::Destination { ip, port } = reach.verdict.scope else { continue };
            let failed = each_once(reach.numbers().map(|numbers| (numbers.failures, numbers.attempts)));
            let separator = if nth == 0 { "" } else { ", " };
            let attempts = if nth == 0 { " attempts" } else { "" };
            write!(f, "{separator}{} ({failed}{attempts}", endpoint(ip, port))?;
            reach.verdict.numbers.label.map_or(Ok(()), |label| write!(f, ", mostly {}", label.as_str()))?;
            f.write_char(')')?;
        }
        if self.is_all {
            let elsewhere = each_once((0..windows.len()).map(|nth| self.elsewhere(nth)));
            write!(f, "; {elsewhere} elsewhere succeeded")?;
        }
        Ok(())
    }
}

impl Several<'_> {
    /// Successes and attempts of all other destinations of the port, in one of the windows.
    fn elsewhere(&self, window: usize) -> (u64, u64) {
        let mut numbers = self.destinations.iter().filter_map(|reach| reach.numbers().nth(window));
        let Some(first) = numbers.next() else { return (0, 0) };
        // What the others are compared with holds each of these.
        numbers.fold((first.elsewhere_successes, first.elsewhere_attempts), |(successes, attempts), other| {
            let own = other.attempts.saturating_sub(other.failures);
            (successes.saturating_sub(own), attempts.saturating_sub(other.attempts))
        })
    }
}
