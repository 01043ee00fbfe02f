//! nats-server with JetStream, and a stream that takes all that observer sends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::daemon::{Place, mortal, wait};
use crate::receiver::{Received, Receiver, event};

const STREAM: &str = "OBSERVER";

/// With a certificate `server.pem`, for clients with one of `ca.pem`, and of these
/// `client.pem`; or without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls,
}

/// A message of the stream's.
pub(crate) struct Published {
    pub(crate) subject: String,
    /// Its `Nats-Msg-Id`.
    pub(crate) id: String,
    pub(crate) record: Value,
}

pub(crate) struct Nats {
    child: Child,
    directory: PathBuf,
    port: u16,
    security: Security,
    runtime: Runtime,
}

impl Nats {
    pub(crate) fn start(place: &Place, port: u16, security: Security) -> Result<Self> {
        let directory = place.directory().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let nats = Self { child: spawn(&directory, port, security)?, directory, port, security, runtime };
        nats.wait()?;
        let config = jetstream::stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["observer.v1.>".to_owned()],
            ..jetstream::stream::Config::default()
        };
        nats.runtime.block_on(async {
            let context = jetstream::new(nats.connect().await?);
            context.create_stream(config).await.map_err(|error| anyhow::anyhow!("{error}"))
        })?;
        Ok(nats)
    }

    pub(crate) fn url(&self) -> String {
        match self.security {
            Security::Plain => format!("nats://127.0.0.1:{}", self.port),
            // As the certificate says.
            Security::Tls => format!("tls://localhost:{}", self.port),
        }
    }

    async fn connect(&self) -> Result<async_nats::Client> {
        let mut options = async_nats::ConnectOptions::new();
        if self.security == Security::Tls {
            let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|name| self.directory.join(name));
            options = options.require_tls(true).add_root_certificates(ca).add_client_certificate(certificate, key);
        }
        Ok(options.connect(self.url()).await?)
    }

    fn wait(&self) -> Result<()> {
        let is_up = || Ok(std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        wait(Duration::from_secs(30), is_up).context("nats-server does not listen")
    }

    /// How many it has.
    pub(crate) fn count(&self) -> Result<u64> {
        self.runtime.block_on(async {
            let context = jetstream::new(self.connect().await?);
            let mut stream = context.get_stream(STREAM).await.map_err(|error| anyhow::anyhow!("{error}"))?;
            Ok(stream.info().await.map_err(|error| anyhow::anyhow!("{error}"))?.state.messages)
        })
    }

    /// All that it has.
    pub(crate) fn messages(&self) -> Result<Vec<Published>> {
        self.runtime.block_on(async {
            let context = jetstream::new(self.connect().await?);
            let mut stream = context.get_stream(STREAM).await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let count = stream.info().await.map_err(|error| anyhow::anyhow!("{error}"))?.state.messages;
            let config = jetstream::consumer::pull::OrderedConfig::default();
            let consumer = stream.create_consumer(config).await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let mut messages = consumer.messages().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let mut all = Vec::new();
            while (all.len() as u64) < count {
                let message =
                    messages.next().await.context("the stream ended")?.map_err(|error| anyhow::anyhow!("{error}"))?;
                let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
                all.push(Published {
                    subject: message.subject.to_string(),
                    id: id.map(|id| id.to_string()).unwrap_or_default(),
                    record: serde_json::from_slice(&message.payload)?,
                });
            }
            Ok(all)
        })
    }
}

impl Receiver for Nats {
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.directory, self.port, self.security)?;
        self.wait()
    }

    fn events(&self, _: &Place) -> Result<Vec<Received>> {
        Ok(self.messages()?.into_iter().filter_map(|published| event(published.record)).collect())
    }

    fn has(&self, _: &Place, count: usize) -> Result<bool> {
        Ok(self.count()? >= count as u64)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(directory: &Path, port: u16, security: Security) -> Result<Child> {
    let mut command = mortal(Command::new("nats-server"));
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"]);
    command.arg(directory.join("nats"));
    if security == Security::Tls {
        command.args(["--tls", "--tlsverify"]);
        for (option, name) in [("--tlscert", "server.pem"), ("--tlskey", "server.key"), ("--tlscacert", "ca.pem")] {
            command.arg(option).arg(directory.join(name));
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("nats-server, of the Debian package of that name: ./x setup installs it")
}
