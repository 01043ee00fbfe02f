//! `observer watch`.

use std::io;
use std::net::ToSocketAddrs as _;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::sync::Arc;

use anstream::ColorChoice;
use ipnet::IpNet;
use jiff::Timestamp;
use lru::LruCache;
use observer_core::alert::Alert;
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::filter::Filter;
use observer_core::sanitize::sanitize;
use observer_core::tally::{Budget, Loader, Prefixes, Tallies};
use observer_core::wire::{Joined, Known, LaterAlert, Request};

use super::alerts::Alerts;
use super::configuration::load_to_read;
use super::live::{Consumer, Live, Stop, columns, is_coloured, runtime, say, settings};
use super::record::Recording;
use super::remote::Remote;
use super::{Failure, source};
use crate::cli::{Destination, WatchArgs};
use crate::config::History;
use crate::ui::before::{self, SHOWN};
use crate::ui::watch::{Shown, Writer};

/// Events shown that are remembered until their deliveries come.
const LATEST: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

pub(super) fn run(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    runtime()?.block_on(watch(args, color))
}

async fn watch(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    // Signals first: a Ctrl-C while the programs load ends in order as well.
    let mut stop = Stop::new(args.output.duration)?;
    let mut filter = args.filter();
    for name in args.filter.destination.iter().filter_map(Destination::name) {
        filter.destinations.extend(look_up(name)?);
    }
    let request = Request {
        successes: filter.wants_successes(),
        alerts: args.output.alerts,
        known: Some(SHOWN as u32),
        ..Request::default()
    };
    let stdout = io::stdout();
    let out = io::BufWriter::new(stdout.lock());
    let writer = Writer::new(out, args.output.format, is_coloured(color)).fitting(|| columns(io::stdout()));
    let limit = args.output.count.map(NonZeroU64::get);
    let latest = LruCache::new(LATEST);
    let screen = Screen { writer, filter, limit, shown: 0, latest, since: None, loader: None, before: None };
    match Remote::connect(&args.source, &request).await? {
        Some(remote) => follow(remote, screen, &mut stop, args).await,
        None => attach(screen, &mut stop, args).await,
    }
}

/// The addresses of a name.
fn look_up(name: &str) -> Result<Vec<IpNet>, Failure> {
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(&format!("cannot look up {}", sanitize(name)), format!("{cause}: name an address instead"))
    };
    let found = (name, 0).to_socket_addrs().map_err(|error| failed(&error))?;
    let nets: Vec<_> = found.map(|address| IpNet::from(address.ip().to_canonical())).collect();
    if nets.is_empty() { Err(failed(&"it has no address")) } else { Ok(nets) }
}

/// Reads from `observer run`.
async fn follow<W: io::Write>(
    mut remote: Remote,
    mut screen: Screen<W>,
    stop: &mut Stop,
    args: &WatchArgs,
) -> Result<(), Failure> {
    remote.ensure_watched(&args.port)?;
    if args.output.record.is_some() {
        return Err(Failure::usage("observer run is up and records already; --record needs --standalone"));
    }
    screen.filter.ports.clone_from(&args.port);
    say(&format!(
        "watching outbound TCP connections {}, as observer run sees them; Ctrl-C ends",
        remote.scope(&args.port)
    ));
    if let Some(remark) = remote.begins_now() {
        say(&remark);
    }
    screen.since = remote.hello().since;
    let ended = remote.until(stop, &mut screen).await;
    let concluded = remote.conclude(&mut screen).await;
    if let Some(before) = screen.before {
        say(&format!("not in this summary: {before}"));
    }
    ended.and(concluded)
}

/// Watches with hooks of its own.
async fn attach<W: io::Write>(screen: Screen<W>, stop: &mut Stop, args: &WatchArgs) -> Result<(), Failure> {
    let ports = args.ports();
    let wants_successes = screen.filter.wants_successes() || args.output.record.is_some() || args.output.alerts;
    let mut live = Live::attach(&settings(&ports, wants_successes, &args.kernel))?;
    let record = args.output.record.as_ref().map(|path| {
        let path = match path {
            Some(path) => path.clone(),
            None => source::history(None, &load_to_read(args.source.config.as_deref())?),
        };
        Recording::open(&History { path, ..History::default() })
    });
    let record = record.transpose()?;
    say(&format!("watching outbound TCP connections {}; Ctrl-C ends", live.scope(&ports)));
    let alerts = args.output.alerts.then(Alerts::new).transpose()?;
    let mut watch = Watch { screen, record, alerts };
    let ended = live.until(stop, &mut watch).await;
    // The summary is true also when stdout was not writable any more.
    let finished = live.finish(&mut watch).await;
    let ended = ended.and(finished).and_then(|()| watch.stop_alerts(&live));
    let recorded = watch.record.take().map(Recording::finish);
    live.summarize(&[]);
    if let Some(line) = recorded {
        say(&line);
    }
    ended
}

