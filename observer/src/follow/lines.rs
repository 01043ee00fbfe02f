//! From chunks to lines.

/// Keeps the beginning of a line whose end has not come.
#[derive(Debug)]
pub(super) struct Lines {
    /// So much of a line is kept.
    max: usize,
    begun: Vec<u8>,
    /// The line is longer than what is kept of it.
    is_cut: bool,
    /// What comes before the next line's end is the rest of a line whose beginning
    /// was not read.
    is_skipping: bool,
}

impl Lines {
    /// Keeps so much of a line.
    pub(super) fn new(max: usize) -> Self {
        Self { max, begun: Vec::new(), is_cut: false, is_skipping: false }
    }

    /// As from the middle of a line.
    pub(super) fn in_the_middle(max: usize) -> Self {
        Self { is_skipping: true, ..Self::new(max) }
    }

    /// Hands over each line that ends in the chunk, without its end and only what is
    /// kept of it; returns how many were longer.
    pub(super) fn split(&mut self, chunk: &[u8], take: &mut dyn FnMut(&[u8])) -> u64 {
        let mut too_long = 0;
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if std::mem::take(&mut self.is_skipping) {
                self.forget();
                continue;
            }
            too_long += u64::from(self.is_cut || self.begun.len() + line.len() > self.max);
            if self.begun.is_empty() {
                take(trimmed(&line[..line.len().min(self.max)]));
            } else {
                self.keep(line);
                take(trimmed(&self.begun));
            }
            self.forget();
        }
        if !self.is_skipping {
            self.keep(rest);
        }
        too_long
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = self.max - self.begun.len();
        self.is_cut |= piece.len() > room;
        self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn forget(&mut self) {
        self.begun.clear();
        self.is_cut = false;
    }
}

/// Without a carriage return, and without the NULs that a file is filled up with when
/// it is cut under a writer that does not append.
fn trimmed(line: &[u8]) -> &[u8] {
    let begin = line.iter().take_while(|&&byte| byte == 0).count();
    let line = &line[begin..];
    line.strip_suffix(b"\r").unwrap_or(line)
}
