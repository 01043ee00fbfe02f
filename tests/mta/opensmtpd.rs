//! OpenSMTPD, which logs by syslog(3) alone and has fixed paths below /var and /run.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;

use anyhow::{Result, ensure};

use crate::client::{Client, SUBMISSION};
use crate::post::{Message, dialogue};
use crate::world::{Mortal, World};

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
    let mut client = Client::connect(SUBMISSION)?;
    dialogue(messages.iter(), 1).try_for_each(|command| {
        let answer = client.ask(&command)?;
        ensure!(answer.starts_with(['2', '3']), "{command:?} was answered by {answer}");
        Ok(())
    })
}
