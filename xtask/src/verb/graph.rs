//! print the modules of each crate, their lines, and what imports what

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cargo;

/// Crates of which no module may import from its right.
const CRATES: [&str; 3] = ["observer-core", "observer", "observer-ebpf"];

/// Print the modules of each crate, their lines, and what imports what
///
/// Tests are left out. Fails if modules that lie beside each other import from each
/// other, also by way of others.
#[derive(Debug, clap::Args)]
pub(crate) struct Graph {}

impl Graph {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut is_acyclic = true;
        for name in CRATES {
            let sources = Sources::read(&cargo::root().join(name).join("src"))?;
            println!("{name}: {} lines without tests", sources.lines(&[]));
            for (module, imports) in sources.arrows().remove(&Vec::new()).unwrap_or_default() {
                let imports: Vec<_> = imports.into_iter().collect();
                let lines = sources.lines(std::slice::from_ref(&module));
                println!("  {module:<14} {lines:>6}  {}", imports.join(" "));
            }
            for circle in sources.circles() {
                is_acyclic = false;
                println!("  circle: {circle}");
            }
        }
        Ok(if is_acyclic { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A module, by the names that lead to it from the crate's root.
type Name = Vec<String>;
/// Of the modules beside each other: what each imports of the others.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A crate's modules without their tests.
struct Sources {
    modules: BTreeMap<Name, String>,
    /// Names at the root that stand for modules elsewhere.
    aliases: BTreeMap<String, Name>,
}

impl Sources {
    fn read(src: &Path) -> Result<Self> {
        let mut modules = BTreeMap::new();
        for file in rust_files(src)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            // A program and its library share the root.
            let module: &mut String = modules.entry(name_of(file.strip_prefix(src)?)).or_default();
            module.push_str(&without_tests(&text));
        }
        let root = modules.get(&Vec::new()).map(String::as_str).unwrap_or_default();
        let aliases = aliases(root);
        Ok(Self { modules, aliases })
    }

    /// Lines of a module and of those within it.
    fn lines(&self, module: &[String]) -> usize {
        self.modules.iter().filter(|(name, _)| name.starts_with(module)).map(|(_, text)| text.lines().count()).sum()
    }

    /// For each module with modules in it: what those import of each other.
    fn arrows(&self) -> BTreeMap<Name, Arrows> {
        let mut arrows: BTreeMap<Name, Arrows> = BTreeMap::new();
        for name in self.modules.keys().filter(|name| !name.is_empty()) {
            let (last, parent) = name.split_last().expect("not the root");
            arrows.entry(parent.to_vec()).or_default().entry(last.clone()).or_default();
        }
        for (name, text) in &self.modules {
            for path in paths(text) {
                let Some(target) = self.resolve(name, &path) else { continue };
                let shared = name.iter().zip(&target).take_while(|(one, other)| one == other).count();
                // A module and what lies within it may know each other.
                let (Some(from), Some(to)) = (name.get(shared), target.get(shared)) else { continue };
                if let Some(siblings) = arrows.get_mut(&name[..shared])
                    && siblings.contains_key(to)
                {
                    siblings.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        arrows
    }

    /// Where a path leads that stands in a module.
    fn resolve(&self, module: &[String], path: &str) -> Option<Name> {
        let mut parts: Vec<String> = path.split("::").map(str::to_owned).collect();
        let ups = parts.iter().take_while(|part| *part == "super").count();
        let mut target = match parts[0].as_str() {
            "crate" => Vec::new(),
            _ => module.get(..module.len().checked_sub(ups)?)?.to_vec(),
        };
        parts.drain(..ups.max(1));
        if let (true, Some(alias)) = (target.is_empty(), parts.first().and_then(|first| self.aliases.get(first))) {
            target.clone_from(alias);
            parts.remove(0);
        }
        target.extend(parts);
        Some(target)
    }

    /// Modules that import from each other, one line for each circle.
    fn circles(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (parent, mut arrows) in self.arrows() {
            // What imports nothing that is left is in no circle, nor is what nothing imports.
            loop {
                let imported: BTreeSet<String> = arrows.values().flatten().cloned().collect();
                let before = arrows.len();
                arrows.retain(|module, imports| !imports.is_empty() && imported.contains(module));
                let left: BTreeSet<String> = arrows.keys().cloned().collect();
                arrows.values_mut().for_each(|imports| imports.retain(|module| left.contains(module)));
                if arrows.len() == before {
                    break;
                }
            }
            if !arrows.is_empty() {
                let arrows =
                    arrows.iter().map(|(from, to)| format!("{from} -> {}", Vec::from_iter(to.clone()).join(", ")));
                found.push(format!(
                    "in {}: {}",
                    [&["crate".to_owned()], &*parent].concat().join("::"),
                    Vec::from_iter(arrows).join("; ")
                ));
            }
        }
        found
    }
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        // Modules for tests alone; the kernel's side has a layout that tests compare.
        if matches!(stem, "tests" | "sample" | "abi") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The module that a file below `src` holds.
fn name_of(file: &Path) -> Name {
    let mut name: Name = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(name.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        name.pop();
    }
    name
}

/// The text without comments and without the tests at its end.
fn without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let code = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    code.map(|line| format!("{line}\n")).collect()
}

/// Names that a root re-exports: `pub use self::count::{tally, scope}`.
fn aliases(root: &str) -> BTreeMap<String, Name> {
    let mut aliases = BTreeMap::new();
    for item in root.split(';').filter_map(|item| item.trim().strip_prefix("pub use ")) {
        let item = item.strip_prefix("self::").unwrap_or(item);
        if let Some((module, names)) = item.split_once("::") {
            for name in names.trim_matches(['{', '}']).split(',').map(str::trim).filter(|name| !name.is_empty()) {
                aliases.insert(name.to_owned(), vec![module.to_owned(), name.to_owned()]);
            }
        } else if let Some((module, name)) = item.split_once(" as ") {
            aliases.insert(name.to_owned(), vec![module.to_owned()]);
        }
    }
    aliases
}

/// Every path from `crate` or `super`, those in braces one by one.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"].iter().flat_map(|word| text.match_indices(word).map(|(at, _)| at)) {
        let before = text[..start].chars().next_back();
        // The middle of a longer path, or of a name.
        if before.is_some_and(|c| c == ':' || c == '_' || c == '$' || c.is_alphanumeric()) {
            continue;
        }
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let path: String = text[start..].chars().take_while(|&c| is_path(c)).collect();
        let rest = &text[start + path.len()..];
        match (path.strip_suffix("::"), rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))) {
            (Some(prefix), Some((names, _))) => {
                let names = names.split(',').map(|name| name.trim().split([' ', '{']).next().unwrap_or_default());
                found.extend(names.filter(|name| !name.is_empty()).map(|name| format!("{prefix}::{name}")));
            }
            (prefix, _) => found.push(prefix.unwrap_or(&path).to_owned()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

    use super::*;

    /// Crates that do I/O, keep a clock or a thread, or talk to the kernel.
    const FORBIDDEN: [&str; 12] = [
        "tokio",
        "aya",
        "rusqlite",
        "clap",
        "rustix",
        "ureq",
        "hyper",
        "async-nats",
        "hickory-resolver",
        "landlock",
        "caps",
        "crossterm",
    ];

    fn sources(modules: &[(&str, &str)]) -> Sources {
        let root = modules.iter().find(|(name, _)| name.is_empty()).map_or("", |(_, text)| text);
        let modules = modules.iter().map(|(name, text)| {
            (name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(), (*text).to_owned())
        });
        Sources { modules: modules.collect(), aliases: aliases(root) }
    }

    #[test]
    fn no_modules_import_from_each_other() {
        for name in CRATES {
            let sources = Sources::read(&cargo::root().join(name).join("src")).unwrap();
            assert!(sources.modules.len() > 5, "{name} was not read");
            assert_eq!(sources.circles(), Vec::<String>::new(), "{name}");
        }
    }

    /// As ARCHITECTURE.md lists the modules of a crate, each with all to its left that it may import.
    fn in_order(page: &str, name: &str) -> Vec<String> {
        let is_of_crate = |line: &&str| {
            line.strip_prefix("The modules of ").is_some_and(|rest| rest.split([',', ':']).next() == Some(name))
        };
        let mut lines = page.lines().skip_while(|line| !is_of_crate(line));
        let line = lines.find(|line| line.starts_with("    ")).expect("a list of its modules");
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn no_module_imports_from_its_right() {
        let page = fs::read_to_string(cargo::root().join("ARCHITECTURE.md")).unwrap();
        for name in ["observer-core", "observer"] {
            let order = in_order(&page, name);
            let place = |module: &str| order.iter().position(|other| other == module);
            let sources = Sources::read(&cargo::root().join(name).join("src")).unwrap();
            let arrows = sources.arrows().remove(&Vec::new()).unwrap();
            assert!(order.iter().all(|module| arrows.contains_key(module)), "{name} has not all of {order:?}");
            let is_backward = |from: &str, to: &str| match (place(from), place(to)) {
                (Some(from), Some(to)) => from < to,
                // What is not in the list serves all, and knows none of them.
                (from, to) => from.is_none() && to.is_some(),
            };
            let all = arrows.iter().flat_map(|(from, imports)| imports.iter().map(move |to| (from, to)));
            let backward: Vec<_> = all.filter(|(from, to)| is_backward(from, to)).collect();
            assert!(backward.is_empty(), "{name}: {backward:?}");
        }
    }

    #[test]
    fn circles_are_found() {
        let direct = sources(&[("a", "use crate::b::X;"), ("b", "use crate::{a, c};"), ("c", "")]);
        assert_eq!(direct.circles(), ["in crate: a -> b; b -> a"]);
        let by_way =
            sources(&[("a::x", "use super::y::Y;"), ("a::y", "use super::{z::Z};"), ("a::z", "crate::a::x::f()")]);
        assert_eq!(by_way.circles(), ["in crate::a: x -> y; y -> z; z -> x"]);
        let by_alias =
            sources(&[("", "pub use self::a::{x};"), ("a", ""), ("a::x", "use crate::b;"), ("b", "use crate::x;")]);
        assert_eq!(by_alias.circles(), ["in crate: a -> b; b -> a"]);
        let none = sources(&[("a", "pub use self::x::X;"), ("a::x", "use super::Y;"), ("b", "use crate::a::x;")]);
        assert_eq!(none.circles(), Vec::<String>::new());
    }

    #[test]
    fn the_core_depends_on_nothing_that_does_io() {
        let metadata = MetadataCommand::new()
            .manifest_path(cargo::root().join("Cargo.toml"))
            .features(CargoOpt::AllFeatures)
            .other_options(["--offline".to_owned(), "--locked".to_owned()])
            .exec()
            .unwrap();
        let core = metadata.packages.iter().find(|package| package.name.as_str() == "observer-core").unwrap();
        let named = core.dependencies.iter().filter(|of| of.kind == DependencyKind::Normal).map(|of| of.name.as_str());
        let named: Vec<_> = named.collect();
        assert!(named.contains(&"serde"), "{named:?}");
        let forbidden: Vec<_> = named.into_iter().filter(|name| FORBIDDEN.contains(name)).collect();
        assert_eq!(forbidden, Vec::<&str>::new());
    }

    fn assert_free_of(text: &str, names: &[&str], place: &str) {
        for name in names {
            assert!(!text.contains(name), "{place} has {name}");
        }
    }

    #[test]
    fn the_ring_thread_takes_no_lock_and_opens_nothing() {
        const WAITS: [&str; 7] =
            ["Mutex", "RwLock", "Condvar", "OnceLock", "std::fs", "std::process", "aya::maps::HashMap"];
        for name in ["reader.rs", "ring.rs"] {
            let text = fs::read_to_string(cargo::root().join("observer/src/kernel").join(name)).unwrap();
            assert_free_of(&text, &WAITS, name);
            // Of this crate, the one knows the other and nothing else.
            let ours = text.lines().filter(|line| line.starts_with("use crate::") || line.starts_with("use super::"));
            assert_eq!(
                ours.collect::<Vec<_>>(),
                if name == "reader.rs" { vec!["use super::ring::Ring;"] } else { vec![] }
            );
        }
    }

    #[test]
    fn the_core_asks_no_clock_and_opens_nothing() {
        const IO: [&str; 9] = [
            "std::fs",
            "std::env",
            "std::process",
            "std::thread",
            "Instant",
            "SystemTime",
            "Timestamp::now",
            "TcpStream",
            "UdpSocket",
        ];
        let sources = Sources::read(&cargo::root().join("observer-core/src")).unwrap();
        for (module, text) in &sources.modules {
            assert_free_of(text, &IO, &format!("observer_core::{}", module.join("::")));
        }
    }
}
