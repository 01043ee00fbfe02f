//! What the kernel programs log through aya-log.

use std::io::{self, Write as _};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use super::AttachError;

/// Reads the programs' log and writes it to stderr.
pub(super) type KernelLog = EbpfLogger<Stderr>;

pub(super) fn open(ebpf: &mut Ebpf) -> Result<KernelLog, AttachError> {
    EbpfLogger::init_with_logger(ebpf, Stderr)
        .map_err(|error| AttachError::Other(format!("the kernel programs' log cannot be read: {error}")))
}

/// A line a record. The programs write numbers and fixed words only, nothing
/// that would have to be sanitised.
pub(super) struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("observer: kernel: {}: {}\n", record.level().as_str().to_lowercase(), record.args());
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
