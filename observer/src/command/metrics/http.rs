//! HTTP/1 for a few connections, each bounded in size and time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use observer_core::metrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::command::live::say;
use crate::command::socket::Socket;

/// Connections at a time. One that comes when all are taken ends the oldest, so
/// that those who connect and say nothing keep nobody out.
pub(super) const MAX_CONNECTIONS: usize = 8;
/// For the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// For the owner of the counters to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For all of a connection. A scrape gives up after ten seconds by default.
const ALL_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Between a failed accept and the next: descriptors may be lacking.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the text goes that is asked for.
pub(super) type Ask = oneshot::Sender<Bytes>;

/// What is listened at.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(Socket),
}

/// Serves whoever connects, for ever.
/// `crowded_out` counts connections that were ended for newer ones.
pub(super) async fn accept(listener: Listener, ask: mpsc::Sender<Ask>, crowded_out: Arc<AtomicU64>) {
    let mut connections = Connections { crowded_out, ..Connections::default() };
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| connections.add(stream, &ask)),
            Listener::Unix(socket) => socket.accept().await.map(|stream| connections.add(stream, &ask)),
        };
        if let Err(error) = accepted
            && !is_of_the_other_end(&error)
        {
            say(&format!("cannot accept a connection for metrics: {error}"));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Gone before it was accepted.
fn is_of_the_other_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Those that are served now; dropping it ends them.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Oldest first.
    order: VecDeque<AbortHandle>,
    crowded_out: Arc<AtomicU64>,
}

impl Connections {
    fn add(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ask: &mpsc::Sender<Ask>) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
            self.crowded_out.fetch_add(1, Ordering::Relaxed);
        }
        self.order.push_back(self.tasks.spawn(serve(stream, ask.clone())));
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ask: mpsc::Sender<Ask>) {
    let answer = service_fn(move |request| {
        let ask = ask.clone();
        async move { Ok::<_, Infallible>(answer(&request, &ask).await) }
    });
    // One request a connection: nobody keeps one for later.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // Whatever goes wrong is the client's own affair.
    let _ = timeout(ALL_WITHIN, connection).await;
}

async fn answer(request: &Request<Incoming>, ask: &mpsc::Sender<Ask>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "there is only /metrics\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match timeout(ANSWER_WITHIN, text(ask)).await {
        Ok(Some(text)) => respond(StatusCode::OK, metrics::CONTENT_TYPE, text),
        _ => plain(StatusCode::SERVICE_UNAVAILABLE, "the counters could not be read\n"),
    }
}

async fn text(ask: &mpsc::Sender<Ask>) -> Option<Bytes> {
    let (reply, text) = oneshot::channel();
    ask.send(reply).await.ok()?;
    text.await.ok()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn respond(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
