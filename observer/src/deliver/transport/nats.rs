//! NATS JetStream: a publish for each message, all of a batch on their way at once,
//! and an acknowledgement of each from the stream.
//!
//! The message's id goes along as `Nats-Msg-Id`: what is sent again within the
//! stream's `duplicate_window` is acknowledged and not stored again. A publish that
//! fails between others that do not is sent again after them; within one subject
//! order can differ there, and only there.

use std::error::Error as _;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{Context, ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions, ServerAddr};
use observer_core::label::Label;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Sent, Transport, Trouble, secret};
use crate::deliver::message::Message;
use crate::deliver::target::{NatsTarget, Tls};
use crate::deliver::tls;

/// How often a connection that is not used answers the server's pings.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// Time for that.
const TEND_FOR: Duration = Duration::from_millis(2);

/// NATS JetStream. Nothing of the client runs between calls: its runtime has no
/// thread of its own.
pub(super) struct Nats {
    target: NatsTarget,
    servers: Vec<ServerAddr>,
    runtime: Runtime,
    connection: Option<(Client, Context)>,
    confirmed: u64,
    tended: Instant,
}

impl Nats {
    pub(super) fn new(target: &NatsTarget) -> Result<Self, String> {
        let server =
            |name: &String| name.parse::<ServerAddr>().map_err(|error| format!("{name:?} is no NATS server: {error}"));
        let servers = target.servers.iter().map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err("no NATS server is named".to_owned());
        }
        if !is_subject(&target.subject) {
            return Err(format!(
                "{:?} is no subject: words with dots between, without `*`, `>` or spaces",
                target.subject
            ));
        }
        if target.tls.server_name.is_some() {
            return Err(
                "NATS takes the name of a server's certificate from its address, not from `server_name`".to_owned()
            );
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let (target, tended) = (target.clone(), Instant::now());
        Ok(Self { target, servers, runtime, connection: None, confirmed: 0, tended })
    }

    fn connect(&self) -> Result<(Client, Context), String> {
        let wait = self.target.timeout;
        let mut options = ConnectOptions::new()
            .name("observer")
            .connection_timeout(wait)
            .request_timeout(Some(wait))
            .max_reconnects(1)
            .no_echo();
        if let Some(path) = &self.target.credentials {
            let secret = secret::first_line(path)?;
            options = match secret.split_once(':') {
                _ if secret.starts_with("-----BEGIN") => {
                    let cure = "use USER:PASSWORD, a token, or a client certificate";
                    return Err(format!("{}: signed credentials are not supported; {cure}", path.display()));
                }
                Some((user, password)) => options.user_and_password(user.to_owned(), password.to_owned()),
                None => options.token(secret),
            };
        }
        let has_tls = self.servers.iter().any(ServerAddr::tls_required) || self.target.tls != Tls::default();
        if has_tls {
            options = options.require_tls(true).tls_client_config(tls::client_config(&self.target.tls)?);
        }
        let servers = self.servers.clone();
        let connecting = async { timeout(wait, options.connect(servers)).await };
        let connected = self.runtime.block_on(connecting).map_err(|_| "no answer in time".to_owned())?;
        let client = connected.map_err(|error| in_words(&error))?;
        // The context spawns a task.
        let _inside = self.runtime.enter();
        let context = ContextBuilder::new().timeout(wait).ack_timeout(wait).build(client.clone());
        Ok((client, context))
    }

    fn try_send(&mut self, batch: &[Message]) -> Result<Sent, String> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let publishing =
            async { timeout(self.target.timeout, publish(&connection.1, &self.target.subject, batch)).await };
        let refused = self.runtime.block_on(publishing).map_err(|_| "not all acknowledged in time".to_owned())??;
        self.connection = Some(connection);
        self.confirmed += batch.len() as u64;
        self.tended = Instant::now();
        Ok(Sent { refused })
    }
}

impl Transport for Nats {
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble> {
        self.try_send(batch).map_err(|cause| {
            self.connection = None;
            self.confirmed = 0;
            Trouble::Temporary(format!("nats {}: {cause}", self.servers[0].host()))
        })
    }

    fn confirmed(&mut self) -> Result<u64, Trouble> {
        if self.connection.is_some() && self.tended.elapsed() >= TEND_EVERY {
            self.runtime.block_on(async { tokio::time::sleep(TEND_FOR).await });
            self.tended = Instant::now();
        }
        Ok(self.confirmed)
    }

    fn close(&mut self, within: Duration) {
        if let Some((client, _)) = self.connection.take() {
            // All is acknowledged already; the server is only told.
            let _ = self.runtime.block_on(async { timeout(within, client.drain()).await });
        }
        self.confirmed = 0;
    }
}

/// Publishes all, then waits for every acknowledgement.
async fn publish(context: &Context, prefix: &str, batch: &[Message]) -> Result<Vec<(usize, String)>, String> {
    let mut refused = Vec::new();
    let mut sent = Vec::with_capacity(batch.len());
    for (nth, message) in batch.iter().enumerate() {
        let body = message.body.strip_suffix(b"\n").unwrap_or(&message.body);
        let publish = PublishMessage::build().payload(body.to_vec().into()).message_id(&message.id);
        match context.send_publish(format!("{prefix}.{}", last_word(message)), publish).await {
            Ok(acknowledgement) => sent.push((nth, acknowledgement)),
            Err(error) => refused.push((nth, refusal(error, prefix)?)),
        }
    }
    for (nth, acknowledgement) in sent {
        if let Err(error) = acknowledgement.await {
            refused.push((nth, refusal(error, prefix)?));
        }
    }
    refused.sort_unstable();
    Ok(refused)
}

/// Why a message will never be taken.
///
/// # Errors
/// If it may be, another time: why not now.
fn refusal(error: PublishError, prefix: &str) -> Result<String, String> {
    let code =
        error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()).map(jetstream::Error::error_code);
    let is_too_long =
        error.kind() == PublishErrorKind::MaxPayloadExceeded || code == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
    match error.kind() {
        _ if is_too_long => Ok(in_words(&error)),
        PublishErrorKind::StreamNotFound => {
            Err(format!("no stream takes {prefix}.*: create one, `nats stream add --subjects '{prefix}.>'`"))
        }
        _ => Err(in_words(&error)),
    }
}

/// The error and what it comes from.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        source = cause.source();
    }
    words
}

/// The last word of a subject: the label of an event, or the kind of another record.
fn last_word(message: &Message) -> &'static str {
    message.label.map_or(message.kind.as_str(), Label::as_str)
}

fn is_subject(text: &str) -> bool {
    text.split('.').all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && !"*>".contains(c)))
}

#[cfg(test)]
mod tests;
