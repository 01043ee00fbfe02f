//! Any text as a configuration becomes problems, each with a place, or a meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::config::{Surroundings, parse};

fuzz_target!(|text: &str| {
    let surroundings = Surroundings { host: "mx1".to_owned(), credentials: None };
    // Two files: the second is laid over the first.
    let (first, second) = text.split_once('\0').unwrap_or((text, ""));
    if let Err(problems) = parse(&[("a.toml", first), ("b.toml", second)], &surroundings) {
        for problem in problems {
            let line = problem.to_string();
            assert!(line.starts_with("a.toml:") || line.starts_with("b.toml:"), "{line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }
});
