//! HTTP endpoints: a POST a batch, and an answer that says what became of it.
//!
//! Every answer is one of three things. The receiver took the batch. It cannot
//! now (no connection, 408, 425, 429, 5xx, a broken answer): the batch is sent
//! again. Or it will never take a message: that message is refused alone, and where
//! the answer does not tell which one it is, the batch is halved until it shows.
//!
//! A receiver that turns away this client and not a message (a bad token, a wrong
//! path or index, a redirection, which is not followed) is different: the messages
//! are good, and somebody may mend it. So such a batch waits, is tried again, and is
//! given up after [`PATIENCE`], for the dead-letter file; then the next one waits.
//! A batch a minute neither loops for ever nor empties the spool at once. Token and
//! certificates are read from their files again for every try.

mod bulk;
mod hec;
mod otlp;

use std::io::Read as _;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::{Sent, Transport, Trouble, secret};
use crate::deliver::message::Message;
use crate::deliver::target::{HttpProtocol, HttpTarget};
use crate::deliver::tls;

/// How long a batch waits for somebody to mend the token or the address.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer; that of 512 refused messages is far shorter.
const MOST_ANSWER: u64 = 4 << 20;
/// Longest time that a receiver may ask to be left alone for.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Time for finding out which messages of a batch are refused, in timeouts.
const SEARCH_TIMEOUTS: u32 = 10;
/// Longest part of an answer that a cause repeats, in characters.
const MOST_WORDS: usize = 200;

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// All were taken but these: their place, and why.
    Taken(Vec<(usize, String)>),
    /// This one is refused, and none was taken for certain.
    RefusedOne(usize, String),
    /// At least one is refused; which one, it does not say.
    Refused(String),
    /// Another time.
    Busy(String),
    /// It is not the messages' fault, and does not pass by itself.
    TurnedAway(String),
}

/// An HTTP endpoint.
pub(super) struct Http {
    target: HttpTarget,
    url: String,
    /// The `Host` header, where the URL bears the name of the certificate.
    host: Option<String>,
    agent: Option<Agent>,
    confirmed: u64,
    turned_away: Option<Instant>,
    not_before: Option<Instant>,
}

impl Http {
    pub(super) fn new(target: &HttpTarget) -> Result<Self, String> {
        let uri: Uri = target.url.parse().map_err(|error| format!("{:?} is no URL: {error}", target.url))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{:?} is no URL of http:// or https://", target.url));
        };
        let named = target.tls.server_name.as_ref().filter(|_| scheme == "https");
        let url = named.map(|name| {
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            format!("https://{name}{port}{path}")
        });
        let host = url.is_some().then(|| authority.as_str().rsplit('@').next().unwrap_or_default().to_owned());
        let url = url.unwrap_or_else(|| target.url.clone());
        let target = target.clone();
        Ok(Self { target, url, host, agent: None, confirmed: 0, turned_away: None, not_before: None })
    }

    /// Sends all of them, and finds out which ones are refused.
    fn deliver(&mut self, batch: &[Message]) -> Result<Vec<(usize, String)>, Trouble> {
        let give_up = Instant::now() + self.target.timeout * SEARCH_TIMEOUTS;
        let mut refused = Vec::new();
        let mut waiting: Vec<Vec<usize>> = vec![(0..batch.len()).collect()];
        while let Some(mut part) = waiting.pop() {
            let messages: Vec<&Message> = part.iter().map(|nth| &batch[*nth]).collect();
            match self.ask(&messages)? {
                Judgement::Taken(some) => {
                    refused.extend(some.into_iter().filter_map(|(nth, cause)| Some((*part.get(nth)?, cause))));
                }
                Judgement::RefusedOne(nth, cause) if nth < part.len() => {
                    refused.push((part.remove(nth), cause.clone()));
                    if Instant::now() > give_up {
                        refused.extend(part.into_iter().map(|nth| (nth, together(&cause))));
                    } else if !part.is_empty() {
                        waiting.push(part);
                    }
                }
                Judgement::Refused(cause) | Judgement::RefusedOne(_, cause) => {
                    if part.len() == 1 {
                        refused.push((part[0], cause));
                    } else if Instant::now() > give_up {
                        refused.extend(part.into_iter().map(|nth| (nth, together(&cause))));
                    } else {
                        // The first half comes first.
                        waiting.push(part.split_off(part.len() / 2));
                        waiting.push(part);
                    }
                }
                Judgement::Busy(cause) => return Err(Trouble::Temporary(cause)),
                Judgement::TurnedAway(cause) => return Err(self.be_patient(cause)),
            }
            self.turned_away = None;
        }
        refused.sort_unstable();
        Ok(refused)
    }

    fn be_patient(&mut self, cause: String) -> Trouble {
        if self.turned_away.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
            return Trouble::Temporary(cause);
        }
        self.turned_away = None;
        Trouble::Permanent(cause)
    }

    fn ask(&mut self, messages: &[&Message]) -> Result<Judgement, Trouble> {
        let temporary = |cause: String| Trouble::Temporary(format!("{}: {cause}", place(&self.target.url)));
        let body = match &self.target.protocol {
            HttpProtocol::SplunkHec => hec::body(messages),
            HttpProtocol::Bulk { index } => bulk::body(messages, index),
            HttpProtocol::Otlp => match otlp::body(messages) {
                Ok(body) => body,
                Err((nth, cause)) => return Ok(Judgement::RefusedOne(nth, cause)),
            },
        };
        let authorization = self.authorization().map_err(temporary)?;
        let agent = match self.agent.take() {
            Some(agent) => agent,
            None => agent(&self.target).map_err(temporary)?,
        };
        let mut request = agent.post(&self.url).header("content-type", content_type(&self.target.protocol));
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send(&body[..]).map_err(|error| temporary(error.to_string()))?;
        let mut answer = Vec::new();
        let mut reader = response.body_mut().as_reader().take(MOST_ANSWER + 1);
        reader.read_to_end(&mut answer).map_err(|error| temporary(format!("broken answer: {error}")))?;
        if answer.len() as u64 > MOST_ANSWER {
            return Err(temporary("the answer is too long".to_owned()));
        }
        self.not_before = retry_after(response.headers().get("retry-after").map(|value| value.as_bytes()));
        self.agent = Some(agent);
        Ok(self.judge(response.status(), &answer, messages.len()))
    }

    fn judge(&self, status: StatusCode, answer: &[u8], count: usize) -> Judgement {
        let judgement = match &self.target.protocol {
            HttpProtocol::SplunkHec => hec::judge(status, answer),
            HttpProtocol::Bulk { .. } => bulk::judge(status, answer, count),
            HttpProtocol::Otlp => otlp::judge(status, answer, count),
        };
        let at = |cause: String| format!("{}: {cause}", place(&self.target.url));
        match judgement.unwrap_or_else(|| by_status(status, answer)) {
            Judgement::Busy(cause) => Judgement::Busy(at(cause)),
            Judgement::TurnedAway(cause) => Judgement::TurnedAway(at(cause)),
            other => other,
        }
    }

    fn authorization(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.target.token_file else { return Ok(None) };
        let scheme = match self.target.protocol {
            HttpProtocol::SplunkHec => "Splunk",
            HttpProtocol::Bulk { .. } => "ApiKey",
            HttpProtocol::Otlp => "Bearer",
        };
        Ok(Some(format!("{scheme} {}", secret::first_line(path)?)))
    }
}

