use std::io::{IoSliceMut, Read as _, Seek as _};
use std::os::unix::net::UnixDatagram;

use observer_core::event::Event;
use observer_core::format::{Entry, journal};
use observer_core::label::{Label, Reason};
use observer_core::sample::event;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tempfile::TempDir;

use super::*;
use crate::deliver::message::MessageKind;

fn receiver() -> (TempDir, UnixDatagram, Journald) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    let journald = Journald::new(&JournaldTarget { socket: path, timeout: Duration::from_secs(5) });
    (directory, socket, journald)
}

fn message(event: &Event) -> Message {
    let mut body = Vec::new();
    journal::append(Entry::Event(event), &mut body).unwrap();
    Message { id: event.id.clone(), kind: MessageKind::Event, label: Some(event.label), body }
}

#[test]
fn an_entry_is_confirmed_when_it_was_read() {
    let (_directory, socket, mut journald) = receiver();
    let event = event(Label::Refused, Some(Reason::Rst));
    assert_eq!(journald.send(&[message(&event)]), Ok(Sent::default()));
    assert_eq!(journald.confirmed(), Ok(0));
    let mut buffer = vec![0; 8192];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], message(&event).body);
    assert_eq!(journald.confirmed(), Ok(1));
}

#[test]
fn a_large_entry_comes_in_a_sealed_file() {
    let (_directory, socket, mut journald) = receiver();
    let mut event = event(Label::Refused, Some(Reason::Rst));
    event.host = "x".repeat(1 << 20);
    journald.send(&[message(&event)]).unwrap();
    assert_eq!(journald.confirmed(), Ok(0), "it was not read");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 16];
    let received =
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).unwrap();
    assert_eq!(received.bytes, 0);
    let Some(RecvAncillaryMessage::ScmRights(mut files)) = control.drain().next() else { panic!("no file") };
    let mut file = std::fs::File::from(files.next().unwrap());
    assert!(
        rustix::fs::fcntl_get_seals(&file).unwrap().contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::SEAL)
    );
    let mut entry = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut entry).unwrap();
    assert_eq!(entry, message(&event).body);
    assert_eq!(journald.confirmed(), Ok(1));
}

#[test]
fn a_journal_that_ended_is_trouble() {
    let (_directory, socket, mut journald) = receiver();
    let event = event(Label::Refused, Some(Reason::Rst));
    journald.send(&[message(&event)]).unwrap();
    drop(socket);
    assert!(matches!(journald.confirmed(), Err(Trouble::Temporary(_))));
    assert!(matches!(journald.send(&[message(&event)]), Err(Trouble::Temporary(_))));
}
