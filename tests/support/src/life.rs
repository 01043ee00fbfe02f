//! Promises about the life of a daemon, each with the trial that holds it to it, and
//! the table of them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

/// A promise and its trial.
#[derive(Clone, Copy, Debug)]
pub struct LifeTrial {
    /// What is promised: a line of the table.
    pub promise: &'static str,
    /// The trial's name; begins with `life_`.
    pub name: &'static str,
    /// The trial: fails if the promise is broken.
    pub trial: fn() -> Result<()>,
}

/// Names of trials that have ended, and whether they passed.
static ENDED: Mutex<Vec<(&str, bool)>> = Mutex::new(Vec::new());

impl LifeTrial {
    /// Runs the trial and remembers the result for [`life_table`].
    ///
    /// # Errors
    /// Those of the trial.
    pub fn run(&self) -> Result<()> {
        let result = catch_unwind(AssertUnwindSafe(self.trial));
        let is_passed = matches!(result, Ok(Ok(())));
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).push((self.name, is_passed));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// The table: a line for each promise, with its trial and what became of that.
pub fn life_table(trials: &[LifeTrial]) -> String {
    let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let longest = |text: fn(&LifeTrial) -> &str| trials.iter().map(|trial| text(trial).len()).max().unwrap_or(0);
    let (promises, names) = (longest(|trial| trial.promise), longest(|trial| trial.name));
    let mut table = String::new();
    for LifeTrial { promise, name, .. } in trials {
        let result = match ended.iter().find(|(of, _)| of == name) {
            Some((_, true)) => "passed",
            Some((_, false)) => "FAILED",
            None => "not run",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{promise:promises$}  {name:names$}  {result}");
    }
    table
}