impl Transport for Http {
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble> {
        if self.not_before.is_some_and(|until| until > Instant::now()) {
            let cause = format!("{}: the receiver asked to wait", place(&self.target.url));
            self.confirmed = 0;
            return Err(Trouble::Temporary(cause));
        }
        match self.deliver(batch) {
            Ok(refused) => {
                self.confirmed += batch.len() as u64;
                Ok(Sent { refused })
            }
            Err(trouble) => {
                self.agent = None;
                self.confirmed = 0;
                Err(trouble)
            }
        }
    }

    fn confirmed(&mut self) -> Result<u64, Trouble> {
        Ok(self.confirmed)
    }

    fn close(&mut self, _within: Duration) {
        self.agent = None;
        self.confirmed = 0;
    }
}

/// By RFC 9110 alone.
fn by_status(status: StatusCode, answer: &[u8]) -> Judgement {
    let cause = format!("{status}: {}", words(answer));
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => Judgement::Busy(cause),
        400 | 406 | 409..=499 => Judgement::Refused(cause),
        _ => Judgement::TurnedAway(cause),
    }
}

fn together(cause: &str) -> String {
    format!("refused together with others, no time was left to find out which: {cause}")
}

/// What a receiver says, short and safe to show.
fn words(answer: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(answer).trim().chars().take(MOST_WORDS).collect();
    observer_core::sanitize::sanitize(&text).into_owned()
}

/// A URL without what could be secret in it.
fn place(url: &str) -> &str {
    let url = url.split('?').next().unwrap_or_default();
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

const fn content_type(protocol: &HttpProtocol) -> &'static str {
    match protocol {
        HttpProtocol::Bulk { .. } => "application/x-ndjson",
        HttpProtocol::SplunkHec | HttpProtocol::Otlp => "application/json",
    }
}

/// Only seconds: the form with a date is not worth a clock.
fn retry_after(value: Option<&[u8]>) -> Option<Instant> {
    let seconds: u64 = std::str::from_utf8(value?).ok()?.trim().parse().ok()?;
    Some(Instant::now() + Duration::from_secs(seconds).min(MOST_RETRY_AFTER))
}

fn agent(target: &HttpTarget) -> Result<Agent, String> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(64 << 10)
        .timeout_global(Some(target.timeout));
    let config = if target.url.starts_with("https") { config.tls_config(tls_config(target)?) } else { config };
    let place = By(target.url.parse().map_err(|error| format!("{error}"))?);
    Ok(Agent::with_parts(config.build(), DefaultConnector::default(), place))
}

fn tls_config(target: &HttpTarget) -> Result<TlsConfig, String> {
    let tls = &target.tls;
    // Says what is wrong with the files; ureq would panic.
    tls::client_config(tls)?;
    let owned = |certificate: &rustls::pki_types::CertificateDer<'_>| Certificate::from_der(certificate).to_owned();
    let roots: Vec<_> = tls::authorities(tls)?.iter().map(owned).collect();
    let client = match &tls.client {
        None => None,
        Some(client) => {
            let chain: Vec<_> = tls::identity(client)?.0.iter().map(owned).collect();
            let key = std::fs::read(&client.key).map_err(|error| format!("{}: {error}", client.key.display()))?;
            let key = PrivateKey::from_pem(&key).map_err(|error| format!("{}: {error}", client.key.display()))?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
    };
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(tls::provider())
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .build())
}

/// Looks up the target's own host, whatever name its certificate is for.
#[derive(Debug)]
struct By(Uri);

impl Resolver for By {
    fn resolve(
        &self,
        _uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        DefaultResolver::default().resolve(&self.0, config, timeout)
    }
}

#[cfg(test)]
mod tests;
