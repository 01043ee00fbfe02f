//! OpenSMTPD, which logs by syslog(3) alone and has fixed paths below /var and /run.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::post::{Message, dialogue};
use crate::world::{Mortal, World};

/// Where messages are handed in: no port that is watched.
const SUBMISSION: &str = "127.0.0.1:2525";
/// For an answer to what a client says.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Only the paths that it has compiled in are the world's, and only for it.
const PLACES: &str = "mount -t tmpfs none /run\n\
    mount -t tmpfs none /var/spool\nmkdir -m 711 /var/spool/smtpd\n\
    mount -t tmpfs none /var/lib\nmkdir -p -m 755 /var/lib/opensmtpd/empty\n";

/// Starts it, and hands the messages in.
pub(crate) fn start(world: &World, messages: &[Message]) -> Result<Mortal> {
    // It gives a SYN up when the kernel does, which is to be soon.
    world.lab().client().sysctl(&[("ipv4/tcp_syn_retries", "1")])?;
    world.put(
        "etc/smtpd.conf",
        "smtp limit max-mails 10000\nlisten on 127.0.0.1 port 2525 hostname mx1.example\n\
         action out relay\nmatch from any for any action out\n",
    )?;
    world.put("etc/mailname", "mx1.example\n")?;
    syslog(world)?;
    let devices = world.path("dev");
    let devices = devices.display();
    let script = format!(
        "{PLACES}for node in null zero random urandom; do touch {devices}/$node; mount --bind /dev/$node {devices}/$node; done\n\
         mount --rbind {devices} /dev\nexec smtpd -F"
    );
    world.put("smtpd.sh", &script)?;
    let smtpd = Mortal(world.client(&format!("sh -e {}", world.path("smtpd.sh").display())).spawn()?);
    world.lab().client().inside(|| hand_in(messages))?;
    Ok(smtpd)
}

/// A /dev/log whose lines go to a file as a syslog daemon writes them.
fn syslog(world: &World) -> Result<()> {
    let socket = world.path("dev/log");
    fs::create_dir_all(world.path("dev"))?;
    let log = UnixDatagram::bind(&socket)?;
    fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
    let mut file = File::create(world.path("maillog"))?;
    std::thread::spawn(move || -> Option<()> {
        let mut datagram = [0; 8192];
        loop {
            let length = log.recv(&mut datagram).ok()?;
            let text = String::from_utf8_lossy(&datagram[..length]);
            let (stamp, rest) = text.split_once('>')?.1.split_at_checked("Jan  1 00:00:00".len())?;
            writeln!(file, "{stamp} mx1{}", rest.trim_end()).ok()?;
        }
    });
    Ok(())
}

/// Hands the messages in, one after the other.
fn hand_in(messages: &[Message]) -> Result<()> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let stream = loop {
        match TcpStream::connect(SUBMISSION) {
            Ok(stream) => break stream,
            Err(error) => ensure!(Instant::now() < deadline, "OpenSMTPD does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    let mut say = |line: &str| -> Result<()> {
        stream.write_all(line.as_bytes())?;
        loop {
            let answer = answers.next().context("OpenSMTPD closed the connection")??;
            if answer.as_bytes().get(3) != Some(&b'-') {
                ensure!(answer.starts_with(['2', '3']), "{line:?} was answered by {answer}");
                return Ok(());
            }
        }
    };
    // It speaks first.
    say("")?;
    dialogue(messages.iter()).try_for_each(|command| say(&command))
}
