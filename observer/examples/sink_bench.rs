//! How fast events are formatted, spooled and delivered.
//!
//! `cargo run --release -p observer --example sink_bench [ADDRESS]`
//!
//! Formats on one thread. A sink of syslog over TCP delivers to ADDRESS, or to a
//! listener of this program's own that reads and forgets. Prints events a second by
//! the clock and by CPU time of the whole process, and resident memory.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use observer::config::{Surroundings, parse};
use observer::event::Event;
use observer::format::{Entry, Format};
use observer::sink::Outlet;
use rustix::time::{ClockId, clock_gettime};

const FORMATTED: u32 = 200_000;
const DELIVERED: u64 = 1_000_000;
/// Events handed over at once, as the kernel's reader does.
const BATCH: u64 = 1_024;

fn main() -> Result<()> {
    let event: Event = serde_json::from_str(EVENT).context("the sample")?;
    println!("format       events/s (clock)  events/s (CPU)  bytes");
    for &format in Format::value_variants() {
        let (start, cpu) = (Instant::now(), cpu());
        let mut out = Vec::with_capacity(4_096);
        for _ in 0..FORMATTED {
            out.clear();
            format.append(Entry::Event(&event), false, &mut out)?;
        }
        let rate = |spent: Duration| f64::from(FORMATTED) / spent.as_secs_f64();
        let (clock, cpu) = (rate(start.elapsed()), rate(self::cpu() - cpu));
        println!("{:<12} {clock:>16.0}  {cpu:>14.0}  {:>5}", format.name(), out.len());
    }
    deliver(event)
}

fn deliver(event: Event) -> Result<()> {
    let address = match std::env::args().nth(1) {
        Some(address) => address.parse().context("ADDRESS is one such as 127.0.0.1:601")?,
        None => sink_hole()?,
    };
    let directory = std::env::temp_dir().join(format!("observer-sink-bench-{}", std::process::id()));
    let text = format!("[sink.bench]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '{address}'\nspool_size = '1G'\n");
    let config =
        parse(&[("bench", &text)], &Surroundings::default()).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let config = config.sinks.into_iter().next().context("no sink")?;
    let mut outlet = Outlet::start(config, &directory).map_err(anyhow::Error::msg)?;
    let (start, cpu) = (Instant::now(), cpu());
    let mut peak = 0;
    for batch in 0..DELIVERED / BATCH {
        (0..BATCH).for_each(|_| outlet.offer(Entry::Event(&event)));
        // What finds the queue full would be dropped: here it is to be delivered.
        while outlet.status().queued > 4 * BATCH {
            std::thread::sleep(Duration::from_micros(200));
        }
        outlet.flush();
        if batch % 64 == 0 {
            peak = resident_kb()?.max(peak);
        }
    }
    let offered = DELIVERED / BATCH * BATCH;
    while outlet.status().delivered < offered {
        if let Some((_, cause)) = outlet.status().trouble {
            bail!("not delivered: {cause}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let (clock, cpu) = (start.elapsed(), self::cpu() - cpu);
    let rate = |spent: Duration| offered as f64 / spent.as_secs_f64();
    println!("\n{offered} events by rfc5424 through a spool over TCP to {address}");
    println!("events/s (clock) {:.0}, events/s (CPU) {:.0}, resident at most {peak} KiB", rate(clock), rate(cpu));
    drop(outlet);
    std::fs::remove_dir_all(&directory).context("clean up")
}

/// A listener that reads and forgets.
fn sink_hole() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = vec![0; 256 << 10];
                while let Ok(1..) = stream.read(&mut bytes) {}
            });
        }
    });
    Ok(address)
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn resident_kb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

const EVENT: &str = include_str!("../../tests/fixtures/event-v1/refused-icmp-admin-prohibited.json");
