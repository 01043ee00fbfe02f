//! `observer run`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use observer_core::alert::Alert;
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::join::attach::Ready;
use observer_core::metrics::{Metrics, Reading};
use observer_core::minute::Minute;
use observer_core::wire::{Account, Hello, PROTOCOL};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::alerts::Alerts;
use super::confinement::Confinement;
use super::live::{Consumer, Live, Stop, list, runtime, say, settings_of};
use super::memory::{self, Memory};
use super::metrics::MetricsServer;
use super::minutes::MinuteCounts;
use super::mta_log::{self, MtaLog};
use super::outlets::Outlets;
use super::readers::Readers;
use super::record::Recording;
use super::service::Service;
use super::socket::Socket;
use super::startup::{Findings, Purpose, as_user, look};
use crate::cli::RunArgs;
use crate::config::{Config, Listen, Loaded};
use crate::store::history::DeliveryRow;

/// For the sinks to spool or write what waits, and to deliver some of it. History
/// takes its time after that, and all has ended within two seconds.
const END_WITHIN: Duration = Duration::from_millis(600);

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    // What is made from here on is nobody else's to read.
    rustix::process::umask(rustix::fs::Mode::RWXO | rustix::fs::Mode::WGRP);
    memory::keep_small();
    runtime()?.block_on(daemon(args))
}

async fn daemon(args: &RunArgs) -> Result<(), Failure> {
    // Signals first: a SIGTERM while the programs load ends in order as well.
    let mut stop = Stop::of_service()?;
    let hangup = hangup()?;
    let (config, findings) = startup(args)?;
    let mut live = Live::attach(&settings_of(&config.kernel, &config.ports, true, &args.kernel))?;
    // Of no interest where nothing can be observed.
    findings.tell();
    let confinement = Confinement::enter(&config, || live.is_readable())?;
    live.start()?;
    let mut daemon = Daemon::start(args, config, &live, confinement, hangup)?;
    let ended = live.until(&mut stop, &mut daemon).await;
    let ended = ended.and(live.finish(&mut daemon).await);
    daemon.finish(&live).await;
    live.summarize(&[]);
    ended
}

/// What was configured and typed, once it was found to fit this host, and what is to be said of it.
fn startup(args: &RunArgs) -> Result<(Config, Findings), Failure> {
    let (loaded, findings) =
        as_user(None, || look(args.config.as_deref(), |loaded| args.lay_over(loaded), Purpose::Start))??;
    findings.refuse()?;
    Ok((loaded.config, findings))
}

/// Set when SIGHUP came.
fn hangup() -> Result<Arc<AtomicBool>, Failure> {
    let mut hangups = signal(SignalKind::hangup()).map_err(|error| Failure::new("cannot handle signals", error))?;
    let came = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&came);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            set.store(true, Ordering::Relaxed);
        }
    });
    Ok(came)
}

/// Records, tells and delivers every event and alert.
struct Daemon<'a> {
    args: &'a RunArgs,
    config: Config,
    confinement: Confinement,
    record: Option<Recording>,
    alerts: Alerts,
    minutes: MinuteCounts,
    mta_log: Option<MtaLog>,
    outlets: Outlets,
    readers: Option<Readers>,
    metrics: Option<MetricsServer>,
    service: Service,
    memory: Memory,
    hangup: Arc<AtomicBool>,
    /// The last reload changed more than sinks.
    rest_is_new: bool,
}

impl<'a> Daemon<'a> {
    fn start(
        args: &'a RunArgs,
        config: Config,
        live: &Live,
        confinement: Confinement,
        hangup: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let record = config.history.as_ref().map(Recording::open).transpose()?;
        let outlets = Outlets::start(&config.sinks, config.spool.clone(), live.host().clone())?;
        let mta_log = config.mta.as_ref().map(MtaLog::start).transpose()?;
        let alerts = Alerts::listed(&config)?;
        let readers = readers(&config, live);
        let metrics = metrics(&config)?;
        let status = purpose(&config, &live.scope(&config.ports));
        say(&format!("confined: {confinement}"));
        say(&format!("{status}; SIGTERM or Ctrl-C ends"));
        Ok(Self {
            args,
            confinement,
            record,
            alerts,
            minutes: MinuteCounts::new(live.host().clone()),
            mta_log,
            outlets,
            readers,
            metrics,
            service: Service::ready(&status),
            memory: Memory::new(),
            hangup,
            rest_is_new: false,
            config,
        })
    }

