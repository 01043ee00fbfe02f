//! Where a diagnosis goes: to the terminal, and into a letter.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use observer_core::diagnose::Diagnosis;

use super::super::{Failure, print};
use crate::cli::DiagnoseArgs;
use crate::exit::Exit;
use crate::host::surroundings;
use crate::ui::diagnosis;

pub(super) fn put(args: &DiagnoseArgs, diagnoses: &[Diagnosis], since: Timestamp) -> Result<(), Failure> {
    let letter = args.evidence.as_deref().map(|path| (path, letter(diagnoses)));
    if let Some((path, Ok(letter))) = &letter
        && path.as_os_str() == "-"
    {
        return print(letter.as_bytes());
    }
    print(said(args, diagnoses, since)?.as_bytes())?;
    match letter {
        None => Ok(()),
        Some((path, Ok(letter))) => write_new(path, &letter),
        Some((_, Err(why))) => Err(Failure::with(Exit::Failure, format!("no letter for --evidence: {why}"))),
    }
}

fn said(args: &DiagnoseArgs, diagnoses: &[Diagnosis], since: Timestamp) -> Result<String, Failure> {
    if args.json {
        let lines = diagnoses.iter().map(|diagnosis| serde_json::to_string(diagnosis).map(|line| line + "\n"));
        return lines.collect::<Result<_, _>>().map_err(|error| Failure::new("JSON", error));
    }
    let texts: Vec<String> = diagnoses.iter().map(diagnosis::render).collect();
    if texts.is_empty() {
        return Ok(format!("nothing has failed since {since:.0}\n"));
    }
    Ok(texts.join("\n"))
}

/// The letter about the first diagnosis that one can be written about; or why there is none.
fn letter(diagnoses: &[Diagnosis]) -> Result<String, String> {
    let host = surroundings::host().map(|host| host.name).unwrap_or_default();
    let mut reason = "nothing fails".to_owned();
    for diagnosis in diagnoses {
        match diagnosis.is_theirs() {
            Ok(()) => return Ok(diagnosis::letter(diagnosis, &host)),
            Err(why) if diagnosis.attempts.failed() > 0 || !diagnosis.causes.is_empty() => reason = why,
            Err(_) => {}
        }
    }
    Err(reason)
}

/// Never over what is there.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::with(
            Exit::Failure,
            format!("cannot write {}: it exists already: name another file with --evidence", path.display()),
        ),
        _ => Failure::new(&format!("cannot write {}", path.display()), error),
    })
}
