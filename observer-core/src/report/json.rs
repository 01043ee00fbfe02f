//! `observer.report.v1`: one JSON object.

use super::Report;
use crate::format::json::append;

/// The report as one line, newline included. Characters that could deceive on a
/// terminal are written as `\u` escapes, which parse back to themselves.
///
/// # Errors
/// A history path that is not UTF-8: JSON has no word for it.
pub fn render(report: &Report) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    append(report, &mut out)?;
    Ok(out)
}
