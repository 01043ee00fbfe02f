//! How fast events are formatted, spooled and delivered.
//!
//! `cargo run --release -p observer --all-features --example sink_bench [EVENTS [ADDRESS]]`
//!
//! Without arguments: formats on one thread; then half a million events through a sink of
//! each kind to a receiver on loopback, which reads and forgets, and to rsyslogd, if there
//! is one. With a number of events: through syslog over TCP alone, to ADDRESS, or to a
//! receiver of this program's own; ten million are a busy host's day. Prints events a
//! second by the clock and by CPU time of this process, its receivers' included but for
//! rsyslogd's, and resident memory.

#[path = "../measure/mod.rs"]
mod measure;
mod receivers;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use observer::config::{Surroundings, parse};
use observer::deliver::{Outlet, SharedRecord, end_all};
use observer_core::choice::Choice as _;
use observer_core::event::Event;
use observer_core::format::{Entry, Format};

use self::measure::{cpu_time, resident_kib};
use crate::receivers::Server;

const FORMATTED: u32 = 200_000;
const DELIVERED: u64 = 500_000;
/// Events handed over at once, as the kernel's reader does.
const BATCH: u64 = 1_024;
/// Events that may wait in the spool: far fewer than it has room for.
const SPOOLED: u64 = 200_000;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let event: Event = serde_json::from_str(EVENT).context("the sample")?;
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    match words.next().as_deref() {
        None => {
            format_all(&event)?;
            deliver_all()
        }
        Some("--sink") => {
            let name = words.next().context("--sink takes a name")?;
            let (_server, sink) = start_receiver(&name, directory)?;
            deliver(&name, &sink, &event, DELIVERED, directory)
        }
        Some(events) => {
            let events = events.parse().context("EVENTS is a number")?;
            let address = words.next().map(|address| address.parse().context("ADDRESS is one such as 127.0.0.1:601"));
            let address = address.unwrap_or_else(receivers::tcp)?;
            deliver("tcp", &syslog(address), &event, events, directory)
        }
    }
}

const SINKS: [&str; 8] = ["file", "unix", "udp", "tcp", "splunk-hec", "elasticsearch", "otlp", "rsyslog"];

/// Each in a process of its own, for what one leaves in memory is not another's.
fn deliver_all() -> Result<()> {
    println!("\nsink           events/s (clock)  events/s (CPU)  resident KiB");
    for name in SINKS {
        let status = Command::new(std::env::current_exe()?).args(["--sink", name]).status()?;
        if !status.success() {
            println!("{name:<13}  failed, see above");
        }
    }
    Ok(())
}

fn syslog(address: SocketAddr) -> String {
    format!("type = 'syslog'\ntransport = 'tcp'\naddress = '{address}'")
}

/// Starts what a sink is to deliver to, and says how the sink is configured.
fn start_receiver(name: &str, directory: &Path) -> Result<(Option<Server>, String)> {
    let path = |file: &str| directory.join(file).display().to_string();
    let token = path("token");
    std::fs::write(&token, "secret")?;
    let http = |protocol: &str| -> Result<String> {
        let url = format!("http://{}/", receivers::http()?);
        Ok(format!("type = '{protocol}'\nurl = '{url}'\ntoken_file = '{token}'"))
    };
    let sink = match name {
        "file" => format!("type = 'file'\npath = '{}'", path("events.json")),
        "unix" => {
            receivers::unix(&directory.join("socket"))?;
            format!("type = 'syslog'\ntransport = 'unix'\naddress = '{}'", path("socket"))
        }
        "udp" => format!("type = 'syslog'\ntransport = 'udp'\naddress = '{}'", receivers::udp()?),
        "tcp" => syslog(receivers::tcp()?),
        "rsyslog" => {
            let (server, address) = receivers::rsyslog(directory)?;
            return Ok((Some(server), syslog(address)));
        }
        protocol => http(protocol)?,
    };
    Ok((None, sink))
}

fn format_all(event: &Event) -> Result<()> {
    println!("format       events/s (clock)  events/s (CPU)  bytes");
    for &format in Format::ALL {
        let (start, cpu) = (Instant::now(), cpu_time());
        let mut out = Vec::with_capacity(4_096);
        for _ in 0..FORMATTED {
            out.clear();
            format.append(Entry::Event(event), false, &mut out)?;
        }
        let rate = |spent: Duration| f64::from(FORMATTED) / spent.as_secs_f64();
        let (clock, cpu) = (rate(start.elapsed()), rate(cpu_time() - cpu));
        println!("{:<12} {clock:>16.0}  {cpu:>14.0}  {:>5}", format.name(), out.len());
    }
    Ok(())
}

fn deliver(name: &str, sink: &str, event: &Event, events: u64, directory: &Path) -> Result<()> {
    let text = format!("[sink.{name}]\n{sink}\n");
    // No sink of type file has a spool.
    let text = if name == "file" { text } else { text + "spool_size = '1G'\n" };
    let config = parse(&[("bench", &text)], &Surroundings::default()).map_err(|problems| anyhow!("{problems:?}"))?;
    let config = config.sinks.into_iter().next().context("no sink")?;
    let mut outlet = Outlet::start(config, directory).map_err(anyhow::Error::msg)?;
    let record = SharedRecord::from(event.clone());
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut peak = 0;
    let offered = events.div_ceil(BATCH) * BATCH;
    for batch in 0..offered / BATCH {
        (0..BATCH).for_each(|_| outlet.offer(&record));
        // What finds the queue or the spool full would be dropped: here it is to be delivered.
        while outlet.status().queued > 4 * BATCH || (batch * BATCH).saturating_sub(outlet.status().delivered) > SPOOLED
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        outlet.flush();
        if batch % 64 == 0 {
            peak = resident_kib()?.max(peak);
        }
        if batch > 0 && batch % (1_000_000 / BATCH) == 0 {
            println!("after {} events, {} KiB resident", batch * BATCH, resident_kib()?);
        }
    }
    while outlet.status().delivered < offered {
        if let Some((_, cause)) = outlet.status().trouble {
            bail!("{name}: not delivered: {cause}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let (clock, cpu) = (start.elapsed(), cpu_time() - cpu);
    let rate = |spent: Duration| offered as f64 / spent.as_secs_f64();
    end_all(std::slice::from_mut(&mut outlet), Duration::from_secs(2));
    println!("{name:<13} {:>17.0}  {:>14.0}  {peak:>12}", rate(clock), rate(cpu));
    Ok(())
}

const EVENT: &str = include_str!("../../../tests/fixtures/event-v1/refused-icmp-admin-prohibited.json");
