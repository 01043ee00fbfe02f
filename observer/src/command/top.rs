//! `observer top`.

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anstream::ColorChoice;
use crossterm::event::{self, Event as Input};
use jiff::Timestamp;
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::tally::{Budget, Loader, Prefixes};
use observer_core::wire::{Account, Known, Request};
use ratatui::DefaultTerminal;
use tokio::time::Instant;

use super::Failure;
use super::live::{Consumer, Live, Stop, is_coloured, list, runtime, say, settings};
use super::remote::Remote;
use crate::cli::TopArgs;
use crate::ui::top::input;
use crate::ui::top::{Look, Model, Next, draw};

/// Between two screens, if nobody types.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two looks at the kernel's counters.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) fn run(args: &TopArgs, color: ColorChoice) -> Result<(), Failure> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if is_dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("observer top needs a terminal; use observer watch"));
    }
    if args.kernel.kernel_log && io::stderr().is_terminal() {
        return Err(Failure::usage("--kernel-log would write over the screen; send standard error to a file: 2>FILE"));
    }
    runtime()?.block_on(top(args, color))
}

async fn top(args: &TopArgs, color: ColorChoice) -> Result<(), Failure> {
    // Signals first: a Ctrl-C while the programs load ends in order as well.
    let mut stop = Stop::new(args.duration)?;
    let request = Request { successes: true, accounts: true, known: Some(u32::MAX), ..Request::default() };
    if let Some(mut remote) = Remote::connect(&args.source, &request).await? {
        remote.ensure_watched(&args.port)?;
        let ports = if args.port.is_empty() { remote.hello().ports.clone() } else { args.port.clone() };
        let ended = {
            if let Some(remark) = remote.begins_now() {
                say(&remark);
            }
            let mut screen = Screen::new(args, &ports, is_coloured(color))?;
            screen.began = remote.hello().since;
            screen.is_part = remote.hello().ports.iter().any(|port| !ports.contains(port));
            screen.model.remark(remote.begins_now());
            remote.until(&mut stop, &mut screen).await
        };
        let concluded = remote.conclude(&mut Nothing).await;
        return ended.and(concluded);
    }
    let ports = args.ports();
    let mut live = Live::attach(&settings(&ports, true, &args.kernel))?;
    let ended = {
        let mut screen = Screen::new(args, &ports, is_coloured(color))?;
        live.until(&mut stop, &mut screen).await
    };
    let finished = live.finish(&mut Nothing).await;
    live.summarize(&[]);
    ended.and(finished)
}

/// The terminal, the model, and when to do what.
struct Screen {
    terminal: Restored,
    model: Model,
    /// Ports that are shown.
    ports: Vec<u16>,
    /// True if these are not all that the daemon watches.
    is_part: bool,
    prefixes: Prefixes,
    /// Since when the daemon has counted.
    began: Option<Timestamp>,
    /// What the daemon knows, while it comes in.
    loader: Option<Loader>,
    /// Events that this reader was too slow for.
    unread: u64,
    look: Look,
    now: Timestamp,
    is_over: bool,
    drawn: Instant,
    settled: Instant,
}

impl Screen {
    fn new(args: &TopArgs, ports: &[u16], is_coloured: bool) -> Result<Self, Failure> {
        let failed = |error| Failure::new("cannot use the terminal", error);
        if is_coloured {
            // Crossterm heeds NO_COLOR; --color always is stronger.
            crossterm::style::force_color_output(true);
        }
        let terminal = Restored(ratatui::try_init().map_err(failed)?);
        let size = terminal.0.size().map_err(failed)?;
        let now = Timestamp::now();
        let prefixes = Prefixes { v4: args.prefix_v4, v6: args.prefix_v6 };
        let mut model = Model::new(list(ports), prefixes, now);
        model.resize(size.width, size.height);
        let mut screen = Self {
            terminal,
            model,
            ports: ports.to_vec(),
            is_part: false,
            prefixes,
            began: None,
            loader: None,
            unread: 0,
            look: Look { is_coloured, is_unicode: is_unicode() },
            now,
            is_over: false,
            drawn: Instant::now(),
            settled: Instant::now(),
        };
        screen.draw()?;
        Ok(screen)
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let (model, look) = (&self.model, self.look);
        let drawn = self.terminal.0.draw(|frame| draw(frame, model, look));
        self.drawn = Instant::now();
        drawn.map(drop).map_err(|error| Failure::new("cannot draw", error))
    }

    /// Takes what was typed. True if there is something new to draw.
    fn take_input(&mut self) -> Result<bool, Failure> {
        let failed = |error| Failure::new("cannot read the terminal", error);
        let mut is_new = false;
        while event::poll(Duration::ZERO).map_err(failed)? {
            match event::read().map_err(failed)? {
                Input::Resize(columns, lines) => self.model.resize(columns, lines),
                Input::Key(key) => match input::change(key, self.model.mode()) {
                    Some(change) => self.is_over |= self.model.apply(change, self.now) == Next::Leave,
                    None => continue,
                },
                _ => continue,
            }
            is_new = true;
        }
        Ok(is_new)
    }

    /// Once a second: the ledger.
    fn settle(&mut self, live: &Live) {
        if self.settled.elapsed() >= SETTLE {
            self.settled = Instant::now();
            self.model.settle(live.account());
        }
    }
}

impl Consumer for Screen {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        if event.dst.port.is_some_and(|port| self.ports.contains(&port)) {
            self.model.add(event, self.now);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.now = Timestamp::now();
        self.show()?;
        Ok(if self.is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn missing(&mut self, missing: &[(Ended, u64)], _: Timestamp) -> Result<(), Failure> {
        let shown: Vec<_> = missing.iter().filter(|(ended, _)| self.ports.contains(&ended.dst_port)).copied().collect();
        // As events are counted.
        self.model.make_up(&shown, self.now);
        Ok(())
    }

    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        self.settle(live);
        Ok(())
    }

    fn known(&mut self, known: Known) {
        match known {
            Known::Head(head) => {
                let ports = if self.is_part { &*self.ports } else { &[] };
                self.loader = Loader::new(head, Budget::default(), self.prefixes, ports);
                if self.loader.is_none() {
                    self.model.remark(Some("counts begin now: observer run is of another version".to_owned()));
                }
            }
            Known::Group(group) => {
                if let Some(loader) = &mut self.loader {
                    loader.take(&group);
                }
            }
            Known::End => {
                if let Some(loader) = self.loader.take() {
                    self.model.load(loader.finish(), self.began);
                }
            }
        }
    }

    fn account(&mut self, account: Account) {
        let events_lost = account.events_lost + self.unread;
        self.model.settle(Account { events_lost, ..account });
    }

    fn lost(&mut self, events: u64) {
        self.unread += events;
    }
}

impl Screen {
    fn show(&mut self) -> Result<(), Failure> {
        let is_due = self.drawn.elapsed() >= REDRAW;
        if is_due {
            self.model.refresh(self.now);
        }
        if self.take_input()? || is_due {
            self.draw()?;
        }
        Ok(())
    }
}

/// Takes what is left when the screen has gone: the summary rests on counters.
struct Nothing;

impl Consumer for Nothing {
    fn event(&mut self, _: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Gives the terminal back as it was. In a panic, ratatui's hook does.
struct Restored(DefaultTerminal);

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Whether the locale is UTF-8, by the variables that the C library reads.
fn is_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    let locale = set.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