    /// Goes over to the configuration as it is now, if there is nothing wrong with it;
    /// [`Self::tell_reloaded`] says how that went.
    ///
    /// # Errors
    /// What was said of it, if it stays as it was.
    fn reload(&mut self) -> Result<(), String> {
        let lay_over = |loaded: &mut Loaded| self.args.lay_over(loaded);
        let looked = look(self.args.config.as_deref(), lay_over, Purpose::Reload);
        let looked = looked.and_then(|(loaded, findings)| {
            findings.refuse()?;
            findings.tell();
            Ok(loaded.config)
        });
        let config = match looked {
            Ok(config) => config,
            Err(failure) => {
                say(&failure.text);
                return Err("new configuration rejected, keeping the current one".to_owned());
            }
        };
        if let Some(directory) = self.confinement.forbidden(&config) {
            let directory = directory.display();
            return Err(format!("keeping the current configuration: restart observer to write to {directory} too"));
        }
        self.outlets.reload(&config.sinks);
        let is_rest_same = Config { sinks: self.config.sinks.clone(), ..config.clone() } == self.config;
        self.config.sinks = config.sinks;
        self.rest_is_new = !is_rest_same;
        Ok(())
    }

    /// Says how it went, once that is known.
    fn tell_reloaded(&mut self) {
        let Some(outcome) = self.outlets.reloaded() else { return };
        let rest = if self.rest_is_new { "; only sink changes apply now, restart for the rest" } else { "" };
        let status = match outcome {
            Ok(1) => format!("configuration loaded again, 1 sink{rest}"),
            Ok(count) => format!("configuration loaded again, {count} sinks{rest}"),
            Err(problems) => format!("configuration loaded, but not every sink works: {problems}; trying again{rest}"),
        };
        say(&status);
        Service::reloaded(&status);
    }

    /// Hands on events with what the log says of them.
    fn pass_on(&mut self, ready: Ready) {
        let mut rows: Vec<DeliveryRow> = ready.deliveries.iter().flat_map(DeliveryRow::all_of).collect();
        for event in ready.events {
            rows.extend(DeliveryRow::unlogged(&event));
            if let Some(readers) = &mut self.readers {
                readers.delivery(&event);
            }
            self.outlets.offer(&event.into());
        }
        self.outlets.flush();
        if let Some(record) = &self.record {
            record.deliveries(rows);
        }
    }

    fn tell_alerts(&mut self, alerts: &[Alert]) {
        for alert in alerts {
            say(&alert.text);
            self.outlets.offer(&alert.clone().into());
            if let Some(readers) = &mut self.readers {
                readers.alert(alert);
            }
            if let Some(record) = &self.record {
                record.alert(alert);
            }
        }
    }

    fn tell_minutes(&mut self, minutes: Vec<Minute>) {
        minutes.into_iter().for_each(|minute| self.outlets.offer(&minute.into()));
    }

    fn answer_metrics(&mut self, live: &Live) {
        let Some(metrics) = &mut self.metrics else { return };
        let (outlets, readers, record, mta_log) = (&self.outlets, &self.readers, &self.record, &self.mta_log);
        let (alerts, minutes) = (&self.alerts, &self.minutes);
        metrics.tick(|| Reading {
            now: Timestamp::now(),
            totals: live.totals(),
            events_delivered: live.delivered(),
            events_malformed: live.malformed(),
            events_unnamed: live.unnamed(),
            limits: limits(live, alerts, minutes, record.as_ref(), readers.as_ref()),
            skipped_runs: live.skipped_runs(),
            hooks: live.reports().iter().filter_map(super::metrics::hook).collect(),
            sinks: outlets.metrics(),
            history: record.as_ref().map(|record| (&record.status()).into()),
            readers: readers.as_ref().map(Readers::metrics),
            mta: mta_log.as_ref().map(MtaLog::metrics),
        });
    }

    async fn finish(mut self, live: &Live) {
        Service::stopping();
        let ended = self.alerts.stop(live.host());
        self.tell_alerts(&ended);
        if let Some(ready) = self.mta_log.take().map(MtaLog::finish) {
            self.pass_on(ready);
        }
        if let Some(readers) = self.readers.take() {
            readers.finish(live.totals()).await;
        }
        let minutes = self.minutes.last();
        self.tell_minutes(minutes);
        self.outlets.finish(END_WITHIN);
        let recorded = self.record.map(Recording::finish);
        self.alerts.finish();
        if let Some(line) = recorded {
            say(&line);
        }
    }
}

fn limits(
    live: &Live,
    alerts: &Alerts,
    minutes: &MinuteCounts,
    record: Option<&Recording>,
    readers: Option<&Readers>,
) -> Vec<(&'static str, u64)> {
    let mut limits = [&live.limits()[..], &alerts.limits()].concat();
    limits.push(("outcomes of a minute", minutes.early()));
    limits.extend(record.map(|record| ("addresses that history lacks", record.unaddressed())));
    limits.extend(readers.into_iter().flat_map(Readers::limits));
    limits
}