/// Shows what the filter admits, up to the limit.
struct Screen<W: io::Write> {
    writer: Writer<W>,
    filter: Filter,
    limit: Option<u64>,
    shown: u64,
    /// Ids of the latest events, whose deliveries may come.
    latest: LruCache<String, ()>,
    /// Since when the daemon has counted.
    since: Option<Timestamp>,
    /// What the daemon knows, while it comes in.
    loader: Option<Loader>,
    /// What was counted before the first event.
    before: Option<String>,
}

impl<W: io::Write> Screen<W> {
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.shown >= limit)
    }

    /// Shows an event; of one that a later version wrote, what this one cannot read, too.
    fn show(&mut self, event: &Event, json: Option<&str>) -> Result<ControlFlow<()>, Failure> {
        if self.is_full() || !self.filter.admits(event) {
            return Ok(ControlFlow::Continue(()));
        }
        self.shown += 1;
        self.latest.put(event.id.clone(), ());
        self.write(|writer| match json {
            Some(json) => writer.event_as_it_came(event, json),
            None => writer.event(event),
        })
    }

    fn begin(&mut self, tallies: &Tallies) {
        let now = Timestamp::now();
        let total = before::total(tallies, self.since);
        say(&format!("{total}{}", before::windows(tallies, now)));
        before::failing(tallies).iter().for_each(|line| say(line));
        self.before = Some(total);
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<W>) -> io::Result<Shown>) -> Result<ControlFlow<()>, Failure> {
        let shown = write(&mut self.writer).map_err(|error| Failure::new("cannot write events to stdout", error))?;
        Ok(if shown == Shown::ReaderGone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl<W: io::Write> Consumer for Screen<W> {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        self.show(event, None)
    }

    fn event_as_it_came(&mut self, event: &Arc<Event>, json: &str) -> Result<ControlFlow<()>, Failure> {
        self.show(event, Some(json))
    }

    fn known(&mut self, known: Known) {
        // What comes again after a loss is not what was before.
        if self.before.is_some() {
            return;
        }
        match known {
            Known::Head(head) => {
                self.loader = Loader::new(head, Budget::default(), Prefixes::default(), &[]);
                if self.loader.is_none() {
                    say("counts begin now: observer run is of another version");
                }
            }
            Known::Group(group) => {
                if let Some(loader) = &mut self.loader {
                    loader.take(&group);
                }
            }
            Known::End => {
                if let Some(loader) = self.loader.take() {
                    self.begin(&loader.finish());
                }
            }
        }
    }

    fn later_alert(&mut self, alert: &LaterAlert) -> Result<(), Failure> {
        self.write(|writer| writer.later_alert(alert)).map(drop)
    }

    fn alert(&mut self, alert: &Alert) -> Result<(), Failure> {
        // That the reader is gone is found again by the next flush.
        self.write(|writer| writer.alert(alert)).map(drop)
    }

    fn delivery(&mut self, delivery: &Joined) -> Result<(), Failure> {
        if self.latest.pop(&delivery.id).is_none() {
            return Ok(());
        }
        self.write(|writer| writer.delivery(delivery)).map(drop)
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        let flow = self.write(Writer::flush)?;
        Ok(if self.is_full() { ControlFlow::Break(()) } else { flow })
    }
}

/// The screen, and what else is done with events when the hooks are this command's own.
struct Watch<W: io::Write> {
    screen: Screen<W>,
    record: Option<Recording>,
    alerts: Option<Alerts>,
}

impl<W: io::Write> Watch<W> {
    fn tell_alerts(&mut self, alerts: &[Alert]) -> Result<(), Failure> {
        for alert in alerts {
            self.screen.alert(alert)?;
            if let Some(record) = &self.record {
                record.alert(alert);
            }
        }
        Ok(())
    }

    fn stop_alerts(&mut self, live: &Live) -> Result<(), Failure> {
        let ended = self.alerts.as_mut().map(|alerts| alerts.stop(live.host())).unwrap_or_default();
        self.tell_alerts(&ended)?;
        self.screen.batch_end().map(drop)
    }
}

impl<W: io::Write> Consumer for Watch<W> {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        if let Some(record) = &mut self.record {
            let _ = record.event(event)?;
        }
        if let Some(alerts) = &mut self.alerts {
            alerts.add(event);
        }
        self.screen.event(event)
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.screen.batch_end()
    }

    fn missing(&mut self, missing: &[(Ended, u64)], time: Timestamp) -> Result<(), Failure> {
        if let Some(alerts) = &mut self.alerts {
            alerts.missing(missing);
        }
        self.record.as_mut().map_or(Ok(()), |record| record.missing(missing, time))
    }

    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        let alerts = self.alerts.as_mut().map(|alerts| alerts.tick(live.host())).unwrap_or_default();
        self.tell_alerts(&alerts)?;
        self.record.as_mut().map_or(Ok(()), |record| record.tick(live))
    }
}
