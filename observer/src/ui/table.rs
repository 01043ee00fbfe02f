//! Plain text in columns.

/// To which side a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells with the same number of columns, two spaces apart; no line
/// ends in a space. Cells must be free of control characters.
pub(super) fn columns<const N: usize>(aligns: [Align; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(aligns).zip(widths).map(|((cell, align), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Align, columns};

    #[test]
    fn widest_cell_sets_the_width() {
        let rows = [["a", "1", ""], ["größer", "1000", "x"]].map(|row| row.map(str::to_owned));
        let text = columns([Align::Left, Align::Right, Align::Left], &rows);
        assert_eq!(text, "a          1\ngrößer  1000  x\n");
        assert_eq!(columns([Align::Left], &[]), "");
    }
}
