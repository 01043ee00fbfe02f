use std::fs::{self, Metadata};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, mknodat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};

use super::*;

/// Numeric, so that no group is looked up.
fn own_group() -> String {
    rustix::process::getegid().as_raw().to_string()
}

fn stale(path: &Path) {
    drop(StdListener::bind(path).unwrap());
}

/// Makes something at a path, and returns what must live as long.
type Occupy = Box<dyn Fn(&Path) -> Box<dyn std::any::Any>>;

/// What can be there, by a name.
fn occupants() -> Vec<(&'static str, Occupy)> {
    fn of(make: impl Fn(&Path) + 'static) -> Occupy {
        Box::new(move |path| {
            make(path);
            Box::new(())
        })
    }
    let beside = |path: &Path, name: &str| path.with_file_name(name);
    let mut all: Vec<(&str, Occupy)> = vec![
        ("a regular file", of(|path| fs::write(path, "precious").unwrap())),
        ("a regular file", of(|path| fs::write(path, "").unwrap())),
        ("a directory", of(|path| fs::create_dir(path).unwrap())),
        (
            "a symbolic link",
            of(move |path| {
                fs::write(beside(path, "other"), "precious").unwrap();
                symlink("other", path).unwrap();
            }),
        ),
        ("a symbolic link", of(|path| symlink("nothing", path).unwrap())),
        (
            "a symbolic link",
            of(move |path| {
                stale(&beside(path, "stale"));
                symlink("stale", path).unwrap();
            }),
        ),
        ("a FIFO", of(|path| mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap())),
        ("in use by another process", Box::new(|path| Box::new(StdListener::bind(path).unwrap()))),
        ("in use by another process", Box::new(|path| Box::new(UnixDatagram::bind(path).unwrap()))),
        (
            "in use by another process",
            Box::new(|path| {
                let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
                bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
                Box::new(socket)
            }),
        ),
    ];
    if rustix::process::geteuid().is_root() {
        let device = |path: &Path| {
            let null = rustix::fs::makedev(1, 3);
            mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o600), null).unwrap();
        };
        all.push(("a device", of(device)));
    }
    all
}

fn of_file(metadata: &Metadata) -> (u64, u64, u32, u64) {
    (metadata.dev(), metadata.ino(), metadata.mode(), metadata.len())
}

#[tokio::test]
async fn nothing_but_a_stale_socket_is_removed() {
    // The second name is the one that a new socket has until it is whole.
    for name in ["socket", "socket.new"] {
        for (what, occupy) in occupants() {
            let place = tempfile::tempdir().unwrap();
            let occupied = place.path().join(name);
            let _kept = occupy(&occupied);
            let before = of_file(&fs::symlink_metadata(&occupied).unwrap());
            let Err(error) = Socket::listen(&place.path().join("socket"), &own_group()) else {
                panic!("{name}: {what} was replaced")
            };
            let error = error.to_string();
            assert!(error.contains(what), "{name}: {what}: {error}");
            assert!(error.contains(&occupied.display().to_string()), "{name}: {what}: {error}");
            let after = of_file(&fs::symlink_metadata(&occupied).unwrap());
            assert_eq!(before, after, "{name}: {what}");
        }
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_wherever_it_lies() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    stale(&path);
    stale(&place.path().join("socket.new"));
    let (listening, remark) = Socket::listen(&path, &own_group()).unwrap();
    assert_eq!(remark, None);
    assert!(StdStream::connect(&path).is_ok());
    assert!(fs::symlink_metadata(place.path().join("socket.new")).is_err());
    drop(listening);
    assert!(fs::symlink_metadata(&path).is_err(), "its file goes with it");
}

#[tokio::test]
async fn what_took_its_place_meanwhile_stays() {
    let place = tempfile::tempdir().unwrap();
    let path: PathBuf = place.path().join("socket");
    let (listening, _) = Socket::listen(&path, &own_group()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(listening);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    let (listening, _) = Socket::listen(&path, &own_group()).unwrap();
    fs::remove_file(&path).unwrap();
    let other = StdListener::bind(&path).unwrap();
    drop(listening);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    drop(other);
}

#[test]
fn what_is_there_is_named_with_the_remedy() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history.sqlite");
    fs::write(&path, "precious").unwrap();
    let text = Socket::listen(&path, "0").err().unwrap().to_string();
    let text = text.replace(&place.path().display().to_string(), "DIR");
    insta::assert_snapshot!(text, @"DIR/history.sqlite is a regular file, and only a socket that no process listens on is replaced: move it away, or name another path");
}
