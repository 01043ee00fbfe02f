use std::cell::RefCell;
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;

use observer_core::event::Event;
use observer_core::format::Format;
use observer_core::label::{Label, Reason};
use observer_core::sample;

use super::{BUFFER, Shown, Writer};

fn event() -> Event {
    sample::event(Label::Refused, Some(Reason::Rst))
}

/// Takes a few bytes a call, and remembers them and the flushes.
#[derive(Clone, Default)]
struct Slow(Rc<RefCell<(Vec<u8>, usize)>>);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(7);
        self.0.borrow_mut().0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().1 += 1;
        Ok(())
    }
}

/// Fails every write, and counts the attempts.
struct Failing(ErrorKind, usize);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.1 += 1;
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_batch_is_flushed_once_and_whole() {
    let out = Slow::default();
    let mut writer = Writer::new(out.clone(), Format::Json, true);
    for _ in 0..3 {
        assert_eq!(writer.event(&event()).unwrap(), Shown::Yes);
    }
    assert_eq!(out.0.borrow().0.len(), 0, "nothing before the flush");
    assert_eq!(writer.flush().unwrap(), Shown::Yes);
    let (bytes, flushes) = out.0.borrow().clone();
    assert_eq!((String::from_utf8(bytes).unwrap().lines().count(), flushes), (3, 1));
}

#[test]
fn on_a_terminal_no_word_is_broken() {
    for (columns, is_coloured) in [(60, false), (80, true)] {
        let out = Slow::default();
        let mut plain = Writer::new(out.clone(), Format::Text, is_coloured);
        let _ = (plain.event(&event()).unwrap(), plain.flush().unwrap());
        let whole = String::from_utf8(out.0.borrow().0.clone()).unwrap();
        let out = Slow::default();
        let width: fn() -> Option<u16> = if columns == 60 { || Some(60) } else { || Some(80) };
        let mut writer = Writer::new(out.clone(), Format::Text, is_coloured).fitting(width);
        let _ = (writer.event(&event()).unwrap(), writer.flush().unwrap());
        let fitted = String::from_utf8(out.0.borrow().0.clone()).unwrap();
        let wide: Vec<_> = fitted.lines().filter(|line| textwrap::core::display_width(line) > columns).collect();
        assert!(wide.is_empty() && fitted.lines().count() > 1, "{fitted}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&fitted), words(&whole));
        assert!(fitted.lines().skip(1).all(|line| line.starts_with("              ")), "{fitted}");
    }
    // A program reads lines of JSON as they are.
    let out = Slow::default();
    let mut writer = Writer::new(out.clone(), Format::Json, false).fitting(|| Some(60));
    let _ = (writer.event(&event()).unwrap(), writer.flush().unwrap());
    assert_eq!(String::from_utf8(out.0.borrow().0.clone()).unwrap().lines().count(), 1);
}

#[test]
fn a_long_batch_does_not_pile_up() {
    let out = Slow::default();
    let mut writer = Writer::new(out.clone(), Format::Text, false);
    for _ in 0..2_000 {
        assert_eq!(writer.event(&event()).unwrap(), Shown::Yes);
        assert!(writer.pending.len() < BUFFER);
    }
    assert!(out.0.borrow().0.len() >= BUFFER);
    assert_eq!(writer.flush().unwrap(), Shown::Yes);
    let bytes = out.0.borrow().0.clone();
    assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 2_000);
}

#[test]
fn colour_is_for_text_only() {
    for (format, is_coloured, expected) in
        [(Format::Text, true, true), (Format::Text, false, false), (Format::Json, true, false)]
    {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, format, is_coloured);
        assert_eq!(writer.event(&event()).unwrap(), Shown::Yes);
        assert_eq!(writer.flush().unwrap(), Shown::Yes);
        assert_eq!(out.contains(&0x1b), expected, "{format:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, pipe) = io::pipe().unwrap();
    drop(reader);
    let mut writer = Writer::new(pipe, Format::Text, false);
    assert_eq!(writer.event(&event()).unwrap(), Shown::Yes);
    assert_eq!(writer.flush().unwrap(), Shown::ReaderGone);
}

#[test]
fn a_full_disk_is_one_line_that_says_what_to_do() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut writer = Writer::new(full, Format::Json, false);
    assert_eq!(writer.event(&event()).unwrap(), Shown::Yes);
    let error = writer.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(error.to_string(), "No space left on device (os error 28); free some space, or write elsewhere");
}

#[test]
fn what_failed_is_not_written_again() {
    let mut writer = Writer::new(Failing(ErrorKind::Other, 0), Format::Text, false);
    assert_eq!(writer.event(&event()).unwrap(), Shown::Yes);
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(writer.flush().unwrap(), Shown::Yes);
    assert_eq!(writer.out.1, 1);
}
