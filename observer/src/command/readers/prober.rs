//! One who probes: while it stays connected, its connections are not recorded.
//!
//! Whoever may connect to the socket may ask for it, and it is said each time. It ends
//! with the connection, with the process, after so many connections, or so much time:
//! nothing can be hidden for long, and nothing unseen.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use observer_core::wire::{Line, Probing};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::time::timeout;

use super::super::live::say;
use super::losses::Losses;
use super::refusal::refuse_for;
use crate::kernel::{Admitted, CONNECTIONS, Probers};

/// Many times what a diagnosis takes.
const AT_MOST: Duration = Duration::from_mins(10);

/// Serves the process at the other end until it has probed enough.
pub(super) async fn serve(
    probers: Option<&Arc<Probers>>,
    peer: UCred,
    losses: &Losses,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let (pid, admitted) = match admit(probers, peer) {
        Ok(admitted) => admitted,
        Err(error) => {
            losses.probers.add(1);
            let cause = format!("cannot tell its connections apart: {error}");
            return refuse_for(write, cause).await;
        }
    };
    let who = format!("process {} of user {}", pid.as_raw_nonzero(), peer.uid());
    say(&format!("{who} probes: its connections are not recorded, at most {CONNECTIONS}"));
    let served = stay(pid, read, write).await;
    let is_over = matches!(served, Ok(false));
    if is_over || admitted.passed() >= CONNECTIONS {
        losses.probes.add(1);
    }
    say(&format!("{who} has probed: {} connections were not recorded", admitted.passed()));
    drop(admitted);
    served.map(drop)
}

fn admit(probers: Option<&Arc<Probers>>, peer: UCred) -> io::Result<(Pid, Admitted)> {
    let probers = probers.ok_or_else(|| io::Error::other("no kernel programs"))?;
    // The kernel says 0 of one that this pid namespace has no number for.
    let pid = peer.pid().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("it is in another pid namespace"))?;
    let admitted = probers.admit(pid.as_raw_nonzero().get().cast_unsigned())?;
    Ok((pid, admitted))
}

/// Returns when the process closes the connection, or ends: another one may inherit the
/// former, and the number of the latter. False: it took too long.
async fn stay(pid: Pid, read: &mut BufReader<OwnedReadHalf>, write: &mut OwnedWriteHalf) -> io::Result<bool> {
    let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: AsyncFd owns the descriptor, which so stays open while it is registered.
    let process = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?;
    write.write_all(Line::Probing(Probing { connections: CONNECTIONS }).to_json()?.as_bytes()).await?;
    let mut rest = [0; 64];
    let is_over = async {
        loop {
            tokio::select! {
                _ = process.readable() => return,
                // What it still says is ignored.
                read = read.read(&mut rest) => if !matches!(read, Ok(1..)) { return },
            }
        }
    };
    Ok(timeout(AT_MOST, is_over).await.is_ok())
}
