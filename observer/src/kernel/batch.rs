//! Reading many elements of a hash map with one call, which aya cannot do:
//! `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_LOOKUP_AND_DELETE_BATCH`, since Linux 5.6.
//!
//! The kernel copies bucket by bucket, each under its lock: an element that is there
//! from beginning to end is read exactly once, whatever comes and goes beside it.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd as _};

use aya::Pod;

/// `enum bpf_cmd` of `include/uapi/linux/bpf.h`, a stable ABI.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;

/// The part of `union bpf_attr` that batch calls read.
#[repr(C)]
#[derive(Default)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Elements that one call reads; the kernel holds a bucket's lock for those of a
/// bucket only.
const ELEMENTS: usize = 2_048;

/// Times that a call is repeated when the kernel says that this may help.
const TRIES: u32 = 100;

/// Reads maps of one kind of element. Its memory is used again.
pub(super) struct BatchReader<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    _elements: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> BatchReader<K, V> {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), _elements: PhantomData }
    }

    /// Hands over every element of `map`, whose keys and values must be `K` and `V`.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub(super) fn read(&mut self, map: impl AsFd, each: impl FnMut(&K, &V)) -> io::Result<()> {
        self.walk(BPF_MAP_LOOKUP_BATCH, map, each)
    }

    /// As [`Self::read`], and removes them. Nothing is removed that was not handed
    /// over.
    ///
    /// # Errors
    /// Those of the bpf system call.
    pub(super) fn take(&mut self, map: impl AsFd, each: impl FnMut(&K, &V)) -> io::Result<()> {
        self.walk(BPF_MAP_LOOKUP_AND_DELETE_BATCH, map, each)
    }

    fn walk(&mut self, call: libc::c_long, map: impl AsFd, mut each: impl FnMut(&K, &V)) -> io::Result<()> {
        let map_fd = map.as_fd().as_raw_fd() as u32;
        let mut room = ELEMENTS;
        let mut place: Option<u32> = None;
        let mut tries = TRIES;
        loop {
            self.keys.reserve(room);
            self.values.reserve(room);
            let mut next = 0_u32;
            let mut attr = Attr {
                in_batch: place.as_ref().map_or(0, |place| std::ptr::from_ref(place) as u64),
                out_batch: &raw mut next as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: room as u32,
                map_fd,
                ..Attr::default()
            };
            let attr_ptr = &raw mut attr;
            // SAFETY: every pointer is valid for what the kernel reads and writes: the
            // attributes, a place in the map (a bucket's number, four bytes) and room
            // for `room` keys and values of the map's sizes, the caller's promise.
            let done = unsafe { libc::syscall(libc::SYS_bpf, call, attr_ptr, size_of::<Attr>()) };
            let error = (done < 0).then(io::Error::last_os_error);
            let errno = error.as_ref().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL));
            if errno == libc::ENOSPC && room < 1 << 20 {
                // A bucket holds more than there is room for.
                room *= 2;
                continue;
            }
            // What an error came after was copied and removed all the same, and `next` is
            // where to go on. With any other errno nothing was written.
            let has_written = matches!(errno, 0 | libc::ENOENT) || is_passing(errno);
            let count = if has_written { (attr.count as usize).min(room) } else { 0 };
            // SAFETY: the kernel has written so many elements, and any bytes are a value.
            unsafe {
                self.keys.set_len(count);
                self.values.set_len(count);
            }
            self.keys.iter().zip(&self.values).for_each(|(key, value)| each(key, value));
            self.keys.clear();
            self.values.clear();
            match error {
                // The end.
                Some(_) if errno == libc::ENOENT => return Ok(()),
                Some(_) if is_passing(errno) && tries > 0 => {
                    tries -= 1;
                    std::thread::yield_now();
                }
                Some(error) => return Err(error),
                None => {}
            }
            if count > 0 {
                place = Some(next);
            }
        }
    }
}

/// True if the kernel says that another try may succeed: a bucket was locked, or memory short.
fn is_passing(errno: i32) -> bool {
    matches!(errno, libc::EBUSY | libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ETIMEDOUT | libc::EDEADLK)
}
