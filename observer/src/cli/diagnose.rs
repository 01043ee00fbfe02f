//! `observer diagnose`, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use observer_core::report::Moment;

use super::{KernelArgs, SourceArgs, value};

pub(super) const ABOUT: &str = "Say why connections fail, and what to do about it: the likely causes, ranked, each with \
    what speaks for and against it, the next step, how to check it by hand, and what would make it surer. From what \
    `observer run` has recorded, of attempts and of the mail server's log, or from a capture. Nothing is sent anywhere unless \
    --probe or --dns asks for it; a host name is looked up as every program does.";

pub(super) const EXAMPLES: &str = "Times are those of `observer report`. Without DEST, every destination that fails is \
    looked at, those with one cause together.\n\n\
    Examples:\n  \
    observer diagnose                                      what is wrong right now\n  \
    observer diagnose mx.example.net\n  \
    observer diagnose 203.0.113.5 --since yesterday\n  \
    observer diagnose --live 2m                            without a history\n  \
    observer diagnose mx.example.net --probe               is it our address?\n  \
    observer diagnose example.net --dns                    all exchangers of a domain\n  \
    observer diagnose 203.0.113.5 --evidence evidence.txt  a text for their postmaster";

/// Say why connections fail.
#[derive(Debug, Args)]
pub struct DiagnoseArgs {
    /// A destination: an address, a network, or the name of a mail server, perhaps with a port [default: all that fail]
    #[arg(value_name = "DEST")]
    pub destination: Option<String>,
    /// Look back so far: a time ago, a day, or RFC 3339 [default: 24 hours, without DEST 1 hour]
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Port of the attempts [default: that behind DEST, else 25]
    #[arg(short, long, value_name = "PORT", value_parser = value::port)]
    pub port: Option<u16>,
    /// History to read [default: that of the configuration]
    #[arg(long, value_name = "PATH")]
    pub history: Option<PathBuf>,
    /// Capture for so long instead, such as 60s; needs the privileges of `observer watch`
    #[arg(long, value_name = "TIME", value_parser = value::duration, conflicts_with_all = ["since", "history"])]
    pub live: Option<Duration>,
    /// Also connect to DEST now, once from each of this host's addresses: wait for the banner, say QUIT, send no mail; and where that fails, see by SYNs with a rising TTL at which hop the answer is born
    #[arg(long, requires = "destination")]
    pub probe: bool,
    /// Probe a port that is none of a mail server's (25, 465, 587, 2525)
    #[arg(long, requires = "probe")]
    pub force: bool,
    /// Ask DNS too: what a domain's exchangers are, and the names of both ends' addresses
    #[arg(long, requires = "destination")]
    pub dns: bool,
    /// Ask DNS nothing, whatever the configuration says
    #[arg(long, conflicts_with_all = ["dns", "domain", "dnsbl"])]
    pub no_dns: bool,
    /// The recipients' domain whose mail went to DEST: is DEST one of its exchangers now? [implies --dns]
    #[arg(long, value_name = "DOMAIN", requires = "destination")]
    pub domain: Option<String>,
    /// Ask this list about this host's addresses, such as a DNSBL that its terms let you ask; may be repeated [implies --dns]
    #[arg(long, value_name = "ZONE", requires = "destination")]
    pub dnsbl: Vec<String>,
    /// Ask this name server instead of those of /etc/resolv.conf; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = value::name_server)]
    pub name_server: Vec<SocketAddr>,
    /// Name the operators of the destinations, from this MaxMind DB file, such as GeoLite2-ASN.mmdb
    #[arg(long, value_name = "FILE", requires = "destination")]
    pub asn_file: Option<PathBuf>,
    /// Where events come from, with --live, and what `observer run` is configured to do.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What to ask of the kernel, with --live.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Write one JSON object for each diagnosis, observer.diagnosis.v1
    #[arg(long)]
    pub json: bool,
    /// Write a text to this file, which must not exist, for the postmaster of the other side; `-` prints it
    ///
    /// It has this host's name and addresses, counts, and single attempts with their ports and times in UTC; nothing
    /// private. There is none where nothing fails, or where the cause is at this end.
    #[arg(long, value_name = "FILE", requires = "destination")]
    pub evidence: Option<PathBuf>,
}

impl DiagnoseArgs {
    /// The port that was typed, or the one that is meant otherwise.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(super::SMTP)
    }
}
