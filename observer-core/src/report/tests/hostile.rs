//! Names that others chose must not change what is around them.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::page::tags;
use crate::report::{About, Report, Source, html, json, sample, table};
use crate::sample::hostile;
use crate::sanitize::is_visible;

/// A report in which every name is `name`.
fn named(name: &str) -> Report {
    let mut names = crate::report::NameBook::default();
    let logged: String = format!("x{name}").chars().take(40).collect();
    sample::attempts().iter().take(20).for_each(|(seen, _)| names.add(seen.daddr, Some(&logged), Some(&logged)));
    let mut builder = crate::report::Builder::new(sample::frame()).with_names(names);
    sample::attempts().iter().take(20).for_each(|(seen, _)| _ = builder.add(seen, Some(name)));
    let source = Source::History { path: format!("/tmp/{name}").into(), holds: None };
    builder.finish(About { host: name.to_owned(), source, ..sample::about() }, sample::account(20))
}

fn is_plain(c: char) -> bool {
    c == '\n' || is_visible(c)
}

proptest! {
    #[test]
    fn in_the_table(name in hostile(), width in 0u16..200) {
        let text = table::render(&named(&name), width, &TimeZone::UTC);
        prop_assert!(text.chars().all(is_plain), "{text:?}");
        // A name begins no line of its own: every section has one title.
        for title in ["SCOPE", "LEDGER", "PROCESSES"] {
            prop_assert_eq!(text.lines().filter(|line| *line == title).count(), 1);
        }
    }

    #[test]
    fn in_json(name in hostile()) {
        let text = String::from_utf8(json::render(&named(&name)).unwrap()).unwrap();
        prop_assert!(text.trim_end_matches('\n').chars().all(is_visible), "{text:?}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(value["host"].as_str().unwrap(), name.as_str());
        let kept: String = name.chars().take(45).collect();
        prop_assert_eq!(value["processes"][0]["comm"].as_str().unwrap(), kept.as_str());
    }

    /// The same tags with the same attributes, whatever the name.
    #[test]
    fn in_the_page(name in hostile()) {
        let (page, plain) = (html::render(&named(&name), &TimeZone::UTC).unwrap(), html::render(&named("smtp"), &TimeZone::UTC).unwrap());
        prop_assert!(page.chars().all(is_plain));
        prop_assert_eq!(tags(&page), tags(&plain));
    }
}

#[test]
fn the_worst_names_are_shown_harmlessly() {
    for name in
        ["</script><script>alert(1)</script>", "\u{202e}ptms", "\x1b[2J", "&lt;b&gt;", "{{ 7*7 }}", "\" onload=\"x"]
    {
        let report = named(name);
        let page = html::render(&report, &TimeZone::UTC).unwrap();
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("49"), "{name}");
        assert!(!page.contains('\u{202e}') && !page.contains('\x1b'), "{name:?}");
        assert!(!page.contains("\" onload"), "{name}");
        let text = table::render(&report, 80, &TimeZone::UTC);
        assert!(!text.contains('\u{202e}') && !text.contains('\x1b'), "{name:?}");
    }
    // What is not UTF-8 comes as U+FFFD from the decoder, and is shown as that.
    let lossy = String::from_utf8_lossy(b"\xff\xfesm\x80tp").into_owned();
    assert!(table::render(&named(&lossy), 80, &TimeZone::UTC).contains("sm\u{fffd}tp"));
}