/// `recording outbound TCP connections to port 25, 10 hooks attached, in PATH, to 2 sinks`.
fn purpose(config: &Config, scope: &str) -> String {
    let history = config.history.as_ref().map(|history| format!(", in {}", history.path.display()));
    let sinks = match config.sinks.len() {
        0 => String::new(),
        1 => format!(", to the sink {}", config.sinks[0].name),
        count => format!(", to {count} sinks"),
    };
    let log = config.mta.as_ref().map(|mta| format!(", with {}", mta_log::named(mta.kind, &mta.log)));
    let (history, log) = (history.unwrap_or_default(), log.unwrap_or_default());
    let (verb, rest) = if config.history.is_none() && config.sinks.is_empty() {
        ("watching", ", recording nothing")
    } else {
        ("recording", "")
    };
    format!("{verb} outbound TCP connections {scope}{history}{sinks}{log}{rest}")
}

/// Recording is worth more than being read: without a socket it goes on.
fn readers(config: &Config, live: &Live) -> Option<Readers> {
    let socket = config.socket.as_ref()?;
    let listening = match Socket::listen(&socket.path, &socket.group) {
        // Of a missing group the look before the start has told.
        Ok((listening, _)) => listening,
        Err(error) => {
            say(&format!("cannot listen on {}: {error}; readers cannot connect", socket.path.display()));
            return None;
        }
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let hello = Hello {
        version,
        ports: config.ports.clone(),
        hooks: live.hooks(),
        protocol: PROTOCOL,
        since: Some(Timestamp::now()),
        unseen: live.unseen(),
    };
    let readers = Readers::serve(listening, hello, live.counts()?, Some(live.probers()));
    readers.map_err(|error| say(&format!("cannot start the thread for readers: {error}"))).ok()
}

fn metrics(config: &Config) -> Result<Option<MetricsServer>, Failure> {
    let Some(metrics) = &config.metrics else { return Ok(None) };
    let group = config.socket.clone().unwrap_or_default().group;
    let counting = Metrics::new(Timestamp::now(), metrics.destinations);
    let served = MetricsServer::serve(&metrics.listen, &group, counting);
    let place = match &metrics.listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => path.display().to_string(),
    };
    // Of a missing group the look before the start has told.
    let (server, _) = served.map_err(|error| Failure::new(&format!("cannot serve metrics at {place}"), error))?;
    Ok(Some(server))
}

impl Consumer for Daemon<'_> {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        self.alerts.add(event);
        let minutes = self.minutes.add(event);
        self.tell_minutes(minutes);
        match &mut self.mta_log {
            Some(log) => log.event(Event::clone(event)),
            None => self.outlets.offer(&Arc::clone(event).into()),
        }
        if let Some(readers) = &mut self.readers {
            readers.event(event);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.event(event);
        }
        match &mut self.record {
            Some(record) => record.event(event),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.outlets.flush();
        Ok(ControlFlow::Continue(()))
    }

    fn missing(&mut self, missing: &[(Ended, u64)], time: Timestamp) -> Result<(), Failure> {
        self.alerts.missing(missing);
        if let Some(readers) = &mut self.readers {
            readers.missing(missing);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.missing(missing);
        }
        let minutes = self.minutes.missing(missing);
        self.tell_minutes(minutes);
        self.record.as_mut().map_or(Ok(()), |record| record.missing(missing, time))
    }

    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        let alerts = self.alerts.tick(live.host());
        self.tell_alerts(&alerts);
        if let Some(ready) = self.mta_log.as_mut().map(|log| log.tick(live.is_drained())) {
            self.pass_on(ready);
        }
        let minutes = self.minutes.tick();
        self.tell_minutes(minutes);
        self.outlets.tick();
        if self.hangup.swap(false, Ordering::Relaxed) {
            Service::reloading();
            if let Err(status) = self.reload() {
                say(&status);
                Service::reloaded(&status);
            }
        }
        self.tell_reloaded();
        if let Some(readers) = &mut self.readers {
            readers.tick(live.malformed());
        }
        self.answer_metrics(live);
        let ports = &self.config.ports;
        self.service.tick(|| status(ports, &live.account()));
        self.memory.tick(|| live.account().attempts);
        self.record.as_mut().map_or(Ok(()), |record| record.tick(live))
    }
}

/// `watching port 25: 120 attempts, 3 in flight, 0 lost`.
fn status(ports: &[u16], account: &Account) -> String {
    let lost = account.lost + account.events_lost;
    format!("watching {}: {} attempts, {} in flight, {lost} lost", list(ports), account.attempts, account.in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, parse};

    #[test]
    fn it_says_what_it_is_for() {
        let of = |text: &str| {
            let config = parse(&[("test", text)], &Surroundings::default()).unwrap();
            purpose(&config, "to port 25, 10 hooks attached")
        };
        const TO: &str = "outbound TCP connections to port 25, 10 hooks attached";
        assert_eq!(of("[history]\npath = '/h'\n"), format!("recording {TO}, in /h"));
        let sink = "[sink.a]\ntype = 'stdout'\n";
        assert_eq!(of(&format!("[history]\nenabled = false\n{sink}")), format!("recording {TO}, to the sink a"));
        assert_eq!(of("[history]\nenabled = false\n"), format!("watching {TO}, recording nothing"));
    }
}
