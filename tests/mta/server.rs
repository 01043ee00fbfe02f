//! The mail servers: their configuration, and how messages are handed to them.

use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_core::mta::MtaKind;

use crate::opensmtpd;
use crate::post::{Manner, Message, SENDERS, dialogue};
use crate::world::{EXIM, Mortal, POSTFIX, World};

/// How a server is set up beside what every trial needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) server: Server,
    /// Lines of Postfix's main.cf, or options of Exim's transport.
    pub(crate) lines: &'static str,
    /// What the server's log has to say then.
    pub(crate) logs: &'static str,
    /// Recipients are verified: a message is sent to none.
    pub(crate) verifies: bool,
}

impl Setting {
    /// What each server is set up with where a trial is about all of its messages.
    pub(crate) const fn plain(server: Server) -> Self {
        let lines = match server {
            Server::Exim => "hosts_try_fastopen =",
            Server::Postfix | Server::OpenSmtpd => "",
        };
        Self { server, lines, logs: "", verifies: false }
    }
}

/// Sessions in which messages are handed to Exim: each delivers one after the other.
const SESSIONS: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Postfix,
    Exim,
    OpenSmtpd,
}

impl Server {
    pub(crate) fn kind(self) -> MtaKind {
        match self {
            Self::Postfix => MtaKind::Postfix,
            Self::Exim => MtaKind::Exim,
            Self::OpenSmtpd => MtaKind::OpenSmtpd,
        }
    }

    /// The hosts that it waits for longer than a trial can: OpenSMTPD has five minutes
    /// for whatever it waits for.
    pub(crate) fn too_patient_with(self) -> Option<Manner> {
        (self == Self::OpenSmtpd).then_some(Manner::Silent)
    }

    /// Whether its log says of a deferred message what was tried for it.
    pub(crate) fn tells_what_failed(self) -> bool {
        self != Self::OpenSmtpd
    }

    pub(crate) fn log(self, world: &World) -> PathBuf {
        world.path(match self {
            Self::Postfix => "mail.log",
            Self::Exim => "exim/mainlog",
            Self::OpenSmtpd => "maillog",
        })
    }
}

impl Setting {
    /// Starts the server; it runs as long as the children live.
    pub(crate) fn start(self, world: &World, messages: &[Message]) -> Result<Vec<Mortal>> {
        match self.server {
            Server::Postfix => {
                postfix(world, self.lines)?;
                let master =
                    Mortal(world.client("sh -c \"postfix check && exec /usr/lib/postfix/sbin/master -s\"").spawn()?);
                wait_for(&world.path("spool/public/pickup"))?;
                if self.verifies {
                    verify(world, messages)?;
                } else {
                    hand_in(world, "sendmail -bs", "postfix sendmail", messages.iter())?;
                }
                Ok(vec![master])
            }
            Server::Exim => {
                exim(world, self.lines)?;
                let share = |nth: usize| messages.iter().skip(nth).step_by(SESSIONS);
                (0..SESSIONS).map(|nth| session(world, "exim4 -bs -odi", share(nth))).collect()
            }
            Server::OpenSmtpd => Ok(vec![opensmtpd::start(world, messages)?]),
        }
    }
}

fn wait_for(path: &std::path::Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        ensure!(Instant::now() < deadline, "there is no {}", path.display());
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn hand_in<'a>(world: &World, command: &str, name: &str, messages: impl Iterator<Item = &'a Message>) -> Result<()> {
    let mut session = session(world, command, messages)?;
    let status = session.0.wait()?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Has Postfix probe each recipient, and report to the sender.
fn verify(world: &World, messages: &[Message]) -> Result<()> {
    let recipients: Vec<_> = messages.iter().map(Message::recipient).collect();
    let each =
        format!("for recipient in {}; do sendmail -bv -f sender@{SENDERS} $recipient; done", recipients.join(" "));
    let status = world.client(&format!("sh -ec '{each}'")).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "sendmail -bv ended with {status}");
    Ok(())
}

