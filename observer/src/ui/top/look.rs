//! Colours and characters that this terminal has.

use anstyle::{AnsiColor, Effects};
use observer_core::format::text::label_style;
use observer_core::label::Label;
use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours are wanted; otherwise bold and reverse only.
    pub is_coloured: bool,
    /// The locale is UTF-8; otherwise ASCII only.
    pub is_unicode: bool,
}

const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 9] = [' ', '.', ':', '-', '=', '+', 'x', 'X', '#'];

impl Look {
    /// The style of a label, the same as in `observer watch`.
    pub(super) fn label(self, label: Label) -> Style {
        let style = label_style(label);
        if !self.is_coloured {
            let is_bold = style.get_effects().contains(Effects::BOLD);
            return if is_bold { self.bold() } else { Style::new() };
        }
        let colour = match style.get_fg_color() {
            Some(anstyle::Color::Ansi(AnsiColor::Red)) => Style::new().fg(Color::Red),
            Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => Style::new().fg(Color::Yellow),
            Some(anstyle::Color::Ansi(AnsiColor::Magenta)) => Style::new().fg(Color::Magenta),
            Some(anstyle::Color::Ansi(AnsiColor::Green)) => Style::new().fg(Color::Green),
            _ => Style::new(),
        };
        let effects = style.get_effects();
        let colour = if effects.contains(Effects::BOLD) { colour.add_modifier(Modifier::BOLD) } else { colour };
        if effects.contains(Effects::DIMMED) { colour.add_modifier(Modifier::DIM) } else { colour }
    }

    /// For what is less important.
    pub(super) fn dim(self) -> Style {
        if self.is_coloured { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }

    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// For what is chosen.
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// For what must not be overlooked.
    pub(super) fn alarm(self) -> Style {
        let style = self.chosen().add_modifier(Modifier::BOLD);
        if self.is_coloured { style.fg(Color::Red) } else { style }
    }

    /// For a share of failures: all, some, none.
    pub(super) fn share(self, ratio: Option<f64>) -> Style {
        match ratio {
            Some(ratio) if self.is_coloured && ratio >= 1.0 => Style::new().fg(Color::Red),
            Some(ratio) if self.is_coloured && ratio > 0.0 => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        }
    }

    /// Sets apart, as in `a · b`.
    pub(super) fn dot(self) -> &'static str {
        if self.is_unicode { " · " } else { " | " }
    }

    /// Which way a column is sorted.
    pub(super) fn arrow(self, is_descending: bool) -> &'static str {
        match (self.is_unicode, is_descending) {
            (true, true) => "▼",
            (true, false) => "▲",
            (false, true) => "v",
            (false, false) => "^",
        }
    }

    /// The text in at most `width` characters, shortened in the middle: the ends
    /// of addresses tell more.
    pub(super) fn shorten(self, text: &str, width: usize) -> String {
        let len = text.chars().count();
        let gap = if self.is_unicode { "…" } else { "~" };
        if len <= width {
            return text.to_owned();
        }
        let Some(kept) = width.checked_sub(1) else { return String::new() };
        let tail = kept / 2;
        let head: String = text.chars().take(kept - tail).collect();
        let tail: String = text.chars().skip(len - tail).collect();
        head + gap + &tail
    }

    /// Bars for `values`, in `width` columns that take several values each, or
    /// as many columns as there are values. Nothing that happened is invisible.
    pub(super) fn bars(self, values: &[u64], width: usize) -> String {
        let width = width.min(values.len());
        let mut sums = vec![0_u64; width];
        for (index, value) in values.iter().enumerate() {
            if let Some(sum) = sums.get_mut(index * width / values.len()) {
                *sum = sum.saturating_add(*value);
            }
        }
        let max = sums.iter().copied().max().unwrap_or(0).max(1);
        let levels = if self.is_unicode { BLOCKS } else { ASCII };
        let level = |sum: u64| (u128::from(sum) * 8).div_ceil(u128::from(max)) as usize;
        sums.into_iter().map(|sum| levels[level(sum).min(8)]).collect()
    }
}
