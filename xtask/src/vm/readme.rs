//! The support matrix of the README, written from what the machines said:
//! kernel × hook, and kernel × outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

use super::results::{Hook, Row, Tested};

const BEGIN: &str = "<!-- kernel matrix, written by `./x vm-test --write-readme` -->\n";
const END: &str = "<!-- end of the kernel matrix -->";
/// The only row that changes whenever Debian builds a kernel.
const RELEASES: &str = "| kernel |";

/// One kernel's column.
struct Column {
    series: String,
    release: String,
    hooks: Vec<Hook>,
    rows: BTreeMap<String, Row>,
}

/// The matrix of these kernels, as Markdown.
///
/// # Errors
/// That a kernel did not run the whole matrix.
pub(crate) fn matrix(tested: &[&Tested]) -> Result<String> {
    let columns: Vec<Column> = tested.iter().map(|tested| column(tested)).collect::<Result<_>>()?;
    ensure!(!columns.is_empty(), "no kernel was tested");
    let mut text = String::new();
    row(&mut text, "", columns.iter().map(|column| format!("Linux {}", column.series)));
    row(&mut text, "---", columns.iter().map(|_| "---".to_owned()));
    row(&mut text, "kernel", columns.iter().map(|column| column.release.replace("-cloud-amd64", "")));
    for (program, kind) in hooks(&columns) {
        let title = format!("`{program}`, {kind}");
        row(&mut text, &title, columns.iter().map(|column| hook_cell(column, program)));
    }
    let mut notes = Notes::default();
    for truth in columns.iter().flat_map(|column| column.rows.keys()).collect::<BTreeSet<_>>() {
        row(&mut text, truth, columns.iter().map(|column| outcome_cell(column, truth, &mut notes)));
    }
    text.push('\n');
    notes.write(&mut text);
    write_losses(&mut text, &columns);
    Ok(text)
}

fn column(tested: &Tested) -> Result<Column> {
    let series = tested.boot.series.clone();
    let hooks = tested.hooks().with_context(|| format!("{series}: `observer doctor` said nothing"))?;
    let rows = tested.rows().with_context(|| format!("{series}: the matrix was not run to its end"))?;
    Ok(Column { series, release: tested.release.clone(), hooks, rows })
}

fn row(text: &mut String, title: &str, cells: impl Iterator<Item = String>) {
    _ = writeln!(text, "| {title} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

/// Programs and their kinds, in the order in which they are attached.
fn hooks(columns: &[Column]) -> Vec<(&str, &str)> {
    let mut hooks = Vec::new();
    for hook in columns.iter().flat_map(|column| &column.hooks) {
        let one = (hook.program.as_str(), hook.kind.as_str());
        if !hooks.contains(&one) {
            hooks.push(one);
        }
    }
    hooks
}

fn hook_cell(column: &Column, program: &str) -> String {
    let hook = column.hooks.iter().find(|hook| hook.program == program);
    match hook.map(|hook| (hook.status.as_str(), hook.is_lost)) {
        Some(("attached", _)) => "yes",
        Some((_, false)) => "not needed",
        _ => "**no**",
    }
    .to_owned()
}

/// Cases that were named rightly, and of how many if not of all; a number in
/// brackets says what evidence was missing.
fn outcome_cell(column: &Column, truth: &str, notes: &mut Notes) -> String {
    let Some(Row { cases, right, missing, .. }) = column.rows.get(truth) else { return "not tested".to_owned() };
    let mut cell = if right == cases { right.to_string() } else { format!("**{right} of {cases}**") };
    for name in missing.keys() {
        _ = write!(cell, " [{}]", notes.number(name));
    }
    cell
}

/// What the numbers in brackets mean.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, evidence: &str) -> usize {
        let known = self.0.iter().position(|known| known == evidence);
        1 + known.unwrap_or_else(|| {
            self.0.push(evidence.to_owned());
            self.0.len() - 1
        })
    }

    fn write(&self, text: &mut String) {
        for (number, evidence) in (1..).zip(&self.0) {
            _ = writeln!(text, "[{number}] named rightly, and `evidence.missing` names `{evidence}`.");
        }
        if !self.0.is_empty() {
            text.push('\n');
        }
    }
}

