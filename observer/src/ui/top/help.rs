//! What the keys do and the columns mean.

use observer_core::wrap::wrap;
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

/// Columns that the text is written for.
const WIDTH: usize = 80;
/// Where what a key does, or a column means, begins.
const ABOUT: usize = 22;

/// The help in lines of so many columns.
pub(super) fn lines(width: usize) -> Vec<String> {
    if width >= WIDTH {
        return TEXT.lines().map(str::to_owned).collect();
    }
    let mut lines = Vec::new();
    for entry in entries() {
        let (name, about) = entry.split_at_checked(ABOUT).filter(|(name, _)| name.ends_with("  ")).unwrap_or(("", ""));
        let wrapped = match (name, entry.starts_with(' ')) {
            ("", true) => wrap(&entry, width, "  ", "  "),
            ("", false) => entry,
            (name, _) => wrap(about, width, name, &" ".repeat(ABOUT)),
        };
        lines.extend(wrapped.lines().map(|line| line.trim_end().to_owned()));
        if wrapped.is_empty() {
            lines.push(String::new());
        }
    }
    lines
}

/// Each with the lines that go on with it: what a key does, or a paragraph.
fn entries() -> Vec<String> {
    let has_name = |line: &str| line.get(..ABOUT).is_some_and(|name| name.ends_with("  ") && !name.trim().is_empty());
    let mut entries: Vec<String> = Vec::new();
    for line in TEXT.lines() {
        // Names that fill a line are followed by what they mean.
        let are_names = line.trim_start().starts_with("refused, ");
        let goes_on = line.starts_with("  ") && !has_name(line) && !are_names;
        match entries.last_mut() {
            Some(last) if goes_on && last.starts_with(' ') => *last = format!("{last} {}", line.trim_start()),
            _ => entries.push(line.to_owned()),
        }
    }
    entries
}

/// Draws the help from line `first` on, or from as late as fills the screen.
pub(super) fn draw(frame: &mut Frame, area: Rect, first: usize, look: Look) {
    let lines = lines(usize::from(area.width));
    let first = first.min(lines.len().saturating_sub(usize::from(area.height)));
    for (line, y) in lines.into_iter().skip(first).zip(area.y..area.bottom()) {
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

    /// Nothing is lost, and no word is cut.
    #[test]
    fn it_says_the_same_in_fewer_columns() {
        let words = |lines: &[String]| lines.join(" ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let whole = words(&super::lines(80));
        for width in [79, 60, 50] {
            let lines = super::lines(width);
            assert_eq!(words(&lines), whole, "{width}");
            let long: Vec<_> = lines.iter().filter(|line| line.len() > width).collect();
            assert!(long.is_empty(), "{width}: {long:?}");
        }
        insta::assert_snapshot!(super::lines(60).join("\n"));
    }
}
