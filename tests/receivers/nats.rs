//! nats-server with JetStream, and a stream that takes all that observer sends.

use std::path::PathBuf;
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

pub(crate) struct Nats {
    child: Child,
    store: PathBuf,
    port: u16,
    runtime: Runtime,
}

impl Nats {
    pub(crate) fn start(place: &Place, port: u16) -> Result<Self> {
        let store = place.path("nats");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let nats = Self { child: spawn(&store, port)?, store, port, runtime };
        nats.wait()?;
        let config = jetstream::stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["observer.v1.>".to_owned()],
            ..jetstream::stream::Config::default()
        };
        nats.runtime.block_on(async {
            let client = async_nats::connect(nats.url()).await?;
            jetstream::new(client).create_stream(config).await.map_err(|error| anyhow::anyhow!("{error}"))
        })?;
        Ok(nats)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn wait(&self) -> Result<()> {
        let is_up = || Ok(std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        wait(Duration::from_secs(10), is_up).context("nats-server does not listen")
    }

    /// How many it has.
    pub(crate) fn count(&self) -> Result<u64> {
        self.runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(self.url()).await?);
            let mut stream = context.get_stream(STREAM).await.map_err(|error| anyhow::anyhow!("{error}"))?;
            Ok(stream.info().await.map_err(|error| anyhow::anyhow!("{error}"))?.state.messages)
        })
    }

    /// All that it has, as subject and record.
    pub(crate) fn messages(&self) -> Result<Vec<(String, Value)>> {
        self.runtime.block_on(async {
            let client = async_nats::connect(self.url()).await?;
            let context = jetstream::new(client);
            let mut stream = context.get_stream(STREAM).await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let count = stream.info().await.map_err(|error| anyhow::anyhow!("{error}"))?.state.messages;
            let config = jetstream::consumer::pull::OrderedConfig::default();
            let consumer = stream.create_consumer(config).await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let mut messages = consumer.messages().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let mut all = Vec::new();
            while (all.len() as u64) < count {
                let message =
                    messages.next().await.context("the stream ended")?.map_err(|error| anyhow::anyhow!("{error}"))?;
                all.push((message.subject.to_string(), serde_json::from_slice(&message.payload)?));
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
        self.child = spawn(&self.store, self.port)?;
        self.wait()
    }

    fn events(&self, _: &Place) -> Result<Vec<Received>> {
        Ok(self.messages()?.into_iter().filter_map(|(_, record)| event(record)).collect())
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

fn spawn(store: &std::path::Path, port: u16) -> Result<Child> {
    let mut command = mortal(Command::new("nats-server"));
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"]).arg(store);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("nats-server, of the Debian package of that name: ./x setup installs it")
}
