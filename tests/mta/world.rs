//! The lab with hosts of every manner, a DNS server, and a file system with the mail
//! servers' packages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Ip, Lab, LabConfig, Scenario, destination};

use crate::post::Manner;
use crate::starttls::{Breaks, BrokenTls};

/// Where smtp-sink listens in the server's namespace, and one that rejects every recipient.
const SINK: &str = "198.51.100.2:2500";
const REJECTING_SINK: &str = "198.51.100.2:2501";
/// And where those listen that break TLS.
const GARBLING: &str = "198.51.100.2:2502";
const CUTTING: &str = "198.51.100.2:2503";

/// What is the same for all zones.
const DNS: &str = "no-resolv\nno-hosts\nlocal=/example/\nport=53\nlisten-address=127.0.0.1\nbind-interfaces\n";

/// The id of Postfix's user and group.
pub(crate) const POSTFIX: u32 = 990;
/// The same of Exim's.
pub(crate) const EXIM: u32 = 991;
/// The servers' users and groups.
const USERS: [(&str, u32); 5] =
    [("postfix", POSTFIX), ("Debian-exim", EXIM), ("postdrop", 992), ("opensmtpd", 993), ("opensmtpq", 994)];

/// A child that ends with this value.
pub(crate) struct Mortal(pub(crate) Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM);
        for _ in 0..50 {
            if matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lab, DNS and a place for files; all gone on drop.
pub(crate) struct World {
    dns: Option<Mortal>,
    sinks: Vec<Mortal>,
    _broken: [BrokenTls; 2],
    lab: Lab,
    place: tempfile::TempDir,
    packages: PathBuf,
}

impl World {
    /// `zone` is dnsmasq's configuration of its names.
    pub(crate) fn new(zone: &str) -> Result<Self> {
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/mta").canonicalize();
        let packages = packages.context("no .cache/mta: run ./x setup, which fetches Debian's mail servers")?;
        let place = tempfile::tempdir()?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let lab = Lab::up(LabConfig { ports: vec![25], ..LabConfig::default() })?;
        let broken = [
            BrokenTls::listen(lab.server(), GARBLING, Breaks::WithGarbage)?,
            BrokenTls::listen(lab.server(), CUTTING, Breaks::ByClosing)?,
        ];
        let mut world = Self { dns: None, sinks: Vec::new(), _broken: broken, lab, place, packages };
        world.furnish()?;
        world.put("etc/resolv.conf", "nameserver 127.0.0.1\n")?;
        world.put("etc/hosts", "127.0.0.1 localhost\n")?;
        world.users()?;
        world.serve_names(zone)?;
        for sink in [format!("{SINK} 512"), format!("-f rcpt {REJECTING_SINK} 512")] {
            let sink = world.within(world.lab.server().name(), &format!("smtp-sink -u nobody {sink}")).spawn()?;
            world.sinks.push(Mortal(sink));
        }
        Ok(world)
    }

    /// Serves these names, and no longer others.
    pub(crate) fn serve_names(&mut self, zone: &str) -> Result<()> {
        self.dns = None;
        self.put("dns.conf", &format!("{DNS}{zone}"))?;
        let conf = self.path("dns.conf");
        let dns = format!("dnsmasq --keep-in-foreground --user=root --pid-file= --conf-file={}", conf.display());
        self.dns = Some(Mortal(self.client(&dns).spawn()?));
        let deadline = Instant::now() + Duration::from_secs(10);
        let listens = || {
            Command::new("ip")
                .args(["netns", "exec", self.lab.client().name(), "ss", "-Hlnu", "sport", "=", "53"])
                .output()
        };
        while listens()?.stdout.is_empty() {
            ensure!(Instant::now() < deadline, "dnsmasq does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Writes a file that is there for the servers alone.
    pub(crate) fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// A shell command in the client's namespace, with the packages.
    pub(crate) fn client(&self, script: &str) -> Command {
        self.within(self.lab.client().name(), script)
    }

    fn within(&self, namespace: &str, script: &str) -> Command {
        let (packages, place) = (self.packages.display(), self.place.path().display());
        // One of all servers is enough for who tests no other.
        let fetched = ["usr", "exim/usr", "opensmtpd/usr"].map(|directory| self.packages.join(directory));
        let fetched = fetched.iter().filter(|directory| directory.is_dir());
        let usr: String = fetched.map(|directory| format!("{}:", directory.display())).collect();
        let script = format!(
            "mount -t overlay mta -o lowerdir={usr}/usr /usr\n\
             mount -t overlay mta -o lowerdir={place}/etc:{packages}/etc:/etc /etc\nexec {script}"
        );
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            namespace,
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            &script,
        ]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    /// The servers' own users, beside the host's.
    fn users(&self) -> Result<()> {
        let (mut passwd, mut group) = (fs::read_to_string("/etc/passwd")?, fs::read_to_string("/etc/group")?);
        for (name, id) in USERS {
            passwd += &format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n");
            group += &format!("{name}:x:{id}:\n");
        }
        self.put("etc/passwd", &passwd)?;
        self.put("etc/group", &group)
    }

    /// Routes to hosts of every manner, and their manners.
    fn furnish(&self) -> Result<()> {
        let (lab, at) = (&self.lab, |manner: Manner| format!("10.{}.0.0/16", manner.octet()));
        for manner in Manner::ALL.into_iter().filter(|manner| *manner != Manner::NoRoute) {
            ip(lab.client().name(), &["route", "add", &at(manner), "via", "192.0.2.1"])?;
            let mtu: &[&str] = if manner == Manner::Narrow { &["mtu", "600"] } else { &[] };
            ip(lab.router().name(), &[&["route", "add", &at(manner), "via", "198.51.100.2"], mtu].concat())?;
            ip(lab.server().name(), &["route", "add", "local", &at(manner), "dev", "lo"])?;
        }
        lab.router().nft(&format!(
            "table ip mta {{ chain forward {{ type filter hook forward priority 0;\nip daddr {} drop\n\
             ip daddr {} reject with icmp admin-prohibited\n}}\n\
             chain output {{ type filter hook output priority 0;\nicmp code frag-needed drop\n}}\n}}",
            at(Manner::Drop),
            at(Manner::Icmp)
        ))?;
        let to = |manner, target: String| format!("ip daddr {} tcp dport 25 dnat to {target}\n", at(manner));
        let host = |scenario| format!("{}:25", destination(scenario, Ip::V4));
        lab.server().nft(&format!(
            "table ip mta {{ chain in {{ type nat hook prerouting priority -100;\n{}{}{}{}{}{}{}{}}}\n}}",
            to(Manner::Reset, host(Scenario::ResetBeforeBanner)),
            to(Manner::Close, host(Scenario::ClosedBeforeBanner)),
            to(Manner::Silent, host(Scenario::Silent)),
            to(Manner::Work, SINK.to_owned()),
            to(Manner::Reject, REJECTING_SINK.to_owned()),
            to(Manner::Narrow, SINK.to_owned()),
            to(Manner::Garble, GARBLING.to_owned()),
            to(Manner::CutTls, CUTTING.to_owned())
        ))
    }
}

fn ip(namespace: &str, args: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(["-n", namespace]).args(args).status()?;
    ensure!(status.success(), "ip -n {namespace} {args:?} failed");
    Ok(())
}
