//! The page is looked at as a reader with a screen reader, a blocker of
//! everything, or paper would.

use jiff::tz::TimeZone;

use super::empty;
use crate::report::{html, palette, sample};

fn page() -> String {
    html::render(&sample::report(), &TimeZone::UTC).unwrap()
}

/// Start tags, as name and attributes. Text has no `<` in it: it is escaped.
pub(super) fn tags(page: &str) -> Vec<(&str, &str)> {
    let all = page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag);
    all.filter(|tag| !tag.starts_with(['/', '!']))
        .map(|tag| tag.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((tag, "")))
        .collect()
}

#[test]
fn the_page() {
    insta::assert_snapshot!(page());
}

#[test]
fn it_asks_for_nothing_and_runs_nothing() {
    let page = page();
    for (name, attributes) in tags(&page) {
        assert!(!["script", "link", "img", "iframe", "object", "embed", "base", "form", "a"].contains(&name), "{name}");
        for forbidden in [" src=", "href=", " on", "style=", "srcset", "action="] {
            assert!(!format!(" {attributes}").contains(forbidden), "{name} {attributes}");
        }
    }
    for forbidden in ["url(", "@import", "@font-face", "javascript:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn it_can_be_read_without_seeing_it() {
    for page in [page(), html::render(&empty(), &TimeZone::UTC).unwrap()] {
        let tags = tags(&page);
        assert_eq!(tags[0], ("html", "lang=\"en\""));
        let count = |name: &str| tags.iter().filter(|tag| tag.0 == name).count();
        assert_eq!((count("h1"), count("main"), count("title") - count("svg")), (1, 1, 1));
        assert_eq!(count("caption"), count("table"));
        for (name, attributes) in &tags {
            match *name {
                "th" => assert!(attributes.contains("scope="), "{attributes}"),
                "svg" => assert!(attributes.contains("role=\"img\""), "{attributes}"),
                _ => (),
            }
        }
        for (index, (name, _)) in tags.iter().enumerate() {
            match *name {
                "svg" => assert_eq!(tags[index + 1].0, "title"),
                // Columns have headers, and so has each row.
                "table" => assert_eq!(
                    tags[index + 1..index + 5].iter().map(|tag| tag.0).collect::<Vec<_>>(),
                    ["caption", "thead", "tr", "th"]
                ),
                "tbody" => {
                    assert_eq!(tags[index + 1..index + 3].iter().map(|tag| tag.0).collect::<Vec<_>>(), ["tr", "th"])
                }
                _ => (),
            }
        }
    }
}

#[test]
fn headings_name_their_sections() {
    let page = page();
    let tags = tags(&page);
    let of = |name: &'static str, attribute: &'static str| {
        let all = tags.iter().filter(move |tag| tag.0 == name);
        all.map(move |tag| tag.1.trim_start_matches(attribute).trim_matches(['=', '"'])).collect::<Vec<_>>()
    };
    let headings = of("h2", "id");
    assert_eq!(headings, of("section", "aria-labelledby"));
    assert_eq!(headings.len(), 8);
}

/// Otherwise the dark page would leave it dark on dark.
#[test]
fn plots_have_only_colours_of_the_palette() {
    let page = page();
    let mut known: Vec<String> = palette::all().map(|ink| palette::hex(ink.light)).collect();
    known.extend(palette::HEAT.map(palette::hex));
    known.extend((0..palette::HEAT.len()).map(|step| palette::hex(palette::on_heat(step))));
    let mut count = 0;
    for (name, attributes) in tags(&page) {
        for paint in ["fill=\"#", "stroke=\"#"] {
            if let Some((_, rest)) = attributes.split_once(paint) {
                count += 1;
                assert!(known.contains(&format!("#{}", &rest[..6])), "{name} {attributes}");
            }
        }
    }
    assert!(count > 100);
}

#[test]
fn it_is_for_light_dark_and_paper() {
    let page = page();
    for needed in
        ["@media screen and (prefers-color-scheme:dark)", "@media print", "color-scheme\" content=\"light dark\""]
    {
        assert!(page.contains(needed), "{needed}");
    }
}
