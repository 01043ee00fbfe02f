//! Tokens and passwords, from files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Longest part of a file that is read.
const MOST: u64 = 16 << 10;

/// The first line of the file.
///
/// # Errors
/// In words, with the file's name, and never with anything from inside it.
pub(super) fn first_line(path: &Path) -> Result<String, String> {
    let failed = |error| format!("cannot read the secret in {}: {error}", path.display());
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)).map_err(failed)?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || !line.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err(format!("the first line of {} is no token or password", path.display()));
    }
    Ok(line.to_owned())
}
