//! The mail servers: their configuration, and how messages are handed to them.

use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_core::mta::MtaKind;

use crate::client::{Client, SUBMISSION};
use crate::opensmtpd;
use crate::post::{FEW, FEW_OF_EXIM, Manner, Message, SENDERS, dialogue};
use crate::world::{EXIM, Mortal, POSTFIX, World};

/// How a server is set up beside what every trial needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) server: Server,
    /// Lines of Postfix's main.cf, or options of Exim's transport.
    pub(crate) lines: &'static str,
    /// What the server's log has to say then.
    pub(crate) logs: &'static str,
    /// The hosts of the messages.
    pub(crate) rows: &'static [&'static [Manner]],
    pub(crate) way: Way,
    /// Lines of each message.
    pub(crate) length: usize,
    /// So many servers of this kind, which share a log.
    pub(crate) instances: usize,
    /// It comes to connect.
    pub(crate) connects: bool,
    /// Of hosts like these it logs only that it could not deliver to the last one.
    pub(crate) unlogged: &'static [Manner],
}

/// How the server gets to know of the recipients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By messages.
    Messages,
    /// It is asked whether they can be delivered to: no message is sent.
    Probes,
    /// The same, by Postfix's smtpd(8), which takes none before that is known.
    ProbesOfSmtpd,
    /// By messages, before each of which Exim asks the recipient's host whether it takes one.
    Callouts,
}

impl Setting {
    /// What each server is set up with where a trial is about all of its messages.
    pub(crate) const fn plain(server: Server) -> Self {
        let (lines, rows) = match server {
            Server::Exim => ("hosts_try_fastopen =", FEW_OF_EXIM),
            Server::Postfix | Server::OpenSmtpd => ("", FEW),
        };
        Self {
            server,
            lines,
            logs: "",
            rows,
            way: Way::Messages,
            length: 1,
            instances: 1,
            connects: true,
            unlogged: &[],
        }
    }

    /// True if the server tries to deliver a message, and says what came of it.
    pub(crate) fn is_tried(self, message: &Message) -> bool {
        self.way != Way::Callouts || message.hosts.contains(&Manner::Work) && !message.hosts.contains(&Manner::Reject)
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
                let of = |instance: usize| messages.iter().filter(move |message| message.instance == instance);
                let start = |instance| self.start_postfix(world, &Instance::of(self, instance), of(instance));
                (0..self.instances).map(start).collect()
            }
            Server::Exim => {
                exim(world, self)?;
                let share = |nth: usize| messages.iter().skip(nth).step_by(SESSIONS);
                let sessions = (0..SESSIONS).map(|nth| session(world, "exim4 -bs -odi", share(nth), self.length));
                let mut sessions = sessions.collect::<Result<Vec<_>>>()?;
                if self.way == Way::Callouts {
                    // What they are about is not in the log.
                    sessions.iter_mut().try_for_each(|session| session.0.wait().map(drop))?;
                }
                Ok(sessions)
            }
            Server::OpenSmtpd => Ok(vec![opensmtpd::start(world, messages)?]),
        }
    }

    fn start_postfix<'a>(
        self,
        world: &World,
        instance: &Instance,
        messages: impl Iterator<Item = &'a Message>,
    ) -> Result<Mortal> {
        instance.configure(world, self.lines)?;
        let conf = instance.conf();
        let script = format!("sh -c \"postfix -c {conf} check && exec /usr/lib/postfix/sbin/master -c {conf} -s\"");
        let master = Mortal(world.client(&script).spawn()?);
        wait_for(&world.path(&instance.name).join("public/pickup"))?;
        match self.way {
            Way::Probes => verify(world, messages)?,
            Way::ProbesOfSmtpd => {
                let recipients: Vec<_> = messages.map(Message::recipient).collect();
                world.lab().client().inside(|| ask_smtpd(&recipients))?;
            }
            Way::Messages | Way::Callouts => {
                let mut session = session(world, &format!("sendmail -C {conf} -bs"), messages, self.length)?;
                let status = session.0.wait()?;
                ensure!(status.success(), "postfix sendmail ended with {status}");
            }
        }
        Ok(master)
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

/// Has Postfix probe each recipient, and report to the sender.
fn verify<'a>(world: &World, messages: impl Iterator<Item = &'a Message>) -> Result<()> {
    let recipients: Vec<_> = messages.map(Message::recipient).collect();
    let each =
        format!("for recipient in {}; do sendmail -bv -f sender@{SENDERS} $recipient; done", recipients.join(" "));
    let status = world.client(&format!("sh -ec '{each}'")).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "sendmail -bv ended with {status}");
    Ok(())
}

