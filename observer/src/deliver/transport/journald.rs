//! The journal of this host, by its native protocol (systemd's "Native Journal
//! Protocol"): one datagram an entry, or a sealed memory file where it does not fit
//! into one.

use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::confirmation::Confirmation;
use super::datagram::{Port, Way, in_words, is_too_long};
use super::pipe::Pipe;
use super::{Sent, Transport, Trouble};
use crate::deliver::message::Message;
use crate::deliver::target::JournaldTarget;

/// The journal. What journald has read it keeps, so that nothing is held back
/// longer than until then.
pub(super) struct Journald {
    socket: PathBuf,
    timeout: Duration,
    port: Option<Port>,
    confirmation: Confirmation,
}

impl Journald {
    pub(super) fn new(target: &JournaldTarget) -> Self {
        let confirmation = Confirmation::new(Duration::ZERO);
        Self { socket: target.socket.clone(), timeout: target.timeout, port: None, confirmation }
    }

    fn try_send(&mut self, batch: &[Message]) -> Result<Sent, String> {
        let deadline = Instant::now() + self.timeout;
        let mut port = match self.port.take() {
            Some(port) => port,
            None => Port::connect(&Way::Unix(self.socket.clone()), deadline)?,
        };
        port.pipe.set_deadline(deadline);
        for message in batch {
            write(&mut port.pipe, &message.body).map_err(|error| in_words(&error))?;
        }
        self.confirmation.sent(batch.len() as u64, port.pipe.written());
        self.port = Some(port);
        Ok(Sent::default())
    }

    fn try_confirm(&mut self) -> Result<u64, String> {
        match &self.port {
            Some(port) => port.confirm(&mut self.confirmation),
            None => Ok(self.confirmation.confirmed()),
        }
    }

    fn trouble(&mut self, cause: String) -> Trouble {
        self.port = None;
        self.confirmation = Confirmation::new(Duration::ZERO);
        Trouble::Temporary(format!("{}: {cause}", self.socket.display()))
    }
}

impl Transport for Journald {
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble> {
        self.try_send(batch).map_err(|cause| self.trouble(cause))
    }

    fn confirmed(&mut self) -> Result<u64, Trouble> {
        self.try_confirm().map_err(|cause| self.trouble(cause))
    }

    fn close(&mut self, _within: Duration) {
        self.port = None;
        self.confirmation = Confirmation::new(Duration::ZERO);
    }
}

fn write(pipe: &mut Pipe, entry: &[u8]) -> io::Result<()> {
    match pipe.write(entry) {
        Ok(_) => Ok(()),
        Err(error) if is_too_long(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => {
            write_file(pipe, &sealed(entry)?)
        }
        Err(error) => Err(error),
    }
}

/// A memory file that nobody can change any more, as journald asks for.
fn sealed(entry: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"observer-entry", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(entry)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

/// An empty datagram with the file.
fn write_file(pipe: &mut Pipe, file: &OwnedFd) -> io::Result<()> {
    let files = [file.as_fd()];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(pipe.socket(), &[IoSlice::new(&[])], &mut control, flags) {
            Ok(_) => {
                // So that it is not taken for read before its datagram is.
                pipe.count(1);
                return Ok(());
            }
            Err(Errno::AGAIN) => pipe.wait(PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
