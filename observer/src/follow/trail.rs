//! What becomes of a log's files in their directory, as inotify(7) tells it: which of them
//! had the log's name, which were begun beside it, and what they are called now. Pure.

/// So many files are remembered between two looks.
const KNOWN_MAX: usize = 64;

/// A change in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A file was made.
    Made(Vec<u8>),
    /// A file lost this name: it moves within the directory, or away.
    Left(Vec<u8>, u32),
    /// A file got this name: the one that left with the same number, or one from elsewhere.
    Came(Vec<u8>, u32),
    /// A file was removed.
    Gone(Vec<u8>),
    /// So many changes that some were not told.
    Unknown,
}

/// A file that is followed by its name.
#[derive(Debug)]
struct Known {
    /// Now; `None`: it is on its way, or gone.
    name: Option<Vec<u8>>,
    /// It had the log's name; else it was made beside it, under a longer one.
    is_former: bool,
}

/// The files of one log, from one look to the next.
#[derive(Debug)]
pub(super) struct Trail {
    log: Vec<u8>,
    known: Vec<Known>,
    /// Which of them is on its way, by the number of its move.
    moving: Vec<(u32, usize)>,
    appeared: u64,
    is_unsure: bool,
}

impl Trail {
    /// Of the log with this name.
    pub(super) fn new(log: Vec<u8>) -> Self {
        Self { log, known: Vec::new(), moving: Vec::new(), appeared: 0, is_unsure: false }
    }

    pub(super) fn take(&mut self, change: Change) {
        match change {
            Change::Made(name) => self.came(name, None),
            Change::Came(name, cookie) => {
                let at = self.moving.iter().position(|(of, _)| *of == cookie);
                let file = at.map(|at| self.moving.swap_remove(at).1);
                self.came(name, file);
            }
            Change::Left(name, cookie) => {
                if name == self.log {
                    self.remember(None, true);
                    self.moving.push((cookie, self.known.len() - 1));
                } else if let Some(file) = self.named(&name) {
                    self.known[file].name = None;
                    self.moving.push((cookie, file));
                }
                self.moving.truncate(KNOWN_MAX);
            }
            Change::Gone(name) => self.forget_name(&name),
            Change::Unknown => self.is_unsure = true,
        }
    }

    fn came(&mut self, name: Vec<u8>, file: Option<usize>) {
        // Whatever had this name has it no more.
        self.forget_name(&name);
        match file {
            // The file that had it before.
            Some(file) if name == self.log => self.known[file].is_former = false,
            Some(file) => self.known[file].name = Some(name),
            None if name == self.log => self.appeared += 1,
            None if name.starts_with(&self.log) => self.remember(Some(name), false),
            None => {}
        }
    }

    fn remember(&mut self, name: Option<Vec<u8>>, is_former: bool) {
        if self.known.len() >= KNOWN_MAX {
            // Places are numbers, so that the oldest keeps its own.
            self.is_unsure |= std::mem::take(&mut self.known[KNOWN_MAX - 1].is_former);
            self.known.truncate(KNOWN_MAX - 1);
        }
        self.known.push(Known { name, is_former });
    }

    fn named(&self, name: &[u8]) -> Option<usize> {
        self.known.iter().position(|known| known.name.as_deref() == Some(name))
    }

    fn forget_name(&mut self, name: &[u8]) {
        if let Some(file) = self.named(name) {
            self.known[file].name = None;
        }
    }

    /// How many files got the log's name since this was asked last.
    pub(super) fn appeared(&mut self) -> u64 {
        std::mem::take(&mut self.appeared)
    }

    /// True if it is not known what happened since this was asked last.
    pub(super) fn is_unsure(&mut self) -> bool {
        std::mem::take(&mut self.is_unsure)
    }

    /// The present names of the files that had the log's name, the first one first.
    pub(super) fn former(&self) -> Vec<Vec<u8>> {
        self.names(true)
    }

    /// The present names of the files that were made beside the log.
    pub(super) fn made(&self) -> Vec<Vec<u8>> {
        self.names(false)
    }

    fn names(&self, is_former: bool) -> Vec<Vec<u8>> {
        self.known.iter().filter(|known| known.is_former == is_former).filter_map(|known| known.name.clone()).collect()
    }

    /// Forgets those that had the log's name, but for one on its way.
    pub(super) fn forget_former(&mut self) {
        if self.moving.is_empty() {
            self.known.retain(|known| !known.is_former);
        }
    }

    /// Forgets those that were made beside the log, but for one on its way.
    pub(super) fn forget_made(&mut self) {
        if self.moving.is_empty() {
            self.known.retain(|known| known.is_former);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(std::mem::take(&mut self.log));
    }

    /// Forgets moves that led out of the directory.
    pub(super) fn forget_moves(&mut self) {
        self.moving.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Change::{Came, Gone, Left, Made, Unknown};
    use super::*;

    fn trail(changes: Vec<Change>) -> Trail {
        let mut trail = Trail::new(b"log".to_vec());
        changes.into_iter().for_each(|change| trail.take(change));
        trail
    }

    fn name(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn two_rotations_leave_both_files_under_their_names() {
        let mut trail = trail(vec![
            Left(name("log"), 1),
            Came(name("log.1"), 1),
            Made(name("log")),
            Left(name("log.1"), 2),
            Came(name("log.2"), 2),
            Left(name("log"), 3),
            Came(name("log.1"), 3),
            Made(name("log")),
        ]);
        assert_eq!((trail.former(), trail.appeared()), (vec![name("log.2"), name("log.1")], 2));
        trail.forget_former();
        assert_eq!((trail.former(), trail.appeared()), (Vec::new(), 0));
    }

    #[test]
    fn a_file_that_was_removed_compressed_or_moved_away_has_no_name() {
        let mut trail = trail(vec![
            Left(name("log"), 1),
            Came(name("log.1"), 1),
            Made(name("log.1.gz")),
            Gone(name("log.1")),
            Made(name("log")),
            Left(name("log"), 2),
            Came(name("log"), 3),
        ]);
        assert_eq!((trail.former(), trail.made(), trail.appeared()), (Vec::new(), vec![name("log.1.gz")], 2));
    }

    #[test]
    fn a_file_that_comes_back_is_not_another() {
        let mut trail = trail(vec![Left(name("log"), 1), Came(name("x"), 1), Left(name("x"), 2), Came(name("log"), 2)]);
        assert_eq!((trail.former(), trail.appeared()), (Vec::new(), 0));
    }

    proptest! {
        #[test]
        fn any_changes_take_a_bounded_room(changes in prop::collection::vec((0u8..5, "log|x|log[.][0-9]{1,2}", 0u32..4), 0..300)) {
            let changes = changes.into_iter().map(|(kind, name, cookie)| {
                let name = name.into_bytes();
                match kind {
                    0 => Made(name),
                    1 => Left(name, cookie),
                    2 => Came(name, cookie),
                    3 => Gone(name),
                    _ => Unknown,
                }
            });
            let mut trail = trail(changes.collect());
            prop_assert!(trail.known.len() <= KNOWN_MAX && trail.moving.len() <= KNOWN_MAX);
            let mut names = [trail.former(), trail.made()].concat();
            names.sort();
            prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", names);
            trail.forget_moves();
            trail.forget_former();
            trail.forget_made();
            prop_assert!(trail.known.is_empty());
        }
    }
}