fn write_losses(text: &mut String, columns: &[Column]) {
    let mut losses: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for column in columns {
        for hook in column.hooks.iter().filter(|hook| hook.is_lost) {
            let cause = hook.cause.as_deref().unwrap_or("not attached").lines().next().unwrap_or_default();
            let loss = format!("without `{}` ({cause}): {}", hook.symbol, hook.lost_without);
            losses.entry(loss).or_default().push(&column.series);
        }
        let unseen: u32 = column.rows.values().map(|row| row.unseen).sum();
        if unseen > 0 {
            losses.entry(format!("{unseen} cases are not visible")).or_default().push(&column.series);
        }
    }
    if losses.is_empty() {
        text.push_str("Nothing is lost on any of them.\n");
        return;
    }
    text.push_str("What is lost, and where:\n\n");
    for (loss, kernels) in losses {
        _ = writeln!(text, "- Linux {}, {loss}", kernels.join(", "));
    }
}

/// The README with this matrix in it.
///
/// # Errors
/// That it has no place for one.
pub(crate) fn with_matrix(readme: &str, matrix: &str) -> Result<String> {
    let (before, after) = split(readme)?;
    Ok(format!("{before}{BEGIN}\n{matrix}\n{END}{after}"))
}

/// Whether the README says something else, apart from the kernels' patch levels.
///
/// # Errors
/// That it has no matrix.
pub(crate) fn is_stale(readme: &str, matrix: &str) -> Result<bool> {
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with(RELEASES)).map(str::to_owned).collect();
    let now: Vec<String> = lines(&with_matrix(readme, matrix)?);
    Ok(now != lines(readme))
}

fn split(readme: &str) -> Result<(&str, &str)> {
    let (before, rest) = readme.split_once(BEGIN).context("README.md has no mark for the kernel matrix")?;
    let (_, after) = rest.split_once(END).context("README.md has no mark for the end of the kernel matrix")?;
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(program: &str, status: &str, is_lost: bool) -> Hook {
        Hook {
            program: program.to_owned(),
            symbol: program.to_owned(),
            kind: "fentry".to_owned(),
            status: status.to_owned(),
            cause: (status != "attached").then(|| "it is not there".to_owned()),
            is_lost,
            lost_without: "TTL".to_owned(),
        }
    }

    fn columns() -> Vec<Column> {
        let row = |right, missing: &[&str]| Row {
            cases: 9,
            right,
            unseen: 9 - right,
            missing: missing.iter().map(|&name| (name.to_owned(), 9)).collect(),
        };
        vec![
            Column {
                series: "5.10".to_owned(),
                release: "5.10.0-46-cloud-amd64".to_owned(),
                hooks: vec![hook("tcp_reset", "failed", true), hook("sys_enter", "skipped", false)],
                rows: BTreeMap::from([("refused rst".to_owned(), row(9, &["rst_ttl"]))]),
            },
            Column {
                series: "6.1".to_owned(),
                release: "6.1.0-56-cloud-amd64".to_owned(),
                hooks: vec![hook("tcp_reset", "attached", false), hook("sys_enter", "skipped", false)],
                rows: BTreeMap::from([("refused rst".to_owned(), row(8, &[]))]),
            },
        ]
    }

    #[test]
    fn cells_say_what_was_found() {
        let columns = columns();
        let mut notes = Notes::default();
        let cells: Vec<_> = columns.iter().map(|column| outcome_cell(column, "refused rst", &mut notes)).collect();
        assert_eq!(cells, ["9 [1]", "**8 of 9**"]);
        assert_eq!(notes.0, ["rst_ttl"]);
        assert_eq!(outcome_cell(&columns[0], "silent", &mut notes), "not tested");
        assert_eq!(columns.iter().map(|column| hook_cell(column, "tcp_reset")).collect::<Vec<_>>(), ["**no**", "yes"]);
        assert_eq!(hook_cell(&columns[0], "sys_enter"), "not needed");
    }

    #[test]
    fn losses_name_kernel_and_cause() {
        let mut text = String::new();
        write_losses(&mut text, &columns());
        assert!(text.contains("- Linux 5.10, without `tcp_reset` (it is not there): TTL"), "{text}");
        assert!(text.contains("- Linux 6.1, 1 cases are not visible"), "{text}");
    }

    #[test]
    fn only_the_matrix_is_replaced_and_patch_levels_do_not_matter() {
        let readme = format!("before\n{BEGIN}\nold\n\n{END}\nafter\n");
        let new = with_matrix(&readme, "| kernel | 6.1.0-55 |\n| x | 9 |\n").unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("\nafter\n") && !new.contains("old"));
        assert!(!is_stale(&new, "| kernel | 6.1.0-56 |\n| x | 9 |\n").unwrap());
        assert!(is_stale(&new, "| kernel | 6.1.0-55 |\n| x | 8 |\n").unwrap());
        assert!(is_stale("no mark", "").is_err());
    }
}
