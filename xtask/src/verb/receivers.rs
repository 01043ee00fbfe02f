//! send every format and protocol to Tenzir, which `./x test` leaves out

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::report::Report;
use crate::verb::test;

/// What `./x test` calls it, too.
pub(crate) const NAME: &str = "tests with large receivers";
/// The test program whose ignored tests they are.
const PROGRAM: &str = "receivers";

/// Send every format and protocol to Tenzir, which `./x test` leaves out
///
/// `./x` fetches Tenzir for it: half a gigabyte, for x86-64. Its own parsers and servers then read CEF, LEEF, RFC 5424,
/// Splunk HEC, Elasticsearch's _bulk, OTLP and NATS JetStream, and every field is compared. Needs root, as the other
/// tests with real receivers, which `./x test` runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Receivers {}

impl Receivers {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let command = test::privileged_command("privileged-all", &[PROGRAM.to_owned()]);
        let mut command = command.context("neither root nor sudo: run `sudo ./x receivers`")?;
        let mut report = Report::begin();
        report.tests(NAME, command.args(["--run-ignored", "only"]));
        Ok(report.finish())
    }
}
