//! Messages that a receiver will never take, kept for a person to look at.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::file::{Lines as _, RotatedFile};
use super::message::Message;
use super::target::FileTarget;

/// Size at which the file is rotated; one older one is kept.
const ROTATE_BYTES: u64 = 16 << 20;

/// `NAME.dead` beside the sink's spool, one JSON object a line.
pub(super) struct DeadLetters {
    file: RotatedFile,
}

#[derive(Serialize)]
struct DeadLetter<'a> {
    time: Timestamp,
    id: &'a str,
    cause: &'a str,
    message: std::borrow::Cow<'a, str>,
}

impl DeadLetters {
    /// The file is made when it is needed.
    pub(super) fn new(path: &Path) -> Self {
        let target = FileTarget { path: path.to_owned(), rotate_bytes: Some(ROTATE_BYTES), keep: 1 };
        Self { file: RotatedFile::new(target) }
    }

    /// Adds messages, each with the receiver's words.
    ///
    /// # Errors
    /// If they could not be written: none of them then is.
    pub(super) fn add<'a>(
        &mut self,
        letters: impl IntoIterator<Item = (&'a Message, &'a str)>,
        now: Timestamp,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        for (message, cause) in letters {
            let text = String::from_utf8_lossy(&message.body);
            let letter = DeadLetter { time: now, id: &message.id, cause, message: text };
            serde_json::to_writer(&mut lines, &letter)?;
            lines.push(b'\n');
        }
        self.file.write(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::message::MessageKind;

    #[test]
    fn a_line_tells_which_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("siem.dead");
        let message = Message {
            kind: MessageKind::Event,
            label: None,
            id: "mx1-1".to_owned(),
            body: b"{\"a\":\"\xff\"}\n".to_vec(),
        };
        DeadLetters::new(&path).add([(&message, "400: no\nsuch index")], Timestamp::UNIX_EPOCH).unwrap();
        let expected = r#"{"time":"1970-01-01T00:00:00Z","id":"mx1-1","cause":"400: no\nsuch index","message":"{\"a\":\"\ufffd\"}\n"}"#;
        let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }
}
