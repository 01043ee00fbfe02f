//! The records of classic tracepoints.

use aya_ebpf::{EbpfContext as _, programs::TracePointContext};

/// A field of a tracepoint's record. A direct load, which the verifier checks,
/// is a tenth of what `TracePointContext::read_at` costs.
#[inline(always)]
pub(crate) fn field<T: Copy>(ctx: &TracePointContext, offset: usize) -> T {
    // SAFETY: the record is as long as the fields that its ABI lists, and each
    // is aligned as its type is.
    unsafe { ctx.as_ptr().cast::<u8>().add(offset).cast::<T>().read_volatile() }
}
