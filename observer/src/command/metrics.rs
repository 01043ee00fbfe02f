//! The server of `observer run` for Prometheus: `GET /metrics` and nothing else.
//!
//! It never holds up whoever reads the kernel: a connection asks through a
//! channel, and is answered at the next [`MetricsServer::tick`].

mod http;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::metrics::{HistoryMetrics, HookMetrics, Metrics, Reading};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::socket::Socket;
use crate::config::Listen;
use crate::kernel::hooks::{Group, HookReport, HookStatus};
use crate::store::history;
use http::{Ask, Listener};

/// For how long an answer serves whoever asks again: writing it is not free, and
/// asking is.
const FRESH: Duration = Duration::from_secs(1);

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    metrics: Metrics,
    asks: mpsc::Receiver<Ask>,
    last: Option<(Instant, Bytes)>,
    address: Option<SocketAddr>,
    accepting: JoinHandle<()>,
    crowded_out: Arc<AtomicU64>,
}

impl MetricsServer {
    /// Listens: at a loopback address, or at a unix socket (mode 0660) for root
    /// and the members of `group`. The second value is a remark for the log, if
    /// there is no such group and only root can connect. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// If the address is not a loopback address, is in use, or cannot be had.
    pub fn serve(listen: &Listen, group: &str, metrics: Metrics) -> io::Result<(Self, Option<String>)> {
        let (listener, address, remark) = match listen {
            Listen::Tcp(address) => {
                let listener = listen_tcp(*address)?;
                let address = listener.local_addr()?;
                (Listener::Tcp(listener), Some(address), None)
            }
            Listen::Unix(path) => {
                let (socket, remark) = Socket::listen(path, group)?;
                (Listener::Unix(socket), None, remark)
            }
        };
        // No more than one for each connection.
        let (ask, asks) = mpsc::channel(http::MAX_CONNECTIONS);
        let crowded_out = Arc::<AtomicU64>::default();
        let accepting = tokio::spawn(http::accept(listener, ask, Arc::clone(&crowded_out)));
        Ok((Self { metrics, asks, last: None, address, accepting, crowded_out }, remark))
    }

    /// The TCP address that it listens at, with the port that the kernel chose
    /// where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Counts an event; to be called for every one.
    pub fn event(&mut self, event: &Event) {
        self.metrics.event(event);
    }

    /// Counts attempts of which no event came.
    pub fn missing(&mut self, missing: &[(Ended, u64)]) {
        self.metrics.missing(missing);
    }

    /// Answers whoever asks; to be called at every tick. `read` is called only
    /// if somebody does, and no more than once a second.
    pub fn tick(&mut self, read: impl FnOnce() -> Reading) {
        let Ok(first) = self.asks.try_recv() else { return };
        let Some(text) = self.text(read) else { return };
        let mut next = Some(first);
        while let Some(ask) = next {
            // Whoever has gone meanwhile wants no answer.
            let _ = ask.send(text.clone());
            next = self.asks.try_recv().ok();
        }
    }

    fn text(&mut self, read: impl FnOnce() -> Reading) -> Option<Bytes> {
        let now = Instant::now();
        if let Some((_, text)) = self.last.as_ref().filter(|(at, _)| now.duration_since(*at) < FRESH) {
            return Some(text.clone());
        }
        let mut reading = read();
        reading.limits.push(("connections for metrics", self.crowded_out.load(Ordering::Relaxed)));
        // A string takes all that is written into it.
        let text = self.metrics.render(&reading).ok()?;
        let text = Bytes::from(text);
        self.last = Some((now, text.clone()));
        Some(text)
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().to_canonical().is_loopback() {
        let cause =
            format!("{address} is no loopback address: metrics are for this host only, put a proxy before them");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
    }
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

impl From<&history::HistoryStatus> for HistoryMetrics {
    fn from(status: &history::HistoryStatus) -> Self {
        let dropped = status.dropped.iter().map(|(&cause, &count)| (cause.to_owned(), count)).collect();
        Self {
            written: status.written,
            dropped,
            is_failing: status.is_failing,
            queue_bytes: status.queue_bytes,
            queue_limit_bytes: status.queue_limit,
        }
    }
}

/// A hook's metrics; `None` for a hook that is not needed here.
pub(super) fn hook(report: &HookReport) -> Option<HookMetrics> {
    let group = match report.hook.group {
        Group::Core | Group::Unpreempted => "core",
        Group::ConnectFunction | Group::ConnectSyscall | Group::FastOpen => "connect",
        Group::Evidence => "evidence",
    };
    let is_attached = report.is_attached();
    let is_needed = is_attached || matches!(report.status, HookStatus::Failed(_));
    is_needed.then(|| HookMetrics { name: report.hook.program.to_owned(), group: group.to_owned(), is_attached })
}

#[cfg(test)]
mod tests;
