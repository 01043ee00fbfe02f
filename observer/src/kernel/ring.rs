//! The ring buffer's end in user space.

use std::io;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, MapError, RingBuf};
use rustix::event::epoll;
use rustix::fd::OwnedFd;

/// Finished attempts as the kernel programs sent them.
pub struct Ring {
    records: RingBuf<MapData>,
    woken: OwnedFd,
}

impl Ring {
    /// Takes it out of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        let name = "EVENTS";
        let map = ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })?;
        let records = RingBuf::try_from(map)?;
        let woken = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        // Edge-triggered: what waits wakes nobody, unless the kernel says so.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&woken, &records, epoll::EventData::new_u64(0), flags).map_err(io::Error::from)?;
        Ok(Self { records, woken })
    }

    /// Waits until the kernel says that the ring buffer fills up, at most so long.
    pub fn wait(&self, at_most: Duration) {
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: at_most.subsec_nanos().into() };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        // Whatever ends it, the next look shows what there is.
        let _ = epoll::wait(&self.woken, &mut events, Some(&timeout));
    }

    /// Appends the records that wait to `bytes`, as long as these are fewer than
    /// `until`. True if there may be more.
    pub fn take_into(&mut self, bytes: &mut Vec<u8>, until: usize) -> bool {
        while bytes.len() < until {
            match self.records.next() {
                // In front of each its length, which is the same for all of them
                // unless something is wrong.
                Some(record) => {
                    bytes.extend_from_slice(&(record.len() as u32).to_ne_bytes());
                    bytes.extend_from_slice(&record);
                }
                None => return false,
            }
        }
        true
    }
}

/// The records in what [`Ring::take_into`] gave.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
        bytes = rest;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn records_are_as_they_were_put_in() {
        let mut bytes = Vec::new();
        for record in [&b"one"[..], b"", b"three"] {
            bytes.extend_from_slice(&(record.len() as u32).to_ne_bytes());
            bytes.extend_from_slice(record);
        }
        assert_eq!(records(&bytes).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!(records(&bytes[..bytes.len() - 1]).count(), 2);
    }
}