/// A process that takes messages from its stdin.
fn session<'a>(world: &World, command: &str, messages: impl Iterator<Item = &'a Message>) -> Result<Mortal> {
    let text: String = dialogue(messages).collect();
    let answers = std::fs::File::create(world.path("answers"))?;
    let mut child = world.client(command).stdin(Stdio::piped()).stdout(answers).spawn()?;
    let mut input = child.stdin.take().context("no stdin")?;
    // A server that takes its time over each message must not hold up the others.
    std::thread::spawn(move || input.write_all(text.as_bytes()));
    Ok(Mortal(child))
}

fn postfix(world: &World, lines: &str) -> Result<()> {
    let at = |name: &str| world.path(name).display().to_string();
    world.put("spool/placeholder", "")?;
    world.put("data/placeholder", "")?;
    std::fs::remove_file(world.path("spool/placeholder"))?;
    chown(world.path("data"), Some(POSTFIX), Some(POSTFIX))?;
    world.put(
        "etc/postfix/main.cf",
        &format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmaillog_file = {}\n\
             maillog_file_prefixes = /tmp, /var\ndaemon_directory = /usr/lib/postfix/sbin\nshlib_directory = /usr/lib/postfix\n\
             command_directory = /usr/sbin\nmeta_directory = /etc/postfix\nmyhostname = mx1.example\nmydestination =\n\
             inet_interfaces = loopback-only\ninet_protocols = ipv4\nalias_maps =\nalias_database =\nlocal_recipient_maps =\n\
             smtp_connect_timeout = 2s\nsmtp_helo_timeout = 3s\nminimal_backoff_time = 1h\n\
             queue_run_delay = 1h\nsmtp_balance_inet_protocols = no\nsmtpd_forbid_unauth_pipelining = no\n\
             initial_destination_concurrency = 1\n{lines}\n",
            at("spool"),
            at("data"),
            at("mail.log")
        ),
    )?;
    let mut master =
        String::from("pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n");
    for service in [
        "rewrite trivial-rewrite",
        "proxymap proxymap",
        "smtp smtp",
        "relay smtp",
        "error error",
        "retry error",
        "scache scache",
    ] {
        let (name, program) = service.split_once(' ').unwrap_or_default();
        master += &format!("{name} unix - - n - {} {program}\n", if name == "scache" { "1" } else { "-" });
    }
    for name in ["bounce", "defer", "trace"] {
        master += &format!("{name} unix - - n - 0 bounce\n");
    }
    master += "flush unix n - n 1000? 0 flush\nanvil unix - - n - 1 anvil\nshowq unix n - n - - showq\n\
               postlog unix-dgram n - n - 1 postlogd\n";
    world.put("etc/postfix/master.cf", &master)
}

fn exim(world: &World, lines: &str) -> Result<()> {
    let directory = world.path("exim");
    std::fs::create_dir_all(directory.join("spool"))?;
    for path in [directory.clone(), directory.join("spool")] {
        chown(path, Some(EXIM), Some(EXIM))?;
    }
    let directory = directory.display();
    world.put(
        "etc/exim4/exim4.conf",
        &format!(
            "primary_hostname = mx1.example\nspool_directory = {directory}/spool\nlog_file_path = {directory}/%slog\n\
             exim_user = Debian-exim\nexim_group = Debian-exim\nnever_users =\ndisable_ipv6 = true\nsmtp_enforce_sync = false\n\
             smtp_accept_queue_per_connection = 0\nkeep_environment =\nacl_smtp_rcpt = accept_all\n\
             begin acl\naccept_all:\n  accept\n\
             begin routers\ndnslookup:\n  driver = dnslookup\n  transport = remote_smtp\n  no_more\n\
             begin transports\nremote_smtp:\n  driver = smtp\n  connect_timeout = 2s\n  command_timeout = 3s\n\
             \x20 hosts_avoid_tls = *\n  {lines}\n  dnssec_request_domains =\n\
             begin retry\n* * F,2h,1h\n"
        ),
    )
}
