//! What those are told who are not served.

use std::io;

use observer_core::wire::{Line, PROTOCOL, Refusal};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Says why this reader is not served.
pub(super) async fn refuse_for(mut stream: impl AsyncWrite + Unpin, cause: String) -> io::Result<()> {
    let refusal = Line::Refusal(Refusal { cause, protocol: PROTOCOL });
    stream.write_all(refusal.to_json()?.as_bytes()).await
}
