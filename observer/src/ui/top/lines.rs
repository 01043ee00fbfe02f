//! Lines of text in an area.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Puts lines one below the other, as many as there is room for.
pub(super) fn put<'a>(frame: &mut Frame, area: Rect, lines: impl IntoIterator<Item = Line<'a>>) {
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

/// The line to begin with, so that the cursor is in the middle where it can be.
pub(super) fn first_line(cursor: usize, len: usize, height: usize) -> usize {
    cursor.saturating_sub(height / 2).min(len.saturating_sub(height))
}
