//! Parsers of single values. Their errors name the cause and the cure; clap
//! puts the option and the value before them.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use jiff::SignedDuration;

use crate::kernel::hooks::HOOKS;

/// Where cgroup v2 is mounted by convention; users paste paths from there.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// 64 KiB: a multiple of every page size that Linux has, as the kernel asks.
const RING_MIN: u64 = 64 << 10;
const RING_MAX: u64 = 1 << 30;

/// Some 1 GB of kernel memory at 250 bytes an entry.
const TABLE_MAX: u32 = 1 << 22;

/// Less would be deleted as fast as it is written on a busy host.
const HISTORY_MIN: u64 = 16 << 20;
const HISTORY_MAX: u64 = 1 << 40;

/// A hook that can be done without, by the name of its program.
pub(crate) fn hook(text: &str) -> Result<String, String> {
    match HOOKS.iter().any(|hook| hook.program == text) {
        true => Ok(text.to_owned()),
        false => {
            let names: Vec<_> = HOOKS.iter().map(|hook| hook.program).collect();
            Err(format!("expected one of {}", names.join(", ")))
        }
    }
}

/// A TCP port, not 0.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.trim().parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err("expected a port from 1 to 65535, such as 25".to_owned()),
    }
}

/// A name server: an address, with port 53 unless another is given.
pub(crate) fn name_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().ok();
    let address = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    with_port.or_else(address).ok_or_else(|| "expected an address, such as 192.0.2.53 or [2001:db8::53]:53".to_owned())
}

/// An address, with or without brackets, or a CIDR prefix. Host bits are
/// cleared, IPv4-mapped becomes IPv4.
pub(crate) fn destination(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Ok(canonical(net).trunc());
    }
    Err(destination_error(text))
}

fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let Some(address) = v6.addr().to_ipv4_mapped() else { return net };
    let Some(len) = v6.prefix_len().checked_sub(96) else { return net };
    Ipv4Net::new(address, len).map_or(net, IpNet::V4)
}

fn destination_error(text: &str) -> String {
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return "expected an address without a port, which \"ports\" takes".to_owned();
    }
    if let Some((address, len)) = text.split_once('/')
        && let Ok(address) = address.parse::<IpAddr>()
    {
        let max = if address.is_ipv4() { 32 } else { 128 };
        return format!("expected a prefix length from 0 to {max}, not {len:?}");
    }
    "expected an address or a prefix, such as 203.0.113.5, 203.0.113.0/24 or 2001:db8::/32; names are not looked up"
        .to_owned()
}

/// What is odd about a prefix: it has more than its length keeps.
pub(crate) fn host_bits(text: &str) -> Option<String> {
    let net = text.trim().parse::<IpNet>().ok()?;
    let (address, prefix) = (net.addr(), net.trunc());
    let text = format!("bits beyond the prefix are ignored: write {prefix}, or {address} if one address is meant");
    (prefix.addr() != address).then_some(text)
}

/// What is odd about a process name: no process has one that long.
pub(crate) fn cut_name(text: &str) -> Option<String> {
    /// Bytes of a name that the kernel keeps: `TASK_COMM_LEN` without the NUL.
    const KEPT: usize = 15;
    let kept = text.get(..text.floor_char_boundary(KEPT))?;
    let remark = || format!("the kernel keeps {KEPT} bytes of a process name, so that none matches: write {kept:?}");
    (kept.len() < text.len()).then(remark)
}

/// What is odd about a cgroup's path.
pub(crate) fn relative_cgroup(text: &str) -> Option<String> {
    let path = cgroup(text).ok()?;
    let is_relative = !text.starts_with('/');
    is_relative
        .then(|| format!("taken for {path:?}: write the path in full, as systemd-cgls or /proc/PID/cgroup has it"))
}

/// A cgroup path from the root of the hierarchy.
pub(crate) fn cgroup(text: &str) -> Result<PathBuf, String> {
    let typed = Path::new(text);
    let inside = typed.strip_prefix(CGROUP_MOUNT).unwrap_or(typed);
    let mut path = PathBuf::from("/");
    for component in inside.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => (),
            Component::ParentDir | Component::Prefix(_) => {
                return Err("expected a cgroup's path in full, without '..'".to_owned());
            }
        }
    }
    if text.is_empty() {
        return Err("expected a cgroup's path, such as /system.slice/postfix.service".to_owned());
    }
    Ok(path)
}

/// At least 1.
pub(crate) fn count(text: &str) -> Result<NonZeroU64, String> {
    text.parse().map_err(|_| "expected a whole number from 1".to_owned())
}

/// A process id.
pub(crate) fn pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a process id, such as pgrep prints for a name".to_owned())
}

/// A user id.
pub(crate) fn uid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a numeric user id, such as `id -u NAME` prints".to_owned())
}

/// A positive span such as `30s` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = "expected a time longer than zero, such as 30s, 5m or 1h30m";
    let span: SignedDuration = text.parse().map_err(|_| error.to_owned())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(|| error.to_owned())
}

/// Entries of a kernel table.
pub(crate) fn table_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| (1..=TABLE_MAX).contains(size));
    size.ok_or_else(|| format!("expected a whole number from 1 to {TABLE_MAX}"))
}

/// Bytes, a power of two, with an optional K, M or G (of 1024).
pub(crate) fn ring_size(text: &str) -> Result<u32, String> {
    let error = || {
        let cure = bytes(text).filter(|size| (RING_MIN..RING_MAX).contains(size)).map(u64::next_power_of_two);
        let hint =
            cure.filter(|&size| size != 4 << 20).map(|size| format!(" or {}", in_units(size))).unwrap_or_default();
        format!("expected a power of two from 64K to 1G, such as 4M{hint}")
    };
    let size = bytes(text).filter(|size| size.is_power_of_two() && (RING_MIN..=RING_MAX).contains(size));
    size.and_then(|size| u32::try_from(size).ok()).ok_or_else(error)
}

/// Bytes of history, with an optional K, M or G (of 1024).
pub(crate) fn history_size(text: &str) -> Result<u64, String> {
    let size = bytes(text).filter(|size| (HISTORY_MIN..=HISTORY_MAX).contains(size));
    size.ok_or_else(|| "expected a size from 16M to 1024G, such as 1G".to_owned())
}

fn in_units(bytes: u64) -> String {
    match bytes {
        0x10_0000.. => format!("{}M", bytes >> 20),
        _ => format!("{}K", bytes >> 10),
    }
}

/// Bytes, with an optional K, M or G (of 1024).
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