/// Names each recipient to smtpd(8), which has it probed meanwhile.
fn ask_smtpd(recipients: &[String]) -> Result<()> {
    let mut client = Client::connect(SUBMISSION)?;
    client.ask("EHLO localhost\r\n")?;
    for recipient in recipients {
        client.ask(&format!("MAIL FROM:<sender@{SENDERS}>\r\n"))?;
        let answer = client.ask(&format!("RCPT TO:<{recipient}>\r\n"))?;
        ensure!(answer.starts_with("450 4.1.1 "), "smtpd(8) did not wait for the probe: {answer}");
        client.ask("RSET\r\n")?;
    }
    Ok(())
}

/// A process that takes messages from its stdin.
fn session<'a>(
    world: &World,
    command: &str,
    messages: impl Iterator<Item = &'a Message>,
    length: usize,
) -> Result<Mortal> {
    let text: String = dialogue(messages, length).collect();
    let answers = std::fs::File::create(world.path("answers"))?;
    let mut child = world.client(command).stdin(Stdio::piped()).stdout(answers).spawn()?;
    let mut input = child.stdin.take().context("no stdin")?;
    // A server that takes its time over each message must not hold up the others.
    std::thread::spawn(move || input.write_all(text.as_bytes()));
    Ok(Mortal(child))
}

/// One of the Postfixes of this host, as postmulti(1) has them.
struct Instance {
    /// Of its queue, and what its log lines begin with.
    name: String,
    /// More lines of main.cf.
    lines: String,
}

impl Instance {
    fn of(setting: Setting, number: usize) -> Self {
        let name = if number == 0 { "postfix".to_owned() } else { format!("postfix-{number}") };
        let source = observer_lab::sources(observer_lab::Ip::V4)[number];
        let bound = if setting.instances > 1 { format!("smtp_bind_address = {source}\n") } else { String::new() };
        let lines = format!("syslog_name = {name}\n{bound}");
        Self { name, lines }
    }

    fn conf(&self) -> String {
        format!("/etc/{}", self.name)
    }

    fn configure(&self, world: &World, lines: &str) -> Result<()> {
        let at = |name: &str| world.path(name).display().to_string();
        let (queue, data) = (&self.name, format!("{}-data", self.name));
        for directory in [queue, &data] {
            std::fs::create_dir_all(world.path(directory))?;
        }
        chown(world.path(&data), Some(POSTFIX), Some(POSTFIX))?;
        world.put(
            &format!("{}/main.cf", &self.conf()[1..]),
            &format!(
                "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmaillog_file = {}\n\
                 maillog_file_prefixes = /tmp, /var\ndaemon_directory = /usr/lib/postfix/sbin\nshlib_directory = /usr/lib/postfix\n\
                 command_directory = /usr/sbin\nmeta_directory = /etc/postfix\nmyhostname = mx1.example\nmydestination =\n\
                 inet_interfaces = loopback-only\ninet_protocols = ipv4\nalias_maps =\nalias_database =\nlocal_recipient_maps =\n\
                 smtp_connect_timeout = 2s\nsmtp_helo_timeout = 3s\nminimal_backoff_time = 1h\n\
                 queue_run_delay = 1h\nsmtp_balance_inet_protocols = no\nsmtpd_forbid_unauth_pipelining = no\n\
                 initial_destination_concurrency = 1\n{}{lines}\n",
                at(queue),
                at(&data),
                at("mail.log"),
                self.lines
            ),
        )?;
        world.put(&format!("{}/master.cf", &self.conf()[1..]), &services(self.name == "postfix"))
    }
}

/// master.cf; the first instance has smtpd(8) too.
fn services(is_first: bool) -> String {
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
        "verify verify",
    ] {
        let (name, program) = service.split_once(' ').unwrap_or_default();
        let processes = if matches!(name, "scache" | "verify") { "1" } else { "-" };
        master += &format!("{name} unix - - n - {processes} {program}\n");
    }
    for name in ["bounce", "defer", "trace"] {
        master += &format!("{name} unix - - n - 0 bounce\n");
    }
    master += "flush unix n - n 1000? 0 flush\nanvil unix - - n - 1 anvil\nshowq unix n - n - - showq\n\
               tlsmgr unix - - n 1000? 1 tlsmgr\npostlog unix-dgram n - n - 1 postlogd\n";
    if is_first {
        master += &format!("{SUBMISSION} inet n - n - - smtpd\n");
    }
    master
}

fn exim(world: &World, setting: Setting) -> Result<()> {
    let lines = setting.lines;
    let verify = if setting.way == Way::Callouts { "  require verify = recipient/callout=3s\n" } else { "" };
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
             begin acl\naccept_all:\n{verify}  accept\n\
             begin routers\ndnslookup:\n  driver = dnslookup\n  transport = remote_smtp\n  no_more\n\
             begin transports\nremote_smtp:\n  driver = smtp\n  connect_timeout = 2s\n  command_timeout = 3s\n\
             \x20 {lines}\n  dnssec_request_domains =\n\
             begin retry\n* * F,2h,1h\n"
        ),
    )
}
