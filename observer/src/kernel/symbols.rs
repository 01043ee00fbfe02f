//! Where the running kernel's functions lie, for what BTF does not know.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;

/// Where a kernel function lies. `None` also where the kernel hides addresses.
pub(super) fn range(name: &str) -> Option<Range<u64>> {
    let lines = BufReader::new(File::open("/proc/kallsyms").ok()?).lines();
    find(lines.map_while(Result::ok), name)
}

/// A function's range in lines such as `ffffffff81a2b3c0 T nf_hook_slow`: up to
/// the next symbol, wherever that is listed.
fn find(lines: impl Iterator<Item = String>, name: &str) -> Option<Range<u64>> {
    let mut addresses = Vec::new();
    let mut start = None;
    for line in lines {
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok())?;
        // Modules follow the kernel itself.
        let is_module = words.clone().nth(2).is_some();
        if !is_module && words.nth(1) == Some(name) {
            start = Some(address);
        }
        addresses.push(address);
    }
    let start = start.filter(|&start| start != 0)?;
    let end = addresses.into_iter().filter(|&address| address > start).min()?;
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::find;

    fn lines(text: &str) -> impl Iterator<Item = String> {
        text.lines().map(str::to_owned)
    }

    #[test]
    fn a_function_ends_where_the_next_symbol_begins() {
        let text = "ffff10 T nf_hook_slow_list\nffff80 t other\nffff40 T nf_hook_slow\nffff40 T alias\nffff60 T next\n";
        assert_eq!(find(lines(text), "nf_hook_slow"), Some(0xff_ff40..0xff_ff60));
        assert_eq!(find(lines(text), "nf_hook"), None);
    }

    #[test]
    fn hidden_addresses_and_modules_are_not_taken() {
        assert_eq!(find(lines("0 T nf_hook_slow\n0 T next\n"), "nf_hook_slow"), None);
        assert_eq!(find(lines("ffff40 t nf_hook_slow [module]\nffff60 T next\n"), "nf_hook_slow"), None);
        assert_eq!(find(lines("no address\n"), "nf_hook_slow"), None);
    }
}
