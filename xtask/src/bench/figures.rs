//! What was measured, as tables on a terminal or in Markdown.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

/// How tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Every table, aligned.
    Text,
    /// What a README shows: the goals and the peers.
    Markdown,
}

/// Tables as they come, the goals, and what went wrong.
pub(crate) struct Figures {
    style: Style,
    goals: Table,
    faults: Vec<String>,
}

impl Figures {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, goals: Table::new(["what", "measured", "goal", "with"]), faults: Vec::new() }
    }

    /// Says what is being measured, which takes a while.
    pub(crate) fn progress(&self, what: &str) {
        eprintln!("x: measuring {what}");
    }

    /// A line that explains the machine or a table.
    pub(crate) fn note(&self, text: &str) {
        println!("{text}");
    }

    /// A line of detail below a table.
    pub(crate) fn detail_note(&self, text: &str) {
        if self.style == Style::Text {
            println!("{text}");
        }
    }

    /// A table of detail, below a title and the command that was measured.
    pub(crate) fn detail(&self, title: &str, command: &str, table: &Table) {
        if self.style == Style::Text {
            println!("\n{title}\n  {command}\n\n{}", table.text());
        }
    }

    /// A table that is shown in every style, of several commands.
    pub(crate) fn show(&self, title: &str, commands: &[String], table: &Table) {
        match self.style {
            Style::Text => println!("\n{title}\n  {}\n\n{}", commands.join("\n  "), table.text()),
            Style::Markdown => println!("\n{title}:\n\n{}\n`{}`", table.markdown(), commands.join("`, `")),
        }
    }

    /// A figure that has a goal.
    pub(crate) fn goal(&mut self, what: &str, measured: &str, goal: Goal, with: &str) {
        let Goal { text, is_met } = goal;
        let verdict = if is_met { "met" } else { "missed" };
        let with = if self.style == Style::Markdown { format!("`{with}`") } else { with.to_owned() };
        self.goals.row([what.to_owned(), measured.to_owned(), format!("{text}: {verdict}"), with]);
    }

    /// Something that must not happen; the benchmark goes on and fails at its end.
    pub(crate) fn fault(&mut self, what: String) {
        eprintln!("x: FAULT: {what}");
        self.faults.push(what);
    }

    /// Prints the goals, and says what went wrong.
    pub(crate) fn finish(self) -> ExitCode {
        match self.style {
            Style::Text => println!("\nGoals\n\n{}", self.goals.text()),
            Style::Markdown => println!("\n{}", self.goals.markdown()),
        }
        for fault in &self.faults {
            println!("FAULT: {fault}");
        }
        if self.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What a figure should be, and whether it is. No goal fails the benchmark: the
/// machine may be slow or busy.
pub(crate) struct Goal {
    text: String,
    is_met: bool,
}

impl Goal {
    /// `value` should not exceed `limit`.
    pub(crate) fn at_most(value: f64, limit: f64, unit: &str) -> Self {
        Self { text: format!("≤ {limit} {unit}"), is_met: value <= limit }
    }

    /// `value` should reach `limit`.
    pub(crate) fn at_least(value: f64, limit: f64, unit: &str) -> Self {
        Self { text: format!("≥ {limit} {unit}"), is_met: value >= limit }
    }

    /// Something should be so.
    pub(crate) fn fact(text: &str, is_met: bool) -> Self {
        Self { text: text.to_owned(), is_met }
    }
}

/// Rows of as many cells as the head has; the first cell of a row names it.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    fn text(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a String cannot fail.
                _ = if self.is_number(index) {
                    write!(line, " {cell:>width$} ")
                } else {
                    write!(line, " {cell:<width$} ")
                };
            }
            _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            _ = writeln!(text, "| {} |", row.join(" | "));
            if index == 0 {
                let rule: Vec<&str> =
                    (0..row.len()).map(|column| if self.is_number(column) { "--:" } else { "---" }).collect();
                _ = writeln!(text, "| {} |", rule.join(" | "));
            }
        }
        text
    }

    /// Whether a column holds numbers, judged by its first row.
    fn is_number(&self, column: usize) -> bool {
        let first = self.rows.get(1).and_then(|row| row.get(column));
        column > 0 && first.is_some_and(|cell| cell.chars().all(|c| !c.is_alphabetic()))
    }
}

/// The middle of some values, and the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    /// `None` of no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().saturating_sub(1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: f64::midpoint(*low, *high), least: *values.first()?, greatest: *values.last()? })
    }
}

/// `850 (840..910)`
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ({:.0}..{:.0})", self.median, self.least, self.greatest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_least_and_greatest() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().to_string(), "2 (1..3)");
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 8.0]).unwrap().to_string(), "3 (1..8)");
        assert!(Spread::of(Vec::new()).is_none());
    }

    #[test]
    fn a_goal_is_met_up_to_its_limit() {
        assert!(Goal::at_most(900.0, 900.0, "ns").is_met);
        assert!(!Goal::at_most(900.1, 900.0, "ns").is_met);
        assert!(Goal::at_least(8.0, 8.0, "times").is_met);
        assert!(!Goal::at_least(7.9, 8.0, "times").is_met);
    }

    #[test]
    fn numbers_are_right_aligned_in_both_styles() {
        let mut table = Table::new(["tool", "ns"]);
        table.row(["observer".to_owned(), "9".to_owned()]);
        assert_eq!(table.text(), "  tool      ns\n  observer   9\n");
        assert_eq!(table.markdown(), "| tool | ns |\n| --- | --: |\n| observer | 9 |\n");
    }

    #[test]
    fn a_fault_fails_and_a_missed_goal_does_not() {
        let mut figures = Figures::new(Style::Text);
        figures.goal("cost", "2 ns", Goal::at_most(2.0, 1.0, "ns"), "observer");
        assert_eq!(format!("{:?}", figures.finish()), format!("{:?}", ExitCode::SUCCESS));
        let mut figures = Figures::new(Style::Text);
        figures.fault("an event was lost".to_owned());
        assert_eq!(format!("{:?}", figures.finish()), format!("{:?}", ExitCode::FAILURE));
    }
}
