//! What the keys do and the columns mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::look::Look;

const TEXT: &str = "\
keys
  up down pgup pgdn   move (also k j), home and end jump (also g G)
  enter               open a destination or a source, or list a prefix
  esc                 one step back, or quit
  left right          sort by the next column (also < >)
  r                   sort the other way round
  d p s, tab          list destinations, prefixes, sources
  1 2 3 4 5, w        count over 1 minute, 10 minutes, 1 hour, 24 hours, all:
                      what began later than that is said with its time
  /                   filter: part of an address, a prefix (203.0.113.0/24),
                      or of an outcome, from three letters on (timeout)
  space               hold the numbers still; counting goes on
  ?                   this help
  q, ctrl-c           quit

columns
  graph               failures over the last 10 minutes, or the hour or day
                      if that is chosen; each row to its own scale
  attempts            attempts that ended in the chosen time
  estab               of these, handshakes completed
  failed, fail%       of these, any end but connected
  refused, timeout, unreach, blocked, reset, closed, silent, cancel
                      of these, by label
  streak              failures since the last success, since the start
  last                time since the last failure
  p50, p95            time to refusal of half, and of 95 %, since the start
  mostly              the most frequent failure since the start

last lines
  Attempts in flight have not ended yet, and those lost were never followed,
  by the kernel's own counters. Events that found the ring buffer full are
  counted all the same, and said to be. Times are UTC.";

/// Lines of the help.
pub(super) const LINES: usize = count_lines(TEXT);

const fn count_lines(text: &str) -> usize {
    let (bytes, mut lines, mut index) = (text.as_bytes(), 1, 0);
    while index < bytes.len() {
        lines += (bytes[index] == b'\n') as usize;
        index += 1;
    }
    lines
}

/// Draws the help from line `first` on, or from as late as fills the screen.
pub(super) fn draw(frame: &mut Frame, area: Rect, first: usize, look: Look) {
    let first = first.min(LINES.saturating_sub(usize::from(area.height)));
    for (line, y) in TEXT.lines().skip(first).zip(area.y..area.bottom()) {
        let style = if line.starts_with(' ') { ratatui::style::Style::new() } else { look.bold() };
        frame.render_widget(Line::styled(line, style), Rect { y, height: 1, ..area });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_fits_into_80_columns() {
        let long: Vec<_> = super::TEXT.lines().filter(|line| line.len() > 80).collect();
        assert!(long.is_empty(), "{long:?}");
    }
}
