//! A kernel program that does nothing, on a hook of observer's: what a hit costs
//! at the least, taking its time included.

use std::io::Error;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// `BPF_PROG_LOAD` and `BPF_RAW_TRACEPOINT_OPEN` of `enum bpf_cmd`.
const LOAD: libc::c_long = 5;
const ATTACH: libc::c_long = 17;
/// `enum bpf_prog_type`.
const RAW_TRACEPOINT: u32 = 17;
/// `r0 = 0; exit`. An instruction's first byte is its opcode in either byte order.
static INSTRUCTIONS: [u64; 2] = [0xb7_u64.to_le(), 0x95_u64.to_le()];
/// As the tables would name it.
const NAME: [u8; 16] = *b"empty\0\0\0\0\0\0\0\0\0\0\0";

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The beginning of it for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Attach {
    name: u64,
    program: u32,
    reserved: u32,
}

/// The attached program. Gone on drop.
pub(crate) struct Empty {
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Empty {
    /// Attaches it to `inet_sock_set_state`.
    pub(crate) fn attach() -> Result<Self> {
        let load = Load {
            program_type: RAW_TRACEPOINT,
            instruction_count: 2,
            instructions: INSTRUCTIONS.as_ptr().addr() as u64,
            license: c"Dual MIT/GPL".as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: NAME,
        };
        // SAFETY: instructions and licence are static; all else is numbers.
        let program = unsafe { bpf(LOAD, &load) }.context("load an empty program")?;
        let attach = Attach {
            name: c"inet_sock_set_state".as_ptr().addr() as u64,
            program: program.as_raw_fd().cast_unsigned(),
            reserved: 0,
        };
        // SAFETY: the name is static, and the program is open.
        let link = unsafe { bpf(ATTACH, &attach) }.context("attach an empty program")?;
        Ok(Self { _program: program, _link: link })
    }
}

/// # Safety
/// Every address in `attributes` must be valid for what the command reads.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> std::io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes; the caller promises the rest.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(Error::last_os_error)?;
    // SAFETY: both commands return a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
