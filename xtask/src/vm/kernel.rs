//! A kernel to boot, and the modules of it that the tests need.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::archive::{self, Archive};

/// What the lab needs beside the built-in parts. A kernel that lacks one has
/// replaced it by another, or the lab says what it misses.
const MODULES: [&str; 27] = [
    "crc32c_generic",
    "tun",
    "veth",
    "nf_tables",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_counter",
    "nft_ct",
    "nft_chain_nat",
    "nft_redir",
    "nft_compat",
    "ip_tables",
    "ip6_tables",
    "iptable_filter",
    "ip6table_filter",
    "ipt_REJECT",
    "ip6t_REJECT",
    "xt_tcpudp",
    "inet_diag",
    "tcp_diag",
    "nf_conntrack",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nfnetlink",
    "dummy",
];

/// A kernel, unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` has it.
    pub(crate) release: String,
    root: PathBuf,
}

/// A module's file name and its content, as the kernel wants it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

impl Kernel {
    /// The kernel of a series: from the cache below `cache`, else from
    /// Debian's archive.
    pub(crate) fn fetch(archive: &Archive, cache: &Path, series: &str) -> Result<Self> {
        let kernels = cache.join("kernels");
        let cached = archive::unpacked(&kernels, series, archive.arch)?;
        let release = match (archive.choose(series), cached.first()) {
            (Ok(release), _) => release,
            // Gone from the archive, or no network: an older one is better than none.
            (Err(error), Some(cached)) => {
                println!("vm-test: {error:#}; taking {cached} from the cache");
                cached.clone()
            }
            (Err(error), None) => return Err(error),
        };
        let root = kernels.join(&release);
        if !root.exists() {
            let unfinished = kernels.join(format!(".{release}"));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).context("remove an unfinished kernel")?;
            }
            fs::create_dir_all(&unfinished).context("make room for the kernel")?;
            archive.unpack(&release, &unfinished).with_context(|| format!("fetch {release}"))?;
            fs::rename(&unfinished, &root).context("keep the kernel")?;
        }
        let kernel = Self { release, root };
        kernel.image()?;
        Ok(kernel)
    }

    /// The file to boot: in /boot, from 7.2 on beside the modules.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        let release = &self.release;
        let places =
            [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz"), "boot/vmlinuz".into()];
        let found = places.iter().map(|place| self.root.join(place)).find(|place| place.exists());
        found.with_context(|| format!("the packages of {release} hold no vmlinuz"))
    }

    /// The modules to load, each behind those that it needs.
    pub(crate) fn modules(&self) -> Result<Vec<Module>> {
        let tree = ["lib/modules", "usr/lib/modules"].map(|place| self.root.join(place).join(&self.release));
        let tree = tree.iter().find(|tree| tree.join("kernel").exists());
        let tree = tree.with_context(|| format!("the packages of {} hold no modules", self.release))?;
        let mut files = HashMap::new();
        collect(tree, &mut files)?;
        let mut order = Order { files: &files, seen: HashSet::new(), modules: Vec::new() };
        MODULES.iter().try_for_each(|name| order.add(name))?;
        ensure!(order.modules.len() >= 5, "hardly any module in {}", tree.display());
        Ok(order.modules)
    }
}

struct Order<'a> {
    files: &'a HashMap<String, PathBuf>,
    seen: HashSet<String>,
    modules: Vec<Module>,
}

impl Order<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        let name = name.replace('-', "_");
        // What has no file is built in, or this kernel does without.
        let Some(file) = self.files.get(&name).filter(|_| !self.seen.contains(&name)) else { return Ok(()) };
        self.seen.insert(name.clone());
        let content = decompressed(file).with_context(|| format!("read {}", file.display()))?;
        depends(&content).iter().try_for_each(|needed| self.add(needed))?;
        self.modules.push(Module { name: format!("{name}.ko"), content });
        Ok(())
    }
}

/// All module files below a directory, by the module's name.
fn collect(directory: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry.context("list modules")?;
        let path = entry.path();
        if entry.file_type().context("list modules")?.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn decompressed(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(OsStr::to_str) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(file).context("read it"),
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(file)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{program}: is it installed?"))?;
    ensure!(output.status.success(), "{program} failed, {}", output.status);
    Ok(output.stdout)
}

/// The modules that a module names in its section `.modinfo`: strings, each
/// ended by a zero.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = content.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let rest = content.get(at + KEY.len()..).unwrap_or_default();
    let value = rest.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let modinfo = b"\x7fELF\0license=GPL\0depends=nf_tables,nf-reject\0retpoline=Y\0";
        assert_eq!(depends(modinfo), ["nf_tables", "nf-reject"]);
        assert!(depends(b"\0depends=\0name=tun\0").is_empty());
        assert!(depends(b"no such key").is_empty());
    }

    #[test]
    fn a_module_comes_behind_what_it_needs_and_once() {
        let directory = std::env::temp_dir().join(format!("observer-modules-{}", std::process::id()));
        fs::create_dir_all(directory.join("net")).unwrap();
        fs::write(directory.join("net/a.ko"), b"\0depends=b-1,c\0").unwrap();
        fs::write(directory.join("b-1.ko"), b"\0depends=c\0").unwrap();
        fs::write(directory.join("c.ko"), b"\0depends=\0").unwrap();
        let mut files = HashMap::new();
        collect(&directory, &mut files).unwrap();
        fs::read_dir(&directory).unwrap();
        let mut order = Order { files: &files, seen: HashSet::new(), modules: Vec::new() };
        for name in ["a", "c", "built_in"] {
            order.add(name).unwrap();
        }
        let names: Vec<_> = order.modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["c.ko", "b_1.ko", "a.ko"]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
