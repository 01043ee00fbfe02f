//! What a virtual machine is told to do, and what it says of it: the border
//! between this program outside and this program inside.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the plan lies inside.
pub(crate) const PLAN: &str = "/observer-vm.json";

/// What a virtual machine does, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Kernel modules to load first, each after those that it needs.
    pub(crate) modules: Vec<PathBuf>,
    /// Programs to run, one after another, whatever becomes of the earlier ones.
    pub(crate) steps: Vec<Step>,
}

/// A program to run inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// What the machine calls it when it speaks of it.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Variables beside the few that every step has.
    pub(crate) environment: Vec<(String, String)>,
}

/// What a line from inside means, apart from what the steps write themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Mark {
    /// The first program runs, this many seconds after the kernel's start.
    Up { seconds: f64 },
    /// Nothing works: why.
    Fatal { cause: String },
    /// A step begins; what it writes follows.
    Begin { step: String },
    /// A step ended with this code; 128 and the signal's number if by one.
    End { step: String, code: i32 },
    /// All steps were run. Without this the machine has failed.
    Done,
}

/// What begins a line that is a [`Mark`].
const PREFIX: &str = "observer-vm: ";

impl Mark {
    /// The mark as a line, without its end.
    pub(crate) fn line(&self) -> String {
        // Plain structs of strings and numbers.
        PREFIX.to_owned() + &serde_json::to_string(self).unwrap_or_default()
    }

    /// The mark in a line. A step that left a line without its end does not hide it.
    pub(crate) fn in_line(line: &str) -> Option<Self> {
        let (_, json) = line.rsplit_once(PREFIX)?;
        serde_json::from_str(json.trim_end()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_wire() {
        for mark in [
            Mark::Up { seconds: 2.25 },
            Mark::Fatal { cause: "no \"way\"".to_owned() },
            Mark::Begin { step: "tests".to_owned() },
            Mark::End { step: "tests".to_owned(), code: 139 },
            Mark::Done,
        ] {
            assert_eq!(Mark::in_line(&mark.line()), Some(mark.clone()));
            assert_eq!(Mark::in_line(&format!("an unfinished line{}\r", mark.line())), Some(mark));
        }
    }

    #[test]
    fn other_lines_are_no_marks() {
        for line in ["", "test matrix ... ok", "observer-vm: done", "observer: watching"] {
            assert_eq!(Mark::in_line(line), None, "{line}");
        }
    }
}
